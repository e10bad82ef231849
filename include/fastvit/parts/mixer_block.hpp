// SPDX-License-Identifier: MIT
// The block around a token mixer that has its norm and its skip connection inside: RepMixer's and ConvMixer's.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/conv_ffn.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <cstddef>
#include <optional>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// t = Mixer(x); t + layer_scale * ConvFFN(t). A mixer has `kind`, recognise(has), weights, dims(channels) of its depthwise
/// convolution, describe(archive, weights, channels), reparameterize(weights), a constructor (target, weights), and
/// run(context, x, out).
template <class Mixer> class mixer_block {
  public:
    using config = stage_architecture;
    struct weights {
        typename Mixer::weights mixer;
        conv_ffn::weights ffn;
        std::optional<tensor<float>> layer_scale; ///< [channels, 1, 1]; none where it is folded
    };
    /// For a quantised checkpoint each matrix is scaled into a copy.
    static constexpr std::size_t fold_bytes = sizeof(float);
    static constexpr token_mixer kind = Mixer::kind;

    template <class Has> static bool recognise(const Has &has, config &) { return Mixer::recognise(has); }
    static void describe(archive &ar, weights &w, const config &c) {
        const bool quantised_form = conv_ffn::in_quantised_form(ar, w.ffn);
        Mixer::describe(ar.in("token_mixer"), w.mixer, c.channels);
        conv_ffn::describe(ar.in("mlp"), w.ffn, c);
        if (!quantised_form) describe_layer_scale(ar, "layer_scale.gamma", w.layer_scale, c.channels);
    }
    static void reparameterize(weights &w) { Mixer::reparameterize(w.mixer); }
    static void fold(weights &w) {
        reparameterize(w);
        conv_ffn::fold(w.ffn, w.layer_scale);
    }
    static void fold_for_int8(weights &w) {
        reparameterize(w);
        conv_ffn::fold_for_int8(w.ffn, w.layer_scale);
    }
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        return {{"token_mixer", multiply_adds(Mixer::dims(c.channels), in)}, {"mlp", conv_ffn::multiply_adds(c, in)}};
    }

    mixer_block(const kernels::weight_target &target, const weights &w, const config &)
        : mixer_(target, w.mixer), ffn_(target.in("mlp"), w.ffn, w.layer_scale) {}

    void run(const context &c, map_pair &maps) const {
        {
            const watched w(c, "token_mixer");
            mixer_.run(c, maps.x, maps.other);
        }
        ffn_.run(c, maps.other, maps.x);
    }

  private:
    Mixer mixer_;
    conv_ffn ffn_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
