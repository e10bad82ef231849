// SPDX-License-Identifier: MIT
// What each part of the network computes with a checkpoint's weights, in plain loops: forward(x, weights), by the train-time
// graph where the weights are in that form and by the one convolution where they are folded. And random weights.
#pragma once

#include "fastvit/parts/list.hpp"

#include "support/reference.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reference {

namespace parts = fastvit::parts;
namespace reparam = fastvit::reparam;

inline std::vector<double> values_of(const fastvit::tensor<float> &t) { return {t.span().begin(), t.span().end()}; }

inline maps<double> forward(const maps<double> &x, const reparam::batch_norm &w) {
    return batch_norm(x, values_of(w.weight), values_of(w.bias), values_of(w.running_mean), values_of(w.running_var),
                      reparam::batch_norm::epsilon);
}

inline maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const fastvit::tensor<float> &kernel,
                            const fastvit::tensor<float> &bias = {}) {
    return conv(x, values_of(kernel), values_of(bias),
                {.out = dims.out, .kernel = dims.kernel, .stride = dims.stride, .groups = dims.depthwise ? dims.in : 1});
}
inline maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const reparam::conv &w) {
    return forward(x, dims, w.kernel, w.bias);
}
inline maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const reparam::conv_bn &w) {
    return forward(forward(x, dims, w.kernel), w.bn);
}

/// A pointwise convolution with bias.
inline maps<double> forward(const maps<double> &x, const reparam::conv &w) {
    return forward(x, {.in = x.channels, .out = w.kernel.dim(0)}, w);
}

inline maps<double> forward(const maps<double> &x, const parts::squeeze_excite::weights &w) {
    return squeeze_excite(x, values_of(w.reduce.kernel), values_of(w.reduce.bias), values_of(w.expand.kernel),
                          values_of(w.expand.bias));
}

inline maps<double> gelu_of(const maps<double> &x) { return apply(x, gelu<double>); }

/// The sum of the branches, or the one convolution.
inline maps<double> forward_branches(const maps<double> &x, const parts::mobile_one::weights &w) {
    if (w.folded) return forward(x, w.dims, *w.folded);
    maps<double> sum = forward(x, w.dims, w.convs.at(0));
    for (std::size_t i = 1; i < w.convs.size(); ++i) sum = add(sum, forward(x, w.dims, w.convs[i]));
    if (w.scale) sum = add(sum, forward(x, w.dims.with_kernel(1), *w.scale));
    if (w.identity) sum = add(sum, forward(x, *w.identity));
    return sum;
}
inline maps<double> forward_branches(const maps<double> &x, const parts::large_kernel::weights &w) {
    if (w.folded) return forward(x, w.dims, *w.folded);
    return add(forward(x, w.dims, w.large.value()), forward(x, w.dims.with_kernel(3), w.small.value()));
}

/// MobileOne block or large kernel: squeeze and excite of the branches' sum, before the activation.
template <class W> maps<double> gated(const maps<double> &x, const W &w) {
    const maps<double> sum = forward_branches(x, w);
    return w.gate ? forward(sum, *w.gate) : sum;
}
inline maps<double> forward(const maps<double> &x, const parts::mobile_one::weights &w) { return gated(x, w); }
inline maps<double> forward(const maps<double> &x, const parts::large_kernel::weights &w) { return gated(x, w); }

inline maps<double> forward(maps<double> x, const parts::stem::weights &w) {
    for (const parts::mobile_one::weights &conv : w.convs) x = gelu_of(forward(x, conv));
    return x;
}

inline maps<double> forward(const maps<double> &x, const parts::patch_embed::weights &w, bool large_kernel_gelu) {
    const maps<double> spatial = forward(x, w.spatial);
    return gelu_of(forward(large_kernel_gelu ? gelu_of(spatial) : spatial, w.pointwise));
}

/// x + layer_scale * (mixer(x) - norm(x)).
inline maps<double> forward(const maps<double> &x, const parts::rep_mixer::weights &w) {
    if (w.folded) return forward(x, {.in = w.channels, .out = w.channels, .kernel = 3, .depthwise = true}, *w.folded);
    const maps<double> mixed = forward(x, w.mixer), normed = forward(x, w.norm);
    const std::vector<double> scale = values_of(w.layer_scale);
    return map_like(x, [&](index_type n, index_type c, index_type i, index_type j) {
        return x(n, c, i, j) + scale[c] * (mixed(n, c, i, j) - normed(n, c, i, j));
    });
}

/// scale * x, where there is a scale.
inline maps<double> scaled(const maps<double> &x, const std::optional<fastvit::tensor<float>> &scale) {
    return scale ? scale_channels(x, values_of(*scale)) : x;
}

/// fc2(GELU(fc1(BN(depthwise k x k)))).
inline maps<double> forward(const maps<double> &x, const parts::conv_ffn::weights &w) {
    const fastvit::tensor<float> &kernel = w.folded ? w.folded->kernel : w.spatial.kernel;
    const reparam::conv_shape dims = reparam::depthwise_shape(x.channels, kernel.dim(3));
    const maps<double> spatial = w.folded ? forward(x, dims, *w.folded) : forward(x, dims, w.spatial);
    return scaled(forward(gelu_of(forward(spatial, w.fc1)), w.fc2), w.fc2_scale);
}

/// x + scale * y; without a scale, which is folded then, x + y.
inline maps<double> add_scaled(const maps<double> &x, const std::optional<fastvit::tensor<float>> &scale, const maps<double> &y) {
    return add(x, scaled(y, scale));
}

inline maps<double> forward(const maps<double> &x, const parts::rep_mixer_block::weights &w) {
    const maps<double> t = forward(x, w.mixer);
    return add_scaled(t, w.layer_scale, forward(t, w.ffn));
}

/// Heads of 32 channels over the pixels of each image: proj(softmax(q k^T / sqrt(32)) v).
inline maps<double> self_attention(const maps<double> &x, const reparam::conv &qkv_weights, const reparam::conv &proj) {
    constexpr index_type head = 32;
    const index_type channels = x.channels, tokens = x.height * x.width;
    const maps<double> qkv = forward(x, {.in = channels, .out = 3 * channels}, qkv_weights);
    maps<double> mixed(x.images, channels, x.height, x.width);
    for (index_type n = 0; n < x.images; ++n) {
        for (index_type first = 0; first < channels; first += head) {
            const auto row = [&](index_type which, index_type t, double scale) {
                std::vector<double> values(head);
                for (index_type c = 0; c < head; ++c)
                    values[c] = scale * qkv(n, which * channels + first + c, t / x.width, t % x.width);
                return values;
            };
            std::vector<double> k, v;
            for (index_type t = 0; t < tokens; ++t) {
                for (const double value : row(1, t, 1)) k.push_back(value);
                for (const double value : row(2, t, 1)) v.push_back(value);
            }
            for (index_type t = 0; t < tokens; ++t) {
                const std::vector<double> out = attend(row(0, t, 1 / std::sqrt(double{head})), k, v);
                for (index_type c = 0; c < head; ++c) mixed(n, first + c, t / x.width, t % x.width) = out[c];
            }
        }
    }
    return forward(mixed, proj);
}

inline maps<double> forward(const maps<double> &x, const reparam::layer_norm &w) {
    return layer_norm(x, values_of(w.weight), values_of(w.bias), reparam::layer_norm::epsilon);
}

inline maps<double> forward(const maps<double> &x, const parts::attention_block::weights &w) {
    const maps<double> normed = w.batch_norm ? forward(x, *w.batch_norm) : w.layer_norm ? forward(x, *w.layer_norm) : x;
    const maps<double> t = add_scaled(x, w.layer_scale_1, scaled(self_attention(normed, w.qkv, w.proj), w.proj_scale));
    return add_scaled(t, w.layer_scale_2, forward(t, w.ffn));
}

/// The mean of the 3 x 3 pixels around each, of those inside the map (AvgPool2d with count_include_pad=False).
inline maps<double> mean_of_neighbours(const maps<double> &x) {
    return map_like(x, [&](index_type n, index_type c, index_type i, index_type j) {
        double sum = 0, count = 0;
        for (index_type y = std::max<index_type>(0, i - 1); y <= std::min(x.height - 1, i + 1); ++y)
            for (index_type k = std::max<index_type>(0, j - 1); k <= std::min(x.width - 1, j + 1); ++k)
                sum += x(n, c, y, k), ++count;
        return sum / count;
    });
}

/// x + layer_scale_1 * (mean(norm(x)) - norm(x)), and the ConvFFN. Of unfolded weights.
inline maps<double> forward(const maps<double> &x, const parts::pooling_block::weights &w) {
    const maps<double> normed = forward(x, w.norm.value()), mean = mean_of_neighbours(normed);
    const maps<double> mixed = map_like(
        x, [&](index_type n, index_type c, index_type i, index_type j) { return mean(n, c, i, j) - normed(n, c, i, j); });
    const maps<double> t = add_scaled(x, w.layer_scale_1, mixed);
    return add_scaled(t, w.layer_scale_2, forward(t, w.ffn));
}

/// x + BN(GELU(conv(x))), and the ConvFFN. Of unfolded weights.
inline maps<double> forward(const maps<double> &x, const parts::conv_mixer_block::weights &w) {
    const maps<double> mixed = forward(x, parts::conv_mixer::dims(x.channels), w.mixer.conv);
    const maps<double> t = add(x, forward(gelu_of(mixed), w.mixer.norm));
    return add_scaled(t, w.layer_scale, forward(t, w.ffn));
}

inline maps<double> forward(const maps<double> &x, const parts::position::weights &w) {
    const reparam::conv_shape dims{.in = w.channels, .out = w.channels, .kernel = 7, .depthwise = true};
    return w.folded ? forward(x, dims, *w.folded) : add(x, forward(x, dims, w.encoding.value()));
}

/// Fills weights that are described to it: the train-time form, of a size that keeps activations near 1.
class random_archive final : public parts::archive {
  public:
    /// `branches`: of each MobileOne block.
    explicit random_archive(random_source &random, index_type branches = 1) : random_(random), branches_(branches) {}

    void tensor(std::string_view name, fastvit::tensor<float> &t, const fastvit::shape &dims) override {
        if (name.ends_with("gamma"))
            fill(t, dims, -1.5F, 1.5F); // layer scale
        else if (dims.rank() > 1)
            fill_kernel(t, dims);
        else if (name == "weight")
            fill(t, dims, 0.5F, 1.5F);
        else
            fill(t, dims, -0.5F, 0.5F);
    }
    void variance(std::string_view, fastvit::tensor<float> &t, const fastvit::shape &dims) override { fill(t, dims, 0.25F, 2); }
    void counter(std::string_view) override {}
    bool folded(const std::optional<reparam::conv> &) const override { return false; }
    // Asked of conv_kxk.1, conv_kxk.2, ..., and of the ConvFFN's reparam_conv.
    bool present(std::string_view name, bool) const override {
        return !name.ends_with("reparam_conv") && std::stol(std::string(name.substr(name.rfind('.') + 1))) < branches_;
    }

  private:
    void fill(fastvit::tensor<float> &t, const fastvit::shape &dims, float low, float high) {
        t = fastvit::tensor<float>(dims);
        for (float &value : t.span()) value = random_(low, high);
    }
    // Of variance 1 / fan-in.
    void fill_kernel(fastvit::tensor<float> &t, const fastvit::shape &dims) {
        const float most = std::sqrt(3.0F / static_cast<float>(dims.count() / dims[0]));
        fill(t, dims, -most, most);
    }

    random_source &random_;
    index_type branches_;
};

/// Random weights of a layer or of what a part is made of: `extent` is what describe() takes behind them.
template <class W, class... Extent> W random_weights(random_source &random, index_type branches, const Extent &...extent) {
    W w;
    random_archive archive(random, branches);
    describe(archive, w, extent...);
    return w;
}

/// Random weights of a part.
template <class Part>
typename Part::weights random_part(random_source &random, index_type branches, const typename Part::config &config) {
    typename Part::weights w;
    random_archive archive(random, branches);
    Part::describe(archive, w, config);
    return w;
}

} // namespace reference
