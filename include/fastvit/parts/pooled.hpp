// SPDX-License-Identifier: MIT
// Global average pooling, and pointwise layers over the pooled vectors.
#pragma once

#include "fastvit/parts/convolution.hpp"

#include <algorithm>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// out[n][c] = the mean of channel c of image n; `row` floats between images, at least m.channels(). Channels are shared out over
/// the workers and each is summed in the order of the pixels, so the bits do not depend on the threads.
inline void run_mean(const context &c, const map &m, float *out, index_type row) {
    constexpr index_type slice = 64;
    const index_type slices = (m.channels() + slice - 1) / slice;
    const float scale = 1.0F / static_cast<float>(m.size.height * m.size.width);
    c.parallel(m.size.images * slices, [&](index_type i, int) {
        const index_type n = i / slices, first = i % slices * slice, count = std::min(slice, m.channels() - first);
        float *const sums = out + n * row + first;
        std::fill_n(sums, count, 0.0F);
        for (index_type y = 0; y < m.size.height; ++y)
            c.kernels.sum(
                {.x = m.at(n, y, 0) + first, .x_pixel = m.pixel_stride, .pixels = m.size.width, .channels = count, .sums = sums});
        for (index_type j = 0; j < count; ++j) sums[j] *= scale;
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
