// SPDX-License-Identifier: MIT
// What the bytes of a picture stand for.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"

#include <array>
#include <cstddef>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI {

/// The number that each value of a byte stands for, for red, green and blue.
using byte_values = std::array<std::array<float, 256>, 3>;

/// (byte / 255 - mean) / stddev, each step rounded to float. A table instead of arithmetic for each pixel saves two divisions.
inline byte_values normalised_bytes(const std::array<float, 3> &mean, const std::array<float, 3> &stddev) {
    byte_values values;
    for (std::size_t c = 0; c < 3; ++c)
        for (std::size_t v = 0; v < 256; ++v) values[c][v] = (static_cast<float>(v) / 255.0f - mean[c]) / stddev[c];
    return values;
}

}} // namespace fastvit::FASTVIT_ABI

FASTVIT_STRICT_MATH_END
