// SPDX-License-Identifier: MIT
// Between the caller's NCHW tensors and the network's NHWC maps.
#pragma once

#include "fastvit/nn/context.hpp"

namespace fastvit::inline FASTVIT_ABI {
namespace nn {

/// Copies an NCHW batch into a map without padding between channels (the stem's input).
inline void import_nchw(const context &c, const float *nchw, const map &out) {
    const index rows = out.size.height, plane = rows * out.size.width;
    c.parallel(out.size.images * rows, [&](index i, int) {
        const index n = i / rows, y = i % rows;
        for (index channel = 0; channel < out.size.channels; ++channel) {
            const float *const from = nchw + (n * out.size.channels + channel) * plane + y * out.size.width;
            float *const to = out.at(n, y, 0) + channel;
            for (index x = 0; x < out.size.width; ++x) to[x * out.pixel_stride] = from[x];
        }
    });
}

/// Copies a map into an NCHW batch.
inline void export_nchw(const context &c, const map &in, float *nchw) {
    const index rows = in.size.height, plane = rows * in.size.width;
    c.parallel(in.size.images * rows, [&](index i, int) {
        const index n = i / rows, y = i % rows;
        const float *const from = in.at(n, y, 0);
        for (index channel = 0; channel < in.size.channels; ++channel) {
            float *const to = nchw + (n * in.size.channels + channel) * plane + y * in.size.width;
            for (index x = 0; x < in.size.width; ++x) to[x] = from[x * in.pixel_stride + channel];
        }
    });
}

} // namespace nn
} // namespace fastvit::inline FASTVIT_ABI
