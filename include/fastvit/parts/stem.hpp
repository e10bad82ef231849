// SPDX-License-Identifier: MIT
// The convolutional stem: 3 x 3 stride 2, depthwise 3 x 3 stride 2, 1 x 1, each with GELU (paper, figure 2b).
#pragma once

#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/part_cost.hpp"
#include "fastvit/runtime/image_source.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class stem {
  public:
    struct config {
        index_type in_channels, channels;
        bool scale_branch; ///< the 3 x 3 convolutions have a 1 x 1 branch in the train-time graph
    };
    struct weights {
        std::array<mobile_one::weights, 3> convs;
    };

    /// In double, two convolutions at a time.
    static constexpr std::size_t fold_bytes = 2 * sizeof(double);
    static void describe(archive &ar, weights &w, const config &c) {
        for (std::size_t i = 0; i < w.convs.size(); ++i)
            parts::describe(ar.in(std::to_string(i)), w.convs[i], dims(c)[i], c.scale_branch);
    }
    static void reparameterize(weights &w) {
        for (mobile_one::weights &conv : w.convs) parts::reparameterize(conv);
    }
    static void fold(weights &w) { reparameterize(w); }
    static extent output(const config &c, extent size) noexcept {
        for (const reparam::conv_shape &conv : dims(c)) size = output_extent(conv, size);
        return size;
    }
    static std::vector<part_cost> costs(const config &c, extent size) {
        double total = 0;
        for (const reparam::conv_shape &conv : dims(c)) {
            size = output_extent(conv, size);
            total += multiply_adds(conv, size);
        }
        return {{"", total}};
    }

    stem(const kernels::weight_target &target, const weights &w, const config &c)
        : first_(target, w.convs[0], activation::gelu), second_(target, w.convs[1], activation::gelu),
          third_(target, w.convs[2], activation::gelu), one_(channel_affine::identity(c.channels)) {}

    /// Images of the extent `size`, to a map of the extent output().
    void run(const context &c, const image_source &images, const extent &size, const map &out) const {
        if (first_.only_conv() && second_.only_conv() && third_.only_conv()) return run_fused(c, images, size, out);
        const scope s(c);
        const map in = c.take_map(size, 1, size.channels);
        import_images(c, images, in);
        const map half = c.take_map(first_.output(size), 1);
        first_.run(c, in, half);
        const map quarter = c.take_map(out.size, 0);
        second_.run(c, half, quarter);
        third_.run(c, quarter, out);
    }

  private:
    static std::array<reparam::conv_shape, 3> dims(const config &c) noexcept {
        return {{{.in = c.in_channels, .out = c.channels, .kernel = 3, .stride = 2},
                 {.in = c.channels, .out = c.channels, .kernel = 3, .stride = 2, .depthwise = true},
                 {.in = c.channels, .out = c.channels}}};
    }

    // Output rows of a step.
    static constexpr index_type step = 4;
    // Columns of a call of the depthwise kernel: a cache line holds two of its blocks of channels, and is still in the
    // first-level cache for the second.
    static constexpr index_type block = 16;

    // Step by step down a band, so that neither the imported picture nor the first convolution's output, which is four times as
    // large as the last one's, leaves the cache. Two steps share a row of the first convolution's output; two bands both compute
    // it.
    void run_fused(const context &c, const image_source &images, const extent &size, const map &out) const {
        const convolution &first = *first_.only_conv(), &second = *second_.only_conv(), &third = *third_.only_conv();
        const scope s(c);
        const extent half = output_extent(first.dims(), size);
        const map picture_layout = unplaced_map({1, 4 * step + 3, size.width, size.channels}, 1, size.channels);
        const map strip_layout =
            unplaced_map({1, 2 * step + 1, half.width, half.channels}, 1, kernels::padded_channels(half.channels));
        const index_type pixel = strip_layout.pixel_stride, width = out.size.width;
        const index_type picture_floats = kernels::padded_channels(picture_layout.floats()), strip_floats = strip_layout.floats();
        const index_type floats = picture_floats + strip_floats + step * width * pixel;
        float *const scratch = c.take_scratch(floats);
        // Two bands for each worker, but at least two steps a band.
        const tiling bands = tiling::bands(out.size, std::max(out.size.height / (2 * c.workers), 2 * step), c.workers);
        c.parallel(bands.count(), [&](index_type i, int worker) {
            const tile t = bands[i];
            float *const memory = scratch + worker * floats;
            map picture = picture_layout; // row r of it is row 4 y - 3 + r of the image
            picture.origin = memory + picture.origin_offset();
            map strip = strip_layout; // row r of it is row 2 y - 1 + r of the first convolution's output
            strip.origin = memory + picture_floats + strip.origin_offset();
            float *const narrow = memory + picture_floats + strip_floats;
            clear_halo(picture);
            clear_halo(strip);
            // Windows start at row 0 here. Convolutions, which pad, assume that they start one row above.
            map picture_windows = picture, strip_windows = strip;
            picture_windows.origin += picture.row_stride;
            strip_windows.origin += strip.row_stride;
            for (index_type y = t.y, rows = 0; y < t.y + t.rows; y += rows) {
                if (y > t.y) std::copy_n(strip.at(0, 2 * rows, 0), half.width * pixel, strip.at(0, 0, 0));
                rows = std::min(step, t.y + t.rows - y);
                images.import_rows(size, t.image, 4 * y - 3, 4 * rows + 3, picture);
                for (index_type r = y > t.y ? 1 : 0; r < 2 * rows + 1; ++r) {
                    const index_type row = 2 * y - 1 + r;
                    if (row < 0 || row >= half.height)
                        std::fill_n(strip.at(0, r, 0), half.width * pixel, 0.0F);
                    else
                        run_first(c, first, picture_windows, {0, r, 0, 1, half.width}, strip.at(0, r, 0), pixel);
                }
                for (index_type x = 0, count; x < width; x += count) {
                    count = std::min(block, width - x);
                    c.kernels.depthwise(depthwise_over(second.depthwise(), strip_windows, {0, 0, x, rows, count},
                                                       narrow + x * pixel, pixel, width * pixel));
                }
                c.kernels.affine({.x = narrow,
                                  .x_pixel = pixel,
                                  .y = narrow,
                                  .y_pixel = pixel,
                                  .pixels = rows * width,
                                  .channels = pixel,
                                  .scale = one_.scale(),
                                  .shift = one_.shift(),
                                  .act = activation::gelu});
                for (index_type r = 0; r < rows; ++r)
                    run_third(c, third, narrow + r * width * pixel, pixel, {t.image, y + r, 0, 1, width}, out);
            }
        });
    }

    static void run_first(const context &c, const convolution &first, const map &in, tile row, float *out, index_type pixel) {
        float *to[kernels::gemm_max_pixels];
        for (const index_type end = row.columns; row.x < end; row.x += row.columns, out += row.columns * pixel) {
            row.columns = std::min(kernels::gemm_max_pixels, end - row.x);
            run_pixels(out, pixel, row.columns, to);
            first.run_dense(c, in, row, to, activation::gelu);
        }
    }

    static void run_third(const context &c, const convolution &third, float *in, index_type pixel, tile row, const map &out) {
        const float *a[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        for (const index_type end = row.columns; row.x < end; row.x += row.columns, in += row.columns * pixel) {
            row.columns = std::min(kernels::gemm_max_pixels, end - row.x);
            run_pixels(in, pixel, row.columns, a);
            tile_pixels(out, row, to);
            c.kernels.gemm(gemm_over(third.matrix(), a, to, row.columns, activation::gelu));
        }
    }

    mobile_one first_, second_, third_;
    channel_affine one_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
