// SPDX-License-Identifier: MIT
// Labels in JSON: lists, and objects that number them. Not API: labels.hpp and preprocessing_config.hpp are.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/json_reader.hpp"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace json_labels {

inline constexpr std::size_t most_labels = 65536;

inline error too_many() { return {error_kind::bad_format, "more than " + std::to_string(most_labels) + " labels"}; }

/// A list of strings.
inline std::vector<std::string> list(io::json_reader &json) {
    std::vector<std::string> labels;
    json.array([&] {
        if (labels.size() == most_labels) throw too_many();
        labels.push_back(json.string(io::json_reader::longest_key));
    });
    return labels;
}

/// An object of numbers and labels, in either order; an empty result for one that has anything else in it.
inline std::vector<std::string> numbered(io::json_reader &json) {
    std::vector<std::string> labels;
    std::vector<bool> seen;
    bool only_labels = true;
    const auto add = [&](std::uint64_t number, std::string label) {
        if (number >= most_labels) throw too_many();
        const auto at = static_cast<std::size_t>(number);
        if (labels.size() <= at) labels.resize(at + 1), seen.resize(at + 1);
        if (seen[at]) throw error(error_kind::bad_format, "class " + std::to_string(number) + " has two labels");
        seen[at] = true;
        labels[at] = std::move(label);
    };
    json.object([&](const std::string &key) {
        std::uint64_t number = 0;
        const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), number);
        const bool numbered_key = code == std::errc() && end == key.data() + key.size();
        if (numbered_key && json.at_string()) return add(number, json.string(io::json_reader::longest_key));
        if (numbered_key && json.at_array()) {
            if (std::vector<std::string> names = list(json); !names.empty()) return add(number, std::move(names.back()));
        } else if (!numbered_key && json.at_digit()) {
            return add(json.integer(), key);
        } else {
            json.skip();
        }
        only_labels = false;
    });
    return only_labels ? labels : std::vector<std::string>();
}

/// A list or an object of labels; anything else is skipped.
inline std::vector<std::string> list_or_numbered(io::json_reader &json) {
    if (json.at_array()) return list(json);
    if (json.at_object()) return numbered(json);
    json.skip();
    return {};
}

/// What the whole text, which is JSON, has.
inline std::vector<std::string> parse(std::string_view text) {
    std::vector<std::string> labels;
    io::json_reader json(text);
    if (!json.at_object()) {
        labels = list(json);
    } else {
        json.object([&](const std::string &key) {
            if (labels.empty() && (key == "id2label" || key == "label_names"))
                labels = list_or_numbered(json);
            else
                json.skip();
        });
        if (labels.empty()) {
            json = io::json_reader(text);
            labels = numbered(json);
        }
    }
    json.end();
    return labels;
}

}}} // namespace fastvit::FASTVIT_ABI::json_labels
