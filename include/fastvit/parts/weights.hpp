// SPDX-License-Identifier: MIT
// The network's parameters as a checkpoint holds them: one struct per block, in the train-time form, the folded form, or both
// kinds side by side in different blocks.
//
// describe() lists the tensors of a struct by name and shape, once; reading, writing and listing are archives that it is given.
// Names are timm's; io/names.hpp knows the other spellings.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/tensor.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace weights {

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

    index_type multiplier() const noexcept { return depthwise ? out / in : 1; }
    shape kernel_dims() const { return {out, depthwise ? 1 : in, kernel, kernel}; }
};

/// Conv2d with bias: kernel [out, in / groups, k, k], bias [out].
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

/// Squeeze and excite: 1 x 1 convolutions to [reduced, channels, 1, 1] and back.
struct squeeze_excite {
    conv reduce, expand;
};

/// MobileOne block (official `MobileOneBlock`): the sum of up to three kinds of branches, folded into one convolution.
struct mobile_one {
    conv_shape dims;
    std::optional<conv> folded;
    std::vector<conv_bn> convs;         ///< k x k branches
    std::optional<conv_bn> scale;       ///< 1 x 1 branch of the same stride and groups
    std::optional<batch_norm> identity; ///< the skip, where in = out and stride = 1
    std::optional<squeeze_excite> attention;
};

/// Large-kernel convolution of the patch embedding (official `ReparamLargeKernelConv`): a 7 x 7 and a 3 x 3 branch.
struct large_kernel {
    conv_shape dims;
    std::optional<conv> folded;
    std::optional<conv_bn> large, small;
    std::optional<squeeze_excite> attention;
};

/// Patch embedding: halves the resolution, before every stage but the first.
struct patch_embed {
    large_kernel spatial;
    mobile_one pointwise;
};

/// RepMixer: x + layer_scale * (mixer(x) - norm(x)), folded into one depthwise 3 x 3.
struct rep_mixer {
    index_type channels = 0;
    std::optional<conv> folded;
    mobile_one mixer;          ///< depthwise 3 x 3
    batch_norm norm;           ///< a MobileOne block with nothing but its identity branch
    tensor<float> layer_scale; ///< [channels, 1, 1]
};

/// ConvFFN: fc2(GELU(fc1(BN(depthwise 7 x 7)))).
struct conv_ffn {
    conv_bn spatial;
    conv fc1, fc2;
};

/// t = RepMixer(x); t + layer_scale * ConvFFN(t).
struct rep_mixer_block {
    rep_mixer mixer;
    conv_ffn ffn;
    tensor<float> layer_scale; ///< [channels, 1, 1]
};

/// Multi-head self-attention: qkv [3 * channels, channels] without bias, proj [channels, channels] with.
struct self_attention {
    tensor<float> qkv;
    conv proj;
};

/// t = x + layer_scale_1 * attention(norm(x)); t + layer_scale_2 * ConvFFN(t).
struct attention_block {
    std::variant<batch_norm, layer_norm> norm;
    self_attention mixer;
    conv_ffn ffn;
    tensor<float> layer_scale_1, layer_scale_2; ///< [channels, 1, 1]
};

/// Conditional positional encoding (official `RepCPE`): x + depthwise 7 x 7 of x.
struct position {
    index_type channels = 0;
    std::optional<conv> folded;
    std::optional<conv> encoding;
};

/// The stem: 3 x 3 stride 2, depthwise 3 x 3 stride 2, 1 x 1.
struct stem {
    std::array<mobile_one, 3> convs;
};

/// The last convolution: depthwise 3 x 3 with squeeze and excite.
struct head_conv {
    mobile_one conv;
};

/// The classifier or projection: weight [classes, channels], or [channels, classes] if transposed; bias [classes] or empty.
struct linear {
    tensor<float> weight, bias;
    bool transposed = false;
};

/// What describe() tells of a struct's tensors, by the names that they have inside it.
class archive {
  public:
    archive() = default;
    archive(const archive &) = delete;
    archive &operator=(const archive &) = delete;
    virtual ~archive() = default;

    /// A tensor of parameters.
    virtual void tensor(std::string_view name, fastvit::tensor<float> &values, const shape &dims) = 0;
    /// The same, of values that cannot be negative.
    virtual void variance(std::string_view name, fastvit::tensor<float> &values, const shape &dims) {
        tensor(name, values, dims);
    }
    /// A BatchNorm's num_batches_tracked, which inference does not use.
    virtual void counter(std::string_view name) = 0;
    /// Whether the block at this place is folded; `held`: its folded convolution, if the struct holds one.
    virtual bool folded(const std::optional<conv> &held) const = 0;
    /// Whether there is anything inside `name.`; `held`: whether the struct holds it.
    virtual bool present(std::string_view name, bool held) const = 0;

    /// The archive, with all names inside `name.` until the result's end.
    class inside {
      public:
        inside(archive &ar, std::string_view name) : archive_(ar), outer_(ar.path_.size()) { (ar.path_ += name) += '.'; }
        inside(const inside &) = delete;
        inside &operator=(const inside &) = delete;
        ~inside() { archive_.path_.resize(outer_); }
        operator archive &() const noexcept { return archive_; }

      private:
        archive &archive_;
        std::size_t outer_;
    };
    inside in(std::string_view name) { return {*this, name}; }

  protected:
    /// A tensor's whole name.
    std::string full(std::string_view name) const { return path_ + std::string(name); }

  private:
    std::string path_;
};

inline void describe(archive &ar, batch_norm &w, index_type channels) {
    ar.tensor("weight", w.weight, {channels});
    ar.tensor("bias", w.bias, {channels});
    ar.tensor("running_mean", w.running_mean, {channels});
    ar.variance("running_var", w.running_var, {channels});
    ar.counter("num_batches_tracked");
}

inline void describe(archive &ar, layer_norm &w, index_type channels) {
    ar.tensor("weight", w.weight, {channels});
    ar.tensor("bias", w.bias, {channels});
}

inline void describe(archive &ar, conv &w, const conv_shape &dims) {
    ar.tensor("weight", w.kernel, dims.kernel_dims());
    ar.tensor("bias", w.bias, {dims.out});
}

inline void describe(archive &ar, conv_bn &w, const conv_shape &dims) {
    ar.tensor("conv.weight", w.kernel, dims.kernel_dims());
    describe(ar.in("bn"), w.bn, dims.out);
}

inline void describe(archive &ar, squeeze_excite &w, index_type channels, index_type reduced) {
    describe(ar.in("fc1"), w.reduce, {.in = channels, .out = reduced});
    describe(ar.in("fc2"), w.expand, {.in = reduced, .out = channels});
}

/// An optional part: there if `wanted`, else not looked for.
template <class T, class... Extent>
void describe_if(archive &ar, bool wanted, const char *name, std::optional<T> &part, const Extent &...extent) {
    if (!wanted) return;
    if (!part) part.emplace();
    describe(ar.in(name), *part, extent...);
}

/// `scale_branch`: the train-time form has a 1 x 1 branch. `reduced`: channels inside the squeeze and excite, 0 without one.
inline void describe(archive &ar, mobile_one &w, const conv_shape &dims, bool scale_branch, index_type reduced = 0) {
    w.dims = dims;
    describe_if(ar, reduced > 0, "se", w.attention, dims.out, reduced);
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    if (folded) return;
    describe_if(ar, dims.in == dims.out && dims.stride == 1, "identity", w.identity, dims.out);
    // One branch at least: without any, the first is what the archive will miss.
    for (std::size_t i = 0;; ++i) {
        const std::string name = "conv_kxk." + std::to_string(i);
        if (i > 0 && !ar.present(name, i < w.convs.size())) break;
        if (i >= w.convs.size()) w.convs.emplace_back();
        describe(ar.in(name), w.convs[i], dims);
    }
    conv_shape point = dims;
    point.kernel = 1;
    describe_if(ar, scale_branch && dims.kernel > 1, "conv_scale", w.scale, point);
}

inline void describe(archive &ar, large_kernel &w, const conv_shape &dims, index_type reduced) {
    w.dims = dims;
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    describe_if(ar, !folded, "large_conv", w.large, dims);
    conv_shape three = dims;
    three.kernel = 3;
    describe_if(ar, !folded, "small_conv", w.small, three);
    describe_if(ar, reduced > 0, "se", w.attention, dims.out, reduced);
}

/// The patch embedding before stage `s` of `net`, s > 0. Its squeeze and excite reduces to a quarter.
inline void describe(archive &ar, patch_embed &w, const architecture &net, std::size_t s) {
    const stage_architecture &stage = net.stages[s];
    const index_type in = net.stages[s - 1].channels, out = stage.channels;
    const conv_shape spatial{.in = in, .out = out, .kernel = 7, .stride = 2, .depthwise = true};
    describe(ar.in("proj.0"), w.spatial, spatial, stage.downsample_squeeze_excite ? out / 4 : 0);
    describe(ar.in("proj.1"), w.pointwise, {.in = out, .out = out}, false);
}

inline void describe(archive &ar, rep_mixer &w, index_type channels) {
    w.channels = channels;
    const conv_shape dims{.in = channels, .out = channels, .kernel = 3, .depthwise = true};
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    if (folded) return;
    describe(ar.in("norm.identity"), w.norm, channels);
    describe(ar.in("mixer"), w.mixer, dims, true);
    ar.tensor("layer_scale.gamma", w.layer_scale, {channels, 1, 1});
}

inline void describe(archive &ar, conv_ffn &w, index_type channels, index_type hidden) {
    describe(ar.in("conv"), w.spatial, {.in = channels, .out = channels, .kernel = 7, .depthwise = true});
    describe(ar.in("fc1"), w.fc1, {.in = channels, .out = hidden});
    describe(ar.in("fc2"), w.fc2, {.in = hidden, .out = channels});
}

inline void describe(archive &ar, rep_mixer_block &w, const stage_architecture &stage) {
    describe(ar.in("token_mixer"), w.mixer, stage.channels);
    describe(ar.in("mlp"), w.ffn, stage.channels, stage.hidden);
    ar.tensor("layer_scale.gamma", w.layer_scale, {stage.channels, 1, 1});
}

inline void describe(archive &ar, attention_block &w, const stage_architecture &stage) {
    const index_type c = stage.channels;
    if (stage.norm == attention_norm::layer_norm && w.norm.index() == 0) w.norm.emplace<layer_norm>();
    std::visit([&](auto &norm) { describe(ar.in("norm"), norm, c); }, w.norm);
    ar.tensor("token_mixer.qkv.weight", w.mixer.qkv, {3 * c, c});
    ar.tensor("token_mixer.proj.weight", w.mixer.proj.kernel, {c, c});
    ar.tensor("token_mixer.proj.bias", w.mixer.proj.bias, {c});
    ar.tensor("layer_scale_1.gamma", w.layer_scale_1, {c, 1, 1});
    describe(ar.in("mlp"), w.ffn, c, stage.hidden);
    ar.tensor("layer_scale_2.gamma", w.layer_scale_2, {c, 1, 1});
}

inline void describe(archive &ar, position &w, index_type channels) {
    w.channels = channels;
    const conv_shape dims{.in = channels, .out = channels, .kernel = 7, .depthwise = true};
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    describe_if(ar, !folded, "pos_enc", w.encoding, dims);
}

inline void describe(archive &ar, stem &w, const architecture &net) {
    const index_type c = net.stages[0].channels;
    const bool scale = net.stem_scale_branch;
    describe(ar.in("0"), w.convs[0], {.in = net.in_channels, .out = c, .kernel = 3, .stride = 2}, scale);
    describe(ar.in("1"), w.convs[1], {.in = c, .out = c, .kernel = 3, .stride = 2, .depthwise = true}, scale);
    describe(ar.in("2"), w.convs[2], {.in = c, .out = c}, false);
}

/// The squeeze and excite of the head reduces to a sixteenth.
inline void describe(archive &ar, head_conv &w, const architecture &net) {
    const conv_shape dims{.in = net.stages.back().channels, .out = net.head_channels, .kernel = 3, .depthwise = true};
    describe(ar, w.conv, dims, true, net.head_channels / 16);
}

inline void describe(archive &ar, linear &w, index_type in, index_type out, linear_form form = linear_form::biased) {
    w.transposed = form == linear_form::transposed;
    if (w.transposed)
        ar.tensor("proj", w.weight, {in, out});
    else
        ar.tensor("weight", w.weight, {out, in});
    if (form == linear_form::biased) ar.tensor("bias", w.bias, {out});
}

/// Calls visit(w, describe_to) for each part of the network in the order in which it runs: w, freshly made by describing it to
/// `ar`, is a stem, patch_embed, position, rep_mixer_block, attention_block, batch_norm (of a fork feature, after what it
/// normalises), head_conv or linear, and describe_to(archive, w) describes it to another archive, under the same names. Parts
/// come one at a time, so that loading holds the weights of one.
template <class Visitor> void for_each_part(archive &ar, const architecture &net, Visitor &&visit) {
    const auto give = [&]<class Part, class... Extent>(Part w, const std::string &name, const Extent &...extent) {
        const auto describe_to = [&](archive &to, Part &part) { describe(to.in(name), part, extent...); };
        describe_to(ar, w);
        visit(w, describe_to);
    };
    index_type number = 0; // of the official network.N
    const auto end_module = [&](index_type channels) {
        if (net.fork_features && is_fork_feature(number)) give(batch_norm{}, "norm" + std::to_string(number), channels);
        ++number;
    };
    give(stem{}, "stem", net);
    for (std::size_t s = 0; s < net.stages.size(); ++s) {
        const stage_architecture &stage = net.stages[s];
        const std::string name = "stages." + std::to_string(s) + ".";
        if (s > 0) {
            give(patch_embed{}, name + "downsample", net, s);
            end_module(stage.channels);
        }
        if (stage.position) {
            give(position{}, name + "pos_emb", stage.channels);
            end_module(stage.channels);
        }
        for (index_type b = 0; b < stage.blocks; ++b) {
            const std::string block = name + "blocks." + std::to_string(b);
            if (stage.mixer == token_mixer::rep_mixer)
                give(rep_mixer_block{}, block, stage);
            else
                give(attention_block{}, block, stage);
        }
        end_module(stage.channels);
    }
    if (net.head_channels > 0) give(head_conv{}, "final_conv", net);
    if (net.classes > 0)
        give(linear{}, "head.fc", net.head_channels > 0 ? net.head_channels : net.stages.back().channels, net.classes,
             net.linear);
}

}}} // namespace fastvit::FASTVIT_ABI::weights
