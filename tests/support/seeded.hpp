// SPDX-License-Identifier: MIT
// Networks without weight files: every parameter follows from its tensor's name and a seed, by a rule that any language can
// repeat. The expected outputs in data/goldens come from the official implementations with these parameters.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/tensor.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace fastvit_test {

using fastvit::index_type; // POSIX has one of its own, a function

/// FNV-1a, 64 bits.
constexpr std::uint64_t fnv1a(std::string_view text, std::uint64_t state = 0xcbf29ce484222325u) {
    for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return state;
}

/// Numbers in [-1, 1) with 24 bits: the splitmix64 sequence that begins at the name's hash and the seed.
void fill_seeded(std::string_view name, std::uint64_t seed, std::span<float> values);

/// A parameter of the network: of a size that keeps activations near 1 through a deep network, BatchNorms that do something, and
/// layer scales large enough for an error in a block to show.
fastvit::tensor<float> seeded_parameter(std::string_view name, const fastvit::shape &dims, std::uint64_t seed);

/// Images, already normalised.
fastvit::tensor<float> seeded_input(const fastvit::shape &dims, std::uint64_t seed = 1);

/// A network's train-time form in memory, in either spelling. `prefix` stands before every name and changes no value.
fastvit::checkpoint seeded_checkpoint(const fastvit::architecture &net, fastvit::io::spelling spelling,
                                      std::string_view prefix = "", std::uint64_t seed = 1);

} // namespace fastvit_test
