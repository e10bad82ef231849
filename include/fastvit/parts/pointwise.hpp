// SPDX-License-Identifier: MIT
// Matrix products over pixels, in whichever type the matrix is packed.
#pragma once

#include "fastvit/base/assert.hpp"
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

/// Where the left operand of a product is encoded: memory for some pixels, of a worker's tile or of all workers together. A part
/// is bytes and then ranges.
struct operand_layout {
    index_type channels = 0; ///< padded
    index_type pixel = 0;    ///< bytes between pixels
    index_type ranges = 0;   ///< where the ranges of a part's pixels begin, in floats
    index_type part = 0;     ///< floats
    index_type floats = 0;   ///< all of the memory, in floats; 0 where the product reads float32

    operand_layout(const context &c, const kernels::packed_matrix &w, index_type pixels) {
        if (!encodes(w)) return;
        channels = kernels::padded_channels(w.rows);
        pixel = c.kernels.encoded(w.format.type).pixel_bytes(channels);
        ranges = kernels::padded_channels((pixels * pixel + 3) / 4);
        part = ranges + kernels::padded_channels(2 * pixels);
        floats = w.two_parts ? 2 * part : part;
    }

    std::byte *bytes_of(float *encoded, index_type number) const noexcept {
        return reinterpret_cast<std::byte *>(encoded + number * part);
    }
    kernels::pixel_range *ranges_of(float *encoded, index_type number) const noexcept {
        return reinterpret_cast<kernels::pixel_range *>(encoded + number * part + ranges);
    }
};

/// The left operand of a product over at most gemm_max_pixels pixels.
struct left_operand {
    const float *const *a; ///< first channel of each pixel
    index_type pixels;
    const operand_layout &layout;
    float *encoded; ///< memory for that layout
};

/// What a product does beside multiplying.
struct matrix_options {
    activation before = activation::none; ///< of its input; only where encodes() says so
    activation after = activation::none;
    const float *const *residual = nullptr; ///< as in gemm_args
};

/// Columns of a packed matrix: whole panels.
struct column_range {
    index_type begin, end;
};
inline column_range all_columns(const kernels::packed_matrix &w) noexcept { return {0, w.columns}; }
inline index_type panel_count(const kernels::packed_matrix &w) noexcept {
    return (w.columns + w.format.panel - 1) / w.format.panel;
}
/// Share `i` of `shares`, which are at most panel_count().
inline column_range columns_of(const kernels::packed_matrix &w, index_type i, index_type shares) noexcept {
    const index_type panels = panel_count(w);
    return {panels * i / shares * w.format.panel, std::min(w.columns, panels * (i + 1) / shares * w.format.panel)};
}

/// Encodes `count` pixels of the operand from number `first`, if the matrix asks for it.
inline void encode_operand(const context &c, const kernels::packed_matrix &w, const left_operand &x, index_type first,
                           index_type count, activation before) {
    FASTVIT_ASSERT(encodes(w) || before == activation::none);
    if (!encodes(w)) return;
    const operand_layout &l = x.layout;
    kernels::encode_args e{.x = x.a + first,
                           .pixels = count,
                           .channels = l.channels,
                           .act = before,
                           .out = l.bytes_of(x.encoded, 0) + first * l.pixel,
                           .out_pixel = l.pixel,
                           .ranges = l.ranges_of(x.encoded, 0) + first};
    if (w.two_parts) {
        e.rest = l.bytes_of(x.encoded, 1) + first * l.pixel;
        e.rest_ranges = l.ranges_of(x.encoded, 1) + first;
    }
    c.kernels.encoded(w.format.type).encode(e);
}

/// Those columns of the product with an operand that has been encoded.
inline void multiply(const context &c, const kernels::packed_matrix &w, const left_operand &x, const column_range &columns,
                     float *const *to, const matrix_options &options) {
    if (!encodes(w)) {
        kernels::gemm_args g = gemm_over(w, x.a, to, x.pixels, options.after);
        g.residual = options.residual;
        g.column_begin = columns.begin;
        g.column_end = columns.end;
        return c.kernels.gemm(g);
    }
    FASTVIT_ASSERT(!w.two_parts || options.after == activation::none);
    const auto multiply_part = [&](index_type number, const float *const *residual) {
        c.kernels.encoded(w.format.type)
            .gemm({.a = x.layout.bytes_of(x.encoded, number),
                   .a_pixel = x.layout.pixel,
                   .ranges = x.layout.ranges_of(x.encoded, number),
                   .pixels = x.pixels,
                   .matrix = w,
                   .c = to,
                   .residual = residual,
                   .column_begin = columns.begin,
                   .column_end = columns.end,
                   .act = options.after});
    };
    multiply_part(0, options.residual);
    if (w.two_parts) multiply_part(1, to);
}

/// The whole product.
inline void run_matrix(const context &c, const kernels::packed_matrix &w, const left_operand &x, float *const *to,
                       const matrix_options &options = {}) {
    encode_operand(c, w, x, 0, x.pixels, options.before);
    multiply(c, w, x, all_columns(w), to, options);
}

/// Whether the workers share out a layer's columns instead of its pixels; results do not depend on it. Sharing pixels, each
/// worker reads all weights: in float32 the 4 bytes of one take 0.25 ns (16 GB/s for each of several cores that all read), its
/// multiply-adds 0.022 ns for each of the worker's pixels (90 GFLOP/s). From 12 pixels on the second takes longer, from 25 twice
/// as long, which hides the first. 25 is also half of a map of 7 x 7, whose rows two workers cannot share evenly. A matrix that
/// is hardly larger than a second-level cache is not worth another round of tasks, and with less than two panels for each worker
/// the columns would be shared unevenly.
inline bool shares_columns(const context &c, const kernels::packed_matrix &w, index_type pixels) noexcept {
    constexpr index_type few = 25, large = index_type{1} << 20;
    return c.workers > 1 && w.bytes() >= large && pixels < few * std::min<index_type>(c.workers, panel_count(w) / 2);
}

/// What a pointwise layer does beside its product; see matrix_options.
struct pointwise_options {
    activation before = activation::none, after = activation::none;
    const map *residual = nullptr;
};

/// A pointwise layer whose columns the workers share out.
inline void run_columns(const context &c, const kernels::packed_matrix &w, const map &in, const map &out,
                        const pointwise_options &options) {
    constexpr index_type together = 16; // pixels that are encoded by one task: as many as the widest registers have lanes
    const scope s(c.memory);
    const index_type pixels = out.size.pixels(), most = std::min(pixels, kernels::gemm_max_pixels);
    const operand_layout layout(c, w, most);
    float *const encoded = c.memory.take(layout.floats);
    const index_type shares = std::min(panel_count(w), 4 * index_type{c.workers});
    for (index_type first = 0; first < pixels; first += most) {
        const float *a[kernels::gemm_max_pixels], *r[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        const left_operand x{a, std::min(most, pixels - first), layout, encoded};
        map_pixels(in, first, x.pixels, a);
        map_pixels(out, first, x.pixels, to);
        if (options.residual) map_pixels(*options.residual, first, x.pixels, r);
        if (encodes(w)) {
            c.parallel((x.pixels + together - 1) / together, [&](index_type i, int) {
                encode_operand(c, w, x, i * together, std::min(together, x.pixels - i * together), options.before);
            });
        }
        c.parallel(shares, [&](index_type i, int) {
            multiply(c, w, x, columns_of(w, i, shares), to, {.after = options.after, .residual = options.residual ? r : nullptr});
        });
    }
}

/// A pointwise layer over a whole map, of the same or another layout.
inline void run_pointwise(const context &c, const kernels::packed_matrix &w, const map &in, const map &out,
                          const pointwise_options &options = {}) {
    if (shares_columns(c, w, out.size.pixels())) return run_columns(c, w, in, out, options);
    const scope s(c.memory);
    const tiling tiles(out.size, tile_pixels_for(c.kernels, in.pixel_stride + out.pixel_stride), c.workers);
    const operand_layout layout(c, w, tiles.most_pixels());
    const worker_scratch scratch = c.memory.take_scratch(layout.floats);
    c.parallel(tiles.count(), [&](index_type i, int worker) {
        const float *a[kernels::gemm_max_pixels], *r[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        const tile t = tiles[i];
        tile_pixels(in, t, a);
        tile_pixels(out, t, to);
        if (options.residual) tile_pixels(*options.residual, t, r);
        run_matrix(c, w, {a, t.pixels(), layout, scratch.of(worker)}, to,
                   {.before = options.before, .after = options.after, .residual = options.residual ? r : nullptr});
    });
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
