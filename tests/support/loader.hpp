// SPDX-License-Identifier: MIT
// What the loader knows of networks, and finds out of a checkpoint before it makes one, without the library's internal headers.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/tensor.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

struct recognised {
    fastvit::io::spelling spelling;
    fastvit::architecture net;
};

/// The network that a checkpoint has, or has at that prefix, by its tensors' names and shapes.
recognised recognise(const fastvit::checkpoint &source, const std::optional<std::string_view> &prefix = std::nullopt);

/// How many bytes the loader thinks that a model of it takes.
std::uint64_t memory_needed(const fastvit::checkpoint &source);

struct network_tensor {
    std::string name; ///< canonical
    fastvit::shape dims;
    bool matrix; ///< which a quantised checkpoint holds in int8
};

/// Every tensor of a network in one form, BatchNorms' counters included.
std::vector<network_tensor> tensors_of(const fastvit::architecture &net, bool folded);

} // namespace fastvit_test
