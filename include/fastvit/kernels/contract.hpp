// SPDX-License-Identifier: MIT
// What the network asks of an instruction set: argument structs and a table of functions, the same for every tier.
//
// Kernels know pointers, sizes and strides, not blocks. Activations are NHWC: channels innermost, padded with zeros to a multiple
// of channel_padding floats, so that no kernel has a remainder loop over channels, in whichever tier. A kernel that writes a map
// writes the padding too, and its packed weights are zero there, so padding stays zero through the whole network.
#pragma once

#include "fastvit/base/config.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Floats: one AVX-512 register, one cache line. 48, 64, 96, ... need no padding; 76 becomes 80 (5% of the first stage of MA36).
inline constexpr index_type channel_padding = 16;

constexpr index_type padded_channels(index_type channels) noexcept {
    return (channels + channel_padding - 1) / channel_padding * channel_padding;
}

/// What is done to a value before it is stored.
enum class activation : unsigned char { none, relu, gelu, sigmoid };

/// The most pixels one gemm() call takes, so that a caller can keep its row pointers on the stack.
inline constexpr index_type gemm_max_pixels = 256;

/// C[p][n] = act(bias[n] + sum over s, k of A[p][s * segment_stride + k] * W[s * segment + k][n]), or, without an activation,
/// bias[n] + the sum + residual[p][n].
///
/// Rows are addressed by pointers, so a tile of pixels may cross rows of the map, images of the batch and a halo. A pointwise
/// convolution has one segment, the channels of a pixel. A dense k x k convolution has k segments, one per row of the window,
/// each of k * (floats per pixel) consecutive floats.
///
/// Every output is one chain of multiply-adds over s and k in order, whatever the tile: the same bits for any tiling, and so for
/// any number of threads.
struct gemm_args {
    const float *const *a;         ///< first float of each pixel's first segment
    index_type pixels;             ///< at most gemm_max_pixels
    index_type segments = 1;       ///< at least 1
    index_type segment;            ///< floats per segment
    index_type segment_stride = 0; ///< floats between the segments of a pixel
    const float *weights;          ///< as pack_gemm lays them out
    index_type panel;              ///< columns per packed panel, as pack_gemm chose
    const float *bias;             ///< one per column, padded
    float *const *c;               ///< first channel of each output pixel
    const float *const *residual =
        nullptr;                 ///< null, or the first channel of what is added to each pixel: with act none only; may equal c
    index_type columns;          ///< output channels, padded
    index_type column_begin = 0; ///< the part of the columns to compute: multiples of panel, or the end
    index_type column_end;
    activation act = activation::none;
};

/// out[y][x][o] = act(bias[o] + sum over the window of in[y * stride + i][x * stride + j][o / multiplier] * W[o][i][j]).
struct depthwise_args {
    const float *in;     ///< first channel of the pixel under the window's top left corner for the first output
    index_type in_pixel; ///< floats between pixels
    index_type in_row;   ///< floats between rows
    float *out;          ///< first channel of the first output pixel
    index_type out_pixel;
    index_type out_row;
    index_type rows, columns; ///< output pixels
    index_type in_channels;   ///< padded
    index_type out_channels;  ///< padded
    index_type kernel;        ///< side of the window
    index_type stride = 1;
    index_type multiplier = 1; ///< output channels per input channel
    const float *weights;      ///< as pack_depthwise lays them out, bias included
};

/// y[p][c] = act(x[p][c] * scale[c] + shift[c] + (accumulate ? y[p][c] : 0)).
struct affine_args {
    const float *x;
    index_type x_pixel; ///< floats between pixels
    float *y;           ///< may equal x
    index_type y_pixel;
    index_type pixels;
    index_type channels; ///< padded
    const float *scale;
    const float *shift;
    bool accumulate = false;
    activation act = activation::none;
};

/// sums[c] += sum over p of x[p][c], in the order of p.
struct sum_args {
    const float *x;
    index_type x_pixel;
    index_type pixels;
    index_type channels; ///< padded
    float *sums;
};

/// y[p][c] = (x[p][c] - mean of the pixel) / sqrt(variance of the pixel + epsilon) * gamma[c] + beta[c].
struct layer_norm_args {
    const float *x;
    index_type x_pixel;
    float *y;
    index_type y_pixel;
    index_type pixels;
    index_type channels; ///< not padded: the padding takes no part in mean and variance
    const float *gamma;  ///< padded with zeros
    const float *beta;   ///< padded with zeros
    float epsilon;
};

/// Channels of one attention head (official `Attention.head_dim`).
inline constexpr index_type head_channels = 32;

/// One head of self-attention over the tokens of one image, its softmax with base 2: out_i = the mean of v_j with the weights
/// 2^(q_i . k_j). The factor log2(e) / sqrt(32) that makes it the official one is already in q.
struct attention_args {
    const float *q, *k, *v; ///< head_channels floats of the first token
    index_type token;       ///< floats between tokens, in q, k and v
    float *out;             ///< head_channels floats of the first token
    index_type out_token;
    index_type tokens;
    float *scratch; ///< attention_scratch(tokens) floats
};

/// Keys that one step of the running softmax takes: 24 queries' scores for them are 24 KB, in the first-level cache with room to
/// spare.
inline constexpr index_type attention_keys = 256;
/// Queries that one step takes: a multiple of every tier's rows of accumulators.
inline constexpr index_type attention_queries = 24;

constexpr index_type attention_scratch(index_type tokens) noexcept {
    const index_type padded = padded_channels(tokens);
    return 2 * padded * head_channels + attention_queries * (attention_keys + head_channels) + attention_keys;
}

/// The kernels of one instruction set.
struct kernel_table {
    std::string_view name;
    index_type lanes;                             ///< floats per register: the channel block of pack_depthwise
    index_type (*gemm_panel)(index_type columns); ///< the panel width to pack that many (padded) columns in
    void (*gemm)(const gemm_args &);
    void (*depthwise)(const depthwise_args &);
    void (*affine)(const affine_args &);
    void (*sum)(const sum_args &);
    void (*layer_norm)(const layer_norm_args &);
    void (*attention)(const attention_args &);
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
