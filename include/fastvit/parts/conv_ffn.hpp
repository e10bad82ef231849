// SPDX-License-Identifier: MIT
// ConvFFN with its residual: out = x + layer_scale * fc2(GELU(fc1(BN(depthwise 7 x 7 (x))))) (paper, section 3.4, figure 2c).
#pragma once

#include "fastvit/parts/mobile_one.hpp"

#include <optional>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

class conv_ffn {
  public:
    conv_ffn(const kernels::weight_target &target, graph form, const weights::conv_ffn &w, const tensor<float> &layer_scale)
        : fc1_(pack_pointwise(target, w.fc1.kernel, w.fc1.bias)) {
        const index_type channels = w.spatial.kernel.dim(0);
        const weights::conv_shape dims{.in = channels, .out = channels, .kernel = 7, .depthwise = true};
        if (form == graph::folded) {
            spatial_ = conv(target, dims, reparam::fold(dims, w.spatial).rounded());
            const weights::conv scaled = reparam::fold_layer_scale(w.fc2, layer_scale);
            fc2_ = pack_pointwise(target, scaled.kernel, scaled.bias);
        } else {
            weights::conv bare;
            bare.kernel = w.spatial.kernel;
            spatial_ = conv(target, dims, bare);
            norm_.emplace(w.spatial.bn);
            fc2_ = pack_pointwise(target, w.fc2.kernel, w.fc2.bias);
            layer_scale_.emplace(layer_scale);
        }
    }

    /// Pixels of halo that the input map needs.
    static constexpr index_type halo = 3;

    /// Tile by tile, so that the hidden map, as wide as the MLP ratio says, never leaves the cache. `x` and `out` are different
    /// maps of one layout.
    void run(const context &c, const map &x, const map &out) const {
        const watched w(c, "mlp");
        const scope s(c);
        // Floats between the pixels of a tile before and after fc1.
        const index_type narrow = spread_channels(x.channels()), wide = spread_channels(fc1_.columns);
        const tiling tiles(x.size, tile_pixels_for(narrow + wide), c.workers);
        const index_type narrow_floats = tiles.most_pixels() * narrow, floats = narrow_floats + tiles.most_pixels() * wide;
        float *const scratch = c.take_scratch(floats);
        c.parallel(tiles.count(), [&](index_type i, int worker) {
            const tile t = tiles[i];
            const index_type pixels = t.pixels();
            float *const mixed = scratch + worker * floats, *const hidden = mixed + narrow_floats;
            c.kernels.depthwise(depthwise_over(spatial_.depthwise(), x, t, mixed, narrow, t.columns * narrow));
            if (norm_) run_affine(c, *norm_, mixed, narrow, pixels, x.channels());

            const float *a[kernels::gemm_max_pixels], *residual[kernels::gemm_max_pixels];
            float *to[kernels::gemm_max_pixels];
            run_pixels(mixed, narrow, pixels, a);
            run_pixels(hidden, wide, pixels, to);
            c.kernels.gemm(gemm_over(fc1_, a, to, pixels, activation::gelu));

            run_pixels(hidden, wide, pixels, a);
            tile_pixels(x, t, residual);
            if (layer_scale_) {
                run_pixels(mixed, narrow, pixels, to);
                c.kernels.gemm(gemm_over(fc2_, a, to, pixels));
                add_scaled(c, mixed, narrow, residual, t, out);
            } else {
                tile_pixels(out, t, to);
                kernels::gemm_args g = gemm_over(fc2_, a, to, pixels);
                g.residual = residual;
                c.kernels.gemm(g);
            }
        });
    }

  private:
    static void run_affine(const context &c, const channel_affine &f, float *x, index_type stride, index_type pixels,
                           index_type channels) {
        c.kernels.affine({.x = x,
                          .x_pixel = stride,
                          .y = x,
                          .y_pixel = stride,
                          .pixels = pixels,
                          .channels = channels,
                          .scale = f.scale(),
                          .shift = f.shift()});
    }

    // out = residual + layer_scale * y, for a tile.
    void add_scaled(const context &c, const float *y, index_type stride, const float *const *residual, const tile &t,
                    const map &out) const {
        for (index_type r = 0; r < t.rows; ++r) {
            for (index_type x = 0; x < t.columns; ++x)
                std::copy_n(residual[r * t.columns + x], out.channels(), out.at(t.image, t.y + r, t.x + x));
            c.kernels.affine({.x = y + r * t.columns * stride,
                              .x_pixel = stride,
                              .y = out.at(t.image, t.y + r, t.x),
                              .y_pixel = out.pixel_stride,
                              .pixels = t.columns,
                              .channels = out.channels(),
                              .scale = layer_scale_->scale(),
                              .shift = layer_scale_->shift(),
                              .accumulate = true});
        }
    }

    conv spatial_;
    std::optional<channel_affine> norm_; ///< train-time graph only, as layer_scale_
    kernels::packed_matrix fc1_, fc2_;
    std::optional<channel_affine> layer_scale_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
