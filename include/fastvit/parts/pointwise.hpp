// SPDX-License-Identifier: MIT
// Matrix products over pixels, in whichever type the matrix is packed.
#pragma once

#include "fastvit/base/regions.hpp"
#include "fastvit/kernels/gemm/pack.hpp"
#include "fastvit/reparam/layers.hpp"
#include "fastvit/runtime/context.hpp"
#include "fastvit/runtime/tiling.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

using namespace runtime; // maps, tiles and the context are the vocabulary of every part
using kernels::activation;

/// The matrix of a dense layer: weights [out, in, ...], those of an output in the order of its inputs, and bias [out], or empty
/// for zeros.
inline kernels::unpacked_matrix unpacked(const tensor<float> &kernel, const tensor<float> &bias) {
    const index_type in = kernel.dims().without_first().count();
    return {.rows = in,
            .columns = kernel.dim(0),
            .weights = kernel.data(),
            .row_step = 1,
            .column_step = in,
            .bias = bias.count() > 0 ? bias.data() : nullptr};
}

/// A pointwise convolution or linear layer, its outputs times a folded layer scale, if there is one: what
/// reparam::fold_layer_scale() gives, packed.
inline kernels::packed_matrix pack_pointwise(const kernels::weight_target &target, const reparam::conv &w,
                                             const std::optional<tensor<float>> &layer_scale = std::nullopt) {
    kernels::unpacked_matrix m = unpacked(w.kernel, w.bias);
    if (layer_scale) m.column_scale = layer_scale->data();
    return kernels::pack_gemm(target, m);
}

/// The arguments of a whole packed float32 matrix over `pixels` pixels.
inline kernels::gemm_args gemm_over(const kernels::packed_matrix &w, const float *const *a, float *const *c, index_type pixels,
                                    activation act = activation::none) {
    return {.a = a, .pixels = pixels, .segment = w.rows, .matrix = w, .c = c, .column_end = w.columns, .act = act};
}

/// Whether the activation before a product is computed while its operand is encoded, rather than after the product before it.
inline bool encodes(const kernels::packed_matrix &w) noexcept { return w.format.type != precision::float32; }

/// Where the left operand of a product is encoded: memory for a tile of pixels, of each worker.
struct operand_layout {
    index_type channels = 0; ///< padded
    index_type pixel = 0;    ///< bytes between pixels
    index_type ranges = 0;   ///< where the pixels' ranges begin, in floats
    index_type floats = 0;   ///< all memory of a tile, in floats; 0 where the product reads float32

    operand_layout() = default;
    operand_layout(const context &c, const kernels::packed_matrix &w, index_type pixels) {
        if (!encodes(w)) return;
        channels = kernels::padded_channels(w.rows);
        pixel = channels * c.kernels.encoded(w.format.type).element_bytes;
        ranges = kernels::padded_channels((pixels * pixel + 3) / 4);
        floats = ranges + kernels::padded_channels(2 * pixels);
    }
};

/// What run_matrix() does beside the product.
struct matrix_options {
    activation before = activation::none; ///< of its input; only where encodes() says so
    activation after = activation::none;
    const float *const *residual = nullptr; ///< as in gemm_args
};

/// C = A w over at most gemm_max_pixels pixels. `operand`: memory for such a layout.
inline void run_matrix(const context &c, const kernels::packed_matrix &w, const float *const *a, float *const *to,
                       index_type pixels, const operand_layout &layout, float *operand, const matrix_options &options = {}) {
    if (!encodes(w)) {
        kernels::gemm_args g = gemm_over(w, a, to, pixels, options.after);
        g.residual = options.residual;
        return c.kernels.gemm(g);
    }
    const kernels::encoded_kernels &kernel = c.kernels.encoded(w.format.type);
    auto *const bytes = reinterpret_cast<std::byte *>(operand);
    auto *const ranges = reinterpret_cast<kernels::pixel_range *>(operand + layout.ranges);
    kernel.encode({.x = a,
                   .pixels = pixels,
                   .channels = layout.channels,
                   .act = options.before,
                   .out = bytes,
                   .out_pixel = layout.pixel,
                   .ranges = ranges});
    kernel.gemm({.a = bytes,
                 .a_pixel = layout.pixel,
                 .ranges = ranges,
                 .pixels = pixels,
                 .matrix = w,
                 .c = to,
                 .residual = options.residual,
                 .act = options.after});
}

/// A pointwise layer over a whole map, of the same or another layout.
inline void run_pointwise(const context &c, const kernels::packed_matrix &w, const map &in, const map &out,
                          activation act = activation::none, const map *residual = nullptr) {
    const scope s(c);
    const tiling tiles(out.size, tile_pixels_for(in.pixel_stride + out.pixel_stride), c.workers);
    const operand_layout layout(c, w, tiles.most_pixels());
    float *const scratch = c.take_scratch(layout.floats);
    c.parallel(tiles.count(), [&](index_type i, int worker) {
        const float *a[kernels::gemm_max_pixels], *r[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        const tile t = tiles[i];
        tile_pixels(in, t, a);
        tile_pixels(out, t, to);
        if (residual) tile_pixels(*residual, t, r);
        run_matrix(c, w, a, to, t.pixels(), layout, scratch + worker * layout.floats,
                   {.after = act, .residual = residual ? r : nullptr});
    });
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
