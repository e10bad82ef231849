// SPDX-License-Identifier: MIT
// The freedom that a linear pair of layers leaves, used to make both easy to quantise.
#pragma once

#include "fastvit/base/regions.hpp"
#include "fastvit/reparam/layers.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

/// 2^k near the fourth root of a positive ratio of squares; 1 for anything else.
inline float balancing_factor(double squares, double other_squares) noexcept {
    const double ratio = squares / other_squares;
    if (!(squares > 0 && other_squares > 0 && ratio >= 0x1p-240 && ratio <= 0x1p240)) return 1;
    const int exponent = static_cast<int>(std::bit_cast<std::uint64_t>(ratio) >> 52) - 1023;
    return std::bit_cast<float>(static_cast<std::uint32_t>(((exponent + 2) >> 2) + 127) << 23);
}

/// Multiplies each output of a depthwise convolution with a factor, and returns the reciprocals, with which the weights that read
/// it in the pointwise layer [out, in] after it must be multiplied (scale_inputs()). Nothing else lies between the two, so the
/// network stays the same; with powers of two, to the last bit.
///
/// One range serves all channels of a pixel in 8 bits, and one scale all inputs of an output. So a channel is lost whose values
/// are small beside the others' and whose weights are large, and the reverse for the weights. Both are balanced where a channel's
/// values and weights are equally large: values are judged by the window's weights and bias, as nothing is known of the inputs.
/// Only the product of the two is a property of the network, so any earlier scaling of this kind is undone.
[[nodiscard]] inline std::vector<float> balance(conv &depthwise, const conv &pointwise) {
    const index_type channels = depthwise.bias.count(), taps = depthwise.kernel.count() / channels;
    const index_type outputs = pointwise.bias.count();
    // Row by row, as the matrix lies in memory, but two channels at a time.
    std::vector<double> reads(static_cast<std::size_t>(channels));
    for (index_type o = 0; o < outputs; ++o) {
        const float *const row = pointwise.kernel.data() + o * channels;
        index_type c = 0;
        for (; c + 2 <= channels; c += 2) {
            using two_doubles = double __attribute__((vector_size(16)));
            const two_doubles weights{row[c], row[c + 1]};
            two_doubles sums;
            std::memcpy(&sums, reads.data() + c, sizeof sums);
            sums += weights * weights;
            std::memcpy(reads.data() + c, &sums, sizeof sums);
        }
        if (c < channels) reads[static_cast<std::size_t>(c)] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    }
    std::vector<float> reciprocals;
    for (index_type c = 0; c < channels; ++c) {
        float *const window = depthwise.kernel.data() + c * taps;
        double values = static_cast<double>(depthwise.bias(c)) * static_cast<double>(depthwise.bias(c));
        for (index_type i = 0; i < taps; ++i) values += static_cast<double>(window[i]) * static_cast<double>(window[i]);
        const float factor = balancing_factor(reads[static_cast<std::size_t>(c)], values);
        for (index_type i = 0; i < taps; ++i) window[i] *= factor;
        depthwise.bias(c) *= factor;
        reciprocals.push_back(1 / factor);
    }
    return reciprocals;
}

/// Multiplies the weights of each input of a pointwise layer with its factor.
inline void scale_inputs(conv &pointwise, const std::vector<float> &factors) {
    float *const weights = pointwise.kernel.data();
    const auto inputs = static_cast<index_type>(factors.size());
    for (index_type i = 0; i < pointwise.kernel.count(); ++i) weights[i] *= factors[static_cast<std::size_t>(i % inputs)];
}

}}} // namespace fastvit::FASTVIT_ABI::reparam

FASTVIT_STRICT_MATH_END
