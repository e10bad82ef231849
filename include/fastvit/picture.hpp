// SPDX-License-Identifier: MIT
// A decoded picture, and how it becomes a network's input. preprocess.hpp makes the input; model::forward() takes the picture
// itself.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/tensor.hpp"

#include <array>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI {

/// In which order a pixel has its colours.
enum class channel_order : unsigned char { rgb, bgr };

/// A decoded picture that somebody else owns: rows from the top, pixels from the left, one byte per channel, channels
/// interleaved.
struct picture_view {
    const std::uint8_t *pixels = nullptr;
    index_type height = 0, width = 0;         ///< 1 to 2^20 each
    index_type channels = 3;                  ///< 1 grey, 3 colours, 4 the same and alpha, which is dropped, not blended
    index_type row_stride = 0;                ///< bytes from one row to the next; 0 if there is nothing between them
    channel_order order = channel_order::rgb; ///< OpenCV's pictures are bgr
};

/// How a picture is brought to the input's size.
enum class resize_rule {
    shorter_side,  ///< keep the aspect ratio and cover the output divided by the crop fraction; then cut out the centre
    squash,        ///< resize to the output divided by the crop fraction, ignoring the aspect ratio; then cut out the centre
    pad_to_square, ///< add black bars to make the picture square; then like shorter_side
    longer_side,   ///< keep the aspect ratio and fit into the output divided by the crop fraction; black fills the rest
};

/// How a pixel is interpolated. Both widen their kernel when the picture shrinks (Pillow's way, "antialias" in torchvision).
enum class interpolation { bilinear, bicubic };

/// Where the cut begins if the centre is between two pixels.
enum class crop_rounding {
    half_to_even, ///< torchvision: Python's round()
    down,         ///< Hugging Face transformers: //
};

/// Everything that decides how a picture becomes an input. The presets are what the published checkpoints were evaluated with;
/// change their members for anything else.
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

}} // namespace fastvit::FASTVIT_ABI
