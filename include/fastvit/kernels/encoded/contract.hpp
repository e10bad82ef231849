// SPDX-License-Identifier: MIT
// Matrix products below float32. Activations are encoded first, pixel by pixel, in the type that the product multiplies; its sums
// are float32 again.
#pragma once

#include "fastvit/kernels/channels.hpp"
#include "fastvit/kernels/gemm/contract.hpp"

#include <cstddef>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// What the bytes of a pixel mean: x = scale * (byte - zero), byte and zero in [0, 127].
struct pixel_range {
    float scale;
    std::int32_t zero;
};

/// Encodes pixels as the left operand of a product.
///
/// int8: each pixel has a range of its own, from the smallest to the largest of its values and 0 (after GELU, the smallest counts
/// as GELU's minimum, -0.17, where any x is below -0.7518). x becomes
/// round(x * 126 / (largest - smallest)) + zero, with zero = -round(smallest * 126 / (largest - smallest)). A pixel with a value
/// that is not finite gets the scale NaN.
///
/// 7 bits, because the instructions of AVX2 and NEON add up products in 16 bits: two of 127 * 127 fit, of 255 * 127 they do not.
/// The eighth bit would cost them more than a third of their speed, and is worth little: the cosine between the embeddings in
/// int8 and float32 goes from 0.99919 to 0.99906 for a seeded MA36, from 0.99981 to 0.99974 for S12. 126 steps, so that both
/// roundings together stay within 7 bits.
///
/// Where 7 bits are too few, `rest` takes what they leave: round((x * 126 / (largest - smallest) - byte + zero) * 126) + 63. Both
/// together have 14 bits, and are the operands of two products.
///
/// bfloat16: each value is rounded to nearest, ties to even.
struct encode_args {
    const float *const *x; ///< first channel of each pixel
    index_type pixels;
    index_type channels;               ///< padded
    activation act = activation::none; ///< none or gelu, first; within 2.5e-4 * max(1, |x|), less than these types resolve
    std::byte *out;                    ///< encoded_kernels::element_bytes for each channel
    index_type out_pixel;              ///< bytes between pixels
    pixel_range *ranges = nullptr;     ///< of each pixel; int8 only
    std::byte *rest = nullptr;         ///< null, or the second part, in the layout of `out`; int8 without an activation only
    pixel_range *rest_ranges = nullptr;
};

/// C[p][n] = act(bias[n] + sum over k of A[p][k] * W[k][n]), or, without an activation, bias[n] + the sum + residual[p][n].
///
/// int8: the sum is exact, and is multiplied with the pixel's scale, then with the column's: the same bits in every tier whose
/// fma() rounds once. bfloat16: one chain over k; where an instruction adds up two products, over pairs of k; in tiles, over
/// steps of 32 k, each the sum of a chain of the even and a chain of the odd ones.
struct encoded_gemm_args {
    const std::byte *a; ///< the first pixel, as encode() left it
    index_type a_pixel; ///< bytes between pixels
    const pixel_range *ranges = nullptr;
    index_type pixels;                      ///< at most gemm_max_pixels
    packed_matrix_view matrix;              ///< packed for the tier whose kernel this is
    float *const *c;                        ///< first channel of each output pixel
    const float *const *residual = nullptr; ///< as in gemm_args
    index_type column_begin = 0;            ///< as in gemm_args
    index_type column_end;
    activation act = activation::none; ///< none or gelu, as exact as in encode_args
};

/// The most rows of an int8 matrix: 127 * 127 * 131072 fits the sums' 32 bits.
inline constexpr index_type int8_max_rows = 131072;

/// How a tier computes in one of these types.
struct encoded_kernels {
    matrix_format (*format)(index_type columns); ///< how to pack a matrix of that many (padded) columns
    index_type element_bytes;                    ///< of an encoded activation
    void (*encode)(const encode_args &);
    void (*gemm)(const encoded_gemm_args &);

    /// Bytes between encoded pixels that each begin with a cache line: AMX loads 64 bytes of each of 16 pixels, which take six
    /// times as long where each lies in two lines.
    constexpr index_type pixel_bytes(index_type padded_channels) const noexcept {
        return (padded_channels * element_bytes + 63) / 64 * 64;
    }
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
