// SPDX-License-Identifier: MIT
// RepMixer and the block around it (paper, section 3.2.1; official `RepMixer`, `RepMixerBlock`).
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/conv_ffn.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// x + layer_scale * (mixer(x) - norm(x)); folded, one depthwise 3 x 3.
class rep_mixer {
  public:
    struct weights {
        index_type channels = 0;
        std::optional<reparam::conv> folded;
        mobile_one::weights mixer; ///< depthwise 3 x 3
        reparam::batch_norm norm;  ///< a MobileOne block with nothing but its identity branch
        tensor<float> layer_scale; ///< [channels, 1, 1]
    };

    static reparam::conv_shape dims(index_type channels) { return reparam::depthwise_shape(channels, 3); }
    static void describe(archive &ar, weights &w, index_type channels) {
        w.channels = channels;
        const bool folded = ar.folded(w.folded);
        describe_if(ar, folded, "reparam_conv", w.folded, dims(channels));
        if (folded) return;
        parts::describe(ar.in("norm.identity"), w.norm, channels);
        parts::describe(ar.in("mixer"), w.mixer, dims(channels), true);
        ar.tensor("layer_scale.gamma", w.layer_scale, {channels, 1, 1});
    }
    /// Official `RepMixer.reparameterize`.
    static reparam::folded_conv fold_branches(const weights &w) {
        reparam::folded_conv sum = parts::fold_branches(w.mixer);
        add_identity(sum, reparam::to_affine(w.norm), -1);
        sum.scale_outputs(reparam::to_double(w.layer_scale));
        add_identity(sum, reparam::affine::identity(w.channels));
        return sum;
    }
    static void reparameterize(weights &w) {
        if (w.folded) return;
        weights folded;
        folded.channels = w.channels;
        folded.folded = fold_branches(w).rounded();
        w = std::move(folded);
    }

    rep_mixer(const kernels::weight_target &target, const weights &w) {
        if (w.folded)
            folded_.emplace(target, dims(w.channels), w.folded->kernel, w.folded->bias);
        else
            branches_.emplace(target, w);
    }

    /// `x` has a halo of at least 1.
    void run(const context &c, const map &x, const map &out) const {
        if (folded_) return folded_->run(c, x, out);
        const scope s(c);
        const branches &b = *branches_;
        const map part = c.take_map(x.size, 0);
        b.one.run(c, x, out);
        b.mixer.run(c, x, part);
        b.plus.run(c, part, out, true);
        b.norm.run(c, x, part);
        b.minus.run(c, part, out, true);
    }

  private:
    struct branches {
        branches(const kernels::weight_target &target, const weights &w)
            : mixer(target, w.mixer, activation::none), norm(w.norm), plus(w.layer_scale), minus(w.layer_scale, -1),
              one(channel_affine::identity(w.channels)) {}
        mobile_one mixer;
        channel_affine norm, plus, minus, one;
    };
    std::optional<convolution> folded_;
    std::optional<branches> branches_;
};

/// t = RepMixer(x); t + layer_scale * ConvFFN(t).
class rep_mixer_block {
  public:
    using config = stage_architecture;
    struct weights {
        rep_mixer::weights mixer;
        conv_ffn::weights ffn;
        std::optional<tensor<float>> layer_scale; ///< [channels, 1, 1]; none where it is folded
    };
    /// Each matrix is scaled into a copy.
    static constexpr std::size_t fold_bytes = sizeof(float);
    static constexpr token_mixer kind = token_mixer::rep_mixer;

    /// Whether the tensors of such a block are there; has(name): whether a name begins so.
    template <class Has> static bool recognise(const Has &has, config &) { return has("token_mixer."); }
    static void describe(archive &ar, weights &w, const config &c) {
        const bool quantised_form = conv_ffn::in_quantised_form(ar, w.ffn);
        rep_mixer::describe(ar.in("token_mixer"), w.mixer, c.channels);
        conv_ffn::describe(ar.in("mlp"), w.ffn, c.channels, c.hidden);
        if (!quantised_form) describe_layer_scale(ar, "layer_scale.gamma", w.layer_scale, c.channels);
    }
    static void reparameterize(weights &w) { rep_mixer::reparameterize(w.mixer); }
    static void fold(weights &w) {
        reparameterize(w);
        conv_ffn::fold(w.ffn, w.layer_scale);
    }
    static void fold_for_int8(weights &w) {
        reparameterize(w);
        conv_ffn::fold_for_int8(w.ffn, w.layer_scale);
    }
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        return {{"token_mixer", multiply_adds(rep_mixer::dims(c.channels), in)},
                {"mlp", conv_ffn::multiply_adds(c.channels, c.hidden, in)}};
    }

    rep_mixer_block(const kernels::weight_target &target, const weights &w, const config &)
        : mixer_(target, w.mixer), ffn_(target.in("mlp"), w.ffn, w.layer_scale) {}

    void run(const context &c, map_pair &maps) const {
        {
            const watched w(c, "token_mixer");
            mixer_.run(c, maps.x, maps.other);
        }
        ffn_.run(c, maps.other, maps.x);
    }

  private:
    rep_mixer mixer_;
    conv_ffn ffn_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
