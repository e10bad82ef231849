// SPDX-License-Identifier: MIT
// Reading binary records from front to back, never past their end.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// A position in bytes that somebody else owns. Every function moves it forward, and throws `bad_format` if too few bytes are
/// left.
class byte_reader {
  public:
    /// `what` names the bytes in messages, in a few words.
    byte_reader(std::span<const std::byte> bytes, std::string_view what) : bytes_(bytes), what_(what) {}

    std::size_t position() const noexcept { return at_; }
    std::size_t left() const noexcept { return bytes_.size() - at_; }

    /// The next `count` bytes; any 64-bit count that a file claims will do.
    std::span<const std::byte> bytes(std::uint64_t count) {
        if (count > left())
            throw error(error_kind::bad_format, {.problem = std::string(what_) + " is cut short at byte " + std::to_string(at_),
                                                 .expected = std::to_string(count) + (count == 1 ? " more byte" : " more bytes"),
                                                 .found = std::to_string(left())});
        const auto result = bytes_.subspan(at_, static_cast<std::size_t>(count));
        at_ += static_cast<std::size_t>(count);
        return result;
    }
    std::string_view text(std::uint64_t count) { return as_text(bytes(count)); }

    /// A little-endian number.
    template <class T> T number() { return load<T>(bytes(sizeof(T)).data()); }

    /// The text up to the next line feed, which is skipped.
    std::string_view line() {
        const auto rest = as_text(bytes_.subspan(at_));
        const std::size_t length = rest.find('\n');
        const std::string_view result = text(length == std::string_view::npos ? left() + 1 : length);
        ++at_;
        return result;
    }

  private:
    static std::string_view as_text(std::span<const std::byte> bytes) noexcept {
        return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
    }

    std::span<const std::byte> bytes_;
    std::string_view what_;
    std::size_t at_ = 0;
};

}}} // namespace fastvit::FASTVIT_ABI::io
