// SPDX-License-Identifier: MIT
// Patch embedding, before every stage but the first: a large depthwise convolution of stride 2 that multiplies the channels, then
// a 1 x 1 with GELU (official `PatchEmbed`).
#pragma once

#include "fastvit/parts/large_kernel.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <cstddef>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class patch_embed {
  public:
    struct config {
        index_type in, out;
        bool squeeze_excite; ///< after the large kernel (MCi0 to MCi2)
        bool gelu;           ///< after the large kernel: see architecture::large_kernel_gelu
        index_type kernel;   ///< side of the large kernel
    };
    struct weights {
        large_kernel::weights spatial;
        mobile_one::weights pointwise;
    };

    /// In double, two convolutions at a time.
    static constexpr std::size_t fold_bytes = 2 * sizeof(double);
    static void describe(archive &ar, weights &w, const config &c) {
        parts::describe(ar.in("proj.0"), w.spatial, spatial(c), reduced(c));
        parts::describe(ar.in("proj.1"), w.pointwise, pointwise(c), false);
    }
    static void reparameterize(weights &w) {
        parts::reparameterize(w.spatial);
        parts::reparameterize(w.pointwise);
    }
    static void fold(weights &w) { reparameterize(w); }
    static extent output(const config &c, const extent &in) noexcept { return in.halved(c.out); }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        const extent out = output(c, in);
        return {{"", multiply_adds(spatial(c), out) + multiply_adds(pointwise(c), out) +
                         static_cast<double>(in.images) * squeeze_excite::multiply_adds(c.out, reduced(c))}};
    }

    patch_embed(const kernels::weight_target &target, const weights &w, const config &c)
        : config_(c), spatial_(target, w.spatial, c.gelu ? activation::gelu : activation::none),
          pointwise_(target.in("proj.1"), w.pointwise, activation::gelu) {}

    /// To the maps of the next stage, in the places of this one's. The one that is read has a halo of kernel / 2.
    void run(const context &c, map_pair &maps) const {
        maps.other = c.take_stage_map(1 - maps.place, output(config_, maps.x.size), map_pair::halo);
        run(c, maps.x, maps.other);
        maps.x = c.take_stage_map(maps.place, maps.other.size, map_pair::halo);
        maps.swap();
    }

  private:
    static reparam::conv_shape spatial(const config &c) {
        return {.in = c.in, .out = c.out, .kernel = c.kernel, .stride = 2, .depthwise = true};
    }
    static reparam::conv_shape pointwise(const config &c) { return {.in = c.out, .out = c.out}; }
    /// Channels inside the squeeze and excite: a quarter.
    static index_type reduced(const config &c) { return c.squeeze_excite ? c.out / 4 : 0; }

    void run(const context &c, const map &in, const map &out) const {
        if (spatial_.only_conv() && spatial_.act() == activation::none && pointwise_.only_conv() &&
            !shares_columns(c, pointwise_.only_conv()->matrix(), out.size.pixels()))
            return run_fused(c, in, out);
        const scope s(c.memory);
        const map middle = c.take_map(out.size, 0);
        spatial_.run(c, in, middle);
        pointwise_.run(c, middle, out);
    }

    // Tile by tile, so that the large kernel's output stays in the cache.
    void run_fused(const context &c, const map &in, const map &out) const {
        const scope s(c.memory);
        const kernels::packed_depthwise &spatial = spatial_.only_conv()->depthwise();
        const index_type pixel = spread_channels(out.channels());
        const tiling tiles = tiling::windows(out.size, tile_pixels_for(c.kernels, 4 * in.pixel_stride + 2 * pixel), c.workers);
        const kernels::packed_matrix &matrix = pointwise_.only_conv()->matrix();
        const operand_layout layout(c, matrix, tiles.most_pixels());
        const index_type middle_floats = tiles.most_pixels() * pixel, floats = middle_floats + layout.floats;
        const worker_scratch scratch = c.memory.take_scratch(floats);
        c.parallel(tiles.count(), [&](index_type i, int worker) {
            const tile t = tiles[i];
            float *const middle = scratch.of(worker);
            c.kernels.depthwise(depthwise_over(spatial, in, t, middle, pixel, t.columns * pixel));
            const float *a[kernels::gemm_max_pixels];
            float *to[kernels::gemm_max_pixels];
            run_pixels(middle, pixel, t.pixels(), a);
            tile_pixels(out, t, to);
            run_matrix(c, matrix, {a, t.pixels(), layout, middle + middle_floats}, to, {.after = activation::gelu});
        });
    }

    config config_;
    large_kernel spatial_;
    mobile_one pointwise_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
