// SPDX-License-Identifier: MIT
// ConvMixer's token mixer (arXiv 2201.09792), which the paper's section 3.2.1 starts from: RepMixer is it without the activation.
#pragma once

#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/parts/mixer_block.hpp"

#include <algorithm>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// x + BN(GELU(depthwise 3 x 3 of x)). The activation keeps all three apart: folded, they are the same.
class conv_mixer {
  public:
    struct weights {
        reparam::conv conv;
        reparam::batch_norm norm;
    };
    static constexpr token_mixer kind = token_mixer::conv_mixer;

    /// Whether the tensors of a block with such a mixer are there; has(name): whether a name begins so.
    template <class Has> static bool recognise(const Has &has) { return has("token_mixer.conv.") || has("token_mixer.bn."); }
    static reparam::conv_shape dims(index_type channels) { return reparam::depthwise_shape(channels, 3); }
    static void describe(archive &ar, weights &w, index_type channels) {
        parts::describe(ar.in("conv"), w.conv, dims(channels));
        parts::describe(ar.in("bn"), w.norm, channels);
    }
    static void reparameterize(weights &) {}

    conv_mixer(const kernels::weight_target &target, const weights &w)
        : conv_(target, dims(w.conv.bias.count()), w.conv.kernel, w.conv.bias),
          gelu_(channel_affine::identity(w.conv.bias.count())), norm_(w.norm) {}

    /// Band by band, so that the convolution's result stays in the cache. `x` has a halo of at least 1; `out` has the same
    /// layout.
    void run(const context &c, const map &x, const map &out) const {
        const scope s(c.memory);
        const index_type width = x.size.width, row = width * x.pixel_stride;
        const tiling bands = tiling::bands(x.size, tile_pixels_for(c.kernels, 3 * x.pixel_stride) / width, c.workers);
        const index_type floats = bands.rows() * row;
        const worker_scratch scratch = c.memory.take_scratch(floats);
        c.parallel(bands.count(), [&](index_type i, int worker) {
            const tile t = bands[i];
            float *const mixed = scratch.of(worker);
            c.kernels.depthwise(depthwise_over(conv_.depthwise(), x, t, mixed, x.pixel_stride, row));
            for (index_type y = 0; y < t.rows; ++y) {
                float *const from = mixed + y * row, *const to = out.at(t.image, t.y + y, 0);
                std::copy_n(x.at(t.image, t.y + y, 0), row, to);
                kernels::affine_args a{.x = from,
                                       .x_pixel = x.pixel_stride,
                                       .y = from,
                                       .y_pixel = x.pixel_stride,
                                       .pixels = width,
                                       .channels = x.channels(),
                                       .scale = gelu_.scale(),
                                       .shift = gelu_.shift(),
                                       .act = activation::gelu};
                c.kernels.affine(a);
                a.y = to;
                a.scale = norm_.scale();
                a.shift = norm_.shift();
                a.accumulate = true;
                a.act = activation::none;
                c.kernels.affine(a);
            }
        });
    }

  private:
    convolution conv_;
    channel_affine gelu_, norm_;
};

using conv_mixer_block = mixer_block<conv_mixer>;

}}} // namespace fastvit::FASTVIT_ABI::parts
