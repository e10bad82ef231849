// SPDX-License-Identifier: MIT
#include "fastvit/base/float16.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace {

using namespace fastvit::io;

constexpr float infinity = std::numeric_limits<float>::infinity();

// The formats' definition: sign, exponent, fraction, in doubles, which hold every value.
double half_by_definition(std::uint16_t bits) {
    const int exponent = (bits >> 10) & 31;
    const int fraction = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31) return fraction ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

// The nearest of the two neighbours, the even one when they are equally near; by search, unlike the code under test.
template <class Decode>
std::uint16_t nearest(double value, std::uint16_t largest, std::uint16_t infinite, double overflow, Decode decode) {
    const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(value);
    if (magnitude >= overflow) return static_cast<std::uint16_t>(sign | infinite);
    std::uint16_t low = 0;
    std::uint16_t high = largest; // the largest code whose value is at most the magnitude is in [low, high]
    while (low < high) {
        const auto middle = static_cast<std::uint16_t>((low + high + 1) / 2);
        if (decode(middle) <= magnitude)
            low = middle;
        else
            high = static_cast<std::uint16_t>(middle - 1);
    }
    if (low == largest) return static_cast<std::uint16_t>(sign | low);
    const double below = magnitude - decode(low);
    const double above = decode(static_cast<std::uint16_t>(low + 1)) - magnitude;
    const bool up = above < below || (above == below && low % 2 == 1);
    return static_cast<std::uint16_t>(sign | (low + (up ? 1 : 0)));
}
std::uint16_t nearest_half(double value) { return nearest(value, 0x7bff, 0x7c00, 65520.0, half_by_definition); }
std::uint16_t nearest_bfloat16(double value) {
    const auto decode = [](std::uint16_t bits) { return static_cast<double>(bfloat16_to_float(bits)); };
    return nearest(value, 0x7f7f, 0x7f80, std::ldexp(511, 119), decode);
}

TEST(float16, every_half_reads_as_its_definition) {
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const double expected = half_by_definition(half);
        const float read = half_to_float(half);
        ASSERT_EQ(std::isnan(read), std::isnan(expected)) << std::hex << bits;
        ASSERT_EQ(std::signbit(read), (bits & 0x8000) != 0) << std::hex << bits;
        if (std::isnan(expected)) continue;
        ASSERT_EQ(static_cast<double>(read), expected) << std::hex << bits;
    }
}

TEST(float16, every_half_and_bfloat16_survives_the_round_trip) {
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        const auto code = static_cast<std::uint16_t>(bits);
        // A NaN comes back quiet.
        const int half_quiet = std::isnan(half_to_float(code)) ? 0x0200 : 0;
        const int bfloat16_quiet = std::isnan(bfloat16_to_float(code)) ? 0x0040 : 0;
        ASSERT_EQ(float_to_half(half_to_float(code)), code | half_quiet) << std::hex << bits;
        ASSERT_EQ(float_to_bfloat16(bfloat16_to_float(code)), code | bfloat16_quiet) << std::hex << bits;
    }
}

TEST(float16, bfloat16_is_the_upper_half_of_a_float) {
    EXPECT_EQ(bfloat16_to_float(0x3f80), 1.0f);
    EXPECT_EQ(bfloat16_to_float(0xc040), -3.0f);
    EXPECT_EQ(bfloat16_to_float(0x7f80), infinity);
    EXPECT_EQ(bfloat16_to_float(0x0001), std::ldexp(1.0f, -133));
    EXPECT_TRUE(std::isnan(bfloat16_to_float(0x7fc1)));
}

// Around every half: the halves themselves, the midpoints between neighbours, and the floats beside the midpoints.
TEST(float16, rounds_to_nearest_even_around_every_half) {
    for (unsigned bits = 0; bits < 0x7c00; ++bits) {
        const double low = half_by_definition(static_cast<std::uint16_t>(bits));
        const double high = bits == 0x7bff ? 65536.0 : half_by_definition(static_cast<std::uint16_t>(bits + 1));
        const auto midpoint = static_cast<float>((low + high) / 2);
        for (const float value : {midpoint, std::nextafter(midpoint, 0.0f), std::nextafter(midpoint, infinity)})
            for (const float x : {value, -value}) ASSERT_EQ(float_to_half(x), nearest_half(static_cast<double>(x))) << x;
    }
}

TEST(float16, rounds_random_floats_to_nearest_even) {
    constexpr unsigned seed = 7;
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 300000; ++i) {
        const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        if (std::isnan(value)) {
            ASSERT_TRUE(std::isnan(half_to_float(float_to_half(value))));
            ASSERT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(value))));
            continue;
        }
        ASSERT_EQ(float_to_half(value), nearest_half(static_cast<double>(value))) << value;
        ASSERT_EQ(float_to_bfloat16(value), nearest_bfloat16(static_cast<double>(value))) << value;
    }
}

TEST(float16, keeps_the_special_values) {
    EXPECT_EQ(float_to_half(0.0f), 0x0000);
    EXPECT_EQ(float_to_half(-0.0f), 0x8000);
    EXPECT_EQ(float_to_half(infinity), 0x7c00);
    EXPECT_EQ(float_to_half(-infinity), 0xfc00);
    EXPECT_EQ(float_to_half(65504.0f), 0x7bff);
    EXPECT_EQ(float_to_half(65519.996f), 0x7bff);
    EXPECT_EQ(float_to_half(65520.0f), 0x7c00);
    EXPECT_EQ(float_to_half(0x1p-24f), 0x0001);
    EXPECT_EQ(float_to_half(0x1p-25f), 0x0000);
    EXPECT_EQ(float_to_half(0x1.000002p-25f), 0x0001);
    EXPECT_EQ(float_to_bfloat16(-0.0f), 0x8000);
    EXPECT_EQ(float_to_bfloat16(infinity), 0x7f80);
    EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::max()), 0x7f80);
    EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::denorm_min()), 0x0000);
    // A NaN with its payload in the lower half only, which truncation would turn into an infinity.
    const auto low_nan = std::bit_cast<float>(0x7f800001u);
    EXPECT_TRUE(std::isnan(half_to_float(float_to_half(low_nan))));
    EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(low_nan))));
}

static_assert(half_to_float(0x3c00) == 1.0f && float_to_half(1.0f) == 0x3c00, "usable in constant expressions");

} // namespace
