// SPDX-License-Identifier: MIT
// MobileOne block (official `MobileOneBlock`): the sum of up to three kinds of branches, folded into one convolution.
#pragma once

#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/branches.hpp"
#include "fastvit/reparam/fold.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class mobile_one : public branched_convolution {
  public:
    struct weights {
        reparam::conv_shape dims;
        std::optional<reparam::conv> folded;
        std::vector<reparam::conv_bn> convs;         ///< k x k branches
        std::optional<reparam::conv_bn> scale;       ///< 1 x 1 branch of the same stride and groups
        std::optional<reparam::batch_norm> identity; ///< the skip, where in = out and stride = 1
        std::optional<squeeze_excite::weights> gate;
    };

    mobile_one(const kernels::weight_target &target, const weights &w, activation act)
        : branched_convolution(target, w.dims, w.folded ? &*w.folded : nullptr, w.gate ? &*w.gate : nullptr, act) {
        if (w.folded) return;
        if (w.identity) branches().add(*w.identity);
        if (w.scale) branches().add(target, w.dims.with_kernel(1), *w.scale);
        for (const reparam::conv_bn &branch : w.convs) branches().add(target, w.dims, branch);
    }
};

/// `scale_branch`: the train-time form has a 1 x 1 branch. `reduced`: channels inside the squeeze and excite, 0 without one.
inline void describe(archive &ar, mobile_one::weights &w, const reparam::conv_shape &dims, bool scale_branch,
                     index_type reduced = 0) {
    w.dims = dims;
    describe_if(ar, reduced > 0, "se", w.gate, dims.out, reduced);
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    if (folded) return;
    describe_if(ar, dims.in == dims.out && dims.stride == 1, "identity", w.identity, dims.out);
    // At least one branch: if there is none, the first is reported as missing.
    for (std::size_t i = 0;; ++i) {
        const std::string name = "conv_kxk." + std::to_string(i);
        if (i > 0 && !ar.present(name, i < w.convs.size())) break;
        if (i >= w.convs.size()) w.convs.emplace_back();
        describe(ar.in(name), w.convs[i], dims);
    }
    describe_if(ar, scale_branch && dims.kernel > 1, "conv_scale", w.scale, dims.with_kernel(1));
}

/// All branches of the sum before squeeze and excite and the activation (official `MobileOneBlock.reparameterize`).
inline reparam::folded_conv fold_branches(const mobile_one::weights &w) {
    if (w.folded) return {w.dims, *w.folded};
    reparam::folded_conv sum(w.dims);
    for (const reparam::conv_bn &branch : w.convs) add_centred(sum, reparam::fold(w.dims, branch));
    if (w.scale) add_centred(sum, reparam::fold(w.dims.with_kernel(1), *w.scale));
    if (w.identity) add_identity(sum, reparam::to_affine(*w.identity));
    return sum;
}

inline void reparameterize(mobile_one::weights &w) {
    if (w.folded) return;
    w.folded = fold_branches(w).rounded();
    w.convs.clear();
    w.scale.reset();
    w.identity.reset();
}

}}} // namespace fastvit::FASTVIT_ABI::parts
