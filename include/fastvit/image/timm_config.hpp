// SPDX-License-Identifier: MIT
// The config.json that timm keeps beside a checkpoint: how a picture becomes the network's input, and what its classes are
// called.
//
//     const timm_config config = read_timm_config("config.json");
//     tensor<float> input = preprocess(picture, config);
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/preprocess.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The preprocessing of timm's evaluation transform for a model, and its classes.
struct timm_config : preprocessing {
    index_type classes = 0;          ///< `num_classes`; 0 where the file does not say
    std::vector<std::string> labels; ///< `label_names`, one for each class; empty where the file has no list of them
};

/// Reads the text of a config.json: timm's, which has the settings in `pretrained_cfg`, the older flat form, and those that
/// Hugging Face's libraries write. Of settings that are not there timm's defaults are taken (bicubic, crop_pct 0.875, center,
/// ImageNet's mean and std), but input_size has to be there. `test_input_size` and `test_crop_pct`, which timm uses only when
/// asked, are not read. Throws `bad_format` for what is no such file, `unsupported` for an interpolation other than bicubic and
/// bilinear, a crop_mode other than center and squash and pictures not of 3 channels, `bad_value` for numbers that make no sense.
[[nodiscard]] timm_config parse_timm_config(std::string_view text);

/// The same of a file, which errors name. Throws `io` too.
[[nodiscard]] timm_config read_timm_config(const std::filesystem::path &path);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/timm_config.hpp"
#endif
