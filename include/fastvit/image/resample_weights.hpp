// SPDX-License-Identifier: MIT
// The weights with which Pillow resamples one axis of an 8-bit picture (precompute_coeffs and normalize_coeffs_8bpc in its
// Resample.c), bit for bit: in its order, each step rounded by itself. Not API: preprocess.hpp is.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace resampling {

/// An interpolation kernel: zero outside [-support, support].
struct filter {
    double support; ///< a power of two
    double (*weight)(double) noexcept;
};

/// 1 - |x|.
inline double triangle_weight(double x) noexcept {
    x = x < 0 ? -x : x;
    return x < 1 ? 1 - x : 0;
}

/// Keys' cubic convolution with a = -0.5, in Pillow's order of evaluation.
inline double cubic_weight(double x) noexcept {
    constexpr double a = -0.5;
    x = x < 0 ? -x : x;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

inline constexpr filter bilinear_filter{1, triangle_weight};
inline constexpr filter bicubic_filter{2, cubic_weight};

/// How a side of the picture becomes a side of the output: zeros are put around it, it is resampled, then cut or framed with
/// zeros.
struct axis {
    index_type source;  ///< pixels of the picture
    index_type before;  ///< zeros before them
    index_type padded;  ///< pixels with all the zeros
    index_type resized; ///< what these are resampled to
    index_type origin;  ///< the first of `resized` that is output; negative where the output begins with zeros
    index_type output;  ///< pixels of the output
};

/// The weights of two neighbouring pixels, each high * 4096 + low with 22 fractional bits. No weight exceeds 1.2 (bicubic at the
/// border of an enlarged picture: 9/8), so `high` has room to spare; `low` is in [0, 4096).
struct weight_pair {
    std::array<std::int16_t, 2> high{}, low{};
};

/// The weights of one axis. Only the picture's own pixels have any: the zeros around it would add nothing.
class weight_table {
  public:
    /// The weights of one pixel of the output. Pairs are those of the pixels begin() + 2 * first and so on, so that the first and
    /// the last weight may be padding, zero.
    struct window {
        index_type first, count;
        const weight_pair *weights;
    };

    /// Reuses the memory of the last call.
    void build(const axis &a, const filter &f) {
        const double scale = static_cast<double>(a.padded) / static_cast<double>(a.resized);
        const double stretch = scale > 1 ? scale : 1;
        const double support = f.support * stretch;
        const double shrink = 1 / stretch;

        windows_.assign(static_cast<std::size_t>(a.output), {});
        pairs_.clear();
        begin_ = end_ = longest_ = 0;
        for (index_type i = 0; i < a.output; ++i) {
            const index_type position = a.origin + i;
            if (position < 0 || position >= a.resized) continue;
            const double center = (static_cast<double>(position) + 0.5) * scale;
            const index_type low = std::max<index_type>(0, static_cast<index_type>(center - support + 0.5));
            const index_type high = std::min(a.padded, static_cast<index_type>(center + support + 0.5));
            taps_.clear();
            double sum = 0;
            for (index_type x = low; x < high; ++x) {
                taps_.push_back(f.weight((static_cast<double>(x) - center + 0.5) * shrink));
                sum += taps_.back();
            }
            const index_type first = std::max(low, a.before);
            const index_type last = std::min(high, a.before + a.source);
            if (first >= last) continue;
            if (end_ == 0) begin_ = first - a.before;
            end_ = last - a.before; // like the centre, both ends only ever move right

            const index_type offset = static_cast<index_type>(pairs_.size());
            const index_type pair = (first - a.before - begin_) / 2;
            const index_type count = (end_ - begin_ + 1) / 2 - pair;
            windows_[static_cast<std::size_t>(i)] = {pair, count, offset};
            longest_ = std::max(longest_, count);
            pairs_.resize(static_cast<std::size_t>(offset + count));
            for (index_type x = first; x < last; ++x)
                set(pairs_.data() + offset, x - a.before - begin_ - 2 * pair, taps_[static_cast<std::size_t>(x - low)] / sum);
        }
    }

    /// The pixels of the picture that are needed: [begin, end).
    index_type begin() const noexcept { return begin_; }
    index_type end() const noexcept { return end_; }
    /// The number of pairs of the longest window.
    index_type longest() const noexcept { return longest_; }
    /// Pixel i of the output; no pairs where it is zero.
    window operator[](index_type i) const noexcept {
        const slice &s = windows_[static_cast<std::size_t>(i)];
        return {s.first, s.count, pairs_.data() + s.offset};
    }

  private:
    struct slice {
        index_type first = 0, count = 0, offset = 0;
    };

    static void set(weight_pair *pairs, index_type at, double weight) noexcept {
        const double scaled = weight * (1 << 22); // exact, as the support is
        const auto fixed = static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        pairs[at / 2].high[static_cast<std::size_t>(at % 2)] = static_cast<std::int16_t>(fixed >> 12);
        pairs[at / 2].low[static_cast<std::size_t>(at % 2)] = static_cast<std::int16_t>(fixed & 4095);
    }

    std::vector<slice> windows_;
    std::vector<weight_pair> pairs_;
    std::vector<double> taps_;
    index_type begin_ = 0, end_ = 0, longest_ = 0;
};

}}} // namespace fastvit::FASTVIT_ABI::resampling

FASTVIT_STRICT_MATH_END
