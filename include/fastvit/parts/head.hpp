// SPDX-License-Identifier: MIT
// The head: a depthwise 3 x 3 with squeeze and excite and GELU, the global average, and the linear layer.
#pragma once

#include "fastvit/parts/mobile_one.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

class head_conv {
  public:
    head_conv(const kernels::weight_target &target, graph form, const weights::head_conv &w)
        : conv_(target, form, w.conv, activation::gelu) {}

    extent output(const extent &in) const noexcept { return conv_.output(in); }
    /// `in` has a halo of at least 1.
    void run(const context &c, const map &in, const map &out) const { conv_.run(c, in, out); }

  private:
    mobile_one conv_;
};

class linear {
  public:
    linear(const kernels::weight_target &target, const weights::linear &w) {
        const float *const weight = w.weight.data(), *const bias = w.bias.data();
        const index_type in = w.weight.dim(w.transposed ? 0 : 1), out = w.weight.dim(w.transposed ? 1 : 0);
        const index_type in_step = w.transposed ? out : 1, out_step = w.transposed ? 1 : in;
        packed_ = kernels::pack_gemm(
            target, in, out, [&](index_type i, index_type o) { return weight[i * in_step + o * out_step]; },
            [&](index_type o) { return bias ? bias[o] : 0.0F; });
    }

    /// Floats between the vectors of the result.
    index_type out_row() const noexcept { return packed_.columns; }
    void run(const context &c, float *in, index_type in_row, float *out, index_type vectors) const {
        run_linear(c, packed_, in, in_row, out, out_row(), vectors);
    }

  private:
    kernels::packed_matrix packed_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
