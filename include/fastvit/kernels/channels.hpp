// SPDX-License-Identifier: MIT
// How activations lie in memory: NHWC, channels innermost, padded with zeros to a multiple of channel_padding floats, so that no
// kernel has a remainder loop over channels, in whichever tier. A kernel that writes a map writes the padding too, and its packed
// weights are zero there, so padding stays zero through the whole network.
#pragma once

#include "fastvit/base/config.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Floats: one AVX-512 register, one cache line. 48, 64, 96, ... need no padding; 76 becomes 80 (5% of the first stage of MA36).
inline constexpr index_type channel_padding = 16;

constexpr index_type padded_channels(index_type channels) noexcept {
    return (channels + channel_padding - 1) / channel_padding * channel_padding;
}

/// What is done to a value before it is stored.
enum class activation : unsigned char { none, relu, gelu, sigmoid };

}}} // namespace fastvit::FASTVIT_ABI::kernels
