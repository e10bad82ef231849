// SPDX-License-Identifier: MIT
// Text files as people have them, from any editor.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

namespace fastvit { inline namespace FASTVIT_ABI { namespace platform {

inline constexpr std::size_t largest_text = std::size_t{16} << 20; ///< bytes; ImageNet-21k's labels take 2 MB

/// The text without the mark that editors on Windows put before UTF-8. Throws unsupported for UTF-16 and UTF-32, which zero bytes
/// show if there is no mark, and bad_format for more than `most` bytes.
inline std::string_view plain_text(std::string_view text, std::size_t most = largest_text) {
    if (text.size() > most)
        throw error(error_kind::bad_format, {.problem = "too large for a text",
                                             .expected = "at most " + std::to_string(most) + " bytes",
                                             .found = std::to_string(text.size())});
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff"))
        throw error(error_kind::unsupported, "this text is UTF-16; save it as UTF-8");
    if (text.find('\0') != text.npos)
        throw error(error_kind::unsupported, "this has zero bytes: it is no text, or UTF-16; save it as UTF-8");
    return text;
}

/// The bytes of a file or pipe, at most largest_text + 1 of them. Throws io, naming it.
inline std::string read_text(const std::filesystem::path &path) {
    const auto refused = [&](const std::string &problem) {
        return error(error_kind::io, {.problem = problem, .file = path.string()});
    };
    std::error_code ignored;
    // A stream opens a directory and then reads nothing from it.
    if (std::filesystem::is_directory(path, ignored)) throw refused("cannot read: this is a directory");
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) throw refused("cannot open: " + std::generic_category().message(errno ? errno : EIO));
    std::string text;
    constexpr std::size_t step = std::size_t{1} << 16;
    while (file && text.size() <= largest_text) {
        const std::size_t before = text.size();
        text.resize(before + step);
        file.read(text.data() + before, step);
        text.resize(before + static_cast<std::size_t>(file.gcount()));
    }
    if (file.bad()) throw refused("cannot read");
    return text;
}

}}} // namespace fastvit::FASTVIT_ABI::platform
