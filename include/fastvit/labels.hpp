// SPDX-License-Identifier: MIT
// The names of a classifier's classes. A model's configuration may have them too: see preprocessing_config.hpp.
#pragma once

#include "fastvit/base/config.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The labels in a text, in the order of the classes: one on each line; or, in JSON, a list of them, an object from the class's
/// number to its label (or a list whose last string it is) or the other way round, or an object that has one of these as
/// `id2label` or `label_names`. A byte order mark, Windows' line ends and empty lines at the end do not count. Classes that an
/// object leaves out have empty labels. Throws bad_format for a text without a label, and for more than 65536 in JSON, and
/// unsupported for UTF-16.
[[nodiscard]] std::vector<std::string> parse_labels(std::string_view text);

/// Those of a file, which errors name. Throws `io` too.
[[nodiscard]] std::vector<std::string> read_labels(const std::filesystem::path &path);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/labels.hpp"
#endif
