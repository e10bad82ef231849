// SPDX-License-Identifier: MIT
// What unit.cpp, compiled several times, and same_bits.cpp share; same_bits_units.cpp lists a program's units.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Bytes that are the same whatever a unit was compiled with.
struct unit_result {
    std::string what;
    std::vector<std::byte> bytes;
};

/// Where unit.cpp finds what it reads, and a directory of its own to write in.
struct unit_files {
    std::filesystem::path checkpoints, bundled, scratch;
};

struct unit {
    std::string_view name;
    std::vector<unit_result> (*run)(const unit_files &files);
};

/// The program's, in the order in which they are linked.
std::span<const unit> all_units();
