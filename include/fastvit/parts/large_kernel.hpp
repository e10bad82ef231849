// SPDX-License-Identifier: MIT
// Large-kernel convolution of the patch embedding (official `ReparamLargeKernelConv`): a large branch, 7 x 7 in all published
// networks, and a 3 x 3 branch.
#pragma once

#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/branches.hpp"
#include "fastvit/reparam/fold.hpp"

#include <optional>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class large_kernel : public branched_convolution {
  public:
    struct weights {
        reparam::conv_shape dims;
        std::optional<reparam::conv> folded;
        std::optional<reparam::conv_bn> large, small;
        std::optional<squeeze_excite::weights> gate;
    };
    static constexpr index_type small_kernel = 3;

    large_kernel(const kernels::weight_target &target, const weights &w, activation act)
        : branched_convolution(target, w.dims, w.folded ? &*w.folded : nullptr, w.gate ? &*w.gate : nullptr, act) {
        if (w.folded) return;
        branches().add(target, w.dims, w.large.value());
        branches().add(target, w.dims.with_kernel(small_kernel), w.small.value());
    }
};

/// `reduced`: channels inside the squeeze and excite, 0 without one.
inline void describe(archive &ar, large_kernel::weights &w, const reparam::conv_shape &dims, index_type reduced) {
    w.dims = dims;
    const bool folded = ar.folded(w.folded);
    describe_if(ar, folded, "reparam_conv", w.folded, dims);
    describe_if(ar, !folded, "large_conv", w.large, dims);
    describe_if(ar, !folded, "small_conv", w.small, dims.with_kernel(large_kernel::small_kernel));
    describe_if(ar, reduced > 0, "se", w.gate, dims.out, reduced);
}

/// Adds the small convolution to the centre of the large one (official `ReparamLargeKernelConv.get_kernel_bias`).
inline reparam::folded_conv fold_branches(const large_kernel::weights &w) {
    reparam::folded_conv sum = reparam::fold(w.dims, w.large.value());
    add_centred(sum, reparam::fold(w.dims.with_kernel(large_kernel::small_kernel), w.small.value()));
    return sum;
}

inline void reparameterize(large_kernel::weights &w) {
    if (w.folded) return;
    w.folded = fold_branches(w).rounded();
    w.large.reset();
    w.small.reset();
}

}}} // namespace fastvit::FASTVIT_ABI::parts
