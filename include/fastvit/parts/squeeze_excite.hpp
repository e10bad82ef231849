// SPDX-License-Identifier: MIT
// Squeeze and excite (official `SEBlock`).
#pragma once

#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/convolution.hpp"
#include "fastvit/parts/pooled.hpp"

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// x * sigmoid(expand(relu(reduce(mean of x)))), and the activation that follows it, in place (official `SEBlock`).
class squeeze_excite {
  public:
    /// 1 x 1 convolutions to [reduced, channels, 1, 1] and back.
    struct weights {
        reparam::conv reduce, expand;
    };

    static double multiply_adds(index_type channels, index_type reduced) {
        return 2 * static_cast<double>(channels) * static_cast<double>(reduced);
    }

    squeeze_excite(const kernels::weight_target &target, const weights &w)
        : reduce_(pointwise(target, w.reduce)), expand_(pointwise(target, w.expand)), no_shift_(expand_.matrix().columns) {}

    void run(const context &c, const map &m, activation act) const {
        const scope s(c.memory);
        const index_type images = m.size.images, wide = m.channels(), narrow = reduce_.matrix().columns;
        float *const mean = c.memory.take(images * wide);
        float *const reduced = c.memory.take(images * narrow);
        float *const gate = c.memory.take(images * wide);
        run_mean(c, m, mean, wide);
        run_linear(c, reduce_.matrix(), mean, wide, reduced, narrow, images, activation::relu);
        run_linear(c, expand_.matrix(), reduced, narrow, gate, wide, images, activation::sigmoid);
        channel_affine::run_affine(c, m, m, gate, wide, no_shift_.data(), false, act);
    }

  private:
    static convolution pointwise(const kernels::weight_target &target, const reparam::conv &w) {
        return {target, {.in = w.kernel.dim(1), .out = w.kernel.dim(0)}, w.kernel, w.bias};
    }

    convolution reduce_, expand_;
    kernels::float_buffer no_shift_;
};

inline void describe(archive &ar, squeeze_excite::weights &w, index_type channels, index_type reduced) {
    describe(ar.in("fc1"), w.reduce, {.in = channels, .out = reduced});
    describe(ar.in("fc2"), w.expand, {.in = reduced, .out = channels});
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
