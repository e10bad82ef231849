// SPDX-License-Identifier: MIT
// Parameters and images from a seed, so that no benchmark needs a file. Their magnitudes are those of a network at the start of
// its training: activations stay of order one through every layer, without denormals and infinities, which would change the
// speed.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/io/checkpoint.hpp"
#include "fastvit/loading/archives.hpp"
#include "fastvit/tensor.hpp"

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace bench {

/// Numbers in [-1, 1) that depend on the tensor's name and the seed alone: SplitMix64 from an FNV-1a hash of the name.
inline void fill_seeded(std::string_view name, std::span<float> out, std::uint64_t seed = 1) {
    std::uint64_t state = 0xcbf29ce484222325U;
    for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    constexpr std::uint64_t step = 0x9E3779B97F4A7C15U;
    state ^= seed * step;
    for (float &x : out) {
        std::uint64_t z = state += step;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        z ^= z >> 31;
        x = static_cast<float>(static_cast<double>(z >> 40) * 0x1p-23 - 1);
    }
}

/// A checkpoint of the network's train-time graph (timm's spelling), from which both graphs can be made.
inline fastvit::io::checkpoint seeded_checkpoint(const fastvit::architecture &net, std::uint64_t seed = 1) {
    fastvit::io::checkpoint made;
    made.set_metadata("variant", net.variant);
    for (const fastvit::loading::listed_tensor &t : fastvit::loading::tensors_of(net, false)) {
        const std::string &name = t.name;
        if (name.ends_with("num_batches_tracked")) continue;
        fastvit::tensor<float> values(t.dims);
        fill_seeded(name, values.span(), seed);
        float scale = 0.1F, shift = 0; // biases and running means
        if (name.find("layer_scale") != std::string::npos) {
            scale = 0.05F, shift = 0.1F;
        } else if (name.ends_with("running_var")) {
            scale = 0.5F, shift = 1;
        } else if (t.dims.rank() >= 2) { // the variance of the inputs stays
            const double fan_in = static_cast<double>(t.dims.count() / t.dims[0]);
            scale = static_cast<float>(std::sqrt(3 / fan_in));
        } else if (name.ends_with("weight")) {
            scale = 0.25F, shift = 1;
        }
        for (float &x : values.span()) x = shift + scale * x;
        made.add(name, std::move(values));
    }
    return made;
}

/// A batch of images in [-2, 2), about what normalised pictures are.
inline fastvit::tensor<float> seeded_images(fastvit::index count, fastvit::index channels, fastvit::index height,
                                            fastvit::index width, std::uint64_t seed = 1) {
    fastvit::tensor<float> images({count, channels, height, width});
    fill_seeded("input", images.span(), seed);
    for (float &x : images.span()) x *= 2;
    return images;
}

} // namespace bench
