// SPDX-License-Identifier: MIT
// Resampling of 8-bit pictures, byte for byte as Pillow does it. Not API: preprocess.hpp is.
//
// Pillow filters the rows, rounds to 8 bits, filters the columns and rounds again, with weights of 22 fractional bits. Products
// of that width are what baseline x86-64 lacks in vectors. So a weight is split in two of 16 bits and pixels are taken in pairs:
// pmaddwd then does eight products and the additions within the pairs, exactly, and the sums are exact modulo 2^32.
//
// The row filter works on four rows at once. `stage` makes them a band: for each two columns, the vectors [a b c d] of red, green
// and blue pairs, so that the lanes are rows, none idles, and the inner loop shuffles nothing. The result is kept as pairs too,
// of two rows side by side, which is how the column filter reads it. Only the rows that an output row still needs are kept.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/image/resample_weights.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace fastvit { inline namespace FASTVIT_ABI { namespace resampling {

using u8x4 [[gnu::vector_size(4)]] = std::uint8_t;
using u8x16 [[gnu::vector_size(16)]] = std::uint8_t;
using i16x8 [[gnu::vector_size(16)]] = std::int16_t;
using i32x4 [[gnu::vector_size(16)]] = std::int32_t;
using u32x4 [[gnu::vector_size(16)]] = std::uint32_t;

template <class Vector> Vector load(const void *p) noexcept {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline u8x16 interleave_low(u8x16 a, u8x16 b) noexcept {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

inline u8x16 interleave_high(u8x16 a, u8x16 b) noexcept {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Bytes between zeros: GCC makes much more of __builtin_convertvector.
inline i16x8 widen_low(u8x16 v) noexcept {
    constexpr bool little = std::endian::native == std::endian::little;
    return reinterpret_cast<i16x8>(little ? interleave_low(v, u8x16{}) : interleave_low(u8x16{}, v));
}

inline i16x8 widen_high(u8x16 v) noexcept {
    constexpr bool little = std::endian::native == std::endian::little;
    return reinterpret_cast<i16x8>(little ? interleave_high(v, u8x16{}) : interleave_high(u8x16{}, v));
}

/// a[2i] * b[2i] + a[2i + 1] * b[2i + 1]. Which half of 32 bits comes first does not matter.
inline u32x4 multiply_pairs_portable(i16x8 a, i16x8 b) noexcept {
    const auto low = [](i16x8 v) { return reinterpret_cast<i32x4>(reinterpret_cast<u32x4>(v) << 16) >> 16; };
    const auto high = [](i16x8 v) { return reinterpret_cast<i32x4>(v) >> 16; };
    return reinterpret_cast<u32x4>(low(a) * low(b) + high(a) * high(b));
}

/// The sixteen numbers, clamped to 0..255.
inline u8x16 clamp_to_bytes_portable(i32x4 a, i32x4 b, i32x4 c, i32x4 d) noexcept {
    const auto narrow = [](i32x4 v) {
        v = v < 0 ? i32x4{} : v;
        return __builtin_convertvector(v > 255 ? i32x4{} + 255 : v, u8x4);
    };
    const auto ab = __builtin_shufflevector(narrow(a), narrow(b), 0, 1, 2, 3, 4, 5, 6, 7);
    const auto cd = __builtin_shufflevector(narrow(c), narrow(d), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

#if defined(__SSE2__)
inline u32x4 multiply_pairs(i16x8 a, i16x8 b) noexcept {
    return reinterpret_cast<u32x4>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
}
inline u8x16 clamp_to_bytes(i32x4 a, i32x4 b, i32x4 c, i32x4 d) noexcept {
    const __m128i low = _mm_packs_epi32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b));
    const __m128i high = _mm_packs_epi32(reinterpret_cast<__m128i>(c), reinterpret_cast<__m128i>(d));
    return reinterpret_cast<u8x16>(_mm_packus_epi16(low, high));
}
#else
inline u32x4 multiply_pairs(i16x8 a, i16x8 b) noexcept { return multiply_pairs_portable(a, b); }
inline u8x16 clamp_to_bytes(i32x4 a, i32x4 b, i32x4 c, i32x4 d) noexcept { return clamp_to_bytes_portable(a, b, c, d); }
#endif

/// A weight pair in all lanes.
struct weight_vectors {
    explicit weight_vectors(const weight_pair &w) noexcept
        : high(reinterpret_cast<i16x8>(i32x4{} + load<std::int32_t>(w.high.data()))),
          low(reinterpret_cast<i16x8>(i32x4{} + load<std::int32_t>(w.low.data()))) {}
    i16x8 high, low;
};

/// Four sums of weighted pixels. Unsigned: the parts may wrap where the whole does not.
struct weighted_sum {
    u32x4 high{}, low = u32x4{} + (1u << 21); // rounds to nearest
    void add(i16x8 pixels, const weight_vectors &w) noexcept {
        high += multiply_pairs(pixels, w.high);
        low += multiply_pairs(pixels, w.low);
    }
    i32x4 rounded() const noexcept { return reinterpret_cast<i32x4>((high << 12) + low) >> 22; }
};

inline constexpr index_type band_rows = 4;
inline constexpr index_type staged_bytes =
    3 * band_rows * 2;                          ///< of two columns of a band: red a0 a1 b0 b1 c0 c1 d0 d1, green, blue
inline constexpr index_type pair_bytes = 3 * 2; ///< of one column of a pair of rows: red a b, green a b, blue a b
inline constexpr index_type slack = 16;         ///< stores are of whole vectors: the tail is overwritten, or not used

/// A pixel as bytes red, green, blue, anything. Reads one byte too many where there are three channels.
template <index_type Channels, bool BlueFirst> std::uint32_t load_pixel(const std::uint8_t *p) noexcept {
    if constexpr (Channels == 1) return *p * 0x01010101u;
    const auto pixel = load<std::uint32_t>(p);
    if constexpr (!BlueFirst) return pixel;
    const std::uint32_t swapped = __builtin_bswap32(pixel); // bytes anything, red, green, blue
    return std::endian::native == std::endian::little ? swapped >> 8 : swapped << 8;
}

/// `columns` pixels of four rows -> a band, at most (columns / 2 + 1) * staged_bytes + slack bytes.
template <index_type Channels, bool BlueFirst>
void stage(std::array<const std::uint8_t *, band_rows> rows, index_type columns, std::uint8_t *band) noexcept {
    const auto stage_pair = [](const std::array<const std::uint8_t *, band_rows> &r, index_type at, std::uint8_t *out) {
        const auto column = [&](index_type i) {
            constexpr auto pixel = load_pixel<Channels, BlueFirst>;
            return reinterpret_cast<u8x16>(u32x4{pixel(r[0] + i), pixel(r[1] + i), pixel(r[2] + i), pixel(r[3] + i)});
        };
        const u8x16 left = column(at), right = column(at + Channels);
        const auto ab = reinterpret_cast<i16x8>(interleave_low(left, right));
        const auto cd = reinterpret_cast<i16x8>(interleave_high(left, right));
        // One unit is a pair of bytes: rgb of a, rgb of b | rgb of c, rgb of d -> abcd of red, of green, of blue.
        const i16x8 ac = __builtin_shufflevector(ab, cd, 0, 8, 1, 9, 2, 10, 3, 11);
        const i16x8 bd = __builtin_shufflevector(ab, cd, 4, 12, 5, 13, 6, 14, 7, 15);
        const i16x8 red_green = __builtin_shufflevector(ac, bd, 0, 8, 1, 9, 2, 10, 3, 11);
        const i16x8 blue = __builtin_shufflevector(ac, bd, 4, 12, 5, 13, 6, 14, 7, 15);
        std::memcpy(out, &red_green, sizeof red_green);
        std::memcpy(out + sizeof red_green, &blue, sizeof blue);
    };
    // The last one or two pixels go through a copy, as the row may end with them.
    const index_type whole = (columns - 1) / 2;
    for (index_type i = 0; i < whole; ++i) stage_pair(rows, 2 * Channels * i, band + i * staged_bytes);
    std::array<std::array<std::uint8_t, 9>, band_rows> tail{}; // two pixels of four channels, and one byte too many
    std::array<const std::uint8_t *, band_rows> tail_rows{};
    for (std::size_t r = 0; r < rows.size(); ++r) {
        std::copy_n(rows[r] + 2 * Channels * whole, Channels * (columns - 2 * whole), tail[r].data());
        tail_rows[r] = tail[r].data();
    }
    stage_pair(tail_rows, 0, band + whole * staged_bytes);
}

/// The row filter: a band -> `output` columns of its two pairs of rows, output * pair_bytes + slack bytes each.
inline void filter_rows(const std::uint8_t *band, const weight_table &table, index_type output, std::uint8_t *ab,
                        std::uint8_t *cd) noexcept {
    for (index_type i = 0; i < output; ++i) {
        const weight_table::window window = table[i];
        const std::uint8_t *p = band + window.first * staged_bytes;
        weighted_sum red, green, blue;
        for (index_type k = 0; k < window.count; ++k, p += staged_bytes) {
            const weight_vectors w(window.weights[k]);
            const auto red_green = load<u8x16>(p), rest = load<u8x16>(p + 16);
            red.add(widen_low(red_green), w);
            green.add(widen_high(red_green), w);
            blue.add(widen_low(rest), w);
        }
        // Units: ab cd of red, of green, of blue -> ab of all, cd of all. In three steps, each of one instruction.
        auto units = reinterpret_cast<i16x8>(clamp_to_bytes(red.rounded(), green.rounded(), blue.rounded(), i32x4{}));
        units = __builtin_shufflevector(units, units, 0, 2, 1, 3, 4, 5, 6, 7);
        units = __builtin_shufflevector(units, units, 0, 1, 2, 3, 4, 6, 5, 7);
        units = __builtin_shufflevector(units, units, 0, 1, 4, 5, 2, 3, 6, 7);
        std::memcpy(ab + i * pair_bytes, &units, 8);
        std::memcpy(cd + i * pair_bytes, reinterpret_cast<const char *>(&units) + 8, 8);
    }
}

/// The column filter: pairs of rows -> one row of `elements` bytes, rounded up to 16. The pairs hold twice that.
inline void filter_columns(const std::uint8_t *const *pairs, const weight_table::window &window, index_type elements,
                           std::uint8_t *out) noexcept {
    for (index_type x = 0; x < elements; x += 16) {
        std::array<weighted_sum, 4> sums;
        for (index_type k = 0; k < window.count; ++k) {
            const weight_vectors w(window.weights[k]);
            const auto left = load<u8x16>(pairs[k] + 2 * x), right = load<u8x16>(pairs[k] + 2 * x + 16);
            sums[0].add(widen_low(left), w);
            sums[1].add(widen_high(left), w);
            sums[2].add(widen_low(right), w);
            sums[3].add(widen_high(right), w);
        }
        const u8x16 bytes = clamp_to_bytes(sums[0].rounded(), sums[1].rounded(), sums[2].rounded(), sums[3].rounded());
        std::memcpy(out + x, &bytes, sizeof bytes);
    }
}

/// Rows of pixels of `channels` bytes, `stride` bytes apart.
struct source_picture {
    const std::uint8_t *pixels;
    index_type channels, stride;
    bool blue_first;
};

/// Resamples pictures. Keeps its memory from one to the next.
class resampler {
  public:
    /// Gets ready for a picture of this geometry. Allocates only for pictures larger than before.
    void prepare(const axis &vertical, const axis &horizontal, const filter &f) {
        rows_.build(vertical, f);
        columns_.build(horizontal, f);
        height_ = vertical.output;
        width_ = horizontal.output;
        // A band brings two pairs, and the second may be one too many.
        slots_ = rows_.longest() + 1;
        grow(band_, (source_columns() / 2 + 1) * staged_bytes + slack);
        grow(ring_, slots_ * slot_bytes());
        grow(row_, elements());
        window_.resize(static_cast<std::size_t>(rows_.longest()));
    }

    /// Resamples the picture that it was prepared for. Calls sink(y, row) for each row of the output, from the top; a row
    /// is 3 bytes for each pixel of the output's width, red green blue.
    template <class Sink> void run(const source_picture &picture, Sink &&sink) {
        const auto slot = [&](index_type pair) { return ring_.data() + pair % slots_ * slot_bytes(); };
        index_type next = 0; // the pair that the ring gets next
        for (index_type y = 0; y < height_; ++y) {
            const weight_table::window window = rows_[y];
            for (; next < window.first + window.count; next += 2) {
                stage_band(picture, next);
                filter_rows(band_.data(), columns_, width_, slot(next), slot(next + 1));
            }
            for (index_type k = 0; k < window.count; ++k) window_[static_cast<std::size_t>(k)] = slot(window.first + k);
            filter_columns(window_.data(), window, elements(), row_.data());
            sink(y, static_cast<const std::uint8_t *>(row_.data()));
        }
    }

  private:
    index_type elements() const noexcept { return (width_ * 3 + 15) / 16 * 16; } ///< of a row, rounded up to vectors
    index_type slot_bytes() const noexcept { return 2 * elements() + slack; }
    index_type source_columns() const noexcept { return columns_.end() - columns_.begin(); }

    static void grow(std::vector<std::uint8_t> &v, index_type size) {
        if (v.size() < static_cast<std::size_t>(size)) v.resize(static_cast<std::size_t>(size));
    }

    void stage_band(const source_picture &picture, index_type pair) {
        std::array<const std::uint8_t *, band_rows> rows{};
        for (index_type r = 0; r < band_rows; ++r) {
            // Below the last row there is no weight: any pixels will do.
            const index_type y = std::min(rows_.begin() + 2 * pair + r, rows_.end() - 1);
            rows[static_cast<std::size_t>(r)] = picture.pixels + y * picture.stride + columns_.begin() * picture.channels;
        }
        const index_type columns = source_columns();
        if (picture.channels == 1)
            stage<1, false>(rows, columns, band_.data());
        else if (picture.blue_first)
            stage_colours<true>(picture.channels, rows, columns);
        else
            stage_colours<false>(picture.channels, rows, columns);
    }
    template <bool BlueFirst>
    void stage_colours(index_type channels, const std::array<const std::uint8_t *, band_rows> &rows, index_type columns) {
        if (channels == 3)
            stage<3, BlueFirst>(rows, columns, band_.data());
        else
            stage<4, BlueFirst>(rows, columns, band_.data());
    }

    weight_table rows_, columns_;
    index_type height_ = 0, width_ = 0; ///< of the output
    index_type slots_ = 0;              ///< of the ring, each a pair of rows
    std::vector<std::uint8_t> band_, ring_, row_;
    std::vector<const std::uint8_t *> window_;
};

}}} // namespace fastvit::FASTVIT_ABI::resampling
