// SPDX-License-Identifier: MIT
// The names of a classifier's classes. Those of a timm model are also in its config.json: see image/timm_config.hpp.
#pragma once

#include "fastvit/base/config.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The lines of a text file, one label for each class, in the order of the classes. Throws `io`, naming the file, if it cannot
/// be read, and bad_format if it has no line.
[[nodiscard]] std::vector<std::string> read_labels(const std::filesystem::path &path);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/labels.hpp"
#endif
