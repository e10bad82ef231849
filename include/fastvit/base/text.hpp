// SPDX-License-Identifier: MIT
// UTF-8, strictly: one way to write each character; and lists in messages.
#pragma once

#include "fastvit/base/config.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// The offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7: no overlong form, no surrogate,
/// nothing over U+10FFFF); text.size() if there is none.
constexpr std::size_t find_invalid_utf8(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    std::size_t i = 0;
    while (i < text.size()) {
        const unsigned lead = byte(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        if (lead < 0xc2 || lead > 0xf4) return i;
        const std::size_t more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (text.size() - i <= more) return i;
        // Only the second byte's range depends on the first.
        const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (byte(i + 1) < low || byte(i + 1) > high) return i;
        for (std::size_t k = 2; k <= more; ++k)
            if (byte(i + k) < 0x80 || byte(i + k) > 0xbf) return i;
        i += more + 1;
    }
    return text.size();
}

/// The text with a question mark for each control character, with which a name from a file could rewrite a terminal, and for each
/// byte that is not UTF-8.
inline std::string printable(std::string_view text) {
    std::string out;
    for (;;) {
        const std::size_t valid = find_invalid_utf8(text);
        for (std::size_t i = 0; i < valid; ++i) {
            const auto byte = static_cast<unsigned char>(text[i]);
            // U+0080 to U+009F, in two bytes, the second like the code point.
            const bool c1 = byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
            i += c1 ? 1 : 0;
            out += c1 || byte < 0x20 || byte == 0x7f ? '?' : text[i];
        }
        if (valid == text.size()) return out;
        out += '?';
        text.remove_prefix(valid + 1);
    }
}

/// "a, b, c and 4 more": at most the first `most` of `items`, by name(item).
template <class Items, class Name> std::string first_of_list(const Items &items, std::size_t most, Name &&name) {
    std::string list;
    for (std::size_t i = 0; i < items.size() && i < most; ++i) {
        if (i > 0) list += ", ";
        list += name(items[i]);
    }
    if (items.size() > most) list += " and " + std::to_string(items.size() - most) + " more";
    return list;
}
inline std::string first_of_list(std::span<const std::string> items, std::size_t most) {
    return first_of_list(items, most, [](const std::string &item) -> const std::string & { return item; });
}

/// Appends one character, which must not be a surrogate or over U+10FFFF.
inline void append_utf8(std::string &text, std::uint32_t code_point) {
    const auto put = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xc0 | (code_point >> 6));
        put(0x80 | (code_point & 0x3f));
    } else if (code_point < 0x10000) {
        put(0xe0 | (code_point >> 12));
        put(0x80 | ((code_point >> 6) & 0x3f));
        put(0x80 | (code_point & 0x3f));
    } else {
        put(0xf0 | (code_point >> 18));
        put(0x80 | ((code_point >> 12) & 0x3f));
        put(0x80 | ((code_point >> 6) & 0x3f));
        put(0x80 | (code_point & 0x3f));
    }
}

}}} // namespace fastvit::FASTVIT_ABI::io
