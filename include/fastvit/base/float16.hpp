// SPDX-License-Identifier: MIT
// The two 16-bit floating-point formats of checkpoints, to and from float32, in portable integer arithmetic. The functions have
// no state and do not depend on the rounding mode or on flush-to-zero; those to float32 are branch-free, so loops vectorise.
#pragma once

#include "fastvit/base/config.hpp"

#include <bit>
#include <cstdint>
#include <limits>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

static_assert(std::numeric_limits<float>::is_iec559, "float must be IEEE 754 binary32");

/// IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits) to float32, which holds each of its values exactly.
/// Infinities stay, a NaN keeps its sign and payload.
constexpr float half_to_float(std::uint16_t half) noexcept {
    const std::uint32_t sign = (half & 0x8000u) << 16;
    const std::uint32_t magnitude = half & 0x7fffu;
    // The exponent's bias is 15 there and 127 here.
    const std::uint32_t normal = (magnitude << 13) + (112u << 23);
    const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
    // A subnormal counts units of 2^-24: exact in float32, where it is normal.
    const auto subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
    const std::uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
    return std::bit_cast<float>(sign | (magnitude < 0x7c00u ? finite : special));
}

/// bfloat16 (1 sign, 8 exponent, 7 fraction bits) to float32: its upper half, exactly.
constexpr float bfloat16_to_float(std::uint16_t value) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

/// float32 to IEEE 754 binary16, to nearest, ties to even: from 65520 on infinity, below 2^-14 subnormal. A NaN stays one, quiet.
constexpr std::uint16_t float_to_half(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    constexpr std::uint32_t infinity = 0x7f800000u;
    constexpr std::uint32_t overflow = 0x477ff000u;          // 65520, halfway between the largest half and 2^16
    constexpr std::uint32_t smallest_normal = 0x38800000u;   // 2^-14
    constexpr std::uint32_t half_the_smallest = 0x33000000u; // 2^-25, which ties to 0

    std::uint32_t result = 0;
    if (magnitude > infinity) {
        result = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
    } else if (magnitude >= overflow) {
        result = 0x7c00u;
    } else if (magnitude >= smallest_normal) {
        // Adding just under half of the last place, and the last bit itself for the ties, carries into the exponent where it
        // must.
        const std::uint32_t rebiased = magnitude - (112u << 23);
        result = (rebiased + 0x0fffu + ((rebiased >> 13) & 1u)) >> 13;
    } else if (magnitude > half_the_smallest) {
        // significand * 2^(exponent - 150), in units of 2^-24.
        const std::uint32_t shift = 126u - (magnitude >> 23);
        const std::uint32_t significand = (magnitude & 0x007fffffu) | 0x00800000u;
        const std::uint32_t tie = 1u << (shift - 1);
        result = (significand + tie - 1u + ((significand >> shift) & 1u)) >> shift;
    }
    return static_cast<std::uint16_t>(sign | result);
}

/// float32 to bfloat16, to nearest, ties to even. A NaN stays one, quiet.
constexpr std::uint16_t float_to_bfloat16(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    // A NaN whose payload is all in the lower half would turn into an infinity.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);
    return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}}} // namespace fastvit::FASTVIT_ABI::io
