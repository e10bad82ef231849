// SPDX-License-Identifier: MIT
// What same_bits_test.cpp and the units that it compares share.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace same_bits {

/// What one kernel of one tier made of the input.
struct result {
    std::string what;
    std::vector<float> values;
};

/// One compilation of same_bits_unit.cpp.
struct unit {
    std::string name;
    bool avx2; ///< compiled for machines that have it
    std::function<std::vector<result>(std::span<const float> input)> run;
};

/// All that are linked into the program.
std::vector<unit> &units();

} // namespace same_bits
