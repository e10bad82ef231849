// SPDX-License-Identifier: MIT
// The definitions of seeded.hpp.
#include "support/seeded.hpp"

#include "support/loader.hpp"
#include "support/translators.hpp"

#include <cmath>
#include <string>

namespace fastvit_test {

void fill_seeded(std::string_view name, std::uint64_t seed, std::span<float> values) {
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

fastvit::tensor<float> seeded_parameter(std::string_view name, const fastvit::shape &dims, std::uint64_t seed) {
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

fastvit::tensor<float> seeded_input(const fastvit::shape &dims, std::uint64_t seed) {
    fastvit::tensor<float> values(dims);
    fill_seeded("input", seed, values.span());
    for (float &u : values.span()) u *= 2;
    return values;
}

fastvit::checkpoint seeded_checkpoint(const fastvit::architecture &net, fastvit::io::spelling spelling, std::string_view prefix,
                                      std::uint64_t seed) {
    const fastvit::io::name_translator names = translator_of(net, spelling);
    fastvit::checkpoint result;
    for (const network_tensor &t : tensors_of(net, false)) {
        if (t.name.ends_with("num_batches_tracked")) continue; // an integer, which inference does not use
        const std::string name = names.from_canonical(t.name);
        result.add(std::string(prefix) + name, seeded_parameter(name, t.dims, seed));
    }
    return result;
}

} // namespace fastvit_test
