// SPDX-License-Identifier: MIT
// See fastvit/image/timm_config.hpp.
#pragma once

#include "fastvit/base/is_finite.hpp"
#include "fastvit/error.hpp"
#include "fastvit/image/crop.hpp"
#include "fastvit/image/timm_config.hpp"
#include "fastvit/io/json_reader.hpp"
#include "fastvit/platform/mapped_file.hpp"
#include "fastvit/preprocess.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace timm {

inline constexpr std::size_t largest_config = std::size_t{16} << 20; ///< bytes; ImageNet-21k's labels take 2 MB
inline constexpr std::size_t most_labels = 65536;

/// One object of the file. The settings are in `pretrained_cfg`, in older files beside the architecture's name.
class settings {
  public:
    /// Reads the value of a member, or skips it.
    void member(io::json_reader &json, const std::string &key) {
        if (const auto at = std::find(names.begin(), names.end(), key); at != names.end())
            if (std::exchange(seen_[static_cast<std::size_t>(at - names.begin())], true))
                throw error(error_kind::bad_format, "the configuration has " + key + " twice");
        // null is what timm writes for "not set".
        const auto value = [&](auto &field, auto read) {
            if (!json.null()) field = read();
        };
        if (key == "input_size")
            value(input_size,
                  [&] { return three<index_type>(json, key, [&] { return static_cast<index_type>(json.integer()); }); });
        else if (key == "mean" || key == "std")
            value(key == "mean" ? mean : stddev, [&] { return three<double>(json, key, [&] { return json.number(); }); });
        else if (key == "crop_pct")
            value(crop_pct, [&] { return json.number(); });
        else if (key == "interpolation" || key == "crop_mode")
            value(key == "interpolation" ? interpolation : crop_mode, [&] { return json.string(longest_word); });
        else if (key == "num_classes")
            value(num_classes, [&] { return static_cast<index_type>(json.integer()); });
        else if (key == "label_names" && json.at_array()) // not a list: names of some classes only
            value(label_names, [&] { return strings(json); });
        else
            json.skip();
    }

    std::optional<std::array<index_type, 3>> input_size; ///< channels, height, width
    std::optional<std::array<double, 3>> mean, stddev;
    std::optional<double> crop_pct;
    std::optional<std::string> interpolation, crop_mode;
    std::optional<index_type> num_classes;
    std::optional<std::vector<std::string>> label_names;

  private:
    static constexpr std::size_t longest_word = 100;
    static constexpr std::array<std::string_view, 8> names{"input_size",    "mean",      "std",         "crop_pct",
                                                           "interpolation", "crop_mode", "num_classes", "label_names"};

    template <class T, class Read> static std::array<T, 3> three(io::json_reader &json, const std::string &key, Read read) {
        std::array<T, 3> values{};
        std::size_t count = 0;
        json.array([&] {
            const T value = read();
            if (count < values.size()) values[count] = value;
            ++count;
        });
        if (count != values.size())
            throw error(error_kind::bad_format, {.problem = key, .expected = "3 numbers", .found = std::to_string(count)});
        return values;
    }

    static std::vector<std::string> strings(io::json_reader &json) {
        std::vector<std::string> result;
        json.array([&] {
            if (result.size() == most_labels)
                throw error(error_kind::bad_format, "label_names has more than " + std::to_string(most_labels) + " entries");
            result.push_back(json.string(io::json_reader::longest_key));
        });
        return result;
    }

    std::array<bool, names.size()> seen_{};
};

[[noreturn]] inline void reject(error_kind code, std::string problem, std::string expected, std::string found) {
    throw error(code, {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found)});
}

/// What timm makes of the settings, with its defaults for those that are not there.
inline preprocessing to_preprocessing(const settings &s) {
    if (!s.input_size)
        reject(error_kind::bad_format, "no configuration of timm's", "input_size, by itself or in pretrained_cfg", "none");
    const auto [channels, height, width] = *s.input_size;
    if (channels != 3) reject(error_kind::unsupported, "input_size", "3 channels", std::to_string(channels));
    preprocessing how = preprocessing::imagenet();
    how.height = height;
    how.width = width;

    constexpr double default_crop_pct = 0.875;
    how.crop_fraction = s.crop_pct.value_or(default_crop_pct);
    for (const index_type side : {height, width}) {
        if (side < 1 || side > resampling::longest_output)
            reject(error_kind::bad_value, "input_size", "1 to " + std::to_string(resampling::longest_output),
                   std::to_string(side));
        const double resized = std::floor(static_cast<double>(side) / how.crop_fraction);
        if (!(how.crop_fraction > 0 && resized >= 1 && resized <= static_cast<double>(resampling::longest_side)))
            reject(error_kind::bad_value, "crop_pct", "a part of the picture, such as 0.9", std::to_string(how.crop_fraction));
    }

    const std::string filter = s.interpolation.value_or("bicubic");
    if (filter != "bicubic" && filter != "bilinear")
        reject(error_kind::unsupported, "interpolation", "bicubic or bilinear", filter);
    how.filter = filter == "bicubic" ? interpolation::bicubic : interpolation::bilinear;

    // `border` pads the picture with the mean's colour.
    const std::string mode = s.crop_mode.value_or("center");
    if (mode != "center" && mode != "squash") reject(error_kind::unsupported, "crop_mode", "center or squash", mode);
    how.rule = mode == "center" ? resize_rule::shorter_side : resize_rule::squash;

    for (std::size_t c = 0; c < 3; ++c) {
        const auto to_float = [&](const char *name, const auto &values, float &out) {
            if (!values) return;
            const double value = (*values)[c];
            if (std::abs(value) > std::numeric_limits<float>::max())
                reject(error_kind::bad_value, name, "a number that a float can hold", std::to_string(value));
            out = static_cast<float>(value);
        };
        to_float("mean", s.mean, how.mean[c]);
        to_float("std", s.stddev, how.stddev[c]);
        if (!(how.stddev[c] > 0)) reject(error_kind::bad_value, "std", "positive numbers", std::to_string(how.stddev[c]));
    }
    return how;
}

} // namespace timm

FASTVIT_FUNCTION timm_config parse_timm_config(std::string_view text) {
    if (text.size() > timm::largest_config)
        timm::reject(error_kind::bad_format, "too large for a configuration",
                     "at most " + std::to_string(timm::largest_config) + " bytes", std::to_string(text.size()));
    timm::settings top;
    std::optional<timm::settings> pretrained;
    bool pretrained_seen = false;
    io::json_reader json(text);
    json.object([&](const std::string &key) {
        if (key != "pretrained_cfg") return top.member(json, key);
        if (std::exchange(pretrained_seen, true))
            throw error(error_kind::bad_format, "the configuration has pretrained_cfg twice");
        if (json.null()) return;
        pretrained.emplace();
        json.object([&](const std::string &name) { pretrained->member(json, name); });
    });
    json.end();

    // timm leaves what is beside pretrained_cfg alone, but for the classes: those of a fine-tuned head stand there.
    timm::settings &used = pretrained ? *pretrained : top;
    timm::settings &counted = top.num_classes ? top : used, &named = top.label_names ? top : used;
    timm_config config;
    static_cast<preprocessing &>(config) = timm::to_preprocessing(used);
    config.classes = counted.num_classes.value_or(0);
    if (!named.label_names) return config;
    const std::size_t names = named.label_names->size();
    const bool fit = !counted.num_classes || static_cast<std::size_t>(config.classes) == names;
    if (!fit && &counted == &named)
        timm::reject(error_kind::bad_value, "label_names", std::to_string(config.classes) + " names, as num_classes says",
                     std::to_string(names));
    if (fit) config.labels = std::move(*named.label_names); // else they are the pretrained head's
    return config;
}

FASTVIT_FUNCTION timm_config read_timm_config(const std::filesystem::path &path) {
    const platform::mapped_file file(path);
    try {
        return parse_timm_config({reinterpret_cast<const char *>(file.bytes().data()), file.bytes().size()});
    } catch (const error &e) {
        throw e.in_file(path.string());
    }
}

}} // namespace fastvit::FASTVIT_ABI
