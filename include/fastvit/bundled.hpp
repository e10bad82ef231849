// SPDX-License-Identifier: MIT
// The small network that comes with the library: it names the shape in a picture, and needs no download.
//
// Its files are looked for in the directory that the environment variable FASTVIT_DATA_DIR names; without it in the one that
// CMake's target fastvit::fastvit passes on as a macro of the same name.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/preprocess.hpp"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The lines of a text file, one label for each class, in the order of the classes. Throws `io`, naming the file, if it cannot
/// be read, and bad_format if it has no line.
inline std::vector<std::string> read_labels(const std::filesystem::path &path) {
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

namespace bundled {

inline std::filesystem::path file(std::string_view name) {
    std::string directory, source = "the environment variable FASTVIT_DATA_DIR";
    if (const char *const set = std::getenv("FASTVIT_DATA_DIR")) directory = set;
#if defined(FASTVIT_DATA_DIR)
    if (directory.empty()) directory = FASTVIT_DATA_DIR, source = "the macro FASTVIT_DATA_DIR of the build";
#endif
    const std::string remedy = "; set the environment variable FASTVIT_DATA_DIR to the directory that has it";
    if (directory.empty())
        throw error(error_kind::io,
                    {.problem = "no directory is known for the bundled model" + remedy, .file = std::string(name)});
    std::filesystem::path path = std::filesystem::path(directory) / name;
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored))
        throw error(error_kind::io,
                    {.problem = "this file of the bundled model is not in the directory that " + source + " names" + remedy,
                     .file = path.string()});
    return path;
}

} // namespace bundled

/// Where the bundled model is. This and bundled_labels() throw `io` for a file that is not there; the message says where it was
/// looked for, and how to say where it is.
inline std::filesystem::path bundled_model_path() { return bundled::file("fastvit_shapes.safetensors"); }

/// The names of its classes, in order.
inline std::vector<std::string> bundled_labels() { return read_labels(bundled::file("labels.txt")); }

/// How a picture becomes its input: all of the picture, 96 x 96.
inline preprocessing bundled_preprocessing() { return preprocessing::imagenet(96, 1.0); }

}} // namespace fastvit::FASTVIT_ABI
