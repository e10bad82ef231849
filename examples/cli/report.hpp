// SPDX-License-Identifier: MIT
// The answers of `fastvit classify`, as text, JSON and a page of HTML.
#pragma once

#include "fastvit/tensor.hpp"

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace cli {

struct answer {
    fastvit::index_type number = 0; ///< of the class, from 0
    std::string label;              ///< empty without labels
    double probability = 0;

    std::string name() const { return label.empty() ? "class " + std::to_string(number) : label; }
};

struct classified {
    std::string file;
    std::vector<answer> answers;        ///< the most probable first
    double milliseconds = 0;            ///< of the forward pass
    std::optional<bool> matches;        ///< whether the file is named after the first answer, if that was asked
    fastvit::tensor<std::uint8_t> seen; ///< the pixels that the network was given, [height, width, 3]; only kept for HTML
};

/// Whether a file is named after a label, as `star.png`, `star_2.png` and `star-17.jpg` are.
bool named_after(const std::string &file, const std::string &label);

/// `11 of 12 pictures are named after the first answer.`, if that was asked of any.
std::string count_matches(const std::vector<classified> &pictures);

void print_text(std::ostream &out, const classified &picture);
void print_json(std::ostream &out, const std::vector<classified> &pictures);

/// Writes a page that needs no other file, complete or not at all. `heading` is plain text. Throws fastvit::error.
void save_html(const std::string &path, const std::string &heading, const std::vector<classified> &pictures);

} // namespace cli
