// SPDX-License-Identifier: MIT
// Whether a number is finite, also under -ffast-math, where std::isfinite is always true.
#pragma once

#include "fastvit/base/config.hpp"

#include <bit>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Neither infinite nor a NaN: not all bits of the exponent are set.
constexpr bool is_finite(float x) noexcept { return (std::bit_cast<std::uint32_t>(x) & 0x7f800000U) != 0x7f800000U; }
constexpr bool is_finite(double x) noexcept {
    constexpr std::uint64_t exponent = std::uint64_t{0x7ff} << 52;
    return (std::bit_cast<std::uint64_t>(x) & exponent) != exponent;
}

}} // namespace fastvit::FASTVIT_ABI
