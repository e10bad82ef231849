// SPDX-License-Identifier: MIT
// Patch embedding: a large depthwise convolution of stride 2 that multiplies the channels, then a 1 x 1 with GELU.
#pragma once

#include "fastvit/parts/mobile_one.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

class patch_embed {
  public:
    /// `large_kernel_gelu`: see architecture.
    patch_embed(const kernels::weight_target &target, graph form, const weights::patch_embed &w, bool large_kernel_gelu)
        : spatial_(target, form, w.spatial, large_kernel_gelu ? activation::gelu : activation::none),
          pointwise_(target, form, w.pointwise, activation::gelu) {}

    /// Pixels of halo that the input map needs.
    static constexpr index_type halo = 3;

    extent output(const extent &in) const noexcept { return spatial_.output(in); }

    void run(const context &c, const map &in, const map &out) const {
        if (spatial_.only_conv() && spatial_.act() == activation::none && pointwise_.only_conv()) return run_fused(c, in, out);
        const scope s(c);
        const map middle = c.take_map(out.size, 0);
        spatial_.run(c, in, middle);
        pointwise_.run(c, middle, out);
    }

  private:
    // Tile by tile: the large kernel's output stays in the cache.
    void run_fused(const context &c, const map &in, const map &out) const {
        const scope s(c);
        const kernels::packed_depthwise &spatial = spatial_.only_conv()->depthwise();
        const index_type pixel = spread_channels(out.channels());
        const tiling tiles(out.size, tile_pixels_for(4 * in.pixel_stride + 2 * pixel), c.workers);
        const index_type floats = tiles.most_pixels() * pixel;
        float *const scratch = c.take_scratch(floats);
        c.parallel(tiles.count(), [&](index_type i, int worker) {
            const tile t = tiles[i];
            float *const middle = scratch + worker * floats;
            c.kernels.depthwise(depthwise_over(spatial, in, t, middle, pixel, t.columns * pixel));
            const float *a[kernels::gemm_max_pixels];
            float *to[kernels::gemm_max_pixels];
            run_pixels(middle, pixel, t.pixels(), a);
            tile_pixels(out, t, to);
            c.kernels.gemm(gemm_over(pointwise_.only_conv()->matrix(), a, to, t.pixels(), activation::gelu));
        });
    }

    mobile_one spatial_, pointwise_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
