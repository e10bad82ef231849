// SPDX-License-Identifier: MIT
// Activations: NHWC maps with a halo of zeros, so that no kernel tests for the border.
#pragma once

#include "fastvit/kernels/channels.hpp"

#include <algorithm>

namespace fastvit { inline namespace FASTVIT_ABI { namespace runtime {

/// The extent of a batch of feature maps.
struct extent {
    index_type images = 0, height = 0, width = 0, channels = 0;

    index_type pixels() const noexcept { return images * height * width; }
    /// After a convolution of stride 2 that pads half its odd kernel.
    extent halved(index_type out_channels) const noexcept { return {images, (height + 1) / 2, (width + 1) / 2, out_channels}; }
    extent with_channels(index_type c) const noexcept { return {images, height, width, c}; }

    friend bool operator==(const extent &, const extent &) = default;
};

/// Float32 activations that the workspace owns:
///
///     pixel(n, y, x) = origin + n * image + y * row + x * pixel,   -halo <= y < height + halo, likewise x
///
/// The channels of a pixel are consecutive and padded with zeros to kernels::channel_padding.
struct map {
    float *origin = nullptr; ///< channel 0 of pixel (0, 0) of image 0
    extent size;
    index_type halo = 0;
    index_type pixel_stride = 0, row_stride = 0, image_stride = 0; ///< in floats

    float *at(index_type n, index_type y, index_type x) const noexcept {
        return origin + n * image_stride + y * row_stride + x * pixel_stride;
    }
    index_type channels() const noexcept { return kernels::padded_channels(size.channels); }
    index_type floats() const noexcept { return size.images * image_stride; }
    /// Of the origin from the beginning of its memory of floats() floats.
    index_type origin_offset() const noexcept { return halo * (row_stride + pixel_stride); }
};

/// Floats between pixels, in maps and in tiles. Where the channels are a multiple of 8 cache lines (128, 256, 512, ...), the
/// pixels under a 7 x 7 window fall into few sets of a first-level cache (64 sets of 8 lines on most machines), and each evicts
/// the others: one line more, and they spread over all of them. So do the rows of a tile that a matrix product writes and an
/// activation reads again. Measured: a depthwise 7 x 7 of 8 x 8 x 512 at 75 instead of 22 GFLOP/s; hidden maps of 256 to 2048
/// channels, 2% of SA12.
constexpr index_type spread_channels(index_type channels) noexcept {
    const index_type padded = kernels::padded_channels(channels), lines = padded / kernels::channel_padding;
    return lines % 8 == 0 ? padded + kernels::channel_padding : padded;
}

/// A map that has no memory yet: set origin to its memory plus origin_offset().
inline map unplaced_map(const extent &size, index_type halo, index_type pixel_stride) noexcept {
    map m{.size = size, .halo = halo, .pixel_stride = pixel_stride};
    m.row_stride = (size.width + 2 * halo) * pixel_stride;
    m.image_stride = (size.height + 2 * halo) * m.row_stride;
    return m;
}

/// Writes the zeros around the images.
inline void clear_halo(const map &m) noexcept {
    if (m.halo == 0) return;
    const index_type side = m.halo * m.pixel_stride;
    for (index_type n = 0; n < m.size.images; ++n) {
        std::fill_n(m.at(n, -m.halo, -m.halo), m.halo * m.row_stride, 0.0F);
        for (index_type y = 0; y < m.size.height; ++y) {
            std::fill_n(m.at(n, y, -m.halo), side, 0.0F);
            std::fill_n(m.at(n, y, m.size.width), side, 0.0F);
        }
        std::fill_n(m.at(n, m.size.height, -m.halo), m.halo * m.row_stride, 0.0F);
    }
}

}}} // namespace fastvit::FASTVIT_ABI::runtime
