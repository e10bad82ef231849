// SPDX-License-Identifier: MIT
// See fastvit/preprocessing_config.hpp.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/image/crop.hpp"
#include "fastvit/image/json_labels.hpp"
#include "fastvit/io/json_reader.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/platform/text_file.hpp"
#include "fastvit/preprocessing_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <set>
#include <utility>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI {
namespace configs {

/// A height and a width, or a rule for one of them.
struct extent {
    std::optional<index_type> side, height, width, shortest_edge;
    bool others = false; ///< the file says more than that

    bool is_rectangle() const noexcept { return height && width && !shortest_edge && !others; }
};

/// The settings of one object of the file, whoever's: their names do not collide.
struct settings {
    // timm's
    std::optional<std::array<index_type, 3>> input_size; ///< channels, height, width
    std::optional<double> crop_pct;                      ///< ConvNext's in transformers too
    std::optional<std::string> crop_mode;
    std::optional<index_type> num_classes;
    std::optional<std::vector<std::string>> labels; ///< not empty
    bool labels_are_numbered = false;
    // timm's and open_clip's
    std::optional<std::array<double, 3>> mean, stddev;
    std::optional<std::string> interpolation;
    // transformers'
    std::optional<std::string> processor;
    std::optional<bool> do_resize, do_center_crop, do_rescale, do_normalize, do_flip_channel_order;
    std::optional<extent> size, crop_size; ///< size is open_clip's too
    std::optional<index_type> resample;
    std::optional<double> rescale_factor;
    std::optional<std::array<double, 3>> image_mean, image_std;
    std::optional<std::string> image_aspect_ratio;
    // open_clip's
    std::optional<std::string> resize_mode;
    bool black = true; ///< its fill_color
};

[[noreturn]] inline void reject(error_kind code, std::string problem, std::string expected, std::string found) {
    throw error(code, {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found)});
}

template <class T, class Read> std::array<T, 3> three(io::json_reader &json, const std::string &key, Read read) {
    std::array<T, 3> values{};
    std::size_t count = 0;
    json.array([&] {
        const T value = read();
        if (count < values.size()) values[count] = value;
        ++count;
    });
    if (count != values.size()) reject(error_kind::bad_format, key, "3 numbers", std::to_string(count));
    return values;
}

inline index_type integer(io::json_reader &json) { return static_cast<index_type>(json.integer()); }

/// A number, a list of two, or an object of sides.
inline extent read_extent(io::json_reader &json, const std::string &key) {
    extent e;
    if (json.at_array()) {
        std::size_t count = 0;
        json.array([&] { (count++ == 0 ? e.height : e.width) = integer(json); });
        if (count != 2) reject(error_kind::bad_format, key, "2 numbers", std::to_string(count));
    } else if (json.at_object()) {
        json.object([&](const std::string &name) {
            if (json.null()) return;
            if (name == "height" || name == "width" || name == "shortest_edge") {
                (name == "height" ? e.height : name == "width" ? e.width : e.shortest_edge) = integer(json);
            } else {
                e.others = true;
                json.skip();
            }
        });
    } else {
        e.side = integer(json);
    }
    return e;
}

/// Whether a colour is black; each channel a number, or one for all.
inline bool read_black(io::json_reader &json) {
    bool black = true;
    if (json.at_array())
        json.array([&] { black = json.number() == 0 && black; });
    else
        black = json.number() == 0;
    return black;
}

inline void read_labels_setting(settings &s, io::json_reader &json) {
    const bool numbered = json.at_object();
    std::vector<std::string> labels = json_labels::list_or_numbered(json);
    if (labels.empty()) return;
    s.labels = std::move(labels);
    s.labels_are_numbered = numbered;
}

/// Reads the value of a member that is a setting; false for any other.
inline bool read_setting(settings &s, io::json_reader &json, const std::string &key) {
    constexpr std::size_t longest_word = 100;
    const auto word = [&] { return json.string(longest_word); };
    const auto numbers = [&] { return three<double>(json, key, [&] { return json.number(); }); };
    if (key == "input_size")
        s.input_size = three<index_type>(json, key, [&] { return integer(json); });
    else if (key == "crop_pct")
        s.crop_pct = json.number();
    else if (key == "crop_mode")
        s.crop_mode = word();
    else if (key == "num_classes")
        s.num_classes = integer(json);
    else if (key == "label_names" || key == "id2label")
        read_labels_setting(s, json);
    else if (key == "mean" || key == "std")
        (key == "mean" ? s.mean : s.stddev) = numbers();
    else if (key == "interpolation")
        s.interpolation = word();
    else if (key == "image_processor_type" || key == "feature_extractor_type")
        s.processor = word();
    else if (key == "do_resize")
        s.do_resize = json.boolean();
    else if (key == "do_center_crop")
        s.do_center_crop = json.boolean();
    else if (key == "do_rescale")
        s.do_rescale = json.boolean();
    else if (key == "do_normalize")
        s.do_normalize = json.boolean();
    else if (key == "do_flip_channel_order")
        s.do_flip_channel_order = json.boolean();
    else if (key == "size" || key == "crop_size")
        (key == "size" ? s.size : s.crop_size) = read_extent(json, key);
    else if (key == "resample")
        s.resample = integer(json);
    else if (key == "rescale_factor")
        s.rescale_factor = json.number();
    else if (key == "image_mean" || key == "image_std")
        (key == "image_mean" ? s.image_mean : s.image_std) = numbers();
    else if (key == "image_aspect_ratio")
        s.image_aspect_ratio = word();
    else if (key == "resize_mode")
        s.resize_mode = word();
    else if (key == "fill_color")
        s.black = read_black(json);
    else
        return false;
    return true;
}

/// The file, read once.
struct contents {
    settings top;
    std::optional<settings> pretrained; ///< timm's pretrained_cfg
    std::optional<settings> clip;       ///< open_clip's preprocess_cfg
    std::optional<extent> image_size;   ///< of open_clip's model_cfg.vision_cfg

    explicit contents(std::string_view text);

    bool is_timms() const noexcept { return pretrained ? pretrained->input_size.has_value() : top.input_size.has_value(); }
    bool is_open_clips() const noexcept { return clip || image_size; }
    bool is_transformers() const noexcept { return top.processor || (top.image_mean && (top.size || top.crop_size)); }
    bool has_preprocessing() const noexcept { return is_timms() || is_open_clips() || is_transformers(); }
    std::vector<std::string> labels() const;

  private:
    /// Reads an object: settings go into `s`, other(key) may read a member, and the rest is skipped. A duplicate setting is an
    /// error, because two programs could see two files.
    template <class Other> static void read_object(io::json_reader &json, settings &s, Other other) {
        std::set<std::string> read;
        json.object([&](const std::string &key) {
            // null is what Python's libraries write for "not set".
            const bool nothing = json.null();
            if (!nothing && !other(key) && !read_setting(s, json, key)) return json.skip();
            if (nothing && !is_known(key)) return;
            if (!read.insert(key).second) throw error(error_kind::bad_format, "the configuration has " + key + " twice");
        });
    }
    static bool is_known(const std::string &key);
};

// The names of all settings: one that is null counts as a duplicate too.
inline bool contents::is_known(const std::string &key) {
    static const std::set<std::string, std::less<>> names{
        "input_size", "crop_pct",  "crop_mode",     "num_classes",    "label_names",    "id2label",
        "mean",       "std",       "interpolation", "pretrained_cfg", "preprocess_cfg", "model_cfg",
        "size",       "crop_size", "resample",      "image_mean",     "image_std",      "resize_mode"};
    return names.contains(key);
}

inline contents::contents(std::string_view text) {
    const auto none = [](const std::string &) { return false; };
    io::json_reader json(text);
    read_object(json, top, [&](const std::string &key) {
        if (key == "pretrained_cfg") {
            read_object(json, pretrained.emplace(), none);
        } else if (key == "preprocess_cfg") {
            read_object(json, clip.emplace(), none);
        } else if (key == "model_cfg" && json.at_object()) {
            json.object([&](const std::string &part) {
                if (part != "vision_cfg" || !json.at_object()) return json.skip();
                json.object([&](const std::string &name) {
                    if (name == "image_size" && !json.null())
                        image_size = read_extent(json, name);
                    else
                        json.skip();
                });
            });
        } else {
            return false;
        }
        return true;
    });
    json.end();
}

/// timm ignores what is beside pretrained_cfg, except the classes: there are those of a fine-tuned head.
inline std::vector<std::string> contents::labels() const {
    const settings &named = top.labels || !pretrained ? top : *pretrained;
    std::vector<std::string> labels = named.labels.value_or(std::vector<std::string>());
    if (labels.empty()) return labels;
    if (const auto classes = static_cast<std::size_t>(named.num_classes.value_or(0)); classes != 0) {
        // An object may omit some.
        if (named.labels_are_numbered && labels.size() < classes && classes <= json_labels::most_labels) labels.resize(classes);
        if (labels.size() != classes)
            reject(error_kind::bad_value, "label_names", std::to_string(classes) + " names, as num_classes says",
                   std::to_string(labels.size()));
    }
    const bool of_this_head = !top.num_classes || static_cast<std::size_t>(*top.num_classes) == labels.size();
    return of_this_head ? labels : std::vector<std::string>();
}

// --- to preprocessing

inline interpolation filter_of(const std::string &name) {
    if (name != "bicubic" && name != "bilinear") reject(error_kind::unsupported, "interpolation", "bicubic or bilinear", name);
    return name == "bicubic" ? interpolation::bicubic : interpolation::bilinear;
}

inline void set_normalization(preprocessing &how, const std::optional<std::array<double, 3>> &mean,
                              const std::optional<std::array<double, 3>> &stddev) {
    for (std::size_t c = 0; c < 3; ++c) {
        const auto to_float = [&](const char *name, const auto &values, float &out) {
            if (!values) return;
            const double value = (*values)[c];
            if (__builtin_fabs(value) > std::numeric_limits<float>::max())
                reject(error_kind::bad_value, name, "a number that a float can hold", std::to_string(value));
            out = static_cast<float>(value);
        };
        to_float("mean", mean, how.mean[c]);
        to_float("std", stddev, how.stddev[c]);
        if (!(how.stddev[c] > 0)) reject(error_kind::bad_value, "std", "positive numbers", std::to_string(how.stddev[c]));
    }
}

inline void set_output(preprocessing &how, const char *name, index_type height, index_type width) {
    for (const index_type side : {height, width})
        if (side < 1 || side > resampling::longest_output)
            reject(error_kind::bad_value, name, "1 to " + std::to_string(resampling::longest_output), std::to_string(side));
    how.height = height;
    how.width = width;
}

/// Resizes to `resized` pixels, of which `output` are cut out. The fraction is the quotient, or a little less if rounding would
/// give another number of pixels.
inline void set_resized(preprocessing &how, const char *name, index_type output, index_type resized) {
    if (resized < 1 || resized > resampling::longest_side)
        reject(error_kind::bad_value, name, "1 to " + std::to_string(resampling::longest_side), std::to_string(resized));
    const auto numerator = static_cast<double>(output), denominator = static_cast<double>(resized);
    how.crop_fraction = numerator / denominator;
    if (std::floor(numerator / how.crop_fraction) != denominator) how.crop_fraction = numerator / (denominator + 0.5);
}

inline preprocessing from_timm(const settings &s) {
    const auto [channels, height, width] = *s.input_size;
    if (channels != 3) reject(error_kind::unsupported, "input_size", "3 channels", std::to_string(channels));
    preprocessing how = preprocessing::imagenet();
    set_output(how, "input_size", height, width);
    constexpr double default_crop_pct = 0.875;
    how.crop_fraction = s.crop_pct.value_or(default_crop_pct);
    for (const index_type side : {height, width}) {
        const double resized = std::floor(static_cast<double>(side) / how.crop_fraction);
        if (!(how.crop_fraction > 0 && resized >= 1 && resized <= static_cast<double>(resampling::longest_side)))
            reject(error_kind::bad_value, "crop_pct", "a part of the picture, such as 0.9", std::to_string(how.crop_fraction));
    }
    how.filter = filter_of(s.interpolation.value_or("bicubic"));
    // `border` pads the picture with the mean's colour.
    const std::string mode = s.crop_mode.value_or("center");
    if (mode != "center" && mode != "squash") reject(error_kind::unsupported, "crop_mode", "center or squash", mode);
    how.rule = mode == "center" ? resize_rule::shorter_side : resize_rule::squash;
    set_normalization(how, s.mean, s.stddev);
    return how;
}

inline preprocessing from_open_clip(const settings &s, const std::optional<extent> &image_size) {
    preprocessing how = preprocessing::openai_clip();
    const extent size = s.size ? *s.size : image_size.value_or(extent{});
    if (!size.side && !size.is_rectangle())
        reject(error_kind::bad_format, "size of the pictures", "image_size of vision_cfg", "none");
    set_output(how, "image_size", size.side ? *size.side : *size.height, size.side ? *size.side : *size.width);
    how.filter = filter_of(s.interpolation.value_or("bicubic"));
    const std::string mode = s.resize_mode.value_or("shortest");
    if (mode != "shortest" && mode != "longest" && mode != "squash")
        reject(error_kind::unsupported, "resize_mode", "shortest, longest or squash", mode);
    how.rule = mode == "shortest"  ? resize_rule::shorter_side
               : mode == "longest" ? resize_rule::longer_side
                                   : resize_rule::squash;
    if (how.rule == resize_rule::longer_side && !s.black) reject(error_kind::unsupported, "fill_color", "0", "another colour");
    set_normalization(how, s.mean, s.stddev);
    return how;
}

inline preprocessing from_transformers(const settings &s) {
    const auto is = [&](std::string_view name) { return s.processor && s.processor->starts_with(name); };
    const auto require = [](bool present, const char *name) {
        if (!present) reject(error_kind::bad_format, "a configuration of transformers'", name, "none");
    };
    const auto refuse = [](bool wrong, const char *name, const char *expected) {
        if (wrong) reject(error_kind::unsupported, name, expected, "another");
    };
    // Older files omit CLIP's usual settings; others name everything that they do.
    const bool clip = is("CLIP");
    preprocessing how = clip ? preprocessing::openai_clip() : preprocessing();
    how.rounding = crop_rounding::down;
    refuse(!s.do_resize.value_or(true), "do_resize", "true: a network takes pictures of one size");
    refuse(!s.do_rescale.value_or(true), "do_rescale", "true");
    refuse(__builtin_fabs(s.rescale_factor.value_or(1.0 / 255) * 255 - 1) > 1e-6, "rescale_factor", "1/255");
    refuse(s.do_flip_channel_order.value_or(false), "do_flip_channel_order", "false");
    require(clip || s.resample, "resample");
    constexpr index_type bilinear = 2, bicubic = 3; // Pillow's numbers
    const index_type resample = s.resample.value_or(bicubic);
    refuse(resample != bilinear && resample != bicubic, "resample", "2 (bilinear) or 3 (bicubic)");
    how.filter = resample == bilinear ? interpolation::bilinear : interpolation::bicubic;
    if (s.do_normalize.value_or(true)) {
        require(clip || (s.image_mean && s.image_std), "image_mean and image_std");
        set_normalization(how, s.image_mean, s.image_std);
    } else {
        how.mean = {0, 0, 0};
        how.stddev = {1, 1, 1};
    }

    require(clip || s.size, "size");
    extent size = s.size.value_or(extent{.side = 224, .height = {}, .width = {}, .shortest_edge = {}});
    const bool crop = s.do_center_crop.value_or(clip || is("Bit"));
    if (size.side && (crop || is("ConvNext")))
        size.shortest_edge = std::exchange(size.side, std::nullopt);
    else if (size.side)
        size.height = size.width = *std::exchange(size.side, std::nullopt);
    const bool by_edge = size.shortest_edge && !size.height && !size.width && !size.others;
    refuse(!by_edge && !size.is_rectangle(), "size", "shortest_edge, or height and width");

    if (!crop && is("ConvNext") && by_edge) {
        constexpr index_type squashed = 384; // from there on nothing is cut off
        set_output(how, "size", *size.shortest_edge, *size.shortest_edge);
        how.rule = how.height < squashed ? resize_rule::shorter_side : resize_rule::squash;
        const double kept = s.crop_pct.value_or(224.0 / 256);
        if (!(kept > 0 && kept <= 1))
            reject(error_kind::bad_value, "crop_pct", "a part of the picture, such as 0.9", std::to_string(kept));
        if (how.height < squashed) {
            const double resized = static_cast<double>(how.height) / kept;
            set_resized(how, "size", how.height, static_cast<index_type>(resized < 0x1p21 ? resized : 0x1p21));
        }
        return how;
    }
    if (!crop) {
        refuse(by_edge, "size", "height and width, where nothing is cut off: a network takes pictures of one size");
        set_output(how, "size", *size.height, *size.width);
        how.rule = resize_rule::squash;
        return how;
    }
    const extent cut = s.crop_size.value_or(extent{.side = 224, .height = {}, .width = {}, .shortest_edge = {}});
    refuse(!cut.side && !cut.is_rectangle(), "crop_size", "height and width");
    set_output(how, "crop_size", cut.side ? *cut.side : *cut.height, cut.side ? *cut.side : *cut.width);
    const bool square = how.height == how.width;
    how.rule = by_edge ? resize_rule::shorter_side : resize_rule::squash;
    if (size.is_rectangle() && *size.height == how.height && *size.width == how.width) return how;
    refuse(!square || (!by_edge && *size.height != *size.width), "crop_size", "a square");
    set_resized(how, "size", how.height, by_edge ? *size.shortest_edge : *size.height);
    return how;
}

inline preprocessing_config to_config(const contents &c) {
    if (!c.has_preprocessing())
        reject(error_kind::bad_format, "no configuration for pictures",
               "timm's input_size, by itself or in pretrained_cfg, the members of a preprocessor_config.json, or open_clip's "
               "preprocess_cfg",
               "none");
    preprocessing_config config;
    preprocessing &how = config;
    const settings &timm = c.pretrained ? *c.pretrained : c.top;
    if (c.is_timms()) {
        how = from_timm(timm);
    } else if (c.is_open_clips()) {
        how = from_open_clip(c.clip.value_or(settings()), c.image_size);
        config.kind = config_kind::open_clip;
    } else {
        how = from_transformers(c.top);
        config.kind = config_kind::transformers;
    }
    config.classes = c.top.num_classes ? *c.top.num_classes : timm.num_classes.value_or(0);
    config.labels = c.labels();
    return config;
}

} // namespace configs

FASTVIT_FUNCTION preprocessing_config parse_preprocessing_config(std::string_view text) {
    const platform::ieee_arithmetic arithmetic;
    return configs::to_config(configs::contents(platform::plain_text(text)));
}

FASTVIT_FUNCTION preprocessing_config read_preprocessing_config(const std::filesystem::path &path) {
    const std::string text = platform::read_text(path);
    try {
        return parse_preprocessing_config(text);
    } catch (const error &e) {
        throw e.in_file(path.string());
    }
}

FASTVIT_FUNCTION found_config find_config(const std::filesystem::path &checkpoint) {
    const platform::ieee_arithmetic arithmetic;
    found_config found;
    bool pad = false;
    for (const char *name : {"config.json", "preprocessor_config.json", "open_clip_config.json"}) {
        const std::filesystem::path file = checkpoint.parent_path() / name;
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(file, ignored)) continue;
        const std::string text = platform::read_text(file);
        try {
            const configs::contents contents(platform::plain_text(text));
            pad |= contents.top.image_aspect_ratio == "pad";
            if (!found.how && contents.has_preprocessing()) {
                const preprocessing_config config = configs::to_config(contents);
                found.how = config;
                found.how_file = file;
                if (pad && config.kind == config_kind::transformers && config.rule == resize_rule::shorter_side) {
                    // LLaVA's bars have the mean's colour.
                    if (config.mean != std::array<float, 3>{})
                        configs::reject(error_kind::unsupported, "image_aspect_ratio", "a mean of 0 where it is pad", "another");
                    found.how->rule = resize_rule::pad_to_square;
                }
            }
            if (found.labels.empty()) found.labels = contents.labels();
            if (!found.labels.empty() && found.labels_file.empty()) found.labels_file = file;
        } catch (const error &e) {
            throw e.in_file(file.string());
        }
    }
    return found;
}

}} // namespace fastvit::FASTVIT_ABI

FASTVIT_STRICT_MATH_END
