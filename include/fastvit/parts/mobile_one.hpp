// SPDX-License-Identifier: MIT
// Blocks that are a sum of linear branches in the train-time graph and one convolution in the folded one.
#pragma once

#include "fastvit/parts/convolution.hpp"
#include "fastvit/parts/squeeze_excite.hpp"

#include <optional>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

/// Which of the two equal graphs is run.
enum class graph : unsigned char {
    folded,    ///< every branch, BatchNorm and layer scale folded into a convolution
    train_time ///< every branch with its BatchNorm, as the network was trained (in evaluation form); folded blocks stay folded
};

/// A sum of convolutions with BatchNorm, and of BatchNorms of the input: the branches of a block (MobileOne, section 3.2).
class branch_sum {
  public:
    void add(const kernels::weight_target &target, const weights::conv_shape &dims, const weights::conv_bn &w) {
        weights::conv bare;
        bare.kernel = w.kernel;
        branches_.push_back({conv(target, dims, bare), channel_affine(w.bn)});
    }
    void add(const weights::batch_norm &identity) { branches_.push_back({std::nullopt, channel_affine(identity)}); }

    void run(const context &c, const map &in, const map &out) const {
        bool accumulate = false;
        for (const branch &b : branches_) {
            const scope s(c);
            map x = in;
            if (b.convolution) {
                x = c.take_map(out.size, 0);
                b.convolution->run(c, in, x);
            }
            b.norm.run(c, x, out, accumulate);
            accumulate = true;
        }
    }

  private:
    struct branch {
        std::optional<conv> convolution;
        channel_affine norm;
    };
    std::vector<branch> branches_;
};

/// MobileOne block or large-kernel convolution: act(SE(sum of branches)).
class mobile_one {
  public:
    mobile_one(const kernels::weight_target &target, graph form, const weights::mobile_one &w, activation act) : act_(act) {
        if (form == graph::folded || w.folded) {
            folded_.emplace(target, w.dims, reparam::fold_branches(w).rounded());
        } else {
            if (w.identity) branches_.add(*w.identity);
            weights::conv_shape point = w.dims;
            point.kernel = 1;
            if (w.scale) branches_.add(target, point, *w.scale);
            for (const weights::conv_bn &branch : w.convs) branches_.add(target, w.dims, branch);
        }
        if (w.attention) attention_.emplace(target, *w.attention);
        dims_ = w.dims;
    }
    mobile_one(const kernels::weight_target &target, graph form, const weights::large_kernel &w, activation act) : act_(act) {
        if (form == graph::folded || w.folded) {
            folded_.emplace(target, w.dims, reparam::fold_branches(w).rounded());
        } else {
            branches_.add(target, w.dims, w.large.value());
            weights::conv_shape three = w.dims;
            three.kernel = 3;
            branches_.add(target, three, w.small.value());
        }
        if (w.attention) attention_.emplace(target, *w.attention);
        dims_ = w.dims;
    }

    extent output(const extent &in) const noexcept {
        return dims_.stride == 2 ? in.halved(dims_.out) : in.with_channels(dims_.out);
    }

    void run(const context &c, const map &in, const map &out) const {
        // A matrix product applies the activation itself, unless the squeeze and excite comes between.
        const bool fused = folded_ && !dims_.depthwise && !attention_;
        if (folded_)
            folded_->run(c, in, out, fused ? act_ : activation::none);
        else
            branches_.run(c, in, out);
        if (attention_) return attention_->run(c, out, act_);
        if (!fused && act_ != activation::none) run_activation(c, out, act_);
    }

    activation act() const noexcept { return act_; }
    /// The one convolution, if that is all there is before the activation: a block that fuses it with its neighbours needs it
    /// bare.
    const conv *only_conv() const noexcept { return folded_ && !attention_ ? &*folded_ : nullptr; }

    /// act(x) in place.
    static void run_activation(const context &c, const map &m, activation act) {
        const scope s(c);
        float *const one = c.memory.take(2 * m.channels());
        if (!c.planning()) {
            std::fill_n(one, m.channels(), 1.0F);
            std::fill_n(one + m.channels(), m.channels(), 0.0F);
        }
        channel_affine::run_affine(c, m, m, one, 0, one + m.channels(), false, act);
    }

  private:
    weights::conv_shape dims_;
    std::optional<conv> folded_;
    branch_sum branches_;
    std::optional<squeeze_excite> attention_;
    activation act_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
