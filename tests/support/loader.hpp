// SPDX-License-Identifier: MIT
// What the loader knows and finds out before it makes a network, without the library's internal headers.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/tensor.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

/// The network that a checkpoint has, or has at that prefix, by its tensors' names and shapes.
struct recognised {
    fastvit::io::spelling spelling;
    fastvit::architecture net;

    explicit recognised(const fastvit::checkpoint &source, const std::optional<std::string_view> &prefix = std::nullopt);
};

/// How many bytes the loader thinks that a model of it takes.
std::uint64_t memory_needed(const fastvit::checkpoint &source);

struct network_tensor {
    std::string name; ///< canonical
    fastvit::shape dims;
    bool matrix; ///< which a quantised checkpoint holds in int8
};

/// Every tensor of a network in one form, BatchNorms' counters included.
std::vector<network_tensor> tensors_of(const fastvit::architecture &net, bool folded);

/// All outputs that the network can give.
fastvit::output_kind everything(const fastvit::architecture &net);

/// The shapes of all outputs that the network can give, for images of that shape.
fastvit::output_shapes shapes_of(const fastvit::architecture &net, const fastvit::shape &images);

/// Writes a safetensors file of all tensors, floating-point ones as float32.
void save_checkpoint(const std::filesystem::path &path, const fastvit::checkpoint &source);

} // namespace fastvit_test
