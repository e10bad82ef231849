// SPDX-License-Identifier: MIT
// How a picture becomes the network's input, and what its classes are called, as the JSON files say that lie beside a checkpoint.
//
//     const preprocessing_config config = read_preprocessing_config("config.json");
//     tensor<float> input = preprocess(picture, config);
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/preprocess.hpp"

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

/// The preprocessing of the evaluation of a model, and its classes.
struct preprocessing_config : preprocessing {
    config_kind kind = config_kind::timm;
    index_type classes = 0;          ///< `num_classes`; 0 where the file does not say
    std::vector<std::string> labels; ///< `label_names` or `id2label`, one for each class; empty where the file has none
};

/// Reads the text of a configuration; its members tell the kinds apart.
///
/// timm: what timm's evaluation transform does, with timm's defaults for settings that are not there (bicubic, crop_pct 0.875,
/// center, ImageNet's mean and std), but input_size has to be there. `test_input_size` and `test_crop_pct`, which timm uses only
/// when asked, are not read. transformers: CLIP's, ViT's, ConvNext's and Bit's processors and those that have the same members.
/// open_clip: the transform for images of its `create_model_and_transforms`, of its defaults OpenAI's mean and std, bicubic,
/// shortest.
///
/// Throws `bad_format` for what is no such file, `unsupported` for settings that preprocess() does not know (another
/// interpolation than bicubic and bilinear, channels other than 3, ...) and for UTF-16, `bad_value` for numbers that make no
/// sense.
[[nodiscard]] preprocessing_config parse_preprocessing_config(std::string_view text);

/// The same of a file, which errors name. Throws `io` too.
[[nodiscard]] preprocessing_config read_preprocessing_config(const std::filesystem::path &path);

/// What is known of a model from the files beside its checkpoint.
struct found_config {
    std::optional<preprocessing> how;
    std::vector<std::string> labels;
    std::filesystem::path how_file, labels_file; ///< where they stand; empty for none
};

/// Looks into config.json, preprocessor_config.json and open_clip_config.json in the folder of a checkpoint: the first that has
/// settings for pictures counts, and the first that has labels. A config.json of LLaVA's whose `image_aspect_ratio` is `pad`
/// turns the rule of preprocessor_config.json into pad_to_square. Throws as read_preprocessing_config() for a file that is no
/// JSON or asks for what is not supported; one that has nothing to say of pictures is no error.
[[nodiscard]] found_config find_config(const std::filesystem::path &checkpoint);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/preprocessing_config.hpp"
#endif
