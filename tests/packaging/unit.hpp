// SPDX-License-Identifier: MIT
// What unit.cpp, compiled several times, and same_bits.cpp share.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
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
