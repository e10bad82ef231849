// SPDX-License-Identifier: MIT
// RepMixer and the block around it (paper, section 3.2.1; official `RepMixer`, `RepMixerBlock`).
#pragma once

#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/mixer_block.hpp"
#include "fastvit/parts/mobile_one.hpp"

#include <optional>
#include <utility>

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

    static constexpr token_mixer kind = token_mixer::rep_mixer;

    /// Whether the tensors of a block with such a mixer are there; has(name): whether a name begins so.
    template <class Has> static bool recognise(const Has &has) { return has("token_mixer."); }
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
        const scope s(c.memory);
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

/// Paper, figure 2d; official `RepMixerBlock`.
using rep_mixer_block = mixer_block<rep_mixer>;

}}} // namespace fastvit::FASTVIT_ABI::parts
