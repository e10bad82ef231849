// SPDX-License-Identifier: MIT
// How a picture becomes the network's input, and what the classes are called: from the JSON files beside a checkpoint.
//
//     const preprocessing_config config = read_preprocessing_config("config.json");
//     tensor<float> input = preprocess(picture, config);
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/picture.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Whose file it is.
enum class config_kind {
    timm,         ///< config.json: `pretrained_cfg`, or its members by themselves in older files
    transformers, ///< preprocessor_config.json of Hugging Face's image processors
    open_clip,    ///< open_clip_config.json: `preprocess_cfg` and `model_cfg`
};

/// The preprocessing with which a model is evaluated, and its classes.
struct preprocessing_config : preprocessing {
    config_kind kind = config_kind::timm;
    index_type classes = 0;          ///< `num_classes`; 0 if the file does not say
    std::vector<std::string> labels; ///< `label_names` or `id2label`, one for each class; empty if the file has none
};

/// Reads the text of a configuration; its members show which kind it is.
///
/// timm: its evaluation transform. input_size is required; other settings have timm's defaults (bicubic, crop_pct 0.875, center,
/// ImageNet's mean and std). `test_input_size` and `test_crop_pct`, which timm uses only on request, are not read. transformers:
/// the processors of CLIP, ViT, ConvNext and Bit, and those with the same members. open_clip: the image transform of its
/// `create_model_and_transforms`, with its defaults (OpenAI's mean and std, bicubic, shortest).
///
/// Throws `bad_format` for any other text, `unsupported` for settings that preprocess() does not know (an interpolation other
/// than bicubic and bilinear, channels other than 3, ...) and for UTF-16, `bad_value` for impossible numbers.
[[nodiscard]] preprocessing_config parse_preprocessing_config(std::string_view text);

/// The same for a file, which errors name. Throws `io` too.
[[nodiscard]] preprocessing_config read_preprocessing_config(const std::filesystem::path &path);

/// What the files beside a checkpoint say about its model.
struct found_config {
    std::optional<preprocessing> how;
    std::vector<std::string> labels;
    std::filesystem::path how_file, labels_file; ///< where they were found; empty for none
};

/// Looks into config.json, preprocessor_config.json and open_clip_config.json in the folder of a checkpoint: the first that has
/// settings for pictures counts, and the first that has labels. If LLaVA's config.json has `image_aspect_ratio` pad, the rule of
/// preprocessor_config.json becomes pad_to_square. Throws as read_preprocessing_config() for a file that is not JSON or asks for
/// what is not supported; a file without settings for pictures is no error.
[[nodiscard]] found_config find_config(const std::filesystem::path &checkpoint);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/preprocessing_config.hpp"
#endif
