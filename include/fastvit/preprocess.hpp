// SPDX-License-Identifier: MIT
// From a decoded picture to the network's input, byte for byte what Pillow and torchvision make of it in Python.
//
//     const preprocessing how = preprocessing::imagenet();
//     tensor<float> input = preprocess({.pixels = rgb.data(), .height = 480, .width = 640, .channels = 3}, how);
//
// Where Pillow's versions differ this follows those before 12.2: rows are always filtered first. (Later ones begin with the
// columns of a picture that is over 100 times as tall as wide.)
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/image/resample.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A decoded picture that somebody else owns: rows from the top, pixels from the left, one byte per channel, channels
/// interleaved.
struct picture_view {
    const std::uint8_t *pixels = nullptr;
    index_type height = 0, width = 0; ///< 1 to 2^20 each
    index_type channels = 3;          ///< 1 grey, 3 red green blue, 4 the same and alpha, which is dropped, not blended
    index_type row_stride = 0;        ///< bytes from one row to the next; 0 if there is nothing between them
};

/// How the picture gets the size of the input.
enum class resize_rule {
    shorter_side,  ///< keep the aspect ratio until the output, divided by the crop fraction, is covered; then cut out the centre
    squash,        ///< resize to the output, divided by the crop fraction, whatever the aspect ratio; then cut out the centre
    pad_to_square, ///< put black bars beside the picture until it is square, then as shorter_side
};

/// How a pixel is interpolated. Both widen their kernel when the picture shrinks (Pillow's way, "antialias" in torchvision).
enum class interpolation { bilinear, bicubic };

/// Where the cut begins if the centre is between two pixels.
enum class crop_rounding {
    half_to_even, ///< torchvision: Python's round()
    down,         ///< Hugging Face transformers: //
};

/// Everything that decides how a picture becomes an input. The presets are those that the published checkpoints were evaluated
/// with; change their members for others.
struct preprocessing {
    resize_rule rule = resize_rule::shorter_side;
    interpolation filter = interpolation::bicubic;
    crop_rounding rounding = crop_rounding::half_to_even;
    index_type height = 256, width = 256; ///< of the output; 1 to 2^14 each
    double crop_fraction = 1;             ///< the output's side over that of the resized picture (timm's crop_pct)
    // Of pixels in [0, 1], red green blue: the input is (pixel / 255 - mean) / stddev, each step rounded to float.
    std::array<float, 3> mean{0, 0, 0};
    std::array<float, 3> stddev{1, 1, 1};

    /// FastViT T8 to MA36. 0.90 is ml-fastvit's own crop fraction and timm's for most of them.
    static preprocessing imagenet(index_type size = 256, double crop_fraction = 0.90) {
        return {.height = size,
                .width = size,
                .crop_fraction = crop_fraction,
                .mean = {0.485f, 0.456f, 0.406f},
                .stddev = {0.229f, 0.224f, 0.225f}};
    }
    /// MobileCLIP S0, S1, S2: pixels stay in [0, 1].
    static preprocessing mobileclip(index_type size = 256) {
        return {.filter = interpolation::bilinear, .height = size, .width = size};
    }
    /// MobileCLIP2 S3 and S4 (mci3, mci4): OpenAI's CLIP.
    static preprocessing openai_clip(index_type size = 256) {
        return {.height = size,
                .width = size,
                .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                .stddev = {0.26862954f, 0.26130258f, 0.27577711f}};
    }
    /// FastVLM's vision tower. Its `image_aspect_ratio: pad` is pad_to_square; without it set rule = shorter_side. (It multiplies
    /// by 1/255 in double where the others divide in float: the same number for each of the 256 bytes.)
    static preprocessing fastvlm(index_type size = 1024) {
        return {.rule = resize_rule::pad_to_square, .rounding = crop_rounding::down, .height = size, .width = size};
    }
};

namespace resampling {

inline constexpr index_type longest_side = index_type{1} << 20; // of a picture; and of what it is resized to
inline constexpr index_type longest_output = index_type{1} << 14;

[[noreturn]] inline void reject(std::string problem, std::string expected, std::string found) {
    throw error(error_kind::invalid_argument,
                {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found)});
}

inline void require_between(const char *what, index_type value, index_type low, index_type high) {
    if (value < low || value > high) reject(what, std::to_string(low) + " to " + std::to_string(high), std::to_string(value));
}

/// The picture with its stride filled in. Throws for one that cannot be.
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
    return {p.pixels, p.channels, stride};
}

/// floor(output / crop_fraction), as timm computes it: in double.
inline index_type before_crop(index_type output, double crop_fraction) {
    const double size = std::floor(static_cast<double>(output) / crop_fraction);
    if (!(crop_fraction > 0 && size >= 1 && size <= static_cast<double>(longest_side)))
        reject("crop fraction", "one that resizes the picture to 1 to 2^20 pixels", std::to_string(crop_fraction));
    return static_cast<index_type>(size);
}

/// The start of the centre crop; negative where the resized picture is smaller than the output and zeros have to frame it.
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
    if (how.rule != resize_rule::squash && target_height == target_width) {
        // torchvision's Resize: int(target * long / short).
        if (height < width)
            resized_width = target_width * width / height;
        else
            resized_height = target_height * height / width;
    } else if (how.rule != resize_rule::squash) {
        // timm's ResizeKeepRatio, which it takes for outputs that are no square. nearbyint is Python's round.
        const double ratio = std::min(static_cast<double>(height) / static_cast<double>(target_height),
                                      static_cast<double>(width) / static_cast<double>(target_width));
        resized_height = static_cast<index_type>(std::nearbyint(static_cast<double>(height) / ratio));
        resized_width = static_cast<index_type>(std::nearbyint(static_cast<double>(width) / ratio));
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

inline const filter &kernel(interpolation i) noexcept { return i == interpolation::bilinear ? bilinear_filter : bicubic_filter; }

} // namespace resampling

/// The memory of preprocess_into: kept from picture to picture, used by one call at a time.
class preprocess_workspace {
  private:
    friend void preprocess_into(const picture_view &, const preprocessing &, tensor_view<float>, preprocess_workspace &);
    resampling::resampler resampler_;
};

/// The pixels that preprocess() normalises, [height, width, 3] of the output: what Python has after Resize and CenterCrop.
/// Throws invalid_argument as preprocess() does.
inline tensor<std::uint8_t> resize_crop(const picture_view &picture, const preprocessing &how) {
    const resampling::source_picture source = resampling::checked(picture);
    const resampling::geometry g = resampling::plan(picture, how);
    tensor<std::uint8_t> pixels({how.height, how.width, 3});
    resampling::resampler().run(
        source, g.vertical, g.horizontal, resampling::kernel(how.filter),
        [&](index_type y, const std::uint8_t *row) { std::copy_n(row, how.width * 3, pixels.data() + y * how.width * 3); });
    return pixels;
}

/// Writes one input, [3, height, width] of the output, red green blue: an image of a batch [n, 3, height, width] is
/// `tensor_view<float>(batch.data() + i * 3 * height * width, {3, height, width})`. Allocates nothing if the workspace has seen a
/// picture as large. Throws invalid_argument for a picture or a preprocessing that cannot be, and shape_mismatch for `image`.
inline void preprocess_into(const picture_view &picture, const preprocessing &how, tensor_view<float> image,
                            preprocess_workspace &workspace) {
    const resampling::source_picture source = resampling::checked(picture);
    const resampling::geometry g = resampling::plan(picture, how);
    const shape expected{3, how.height, how.width};
    if (!(image.dims() == expected))
        throw error(error_kind::shape_mismatch,
                    {.problem = "output of preprocessing", .expected = expected.to_string(), .found = image.dims().to_string()});

    if (image.empty()) throw error(error_kind::invalid_argument, "output of preprocessing: the pointer is null");

    // A table instead of arithmetic per pixel: two divisions less each, and nothing for a compiler to fuse or reassociate.
    std::array<std::array<float, 256>, 3> values;
    for (std::size_t c = 0; c < 3; ++c) {
        if (!std::isfinite(how.mean[c])) resampling::reject("mean", "a finite number", std::to_string(how.mean[c]));
        if (!std::isfinite(how.stddev[c]) || !(how.stddev[c] > 0))
            resampling::reject("standard deviation", "a positive number", std::to_string(how.stddev[c]));
        for (std::size_t v = 0; v < 256; ++v) values[c][v] = (static_cast<float>(v) / 255.0f - how.mean[c]) / how.stddev[c];
    }
    const index_type plane = how.height * how.width;
    workspace.resampler_.run(source, g.vertical, g.horizontal, resampling::kernel(how.filter),
                             [&](index_type y, const std::uint8_t *row) {
                                 float *out = image.data() + y * how.width;
                                 for (index_type x = 0; x < how.width; ++x)
                                     for (index_type c = 0; c < 3; ++c)
                                         out[c * plane + x] = values[static_cast<std::size_t>(c)][row[3 * x + c]];
                             });
}

/// The network's input, [1, 3, height, width] of the output. Throws invalid_argument for null pixels, sides of zero or beyond
/// 2^20, a channel count other than 1, 3 and 4, a row stride shorter than the row, sizes that overflow, an output of zero or
/// beyond 2^14, a crop fraction that is not positive, a mean or standard deviation that is not finite, a standard deviation that
/// is not positive.
inline tensor<float> preprocess(const picture_view &picture, const preprocessing &how) {
    (void)resampling::checked(picture); // what is wrong is said before memory is allocated
    (void)resampling::plan(picture, how);
    tensor<float> input({1, 3, how.height, how.width});
    preprocess_workspace workspace;
    preprocess_into(picture, how, {input.data(), {3, how.height, how.width}}, workspace);
    return input;
}

}} // namespace fastvit::FASTVIT_ABI
