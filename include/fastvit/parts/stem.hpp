// SPDX-License-Identifier: MIT
// The convolutional stem: 3 x 3 stride 2, depthwise 3 x 3 stride 2, 1 x 1, each with GELU (paper, figure 2b).
#pragma once

#include "fastvit/parts/encoded_windows.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/part_cost.hpp"
#include "fastvit/runtime/image_source.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
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
        : first_(target.in("0"), w.convs[0], activation::gelu), second_(target.in("1"), w.convs[1], activation::gelu),
          third_(target.in("2"), w.convs[2], activation::gelu), one_(channel_affine::identity(c.channels)) {}

    /// Images of the extent `size`, to a map of the extent output().
    void run(const context &c, const image_source &images, const extent &size, const map &out) const {
        if (first_.only_conv() && second_.only_conv() && third_.only_conv()) return run_fused(c, images, size, out);
        const scope s(c.memory);
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
        const scope s(c.memory);
        const extent half = output_extent(first.dims(), size);
        const picture_rows picture(c, first, size);
        const map strip_layout =
            unplaced_map({1, 2 * step + 1, half.width, half.channels}, 1, kernels::padded_channels(half.channels));
        const index_type pixel = strip_layout.pixel_stride, width = out.size.width;
        const operand_layout operand(c, third.matrix(), std::min(width, kernels::gemm_max_pixels));
        const index_type strip_floats = strip_layout.floats(), narrow_floats = step * width * pixel;
        const index_type floats = picture.floats() + strip_floats + narrow_floats + operand.floats;
        const worker_scratch scratch = c.memory.take_scratch(floats);
        // Two bands for each worker, but at least two steps a band.
        const tiling bands = tiling::bands(out.size, std::max(out.size.height / (2 * c.workers), 2 * step), c.workers);
        c.parallel(bands.count(), [&](index_type i, int worker) {
            const tile t = bands[i];
            float *const memory = scratch.of(worker);
            map strip = strip_layout; // row r of it is row 2 y - 1 + r of the first convolution's output
            strip.origin = memory + picture.floats() + strip.origin_offset();
            float *const narrow = memory + picture.floats() + strip_floats, *const encoded = narrow + narrow_floats;
            picture.clear(memory);
            clear_halo(strip);
            // Windows start at row 0 here. Convolutions, which pad, assume that they start one row above.
            map strip_windows = strip;
            strip_windows.origin += strip.row_stride;
            for (index_type y = t.y, rows = 0; y < t.y + t.rows; y += rows) {
                if (y > t.y) std::copy_n(strip.at(0, 2 * rows, 0), half.width * pixel, strip.at(0, 0, 0));
                rows = std::min(step, t.y + t.rows - y);
                picture.import(c, memory, images, size, t.image, 4 * y - 3, 4 * rows + 3);
                for (index_type r = y > t.y ? 1 : 0; r < 2 * rows + 1; ++r) {
                    const index_type row = 2 * y - 1 + r;
                    if (row < 0 || row >= half.height)
                        std::fill_n(strip.at(0, r, 0), half.width * pixel, 0.0F);
                    else
                        picture.run(c, memory, first, r, half.width, strip.at(0, r, 0), pixel);
                }
                for (index_type x = 0, count; x < width; x += count) {
                    count = std::min(block, width - x);
                    c.kernels.depthwise(depthwise_over(second.depthwise(), strip_windows, {0, 0, x, rows, count},
                                                       narrow + x * pixel, pixel, width * pixel));
                }
                if (!encodes(third.matrix()))
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
                    run_third(c, third, operand, narrow + r * width * pixel, pixel, encoded, {t.image, y + r, 0, 1, width}, out);
            }
        });
    }

    // The rows of an image that a step needs, in the memory of a worker: float32, or encoded for the first convolution.
    class picture_rows {
      public:
        picture_rows(const context &c, const convolution &first, const extent &size)
            : layout_(unplaced_map({1, rows, size.width, size.channels}, 1, size.channels)) {
            if (encodes(first.matrix())) {
                encoded_.emplace(c, first.matrix(), first.dims(), rows, size.width,
                                 std::min(output_extent(first.dims(), size).width, kernels::gemm_max_pixels));
                layout_ = unplaced_map({1, 1, size.width, size.channels}, 1, size.channels);
            }
            // Encoding reads a row up to a multiple of channel_padding.
            plain_floats_ = kernels::padded_channels(layout_.floats() + kernels::channel_padding - 1);
        }

        index_type floats() const noexcept { return plain_floats_ + (encoded_ ? encoded_->floats() : 0); }
        void clear(float *memory) const { clear_halo(placed(memory)); }

        /// Row r of them becomes row `row` + r of the image.
        void import(const context &c, float *memory, const image_source &images, const extent &size, index_type image,
                    index_type row, index_type count) const {
            const map picture = placed(memory);
            if (!encoded_) return images.import_rows(size, image, row, count, picture);
            for (index_type r = 0; r < count; ++r) {
                images.import_rows(size, image, row + r, 1, picture);
                encoded_->encode_row(c, memory + plain_floats_, r, picture.at(0, 0, -1));
            }
        }

        /// A row of the first convolution's output, whose windows begin in row 2 r.
        void run(const context &c, float *memory, const convolution &first, index_type r, index_type width, float *out,
                 index_type pixel) const {
            float *to[kernels::gemm_max_pixels];
            map windows = placed(memory); // without the row above that the convolution pads
            windows.origin += windows.row_stride;
            for (index_type x = 0, count; x < width; x += count, out += count * pixel) {
                count = std::min(kernels::gemm_max_pixels, width - x);
                run_pixels(out, pixel, count, to);
                if (encoded_)
                    encoded_->multiply(c, first.matrix(), memory + plain_floats_, 2 * r, x, count, to, activation::gelu);
                else
                    first.run_dense(c, windows, {0, r, x, 1, count}, to, activation::gelu);
            }
        }

      private:
        static constexpr index_type rows = 4 * step + 3;
        map placed(float *memory) const noexcept {
            map m = layout_;
            m.origin = memory + m.origin_offset();
            return m;
        }

        map layout_; // of all rows, or of the one that is encoded next
        index_type plain_floats_ = 0;
        std::optional<encoded_windows> encoded_;
    };

    // GELU is computed while the operand is encoded, if it is.
    static void run_third(const context &c, const convolution &third, const operand_layout &operand, float *in, index_type pixel,
                          float *encoded, tile row, const map &out) {
        const float *a[kernels::gemm_max_pixels];
        float *to[kernels::gemm_max_pixels];
        const kernels::packed_matrix &matrix = third.matrix();
        for (const index_type end = row.columns; row.x < end; row.x += row.columns, in += row.columns * pixel) {
            row.columns = std::min(kernels::gemm_max_pixels, end - row.x);
            run_pixels(in, pixel, row.columns, a);
            tile_pixels(out, row, to);
            run_matrix(c, matrix, {a, row.columns, operand, encoded}, to,
                       {.before = encodes(matrix) ? activation::gelu : activation::none, .after = activation::gelu});
        }
    }

    mobile_one first_, second_, third_;
    channel_affine one_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
