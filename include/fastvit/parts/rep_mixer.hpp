// SPDX-License-Identifier: MIT
// RepMixer and the block around it (paper, section 3.2.1), and the conditional positional encoding (3.2.2).
#pragma once

#include "fastvit/parts/conv_ffn.hpp"

#include <optional>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

/// x + layer_scale * (mixer(x) - norm(x)); folded, one depthwise 3 x 3.
class rep_mixer {
  public:
    rep_mixer(const kernels::weight_target &target, graph form, const weights::rep_mixer &w) {
        if (form == graph::folded || w.folded) {
            const weights::conv_shape dims{.in = w.channels, .out = w.channels, .kernel = 3, .depthwise = true};
            folded_.emplace(target, dims, reparam::fold_branches(w).rounded());
        } else {
            branches_.emplace(target, w);
        }
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
        branches(const kernels::weight_target &target, const weights::rep_mixer &w)
            : mixer(target, graph::train_time, w.mixer, activation::none), norm(w.norm), plus(w.layer_scale),
              minus(w.layer_scale, -1),
              one(reparam::affine{reparam::vector::Ones(w.channels), reparam::vector::Zero(w.channels)}) {}
        mobile_one mixer;
        channel_affine norm, plus, minus, one;
    };
    std::optional<conv> folded_;
    std::optional<branches> branches_;
};

/// t = RepMixer(x); t + layer_scale * ConvFFN(t).
class rep_mixer_block {
  public:
    rep_mixer_block(const kernels::weight_target &target, graph form, const weights::rep_mixer_block &w)
        : mixer_(target, form, w.mixer), ffn_(target, form, w.ffn, w.layer_scale) {}

    /// In place: `x` is replaced, `other` is a map of the same layout to work in.
    void run(const context &c, const map &x, const map &other) const {
        {
            const watched w(c, "token_mixer");
            mixer_.run(c, x, other);
        }
        ffn_.run(c, other, x);
    }

  private:
    rep_mixer mixer_;
    conv_ffn ffn_;
};

/// x + depthwise 7 x 7 of x (official `RepCPE`); folded, one depthwise 7 x 7.
class position {
  public:
    position(const kernels::weight_target &target, graph form, const weights::position &w) {
        const weights::conv_shape dims{.in = w.channels, .out = w.channels, .kernel = 7, .depthwise = true};
        if (form == graph::folded || w.folded) {
            conv_ = conv(target, dims, reparam::fold_branches(w).rounded());
        } else {
            conv_ = conv(target, dims, w.encoding.value());
            skip_.emplace(reparam::affine{reparam::vector::Ones(w.channels), reparam::vector::Zero(w.channels)});
        }
    }

    /// `x` has a halo of at least 3.
    void run(const context &c, const map &x, const map &out) const {
        conv_.run(c, x, out);
        if (skip_) skip_->run(c, x, out, true);
    }

  private:
    conv conv_;
    std::optional<channel_affine> skip_; ///< train-time graph only
};

}}} // namespace fastvit::FASTVIT_ABI::nn
