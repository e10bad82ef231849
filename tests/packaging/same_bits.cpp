// SPDX-License-Identifier: MIT
// Runs all units of the program (see unit.cpp) and compares what they give. What a unit is called says what the machine needs.
//
//     same_bits CHECKPOINTS BUNDLED-MODEL SCRATCH
#include "unit.hpp"

#include <algorithm>
#include <cstring>
#include <iostream>
#include <string_view>

namespace {

bool runs_here([[maybe_unused]] std::string_view name) {
#if defined(__x86_64__)
    if (name.find("avx512") != name.npos)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (name.find("avx2") != name.npos) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return true;
}

/// Says where two differ; whether they are equal.
bool equal(const unit_result &a, std::string_view a_unit, const unit_result &b, std::string_view b_unit) {
    if (a.what != b.what || a.bytes.size() != b.bytes.size()) {
        std::cout << a_unit << " has " << a.bytes.size() << " bytes of " << a.what << ", " << b_unit << ' ' << b.bytes.size()
                  << " of " << b.what << '\n';
        return false;
    }
    const auto at = std::mismatch(a.bytes.begin(), a.bytes.end(), b.bytes.begin()).first - a.bytes.begin();
    if (static_cast<std::size_t>(at) == a.bytes.size()) return true;
    const std::size_t word = static_cast<std::size_t>(at) / sizeof(float);
    float x = 0, y = 0;
    if ((word + 1) * sizeof(float) <= a.bytes.size()) {
        std::memcpy(&x, a.bytes.data() + word * sizeof(float), sizeof x);
        std::memcpy(&y, b.bytes.data() + word * sizeof(float), sizeof y);
    }
    std::cout << a.what << ": byte " << at << " of " << a.bytes.size() << " differs, number " << word << ", " << x << " by "
              << a_unit << " and " << y << " by " << b_unit << '\n';
    return false;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const unit_files files{argv[1], argv[2], argv[3]};
    std::filesystem::create_directories(files.scratch);
    std::cout.precision(9);

    bool failed = false;
    std::string_view first;
    std::vector<unit_result> expected;
    for (const unit &u : all_units()) {
        if (!runs_here(u.name)) {
            std::cout << u.name << " is linked, but this machine cannot run it\n";
            continue;
        }
        const std::vector<unit_result> got = u.run(files);
        std::cout << u.name << ": " << got.size() << " results\n" << std::flush;
        if (first.empty()) {
            first = u.name;
            expected = got;
        }
        failed |= got.empty() || got.size() != expected.size();
        for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i)
            failed |= !equal(expected[i], first, got[i], u.name);
    }
    return failed ? 1 : 0;
}
