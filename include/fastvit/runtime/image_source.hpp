// SPDX-License-Identifier: MIT
// Between the caller's memory and the network's maps: images are read row by row, and results are transposed to NCHW.
#pragma once

#include "fastvit/image/byte_values.hpp"
#include "fastvit/runtime/context.hpp"
#include "fastvit/runtime/tiling.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fastvit { inline namespace FASTVIT_ABI { namespace runtime {

/// A batch of images of one extent that somebody else owns, in one of two forms.
class image_source {
  public:
    /// N x channels x height x width.
    static image_source planes(const float *data) {
        image_source s;
        s.planes_ = data;
        return s;
    }
    /// N x height x width x 3 bytes, as they come out of a decoder.
    static image_source pixels(const std::uint8_t *data, const byte_values &values) {
        image_source s;
        s.pixels_ = data;
        s.values_ = &values;
        return s;
    }

    /// The images from number `first` on, of a batch of this extent.
    image_source from(const extent &size, index_type first) const {
        image_source s = *this;
        const index_type elements = first * size.height * size.width * size.channels;
        if (planes_) s.planes_ += elements;
        if (pixels_) s.pixels_ += elements;
        return s;
    }

    /// Copies `rows` rows of image n, from row `first` on, to the rows from 0 on of a map of one image without padding between
    /// channels. Rows outside the image are zero.
    void import_rows(const extent &size, index_type n, index_type first, index_type rows, const map &out) const {
        for (index_type r = 0; r < rows; ++r) {
            const index_type y = first + r;
            float *const to = out.at(0, r, 0);
            if (y < 0 || y >= size.height)
                std::fill_n(to, size.width * out.pixel_stride, 0.0F);
            else if (pixels_)
                import_pixels(pixels_ + (n * size.height + y) * size.width * 3, size.width, to);
            else
                import_planes(size, n, y, out.pixel_stride, to);
        }
    }

  private:
    void import_pixels(const std::uint8_t *from, index_type width, float *to) const {
        for (index_type x = 0; x < width; ++x, from += 3, to += 3)
            for (std::size_t channel = 0; channel < 3; ++channel) to[channel] = (*values_)[channel][from[channel]];
    }
    void import_planes(const extent &size, index_type n, index_type y, index_type pixel_stride, float *to) const {
        const index_type plane = size.height * size.width;
        const float *const from = planes_ + n * size.channels * plane + y * size.width;
        if (size.channels == 3) return interleave(from, from + plane, from + 2 * plane, size.width, to);
        for (index_type channel = 0; channel < size.channels; ++channel)
            for (index_type x = 0; x < size.width; ++x) to[x * pixel_stride + channel] = from[channel * plane + x];
    }

    // Four pixels at a time: number by number, an image takes 7% of the stem's time.
    static void interleave(const float *red, const float *green, const float *blue, index_type count, float *to) {
        using floats = float __attribute__((vector_size(16)));
        index_type x = 0;
        for (; x + 4 <= count; x += 4, to += 12) {
            floats r, g, b;
            std::memcpy(&r, red + x, sizeof r);
            std::memcpy(&g, green + x, sizeof g);
            std::memcpy(&b, blue + x, sizeof b);
            const floats low = __builtin_shufflevector(r, g, 0, 4, 1, 5), high = __builtin_shufflevector(r, g, 2, 6, 3, 7);
            const floats b0_r1 = __builtin_shufflevector(b, low, 0, 0, 6, 6), g1_b1 = __builtin_shufflevector(low, b, 3, 3, 5, 5),
                         b2_r3 = __builtin_shufflevector(b, high, 2, 2, 6, 6),
                         g3_b3 = __builtin_shufflevector(high, b, 3, 3, 7, 7);
            const floats pixels[] = {__builtin_shufflevector(low, b0_r1, 0, 1, 4, 6),
                                     __builtin_shufflevector(g1_b1, high, 0, 2, 4, 5),
                                     __builtin_shufflevector(b2_r3, g3_b3, 0, 2, 4, 6)};
            std::memcpy(to, pixels, sizeof pixels);
        }
        for (; x < count; ++x, to += 3) to[0] = red[x], to[1] = green[x], to[2] = blue[x];
    }

    const float *planes_ = nullptr;
    const std::uint8_t *pixels_ = nullptr;
    const byte_values *values_ = nullptr;
};

/// Copies a batch into a map of its extent, without padding between channels.
inline void import_images(const context &c, const image_source &images, const map &out) {
    const tiling bands = tiling::bands(out.size, 8, c.workers);
    c.parallel(bands.count(), [&](index_type i, int) {
        const tile t = bands[i];
        map band = out;
        band.origin = out.at(t.image, t.y, 0);
        images.import_rows(out.size, t.image, t.y, t.rows, band);
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

}}} // namespace fastvit::FASTVIT_ABI::runtime
