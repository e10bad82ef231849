// SPDX-License-Identifier: MIT
// The small network that comes with the library: it names the shape in a picture, and needs no download.
//
// Its files are in the directory that the environment variable FASTVIT_DATA_DIR names or, if that is not set, in the one that the
// CMake target fastvit::fastvit passes as a macro of the same name.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/labels.hpp"
#include "fastvit/picture.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace bundled {

/// The path of one of its files, in the directory that the environment variable names, or else in `directory`. Throws `io` if
/// there is no such file; the message says which directory that was and how to name another.
[[nodiscard]] std::filesystem::path file(std::string_view name, std::string_view directory);

// The macro may differ from unit to unit, so what depends on it has internal linkage: each unit has its own.
#if defined(FASTVIT_DATA_DIR)
static constexpr std::string_view built_directory = FASTVIT_DATA_DIR;
#else
static constexpr std::string_view built_directory;
#endif

} // namespace bundled

/// Where the bundled model is. This and bundled_labels() throw as bundled::file() does.
[[nodiscard]] static inline std::filesystem::path bundled_model_path() {
    return bundled::file("fastvit_shapes.safetensors", bundled::built_directory);
}

/// The names of its classes, in order.
[[nodiscard]] static inline std::vector<std::string> bundled_labels() {
    return read_labels(bundled::file("labels.txt", bundled::built_directory));
}

/// How a picture becomes its input: all of the picture, 96 x 96.
[[nodiscard]] inline preprocessing bundled_preprocessing() { return preprocessing::imagenet(96, 1.0); }

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/bundled.hpp"
#endif
