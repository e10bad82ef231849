// SPDX-License-Identifier: MIT
// What a forward pass gives.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/tensor.hpp"

#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// What a forward pass is asked for, combined with |. Only what these need is computed.
enum class output_kind : unsigned {
    logits = 1,    ///< N x classes: of the last linear layer; for a CLIP, the image's vector to compare with a text's
    embedding = 2, ///< N x head_channels, or the last stage's channels if there is no head_conv: after global pooling
    /// After the stem: N x the first stage's channels x H/4 x W/4. Sides are halved twice here, and once by each later stage;
    /// each time they are rounded up: of images of 72 x 104 the stages are 18 x 26, 9 x 13, 5 x 7 and 3 x 4.
    stem = 4,
    stages = 8,      ///< the feature pyramid, each stage after its last block: N x its channels x H/4 x W/4, H/8 x W/8, ...
    final_conv = 16, ///< the head's convolution, after its activation: N x head_channels, of the last stage's size
    /// What the official dense-prediction form (`fork_feat`) returns, for its checkpoints: the outputs of `network.0`,
    /// `network.2`, `network.4` and `network.6`, each after a BatchNorm of its own. Without positional encodings these are the
    /// four stages. In SA and MA networks `network.6` is the positional encoding before the last stage's blocks, so the last
    /// feature has not seen attention; dense-prediction heads were trained on that feature. `stages` has no such exception.
    fork_features = 32
};
constexpr output_kind operator|(output_kind a, output_kind b) noexcept {
    return static_cast<output_kind>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr output_kind &operator|=(output_kind &a, output_kind b) noexcept { return a = a | b; }
/// Whether `set` has `one`.
constexpr bool wants(output_kind set, output_kind one) noexcept {
    return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0;
}

/// A T for each output of a forward pass.
template <class T> struct per_output {
    T logits{}, embedding{}, stem{}, final_conv{};
    std::vector<T> stages{}, fork_features{};
};

/// The results of a forward pass: NCHW, float32, contiguous, in the memory of the workspace. What was not asked for is empty.
using outputs = per_output<tensor_view<const float>>;
/// The caller's memory for results: what is not empty is computed and written there.
using output_buffers = per_output<tensor_view<float>>;
/// The shapes of the results. What was not asked for has no dimensions.
using output_shapes = per_output<shape>;

}} // namespace fastvit::FASTVIT_ABI
