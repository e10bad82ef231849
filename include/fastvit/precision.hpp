// SPDX-License-Identifier: MIT
// What the dense layers of a model compute in.
#pragma once

#include "fastvit/base/config.hpp"

#include <array>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// What the dense layers of a network's blocks, which are most of its time, compute in: both of ConvFFN and attention's
/// projection. Always float32 are depthwise convolutions, attention's softmax, the residual stream and squeeze and excite.
/// In int8, attention's queries, keys and values and the classifier have activations of 14 bits, and the dense convolutions of
/// the stem and of the patch embeddings, which no skip connection leads past, are bfloat16; int8 rounds their weights and those
/// of the depthwise ones to float16 first. In bfloat16, all of these are bfloat16 too; but the patch embeddings of a network with
/// more than four attention blocks with a BatchNorm are float32.
enum class precision : unsigned char {
    float32,  ///< as the official implementation
    bfloat16, ///< weights and activations rounded to 8 significant bits; sums in float32
    int8,     ///< weights of 8 bits with a scale for each output channel, activations of 7 bits with a range for each pixel
};

/// All of them, the most exact first.
inline constexpr std::array precisions{precision::float32, precision::bfloat16, precision::int8};

/// "float32", "bfloat16", "int8".
constexpr std::string_view to_string(precision p) noexcept {
    return p == precision::float32 ? "float32" : p == precision::bfloat16 ? "bfloat16" : "int8";
}

/// A matrix of a model and what it computes in.
struct layer_precision {
    std::string name; ///< in timm's spelling, as an observer is told: stages.0.blocks.1.mlp.fc1
    precision type;
    std::string_view reason; ///< empty, or why it is not the type that was asked for
};

}} // namespace fastvit::FASTVIT_ABI
