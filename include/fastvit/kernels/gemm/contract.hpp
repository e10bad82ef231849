// SPDX-License-Identifier: MIT
// Matrix products over pixels: pointwise and dense convolutions, linear layers.
#pragma once

#include "fastvit/kernels/channels.hpp"
#include "fastvit/precision.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Bytes of a packed weight.
constexpr index_type size_of(precision type) noexcept {
    return type == precision::float32 ? 4 : type == precision::bfloat16 ? 2 : 1;
}

/// How a tier wants the weights of a matrix.
struct matrix_format {
    precision type = precision::float32;
    index_type group = 1; ///< rows whose weights lie side by side: those that one instruction multiplies and adds up
    index_type panel = 0; ///< columns
};

/// A packed matrix in memory that somebody else owns. Only packing and the kernel know what its bytes mean.
///
/// Panels of `panel` columns, the last one narrower, each with its groups of rows one after the other; `group` rows of a column
/// lie side by side:
///
///     column:      0 .. panel-1      panel .. 2*panel-1    ...
///     group 0     |------------|    |------------|
///     group 1     |------------|    |------------|
///     ...          panel 0           panel 1
///
/// Rows are padded to a multiple of `group`, columns to one of channel_padding, both with zeros.
struct packed_matrix_view {
    matrix_format format;
    index_type rows = 0;
    index_type columns = 0; ///< padded
    const std::byte *weights = nullptr;
    const float *bias = nullptr; ///< one per padded column
    /// int8: a weight is scale[column] * its byte, in [-127, 127]; sums[column] is the sum of a column's bytes. In each block of
    /// eight rows, neither the positive bytes of rows 0, 1, 4 and 5 nor the negative ones sum up to more than 258, nor those of
    /// rows 2, 3, 6 and 7: times activations of 7 bits, 258 * 127, such a sum fits 16 bits.
    const float *scale = nullptr;
    const std::int32_t *sums = nullptr;
    /// int8: the operand is encoded in two parts (encode_args::rest), whose products add up: `bias` is half of the layer's. For
    /// the caller of the kernel, which multiplies one part at a time.
    bool two_parts = false;

    index_type padded_rows() const noexcept { return (rows + format.group - 1) / format.group * format.group; }
    index_type bytes() const noexcept { return padded_rows() * columns * size_of(format.type); }
    /// Where the weight of (row, column) begins, in bytes.
    index_type at(index_type row, index_type column) const noexcept {
        const index_type group = format.group, first = column / format.panel * format.panel;
        const index_type width = std::min(format.panel, columns - first);
        return (first * padded_rows() + row / group * group * width + (column - first) * group + row % group) *
               size_of(format.type);
    }
};

/// The most pixels one gemm() call takes, so that a caller can keep its row pointers on the stack.
inline constexpr index_type gemm_max_pixels = 256;

/// C[p][n] = act(bias[n] + sum over s, k of A[p][s * segment_stride + k] * W[s * segment + k][n]), or, without an activation,
/// bias[n] + the sum + residual[p][n].
///
/// Rows are addressed by pointers, so a tile of pixels may cross rows of the map, images of the batch and a halo. A pointwise
/// convolution has one segment, the channels of a pixel. A dense k x k convolution has k segments, one per row of the window,
/// each of k * (floats per pixel) consecutive floats.
///
/// In float32 every output is one chain of multiply-adds over s and k in order, whatever the tile: the same bits for any tiling,
/// and so for any number of threads.
struct gemm_args {
    const float *const *a;         ///< first float of each pixel's first segment
    index_type pixels;             ///< at most gemm_max_pixels
    index_type segments = 1;       ///< at least 1
    index_type segment;            ///< floats per segment: segments * segment are the matrix's rows
    index_type segment_stride = 0; ///< floats between the segments of a pixel
    packed_matrix_view matrix;     ///< W and bias, packed for the tier whose kernel this is
    float *const *c;               ///< first channel of each output pixel
    const float *const *residual =
        nullptr;                 ///< null, or the first channel of what is added to each pixel: with act none only; may equal c
    index_type column_begin = 0; ///< the part of the columns to compute: multiples of the panel, or the end
    index_type column_end;
    activation act = activation::none;
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
