// SPDX-License-Identifier: MIT
// Text for people and for browsers, from strings that come out of files.
#pragma once

#include "fastvit/base/text.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cli {

using fastvit::io::printable;

/// For the inside of an HTML element or a quoted attribute.
std::string escape_html(std::string_view text);

/// With that many digits after the point.
std::string fixed(double value, int digits);

std::string base64(std::span<const std::uint8_t> bytes);

} // namespace cli
