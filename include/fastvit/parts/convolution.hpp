// SPDX-License-Identifier: MIT
// Layers with packed weights, and one that runs any of the network's convolutions from map to map.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/kernels/depthwise/pack.hpp"
#include "fastvit/parts/pointwise.hpp"
#include "fastvit/reparam/half_precision.hpp"

#include <algorithm>
#include <cstddef>
#include <variant>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// The arguments of a depthwise convolution for a tile of the output. The input's halo is at least kernel / 2.
inline kernels::depthwise_args depthwise_over(const kernels::packed_depthwise &w, const map &in, const tile &t, float *out,
                                              index_type out_pixel, index_type out_row) {
    const index_type pad = w.kernel / 2;
    return {.in = in.at(t.image, t.y * w.stride - pad, t.x * w.stride - pad),
            .in_pixel = in.pixel_stride,
            .in_row = in.row_stride,
            .out = out,
            .out_pixel = out_pixel,
            .out_row = out_row,
            .rows = t.rows,
            .columns = t.columns,
            .window = w};
}

/// After a convolution of that shape.
inline extent output_extent(const reparam::conv_shape &dims, const extent &in) noexcept {
    return dims.stride == 2 ? in.halved(dims.out) : in.with_channels(dims.out);
}

/// Of a convolution with the output `out`.
inline double multiply_adds(const reparam::conv_shape &dims, const extent &out) {
    return static_cast<double>(out.pixels()) * static_cast<double>(dims.out * dims.fan_in());
}

/// Any convolution of the network, in whichever kernel computes it. Depthwise ones are float32 whatever the model's precision,
/// though int8 rounds all weights to the 16 bits in which a quantised checkpoint holds them.
class convolution {
  public:
    convolution() = default;
    /// kernel [out, in / groups, k, k], which int8 rounds (reparam::half_rounding); bias [out], or empty for zeros. `dense`: what
    /// it computes in if it is dense, float32 or bfloat16.
    convolution(const kernels::weight_target &target, const reparam::conv_shape &dims, const tensor<float> &kernel,
                const tensor<float> &bias, precision dense = precision::float32)
        : dims_(dims) {
        const bool rounds = target.type == precision::int8;
        const tensor<float> rounded = rounds ? reparam::half_rounding::of(kernel) : tensor<float>();
        const tensor<float> &weights = rounds ? rounded : kernel;
        if (dims.depthwise)
            packed_ = pack_depthwise(target, weights, bias);
        else
            packed_ = pack_dense(target, dense, weights, bias);
    }

    const reparam::conv_shape &dims() const noexcept { return dims_; }
    const kernels::packed_matrix &matrix() const { return std::get<kernels::packed_matrix>(packed_); }
    const kernels::packed_depthwise &depthwise() const { return std::get<kernels::packed_depthwise>(packed_); }

    /// `out` has the extent output(in.size); the halo of `in` is at least kernel / 2. A dense kernel over 1 needs an input whose
    /// pixels lie without padding (pixel_stride = channels), and is float32: encoded_windows runs the others.
    void run(const context &c, const map &in, const map &out, activation act = activation::none) const {
        if (dims_.depthwise) return run_depthwise(c, in, out);
        if (dims_.kernel == 1 && dims_.stride == 1) return run_pointwise(c, matrix(), in, out, {.after = act});
        const tiling tiles(out.size, tile_pixels_for(c.kernels, out.pixel_stride + in.pixel_stride), c.workers);
        c.parallel(tiles.count(), [&](index_type i, int) {
            float *to[kernels::gemm_max_pixels];
            tile_pixels(out, tiles[i], to);
            run_dense(c, in, tiles[i], to, act);
        });
    }

    /// A dense convolution in float32 for one tile of the output, whose pixels go to `out`.
    void run_dense(const context &c, const map &in, const tile &t, float *const *out, activation act) const {
        FASTVIT_ASSERT(!encodes(matrix()));
        const float *a[kernels::gemm_max_pixels]; // the top left pixel under each output's window
        const index_type pad = dims_.kernel / 2;
        for (index_type y = 0; y < t.rows; ++y)
            for (index_type x = 0; x < t.columns; ++x)
                a[y * t.columns + x] = in.at(t.image, (t.y + y) * dims_.stride - pad, (t.x + x) * dims_.stride - pad);
        kernels::gemm_args g = gemm_over(matrix(), a, out, t.pixels(), act);
        g.segments = dims_.kernel;
        g.segment = dims_.kernel * dims_.in;
        g.segment_stride = in.row_stride;
        c.kernels.gemm(g);
    }

  private:
    kernels::packed_depthwise pack_depthwise(const kernels::weight_target &target, const tensor<float> &kernel,
                                             const tensor<float> &bias) const {
        const index_type taps = dims_.taps();
        const float *const k = kernel.data(), *const b = bias.count() > 0 ? bias.data() : nullptr;
        return kernels::pack_depthwise(
            target, dims_.in, dims_.multiplier(), dims_.kernel, dims_.stride,
            [&](index_type o, index_type tap) { return k[o * taps + tap]; }, [&](index_type o) { return b ? b[o] : 0.0F; });
    }

    kernels::packed_matrix pack_dense(const kernels::weight_target &target, precision type, const tensor<float> &kernel,
                                      const tensor<float> &bias) const {
        const index_type taps = dims_.taps(), in = dims_.in;
        kernels::unpacked_matrix m = unpacked(kernel, bias);
        // Rows in the order in which the window's pixels lie in memory: y, x, channel.
        std::vector<float> by_tap;
        if (taps > 1) {
            by_tap.reserve(static_cast<std::size_t>(kernel.count()));
            for (index_type o = 0; o < dims_.out; ++o)
                for (index_type tap = 0; tap < taps; ++tap)
                    for (index_type i = 0; i < in; ++i) by_tap.push_back(kernel.data()[(o * in + i) * taps + tap]);
            m.weights = by_tap.data();
        }
        return kernels::pack_floats(target, type, m);
    }

    void run_depthwise(const context &c, const map &in, const map &out) const {
        // The input rows that a band reads are about as many as stay in the second-level cache.
        const index_type rows =
            std::max<index_type>(2, tile_pixels_for(c.kernels, in.pixel_stride) / std::max<index_type>(1, out.size.width));
        const tiling bands = tiling::bands(out.size, rows, c.workers);
        c.parallel(bands.count(), [&](index_type i, int) {
            const tile t = bands[i];
            c.kernels.depthwise(depthwise_over(depthwise(), in, t, out.at(t.image, t.y, 0), out.pixel_stride, out.row_stride));
        });
    }

    reparam::conv_shape dims_;
    std::variant<kernels::packed_matrix, kernels::packed_depthwise> packed_;
};

/// The pixels of a map into another of the same extent and pixel stride.
inline void copy_pixels(const context &c, const map &from, const map &to) {
    const index_type rows = from.size.height;
    c.parallel(from.size.images * rows, [&](index_type i, int) {
        std::copy_n(from.at(i / rows, i % rows, 0), from.size.width * from.pixel_stride, to.at(i / rows, i % rows, 0));
    });
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
