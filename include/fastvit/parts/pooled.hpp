// SPDX-License-Identifier: MIT
// Means of whole images: global average pooling, pointwise layers over the pooled vectors, maps less their mean.
#pragma once

#include "fastvit/parts/convolution.hpp"

#include <algorithm>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// Channels of an image whose mean is the work of one task: a worker sums each of them in the order of the pixels, so the bits do
/// not depend on the threads.
struct channel_slice {
    static constexpr index_type most = 64;
    index_type image, first, count;

    static index_type per_image(const map &m) noexcept { return (m.channels() + most - 1) / most; }
    channel_slice(const map &m, index_type number)
        : image(number / per_image(m)), first(number % per_image(m) * most), count(std::min(most, m.channels() - first)) {}

    void mean(const context &c, const map &m, float *out) const {
        std::fill_n(out, count, 0.0F);
        for (index_type y = 0; y < m.size.height; ++y)
            c.kernels.sum({.x = m.at(image, y, 0) + first,
                           .x_pixel = m.pixel_stride,
                           .pixels = m.size.width,
                           .channels = count,
                           .sums = out});
        const float scale = 1.0F / static_cast<float>(m.size.height * m.size.width);
        for (index_type j = 0; j < count; ++j) out[j] *= scale;
    }
};

/// out[n][c] = the mean of channel c of image n; `row` floats between images, at least m.channels().
inline void run_mean(const context &c, const map &m, float *out, index_type row) {
    c.parallel(m.size.images * channel_slice::per_image(m), [&](index_type i, int) {
        const channel_slice s(m, i);
        s.mean(c, m, out + s.image * row + s.first);
    });
}

/// out = m less the mean of each channel of each image.
inline void run_centred(const context &c, const map &m, const map &out) {
    c.parallel(m.size.images * channel_slice::per_image(m), [&](index_type i, int) {
        const channel_slice s(m, i);
        alignas(alignment) float shift[channel_slice::most], one[channel_slice::most];
        s.mean(c, m, shift);
        for (index_type j = 0; j < s.count; ++j) {
            shift[j] = -shift[j];
            one[j] = 1;
        }
        for (index_type y = 0; y < m.size.height; ++y)
            c.kernels.affine({.x = m.at(s.image, y, 0) + s.first,
                              .x_pixel = m.pixel_stride,
                              .y = out.at(s.image, y, 0) + s.first,
                              .y_pixel = out.pixel_stride,
                              .pixels = m.size.width,
                              .channels = s.count,
                              .scale = one,
                              .shift = shift});
    });
}

/// A pointwise layer over vectors that lie one after the other: pooled features. Columns are shared out, because there are few
/// vectors and the weights are most of the work.
inline void run_linear(const context &c, const kernels::packed_matrix &w, float *in, index_type in_row, float *out,
                       index_type out_row, index_type vectors, activation act = activation::none) {
    const auto as_map = [vectors](float *first, index_type row, index_type channels) {
        return map{
            .origin = first, .size = {vectors, 1, 1, channels}, .pixel_stride = row, .row_stride = row, .image_stride = row};
    };
    run_columns(c, w, as_map(in, in_row, w.rows), as_map(out, out_row, w.columns), {.after = act});
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
