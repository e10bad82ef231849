// SPDX-License-Identifier: MIT
// Conditional positional encoding (paper, section 3.2.2; official `RepCPE`): x + depthwise 7 x 7 of x, folded one depthwise 7
// x 7.
#pragma once

#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/part_cost.hpp"
#include "fastvit/reparam/fold.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class position {
  public:
    struct config {
        index_type channels;
    };
    struct weights {
        index_type channels = 0;
        std::optional<reparam::conv> folded;
        std::optional<reparam::conv> encoding;
    };

    /// In double, two convolutions at a time.
    static constexpr std::size_t fold_bytes = 2 * sizeof(double);
    static void describe(archive &ar, weights &w, const config &c) {
        w.channels = c.channels;
        const bool folded = ar.folded(w.folded);
        describe_if(ar, folded, "reparam_conv", w.folded, dims(c.channels));
        describe_if(ar, !folded, "pos_enc", w.encoding, dims(c.channels));
    }
    /// Official `RepCPE.reparameterize`.
    static reparam::folded_conv fold_branches(const weights &w) {
        reparam::folded_conv sum(dims(w.channels), w.encoding.value());
        add_identity(sum, reparam::affine::identity(w.channels));
        return sum;
    }
    static void reparameterize(weights &w) {
        if (w.folded) return;
        w.folded = fold_branches(w).rounded();
        w.encoding.reset();
    }
    static void fold(weights &w) { reparameterize(w); }
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &c, const extent &in) { return {{"", multiply_adds(dims(c.channels), in)}}; }

    position(const kernels::weight_target &target, const weights &w, const config &c) {
        const reparam::conv &conv = w.folded ? *w.folded : w.encoding.value();
        conv_ = convolution(target, dims(c.channels), conv.kernel, conv.bias);
        if (!w.folded) skip_.emplace(channel_affine::identity(c.channels));
    }

    void run(const context &c, map_pair &maps) const {
        conv_.run(c, maps.x, maps.other);
        if (skip_) skip_->run(c, maps.x, maps.other, true);
        maps.swap();
    }

  private:
    static reparam::conv_shape dims(index_type channels) { return reparam::depthwise_shape(channels, 7); }

    convolution conv_;
    std::optional<channel_affine> skip_; ///< where the encoding is not folded
};

}}} // namespace fastvit::FASTVIT_ABI::parts
