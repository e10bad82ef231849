// SPDX-License-Identifier: MIT
// The BatchNorm of a feature of the official dense-prediction form (`fork_feat`), beside the network.
#pragma once

#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <cstddef>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class fork_norm {
  public:
    struct config {
        index_type channels;
    };
    using weights = reparam::batch_norm;

    static constexpr std::size_t fold_bytes = 0; ///< nothing folds
    static void describe(archive &ar, weights &w, const config &c) { parts::describe(ar, w, c.channels); }
    static void reparameterize(weights &) {}
    static void fold(weights &) {} // the network goes on without it
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &, const extent &) { return {}; }

    fork_norm(const kernels::weight_target &, const weights &w, const config &) : affine_(w) {}

    void run(const context &c, const map &x, const map &out) const { affine_.run(c, x, out); }

  private:
    channel_affine affine_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
