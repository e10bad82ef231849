// SPDX-License-Identifier: MIT
// The names of a classifier's classes. A model's configuration may have them too: see preprocessing_config.hpp.
#pragma once

#include "fastvit/base/config.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The labels in a text, in the order of the classes. A text has one label a line. JSON has a list of labels; or an object from
/// class numbers to labels (or to lists that end with the label), or from labels to numbers; or an object with one of these as
/// `id2label` or `label_names`. A byte order mark, Windows line ends and empty lines at the end are ignored. Classes that an
/// object omits have empty labels. Throws bad_format for a text without labels and for more than 65536 in JSON, and unsupported
/// for UTF-16.
[[nodiscard]] std::vector<std::string> parse_labels(std::string_view text);

/// The labels in a file, which errors name. Throws `io` too.
[[nodiscard]] std::vector<std::string> read_labels(const std::filesystem::path &path);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/labels.hpp"
#endif
