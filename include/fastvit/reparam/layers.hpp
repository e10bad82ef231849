// SPDX-License-Identifier: MIT
// The layers that fold, as a checkpoint holds them.
#pragma once

#include "fastvit/tensor.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

/// BatchNorm2d in evaluation form: (x - running_mean) / sqrt(running_var + epsilon) * weight + bias, each [channels].
struct batch_norm {
    tensor<float> weight, bias, running_mean, running_var;
    static constexpr double epsilon = 1e-5;
};

/// The extent of a square convolution that pads kernel / 2.
struct conv_shape {
    index_type in = 0, out = 0;
    index_type kernel = 1;
    index_type stride = 1;
    bool depthwise = false; ///< groups = in; output o reads input o / (out / in)

    index_type taps() const noexcept { return kernel * kernel; }
    index_type multiplier() const noexcept { return depthwise ? out / in : 1; }
    /// Weights of one output.
    index_type fan_in() const noexcept { return (depthwise ? 1 : in) * taps(); }
    shape kernel_dims() const { return {out, depthwise ? 1 : in, kernel, kernel}; }
    conv_shape with_kernel(index_type k) const noexcept {
        conv_shape other = *this;
        other.kernel = k;
        return other;
    }
};

constexpr conv_shape depthwise_shape(index_type channels, index_type kernel) noexcept {
    return {.in = channels, .out = channels, .kernel = kernel, .depthwise = true};
}

/// Conv2d with bias: kernel [out, in / groups, k, k], bias [out]. Also a linear layer: [out, in].
struct conv {
    tensor<float> kernel, bias;
};

/// Conv2d without bias, and the BatchNorm after it.
struct conv_bn {
    tensor<float> kernel;
    batch_norm bn;
};

/// LayerNorm over the channels of each pixel (timm `LayerNorm2d`), [channels] each.
struct layer_norm {
    tensor<float> weight, bias;
    static constexpr double epsilon = 1e-5;
};

}}} // namespace fastvit::FASTVIT_ABI::reparam
