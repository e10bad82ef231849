// SPDX-License-Identifier: MIT
// ConvFFN with its residual: x + layer_scale * fc2(GELU(fc1(BN(depthwise k x k (x))))), k = 7 in all published networks (paper,
// section 3.4, figure 2c; official `ConvFFN`).
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/archive.hpp"
#include "fastvit/parts/channel_affine.hpp"
#include "fastvit/reparam/balance.hpp"
#include "fastvit/reparam/fold.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class conv_ffn {
  public:
    struct weights {
        reparam::conv_bn spatial;
        std::optional<reparam::conv> folded; ///< of spatial
        bool balanced = false;               ///< folded and fc1 are: reparam::balance()
        reparam::conv fc1, fc2;
        std::optional<tensor<float>> fc2_scale; ///< of fc2's outputs: the folded layer scale, until fc2 is packed
    };

    /// Whether the block around the ConvFFN, of which it is `mlp`, is in the form of a quantised checkpoint: no BatchNorm and no
    /// layer scale is left that a matrix can take up, and the ConvFFN is balanced.
    static bool in_quantised_form(archive &ar, const weights &w) { return ar.present("mlp.conv.reparam_conv", w.balanced); }

    static void describe(archive &ar, weights &w, const stage_architecture &c) {
        w.balanced = ar.present("conv.reparam_conv", w.balanced);
        describe_if(ar.in("conv"), w.balanced, "reparam_conv", w.folded, spatial(c));
        if (!w.balanced) parts::describe(ar.in("conv"), w.spatial, spatial(c));
        describe_matrix(ar.in("fc1"), w.fc1, fc1(c));
        describe_matrix(ar.in("fc2"), w.fc2, fc2(c));
    }
    /// Folds the BatchNorm into the window. The block's layer scale, which is then none, becomes fc2's, and is multiplied in when
    /// fc2 is packed: so no copy of the matrix is made.
    static void fold(weights &w, std::optional<tensor<float>> &layer_scale) {
        if (!w.folded) {
            w.folded = reparam::fold(spatial(w.spatial.kernel), w.spatial).rounded();
            w.spatial = {};
        }
        if (layer_scale) w.fc2_scale = std::exchange(layer_scale, std::nullopt);
    }
    /// fold(), for a quantised checkpoint.
    static void fold_for_int8(weights &w, std::optional<tensor<float>> &layer_scale) {
        fold(w, layer_scale);
        reparam::fold_layer_scale(w.fc2, w.fc2_scale);
        if (w.balanced) return;
        reparam::conv fc1 = w.fc1; // which may be the file's
        reparam::scale_inputs(fc1, reparam::balance(*w.folded, fc1));
        w.fc1 = std::move(fc1);
        w.balanced = true;
    }
    static double multiply_adds(const stage_architecture &c, const extent &size) {
        return parts::multiply_adds(spatial(c), size) + parts::multiply_adds(fc1(c), size) + parts::multiply_adds(fc2(c), size);
    }

    conv_ffn(const kernels::weight_target &target, const weights &w, const std::optional<tensor<float>> &layer_scale) {
        // Quantised weights must not be balanced again: rounding has changed the norms that decide.
        if (w.folded && !w.balanced && target.type == precision::int8) {
            reparam::conv spatial = *w.folded;
            const std::vector<float> factors = reparam::balance(spatial, w.fc1);
            pack_spatial(target, spatial.kernel, spatial.bias);
            kernels::unpacked_matrix fc1 = unpacked(w.fc1.kernel, w.fc1.bias);
            fc1.row_scale = factors.data();
            fc1_ = kernels::pack_gemm(target.in("fc1"), fc1);
        } else {
            pack_spatial(target, w.folded ? w.folded->kernel : w.spatial.kernel, w.folded ? w.folded->bias : tensor<float>());
            fc1_ = pack_pointwise(target.in("fc1"), w.fc1);
        }
        fc2_ = pack_pointwise(target.in("fc2"), w.fc2, w.fc2_scale);
        if (!w.folded) norm_.emplace(w.spatial.bn);
        if (layer_scale) layer_scale_.emplace(*layer_scale);
    }

    /// `x` and `out` are different maps of one layout.
    void run(const context &c, const map &x, const map &out) const {
        const watched w(c, "mlp");
        const scope s(c.memory);
        const index_type pixels = x.size.pixels();
        if (shares_columns(c, fc1_, pixels) && shares_columns(c, fc2_, pixels))
            run_layers(c, x, out);
        else
            run_tiles(c, x, out);
    }

  private:
    // GELU is computed once: while fc2's operand is encoded, if it is.
    activation after_fc1() const noexcept { return encodes(fc2_) ? activation::none : activation::gelu; }
    activation before_fc2() const noexcept { return encodes(fc2_) ? activation::gelu : activation::none; }

    // Layer by layer, so that the workers share out the columns of each.
    void run_layers(const context &c, const map &x, const map &out) const {
        const map mixed = c.take_map(x.size, 0), hidden = c.take_map(x.size.with_channels(fc1_.columns), 0);
        spatial_.run(c, x, mixed);
        if (norm_) norm_->run(c, mixed, mixed);
        run_pointwise(c, fc1_, mixed, hidden, {.after = after_fc1()});
        if (!layer_scale_) return run_pointwise(c, fc2_, hidden, out, {.before = before_fc2(), .residual = &x});
        run_pointwise(c, fc2_, hidden, mixed, {.before = before_fc2()});
        copy_pixels(c, x, out);
        layer_scale_->run(c, mixed, out, true);
    }

    // Tile by tile, so that the hidden map, as wide as the MLP ratio says, never leaves the cache.
    void run_tiles(const context &c, const map &x, const map &out) const {
        // Floats between the pixels of a tile before and after fc1.
        const index_type narrow = spread_channels(x.channels()), wide = spread_channels(fc1_.columns);
        const tiling tiles = tiling::windows(x.size, tile_pixels_for(c.kernels, narrow + wide), c.workers);
        const index_type pixels_of_tile = tiles.most_pixels();
        const operand_layout first(c, fc1_, pixels_of_tile), second(c, fc2_, pixels_of_tile);
        const index_type narrow_floats = pixels_of_tile * narrow, hidden_floats = pixels_of_tile * wide,
                         floats = narrow_floats + hidden_floats + std::max(first.floats, second.floats);
        const worker_scratch scratch = c.memory.take_scratch(floats);
        c.parallel(tiles.count(), [&](index_type i, int worker) {
            const tile t = tiles[i];
            const index_type pixels = t.pixels();
            float *const mixed = scratch.of(worker), *const hidden = mixed + narrow_floats,
                         *const operand = hidden + hidden_floats;
            c.kernels.depthwise(depthwise_over(spatial_.depthwise(), x, t, mixed, narrow, t.columns * narrow));
            if (norm_) run_affine(c, *norm_, mixed, narrow, pixels, x.channels());

            const float *a[kernels::gemm_max_pixels], *residual[kernels::gemm_max_pixels];
            float *to[kernels::gemm_max_pixels];
            run_pixels(mixed, narrow, pixels, a);
            run_pixels(hidden, wide, pixels, to);
            run_matrix(c, fc1_, {a, pixels, first, operand}, to, {.after = after_fc1()});

            run_pixels(hidden, wide, pixels, a);
            tile_pixels(x, t, residual);
            matrix_options options{.before = before_fc2()};
            if (layer_scale_) {
                run_pixels(mixed, narrow, pixels, to);
                run_matrix(c, fc2_, {a, pixels, second, operand}, to, options);
                add_scaled(c, mixed, narrow, residual, t, out);
            } else {
                tile_pixels(out, t, to);
                options.residual = residual;
                run_matrix(c, fc2_, {a, pixels, second, operand}, to, options);
            }
        });
    }

    void pack_spatial(const kernels::weight_target &target, const tensor<float> &kernel, const tensor<float> &bias) {
        spatial_ = convolution(target, spatial(kernel), kernel, bias);
    }

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

    static reparam::conv_shape spatial(const stage_architecture &c) { return reparam::depthwise_shape(c.channels, c.ffn_kernel); }
    static reparam::conv_shape spatial(const tensor<float> &kernel) {
        return reparam::depthwise_shape(kernel.dim(0), kernel.dim(2));
    }
    static reparam::conv_shape fc1(const stage_architecture &c) { return {.in = c.channels, .out = c.hidden}; }
    static reparam::conv_shape fc2(const stage_architecture &c) { return {.in = c.hidden, .out = c.channels}; }

    convolution spatial_;
    std::optional<channel_affine> norm_; ///< where it is not folded, as layer_scale_
    kernels::packed_matrix fc1_, fc2_;
    std::optional<channel_affine> layer_scale_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
