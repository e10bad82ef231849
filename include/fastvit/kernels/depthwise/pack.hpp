// SPDX-License-Identifier: MIT
// Weights of depthwise convolutions, in the order in which a tier's kernel reads them. Packed once, when a model is made.
#pragma once

#include "fastvit/kernels/weights.hpp"

#include <cstring>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Packed windows and their memory. Move-only.
struct packed_depthwise : packed_depthwise_view {
    buffer<std::byte> weight_memory;
};

/// `weight(o, tap)` and `bias(o)` for o < channels * multiplier; the padding becomes zero.
template <class Weight, class Bias>
packed_depthwise pack_depthwise(const weight_target &target, index_type channels, index_type multiplier, index_type kernel,
                                index_type stride, Weight &&weight, Bias &&bias) {
    packed_depthwise packed;
    packed.in_channels = padded_channels(channels);
    packed.out_channels = padded_channels(channels * multiplier);
    packed.kernel = kernel;
    packed.stride = stride;
    packed.multiplier = multiplier;
    packed.lanes = target.tier.lanes;
    packed.weight_memory = target.take<std::byte>(packed.bytes());
    packed.weights = packed.weight_memory.data();
    const index_type step = packed.at(0, 0) - packed.at(0, -1); // bytes between taps
    for (index_type o = 0; o < channels * multiplier; ++o) {
        std::byte *const first = packed.weight_memory.data() + packed.at(o, -1);
        const auto put = [&](index_type tap, float value) { std::memcpy(first + (tap + 1) * step, &value, sizeof value); };
        put(-1, bias(o));
        for (index_type tap = 0; tap < kernel * kernel; ++tap) put(tap, weight(o, tap));
    }
    return packed;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
