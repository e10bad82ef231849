// SPDX-License-Identifier: MIT
// The head: a depthwise 3 x 3 with squeeze and excite and GELU, the global average, and the linear layer.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/part_cost.hpp"
#include "fastvit/parts/pooled.hpp"

#include <cstddef>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// The last convolution, which doubles the channels.
class head_conv {
  public:
    struct config {
        index_type in, out;
    };
    using weights = mobile_one::weights;

    static constexpr std::size_t fold_bytes = sizeof(float); ///< only windows fold; int8 rounds a copy of a matrix
    static void describe(archive &ar, weights &w, const config &c) { parts::describe(ar, w, dims(c), true, reduced(c)); }
    static void reparameterize(weights &w) { parts::reparameterize(w); }
    static void fold(weights &w) { reparameterize(w); }
    static extent output(const config &c, const extent &in) noexcept { return in.with_channels(c.out); }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        return {{"", multiply_adds(dims(c), output(c, in)) +
                         static_cast<double>(in.images) * squeeze_excite::multiply_adds(c.out, reduced(c))}};
    }

    head_conv(const kernels::weight_target &target, const weights &w, const config &) : conv_(target, w, activation::gelu) {}

    /// `in` has a halo of at least 1.
    void run(const context &c, const map &in, const map &out) const { conv_.run(c, in, out); }

  private:
    static reparam::conv_shape dims(const config &c) { return {.in = c.in, .out = c.out, .kernel = 3, .depthwise = true}; }
    /// Channels inside the squeeze and excite: a sixteenth.
    static index_type reduced(const config &c) { return c.out / 16; }

    mobile_one conv_;
};

/// The classifier or projection, after the global average.
class linear {
  public:
    struct config {
        index_type in, out;
        linear_form form;
    };
    /// Weight [out, in], or [in, out] if transposed; bias [out] or empty.
    using weights = reparam::conv;

    static constexpr std::size_t fold_bytes = 0; ///< nothing folds
    static void describe(archive &ar, weights &w, const config &c) {
        if (c.form == linear_form::transposed)
            ar.tensor("proj", w.kernel, {c.in, c.out});
        else
            ar.matrix("weight", w.kernel, {c.out, c.in});
        if (c.form == linear_form::biased) ar.tensor("bias", w.bias, {c.out});
    }
    static void reparameterize(weights &) {}
    static void fold(weights &) {}
    /// A pixel for each image.
    static extent output(const config &c, const extent &in) noexcept { return {in.images, 1, 1, c.out}; }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        return {{"", multiply_adds({.in = c.in, .out = c.out}, output(c, in))}};
    }

    linear(const kernels::weight_target &target, const weights &w, const config &c) {
        kernels::unpacked_matrix m = unpacked(w.kernel, w.bias);
        if (c.form == linear_form::transposed) {
            std::swap(m.rows, m.columns);
            std::swap(m.row_step, m.column_step);
        }
        packed_ = kernels::pack_sensitive(target, m); // one range serves all channels of a pooled vector
    }

    /// Floats between the vectors of the result.
    index_type out_row() const noexcept { return packed_.columns; }
    void run(const context &c, float *in, index_type in_row, float *out, index_type vectors) const {
        run_linear(c, packed_, in, in_row, out, out_row(), vectors);
    }

  private:
    kernels::packed_matrix packed_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
