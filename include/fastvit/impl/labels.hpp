// SPDX-License-Identifier: MIT
// See fastvit/labels.hpp.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/image/json_labels.hpp"
#include "fastvit/labels.hpp"
#include "fastvit/platform/text_file.hpp"

#include <algorithm>
#include <cstddef>

namespace fastvit { inline namespace FASTVIT_ABI {

FASTVIT_FUNCTION std::vector<std::string> parse_labels(std::string_view text) {
    text = platform::plain_text(text);
    // A bracket may begin a label, but not if a string follows.
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    const std::size_t next = begin == text.npos ? begin : text.find_first_not_of(" \t\r\n", begin + 1);
    const bool json =
        next != text.npos && (text[begin] == '{' || (text[begin] == '[' && (text[next] == '"' || text[next] == ']')));
    std::vector<std::string> labels;
    if (json) {
        labels = json_labels::parse(text);
    } else {
        while (!text.empty()) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            std::string_view line = text.substr(0, end);
            if (line.ends_with('\r')) line.remove_suffix(1);
            labels.emplace_back(line);
            text.remove_prefix(std::min(end + 1, text.size()));
        }
        while (!labels.empty() && labels.back().empty()) labels.pop_back();
    }
    if (labels.empty())
        throw error(error_kind::bad_format,
                    error::parts{.problem = "no label in it",
                                 .expected = json ? "a list, or an object of class numbers and labels" : "one on each line"});
    return labels;
}

FASTVIT_FUNCTION std::vector<std::string> read_labels(const std::filesystem::path &path) {
    const std::string text = platform::read_text(path);
    try {
        return parse_labels(text);
    } catch (const error &e) {
        throw e.in_file(path.string());
    }
}

}} // namespace fastvit::FASTVIT_ABI
