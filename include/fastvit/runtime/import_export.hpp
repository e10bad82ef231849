// SPDX-License-Identifier: MIT
// Between the caller's NCHW tensors and the network's NHWC maps.
#pragma once

#include "fastvit/runtime/context.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

/// Copies `rows` rows of image n of an NCHW batch of the extent `size`, from row `first` on, to the rows from 0 on of a map of
/// one image without padding between channels (the stem's input). Rows outside the image are zero.
inline void import_rows(const float *nchw, const extent &size, index_type n, index_type first, index_type rows, const map &out) {
    for (index_type r = 0; r < rows; ++r) {
        const index_type y = first + r;
        float *const to = out.at(0, r, 0);
        if (y < 0 || y >= size.height) {
            std::fill_n(to, size.width * out.pixel_stride, 0.0F);
            continue;
        }
        for (index_type channel = 0; channel < size.channels; ++channel) {
            const float *const from = nchw + ((n * size.channels + channel) * size.height + y) * size.width;
            for (index_type x = 0; x < size.width; ++x) to[x * out.pixel_stride + channel] = from[x];
        }
    }
}

/// Copies an NCHW batch into a map of its extent, without padding between channels.
inline void import_nchw(const context &c, const float *nchw, const map &out) {
    const tiling bands = tiling::bands(out.size, 8, c.workers);
    c.parallel(bands.count(), [&](index_type i, int) {
        const tile t = bands[i];
        map band = out;
        band.origin = out.at(t.image, t.y, 0);
        import_rows(nchw, out.size, t.image, t.y, t.rows, band);
    });
}

/// Copies a map into an NCHW batch.
inline void export_nchw(const context &c, const map &in, float *nchw) {
    const index_type rows = in.size.height, plane = rows * in.size.width;
    c.parallel(in.size.images * rows, [&](index_type i, int) {
        const index_type n = i / rows, y = i % rows;
        const float *const from = in.at(n, y, 0);
        for (index_type channel = 0; channel < in.size.channels; ++channel) {
            float *const to = nchw + (n * in.size.channels + channel) * plane + y * in.size.width;
            for (index_type x = 0; x < in.size.width; ++x) to[x] = from[x * in.pixel_stride + channel];
        }
    });
}

}}} // namespace fastvit::FASTVIT_ABI::nn
