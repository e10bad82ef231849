// SPDX-License-Identifier: MIT
// Depthwise convolution with an optional depth multiplier.
#pragma once

#include "fastvit/kernels/channels.hpp"

#include <cstddef>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Packed windows in memory that somebody else owns, float32, in blocks of `lanes` input channels:
///
///     block b:  bias  m = 0 | bias  m = 1 | ... | tap 0, m = 0 | tap 0, m = 1 | ... | tap 1, m = 0 | ...
///
/// each cell `lanes` floats, m the output's number among those of its input channel. Output o = channel * multiplier + m.
struct packed_depthwise_view {
    index_type in_channels = 0;  ///< padded
    index_type out_channels = 0; ///< padded
    index_type kernel = 0;       ///< side of the window
    index_type stride = 1;
    index_type multiplier = 1; ///< output channels per input channel
    index_type lanes = 0;
    const std::byte *weights = nullptr;

    index_type bytes() const noexcept {
        return in_channels * multiplier * (kernel * kernel + 1) * static_cast<index_type>(sizeof(float));
    }
    /// Where the weight of tap = i * kernel + j for output channel o begins, in bytes; tap -1 is the bias.
    index_type at(index_type o, index_type tap) const noexcept {
        const index_type channel = o / multiplier, m = o % multiplier;
        return (((channel / lanes * (kernel * kernel + 1) + tap + 1) * multiplier + m) * lanes + channel % lanes) *
               static_cast<index_type>(sizeof(float));
    }
};

/// out[y][x][o] = bias[o] + sum over the window of in[y * stride + i][x * stride + j][o / multiplier] * W[o][i][j].
struct depthwise_args {
    const float *in;     ///< first channel of the pixel under the window's top left corner for the first output
    index_type in_pixel; ///< floats between pixels
    index_type in_row;   ///< floats between rows
    float *out;          ///< first channel of the first output pixel
    index_type out_pixel;
    index_type out_row;
    index_type rows, columns;     ///< output pixels
    packed_depthwise_view window; ///< W and bias, packed for the tier whose kernel this is
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
