// SPDX-License-Identifier: MIT
// What part of a picture becomes the network's input, and what its bytes stand for. Not API: preprocess.hpp is.
#pragma once

#include "fastvit/base/is_finite.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/image/byte_values.hpp"
#include "fastvit/image/resample.hpp"
#include "fastvit/picture.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace resampling {

inline constexpr index_type longest_side = index_type{1} << 20; // of a picture; and of what it is resized to
inline constexpr index_type longest_output = index_type{1} << 14;

[[noreturn]] inline void reject(std::string problem, std::string expected, std::string found) {
    throw error(error_kind::invalid_argument,
                {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found)});
}

inline void require_between(const char *what, index_type value, index_type low, index_type high) {
    if (value < low || value > high) reject(what, std::to_string(low) + " to " + std::to_string(high), std::to_string(value));
}

/// The picture with its stride filled in. Throws for an impossible one.
inline source_picture checked(const picture_view &p) {
    if (p.pixels == nullptr) throw error(error_kind::invalid_argument, "picture without pixels: the pointer is null");
    require_between("picture height", p.height, 1, longest_side);
    require_between("picture width", p.width, 1, longest_side);
    if (p.channels != 1 && p.channels != 3 && p.channels != 4)
        reject("picture channels", "1, 3 or 4", std::to_string(p.channels));
    const index_type row = p.width * p.channels;
    const index_type stride = p.row_stride == 0 ? row : p.row_stride;
    if (stride < row) reject("picture row stride", "at least " + std::to_string(row) + " bytes", std::to_string(stride));
    if (stride > std::numeric_limits<index_type>::max() / p.height)
        throw error(error_kind::invalid_argument, "picture of " + std::to_string(p.height) + " rows of " +
                                                      std::to_string(stride) + " bytes: the size overflows");
    return {p.pixels, p.channels, stride, p.order == channel_order::bgr};
}

/// floor(output / crop_fraction), as timm computes it: in double.
inline index_type before_crop(index_type output, double crop_fraction) {
    const double size = std::floor(static_cast<double>(output) / crop_fraction);
    if (!(crop_fraction > 0 && size >= 1 && size <= static_cast<double>(longest_side)))
        reject("crop fraction", "one that resizes the picture to 1 to 2^20 pixels", std::to_string(crop_fraction));
    return static_cast<index_type>(size);
}

/// The start of the centre crop; negative where the resized picture is smaller than the output, which zeros then frame.
inline index_type crop_origin(index_type resized, index_type output, crop_rounding rounding) noexcept {
    const index_type excess = resized - output, half = excess >> 1; // towards minus infinity
    if (excess % 2 == 0 || rounding == crop_rounding::down) return half;
    if (excess < 0) return half + 1; // torchvision's padding: floor of the missing half
    return half + half % 2;
}

struct geometry {
    axis vertical, horizontal;
};

inline geometry plan(const picture_view &p, const preprocessing &how) {
    require_between("output height", how.height, 1, longest_output);
    require_between("output width", how.width, 1, longest_output);
    const index_type square = std::max(p.height, p.width);
    const bool pad = how.rule == resize_rule::pad_to_square;
    const index_type height = pad ? square : p.height, width = pad ? square : p.width;
    const index_type target_height = before_crop(how.height, how.crop_fraction);
    const index_type target_width = before_crop(how.width, how.crop_fraction);

    index_type resized_height = target_height, resized_width = target_width;
    const bool fit = how.rule == resize_rule::longer_side;
    if (how.rule != resize_rule::squash && !fit && target_height == target_width) {
        // torchvision's Resize: int(target * long / short).
        if (height < width)
            resized_width = target_width * width / height;
        else
            resized_height = target_height * height / width;
    } else if (how.rule != resize_rule::squash) {
        // The ResizeKeepRatio of open_clip and of timm, which uses it for outputs that are not square. nearbyint is Python's
        // round.
        const double by_height = static_cast<double>(height) / static_cast<double>(target_height);
        const double by_width = static_cast<double>(width) / static_cast<double>(target_width);
        const double ratio = (by_height > by_width) == fit ? by_height : by_width;
        const auto resized = [&](index_type side) {
            return std::max(index_type{1}, static_cast<index_type>(std::nearbyint(static_cast<double>(side) / ratio)));
        };
        resized_height = resized(height);
        resized_width = resized(width);
    }
    return {{.source = p.height,
             .before = (height - p.height) / 2,
             .padded = height,
             .resized = resized_height,
             .origin = crop_origin(resized_height, how.height, how.rounding),
             .output = how.height},
            {.source = p.width,
             .before = (width - p.width) / 2,
             .padded = width,
             .resized = resized_width,
             .origin = crop_origin(resized_width, how.width, how.rounding),
             .output = how.width}};
}

inline const filter &kernel(interpolation i) { return i == interpolation::bilinear ? bilinear_filter : bicubic_filter; }

/// Whether a picture, which plan() accepts, is its own crop: bytes red green blue of the size of the output.
inline bool is_own_crop(const picture_view &p, const preprocessing &how) {
    return p.channels == 3 && p.order == channel_order::rgb && p.height == how.height && p.width == how.width &&
           (p.row_stride == 0 || p.row_stride == p.width * 3) && before_crop(how.height, how.crop_fraction) == how.height &&
           before_crop(how.width, how.crop_fraction) == how.width &&
           (how.rule != resize_rule::pad_to_square || p.height == p.width);
}

/// What makes the crop of one picture: checked and planned, then run.
class cropper {
  public:
    /// Throws invalid_argument for an impossible picture or preprocessing. Allocates only for pictures larger than before.
    void prepare(const picture_view &picture, const preprocessing &how) {
        source_ = checked(picture);
        const geometry g = plan(picture, how);
        resampler_.prepare(g.vertical, g.horizontal, kernel(how.filter));
    }
    /// Calls sink(y, row) for each row of the output, from the top; row: its width * 3 bytes, red green blue.
    template <class Sink> void run(Sink &&sink) { resampler_.run(source_, sink); }

  private:
    source_picture source_{};
    resampler resampler_;
};

/// The table of a preprocessing. Throws invalid_argument for an impossible mean or standard deviation.
inline byte_values values_of(const preprocessing &how) {
    for (std::size_t c = 0; c < 3; ++c) {
        if (!is_finite(how.mean[c])) reject("mean", "a finite number", std::to_string(how.mean[c]));
        if (!is_finite(how.stddev[c]) || !(how.stddev[c] > 0))
            reject("standard deviation", "a positive number", std::to_string(how.stddev[c]));
    }
    return normalised_bytes(how.mean, how.stddev);
}

}}} // namespace fastvit::FASTVIT_ABI::resampling

FASTVIT_STRICT_MATH_END
