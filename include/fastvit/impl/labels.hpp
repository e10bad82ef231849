// SPDX-License-Identifier: MIT
// The bodies of labels.hpp.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/labels.hpp"

#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

FASTVIT_FUNCTION std::vector<std::string> read_labels(const std::filesystem::path &path) {
    std::error_code ignored;
    // A stream opens a directory and then reads nothing from it.
    if (std::filesystem::is_directory(path, ignored))
        throw error(error_kind::io, {.problem = "cannot read: this is a directory", .file = path.string()});
    errno = 0;
    std::ifstream file(path);
    if (!file)
        throw error(error_kind::io,
                    {.problem = "cannot open: " + std::generic_category().message(errno ? errno : EIO), .file = path.string()});
    std::vector<std::string> labels;
    for (std::string line; std::getline(file, line);) {
        if (line.ends_with('\r')) line.pop_back();
        labels.push_back(std::move(line));
    }
    if (file.bad()) throw error(error_kind::io, {.problem = "cannot read", .file = path.string()});
    if (labels.empty())
        throw error(error_kind::bad_format, {.problem = "a file of labels without a line", .file = path.string()});
    return labels;
}

}} // namespace fastvit::FASTVIT_ABI
