// SPDX-License-Identifier: MIT
// The convolutional stem: 3 x 3 stride 2, depthwise 3 x 3 stride 2, 1 x 1, each with GELU (paper, figure 2b).
#pragma once

#include "fastvit/nn/mobile_one.hpp"

namespace fastvit::inline FASTVIT_ABI {
namespace nn {

class stem {
  public:
    stem(const kernels::kernel_table &tier, graph form, const weights::stem &w)
        : first_(tier, form, w.convs[0], activation::gelu), second_(tier, form, w.convs[1], activation::gelu),
          third_(tier, form, w.convs[2], activation::gelu), ones_(kernels::padded_channels(w.convs[0].dims.out)),
          zeros_(ones_.count()) {
        std::fill_n(ones_.data(), ones_.count(), 1.0F);
    }

    /// Pixels of halo that the input map needs; its pixels lie without padding (pixel_stride = channels).
    static constexpr index halo = 1;

    extent output(const extent &in) const noexcept { return second_.output(first_.output(in)); }

    void run(const context &c, const map &in, const map &out) const {
        if (first_.only_conv() && second_.only_conv() && third_.only_conv()) return run_fused(c, in, out);
        const scope s(c);
        const map half = c.take_map(first_.output(in.size), 1);
        first_.run(c, in, half);
        const map quarter = c.take_map(out.size, 0);
        second_.run(c, half, quarter);
        third_.run(c, quarter, out);
    }

  private:
    // Output rows of a band. The rows of the first convolution's output that two bands share are computed twice: 1 in 2 * 4 + 1.
    static constexpr index band = 4;

    // Band by band, so that the first convolution's output, four times the size of the input, stays in the cache.
    void run_fused(const context &c, const map &in, const map &out) const {
        const conv &first = *first_.only_conv(), &second = *second_.only_conv(), &third = *third_.only_conv();
        const scope s(c);
        const extent half = first.output(in.size);
        const extent strip{1, 2 * band + 1, half.width, half.channels};
        const map strip_layout = layout(strip, 1, kernels::padded_channels(half.channels));
        const index pixel = strip_layout.pixel_stride;
        const index strip_floats = strip_layout.floats(), tile_floats = band * out.size.width * pixel;
        float *const scratch = c.take_scratch(strip_floats + tile_floats);
        const index bands = (out.size.height + band - 1) / band;
        c.parallel(out.size.images * bands, [&](index i, int worker) {
            const index n = i / bands, y = i % bands * band, rows = std::min(band, out.size.height - y);
            map wide = strip_layout; // row r of it is row 2 y - 1 + r of the first convolution's output
            wide.origin = scratch + worker * (strip_floats + tile_floats) + wide.row_stride + wide.pixel_stride;
            float *const narrow = scratch + worker * (strip_floats + tile_floats) + strip_floats;
            clear_halo(wide);
            for (index r = 0; r < 2 * rows + 1; ++r) {
                const index from = 2 * y - 1 + r;
                if (from < 0 || from >= half.height)
                    std::fill_n(wide.at(0, r, 0), half.width * pixel, 0.0F);
                else
                    run_first(c, first, in, {n, from, 0, 1, half.width}, wide.at(0, r, 0), pixel);
            }
            const index width = out.size.width;
            // The window of output row 0 starts at row 2 y - 1, which is row 0 here: one row below what depthwise_over assumes.
            map shifted = wide;
            shifted.origin += wide.row_stride;
            c.kernels.depthwise(
                depthwise_over(second.depthwise(), shifted, {0, 0, 0, rows, width}, narrow, pixel, width * pixel));
            c.kernels.affine({.x = narrow,
                              .x_pixel = pixel,
                              .y = narrow,
                              .y_pixel = pixel,
                              .pixels = rows * width,
                              .channels = pixel,
                              .scale = ones_.data(),
                              .shift = zeros_.data(),
                              .act = activation::gelu});
            for (index r = 0; r < rows; ++r) run_third(c, third, narrow + r * width * pixel, pixel, {n, y + r, 0, 1, width}, out);
        });
    }

    static void run_first(const context &c, const conv &first, const map &in, tile row, float *out, index pixel) {
        float *to[kernels::gemm_max_pixels];
        for (const index end = row.columns; row.x < end; row.x += row.columns, out += row.columns * pixel) {
            row.columns = std::min(kernels::gemm_max_pixels, end - row.x);
            run_pixels(out, pixel, row.columns, to);
            first.run_dense(c, in, row, to, activation::gelu);
        }
    }

    static void run_third(const context &c, const conv &third, float *in, index pixel, tile row, const map &out) {
        const float *a[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        for (const index end = row.columns; row.x < end; row.x += row.columns, in += row.columns * pixel) {
            row.columns = std::min(kernels::gemm_max_pixels, end - row.x);
            run_pixels(in, pixel, row.columns, a);
            tile_pixels(out, row, to);
            c.kernels.gemm(gemm_over(third.matrix(), a, to, row.columns, activation::gelu));
        }
    }

    mobile_one first_, second_, third_;
    kernels::float_buffer ones_, zeros_;
};

} // namespace nn
} // namespace fastvit::inline FASTVIT_ABI
