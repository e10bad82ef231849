// SPDX-License-Identifier: MIT
// Kernels and strict regions (base/regions.hpp) give the same bits whatever flags the unit that includes them is compiled with:
// same_bits_unit.cpp is compiled several times, by CMakeLists.txt.
// Labels: portable header_only
#include "kernels/same_bits_unit.hpp"
#include "support/reference.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>

namespace same_bits {

std::vector<unit> &units() {
    static std::vector<unit> all;
    return all;
}

namespace {

/// The sign and payload of a NaN depend on which operand came first.
std::uint32_t bits_of(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

bool runs_here(const unit &u) {
#if defined(__x86_64__)
    return !u.avx2 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#else
    return !u.avx2;
#endif
}

void expect_same(std::span<const float> input) {
    const unit *first = nullptr;
    std::vector<result> expected;
    for (const unit &u : units()) {
        if (!runs_here(u)) continue;
        const std::vector<result> got = u.run(input);
        if (!first) {
            first = &u;
            expected = got;
            continue;
        }
        ASSERT_EQ(got.size(), expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(got[i].what, expected[i].what);
            ASSERT_EQ(got[i].values.size(), expected[i].values.size());
            std::size_t different = 0, at = 0;
            for (std::size_t k = 0; k < got[i].values.size(); ++k) {
                if (bits_of(got[i].values[k]) == bits_of(expected[i].values[k])) continue;
                if (different++ == 0) at = k;
            }
            EXPECT_EQ(different, 0u) << got[i].what << ": element " << at << " is " << expected[i].values[at] << " from unit "
                                     << first->name << " and " << got[i].values[at] << " from unit " << u.name;
        }
    }
}

TEST(same_bits, there_are_several_units) { EXPECT_GE(units().size(), 3u); }

TEST(same_bits, of_ordinary_numbers) {
    reference::random_source random;
    expect_same(random.values(20011));
}

// Sums of numbers as different as these depend on every rounding and on the order.
TEST(same_bits, of_numbers_of_all_sizes) {
    reference::random_source random;
    std::vector<float> input;
    for (int i = 0; i < 20011; ++i) input.push_back(std::ldexp(random(), static_cast<int>(random.integer(-60, 12))));
    expect_same(input);
}

// -ffast-math takes for granted that there are none of these.
TEST(same_bits, of_infinities_nan_and_negative_zero) {
    reference::random_source random;
    std::vector<float> input = random.values(20011);
    for (std::size_t i = 0; i < input.size(); i += 97) {
        // The last NaN becomes 0 if it is rounded to bfloat16 like a number.
        const float special[] = {-0.0F, 0.0F, std::numeric_limits<float>::infinity(), std::nanf(""),
                                 std::bit_cast<float>(0xffffffffU)};
        input[i] = special[random.integer(0, 4)];
    }
    expect_same(input);
}

} // namespace

} // namespace same_bits
