// SPDX-License-Identifier: MIT
// Networks without weight files: every parameter follows from its tensor's name and a seed, by a rule that any language can
// repeat. The expected outputs in data/goldens come from the official implementations with these parameters.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/tensor.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit_test {

using fastvit::index_type; // POSIX has one of its own, a function

/// FNV-1a, 64 bits.
constexpr std::uint64_t fnv1a(std::string_view text, std::uint64_t state = 0xcbf29ce484222325u) {
    for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return state;
}

/// Numbers in [-1, 1) with 24 bits: the splitmix64 sequence that begins at the name's hash and the seed.
inline void fill_seeded(std::string_view name, std::uint64_t seed, std::span<float> values) {
    constexpr std::uint64_t golden = 0x9E3779B97F4A7C15u;
    std::uint64_t state = fnv1a(name) ^ (seed * golden);
    for (float &value : values) {
        std::uint64_t z = state += golden;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        value = static_cast<float>(z >> 40) * 0x1p-23f - 1;
    }
}

/// A parameter of the network: of a size that keeps activations near 1 through a deep network, BatchNorms that do something, and
/// layer scales large enough for an error in a block to show.
inline fastvit::tensor<float> seeded_parameter(std::string_view name, const fastvit::shape &dims, std::uint64_t seed) {
    fastvit::tensor<float> values(dims);
    fill_seeded(name, seed, values.span());
    const auto affine = [&](float offset, float scale) {
        for (float &u : values.span()) u = offset + scale * u;
    };
    if (name.find("layer_scale") != name.npos)
        affine(0.1f, 0.05f);
    else if (name.ends_with("running_mean"))
        affine(0, 0.1f);
    else if (name.ends_with("running_var"))
        affine(1, 0.5f);
    else if (dims.rank() >= 2)
        affine(0, static_cast<float>(std::sqrt(3.0 / static_cast<double>(dims.count() / dims[0]))));
    else if (name.ends_with("weight"))
        affine(1, 0.25f);
    else
        affine(0, 0.1f);
    return values;
}

/// Images, already normalised.
inline fastvit::tensor<float> seeded_input(const fastvit::shape &dims, std::uint64_t seed = 1) {
    fastvit::tensor<float> values(dims);
    fill_seeded("input", seed, values.span());
    for (float &u : values.span()) u *= 2;
    return values;
}

/// Of a checkpoint with these names, whatever the shapes.
inline fastvit::io::name_translator translator_of(const std::vector<std::string> &names) {
    std::vector<fastvit::io::tensor_outline> outlines;
    for (const std::string &name : names) outlines.push_back({name, {}});
    return {std::vector<std::string_view>(names.begin(), names.end()), fastvit::io::choose_network(outlines)};
}

/// The names of a network's tensors in either spelling. Apple numbers stages, patch embeddings and positional encodings through,
/// so the translator learns from one name of each.
inline fastvit::io::name_translator translator_of(const fastvit::architecture &net, fastvit::io::spelling spelling,
                                                  std::string_view prefix = "") {
    std::vector<std::string> names;
    const auto add = [&](std::string_view name) { names.push_back(std::string(prefix) + std::string(name)); };
    if (spelling == fastvit::io::spelling::timm) {
        add("stem.0.conv_kxk.0.conv.weight");
    } else {
        add("patch_embed.0.rbr_conv.0.conv.weight");
        int number = 0;
        const auto add_numbered = [&](std::string_view rest) {
            add("network." + std::to_string(number++) + "." + std::string(rest));
        };
        for (std::size_t s = 0; s < net.stages.size(); ++s) {
            if (s > 0) add_numbered("proj.0.lkb_origin.conv.weight");
            if (net.stages[s].position) add_numbered("pe.weight");
            add_numbered("0.layer_scale");
        }
    }
    return translator_of(names);
}

/// A network's train-time form in memory, in either spelling. `prefix` stands before every name and changes no value.
inline fastvit::checkpoint seeded_checkpoint(const fastvit::architecture &net, fastvit::io::spelling spelling,
                                             std::string_view prefix = "", std::uint64_t seed = 1) {
    const fastvit::io::name_translator names = translator_of(net, spelling);
    fastvit::checkpoint result;
    for (const fastvit::loading::listed_tensor &t : fastvit::loading::tensors_of(net, false)) {
        if (t.name.ends_with("num_batches_tracked")) continue; // an integer, which inference does not use
        const std::string name = names.from_canonical(t.name);
        result.add(std::string(prefix) + name, seeded_parameter(name, t.dims, seed));
    }
    return result;
}

} // namespace fastvit_test
