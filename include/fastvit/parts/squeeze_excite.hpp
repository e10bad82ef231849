// SPDX-License-Identifier: MIT
// Pooling over a map, and squeeze and excite.
#pragma once

#include "fastvit/parts/convolution.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

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

/// A pointwise layer over vectors that lie one after the other: pooled features.
inline void run_linear(const context &c, const kernels::packed_matrix &w, float *in, index_type in_row, float *out,
                       index_type out_row, index_type vectors, activation act = activation::none) {
    // Panels are shared out, because there are few vectors and the weights are most of the work.
    const index_type panels = (w.columns + w.format.panel - 1) / w.format.panel;
    const index_type groups = std::min(panels, 4 * index_type{c.workers});
    for (index_type first = 0; first < vectors; first += kernels::gemm_max_pixels) {
        const index_type count = std::min(kernels::gemm_max_pixels, vectors - first);
        c.parallel(groups, [&](index_type i, int) {
            const float *a[kernels::gemm_max_pixels];
            float *to[kernels::gemm_max_pixels];
            run_pixels(in + first * in_row, in_row, count, a);
            run_pixels(out + first * out_row, out_row, count, to);
            kernels::gemm_args g = gemm_over(w, a, to, count, act);
            g.column_begin = panels * i / groups * w.format.panel;
            g.column_end = std::min(w.columns, panels * (i + 1) / groups * w.format.panel);
            c.kernels.gemm(g);
        });
    }
}

/// x * sigmoid(expand(relu(reduce(mean of x)))), and the activation that follows it, in place (official `SEBlock`).
class squeeze_excite {
  public:
    squeeze_excite(const kernels::weight_target &target, const weights::squeeze_excite &w)
        : reduce_(pack_pointwise(target, w.reduce.kernel, w.reduce.bias)),
          expand_(pack_pointwise(target, w.expand.kernel, w.expand.bias)), no_shift_(expand_.columns) {}

    void run(const context &c, const map &m, activation act) const {
        const scope s(c);
        const index_type images = m.size.images, wide = m.channels(), narrow = reduce_.columns;
        float *const mean = c.memory.take(images * wide);
        float *const reduced = c.memory.take(images * narrow);
        float *const gate = c.memory.take(images * wide);
        run_mean(c, m, mean, wide);
        run_linear(c, reduce_, mean, wide, reduced, narrow, images, activation::relu);
        run_linear(c, expand_, reduced, narrow, gate, wide, images, activation::sigmoid);
        channel_affine::run_affine(c, m, m, gate, wide, no_shift_.data(), false, act);
    }

  private:
    kernels::packed_matrix reduce_, expand_;
    kernels::float_buffer no_shift_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
