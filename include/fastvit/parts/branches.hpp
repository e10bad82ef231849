// SPDX-License-Identifier: MIT
// The branches of a block in the train-time graph (MobileOne, section 3.2 of the paper).
#pragma once

#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/squeeze_excite.hpp"

#include <optional>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// A sum of convolutions with BatchNorm, and of BatchNorms of the input.
class branch_sum {
  public:
    void add(const kernels::weight_target &target, const reparam::conv_shape &dims, const reparam::conv_bn &w) {
        branches_.push_back({convolution(target, dims, w.kernel, {}), channel_affine(w.bn)});
    }
    void add(const reparam::batch_norm &identity) { branches_.push_back({std::nullopt, channel_affine(identity)}); }

    void run(const context &c, const map &in, const map &out) const {
        bool accumulate = false;
        for (const branch &b : branches_) {
            const scope s(c.memory);
            map x = in;
            if (b.conv) {
                x = c.take_map(out.size, 0);
                b.conv->run(c, in, x);
            }
            b.norm.run(c, x, out, accumulate);
            accumulate = true;
        }
    }

  private:
    struct branch {
        std::optional<convolution> conv;
        channel_affine norm;
    };
    std::vector<branch> branches_;
};

/// What MobileOne and the large kernel have in common: one convolution or the sum of branches, then squeeze and excite, then an
/// activation.
class branched_convolution {
  public:
    /// `folded`: the one convolution, or null where the caller adds the branches(). No skip connection leads past a dense one.
    branched_convolution(const kernels::weight_target &target, const reparam::conv_shape &dims, const reparam::conv *folded,
                         const squeeze_excite::weights *gate, activation act)
        : dims_(dims), act_(act) {
        if (folded) {
            conv_.emplace(target, dims, folded->kernel, folded->bias, target.without_skip);
            if (!dims.depthwise) target.note(target.without_skip, target.without_skip_reason);
        }
        if (gate) gate_.emplace(target, *gate);
    }
    branch_sum &branches() noexcept { return branches_; }

    extent output(const extent &in) const noexcept { return output_extent(dims_, in); }

    void run(const context &c, const map &in, const map &out) const {
        // A matrix product applies the activation itself, unless the squeeze and excite comes between.
        const bool fused = conv_ && !dims_.depthwise && !gate_;
        if (conv_)
            conv_->run(c, in, out, fused ? act_ : activation::none);
        else
            branches_.run(c, in, out);
        if (gate_) return gate_->run(c, out, act_);
        if (!fused && act_ != activation::none) run_activation(c, out, act_);
    }

    activation act() const noexcept { return act_; }
    /// The one convolution, if that is all there is before the activation: a block that fuses it with its neighbours needs it
    /// bare.
    const convolution *only_conv() const noexcept { return conv_ && !gate_ ? &*conv_ : nullptr; }

  private:
    reparam::conv_shape dims_;
    std::optional<convolution> conv_;
    branch_sum branches_;
    std::optional<squeeze_excite> gate_;
    activation act_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
