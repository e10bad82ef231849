// SPDX-License-Identifier: MIT
// Watching a forward pass: which part of the network runs.
#pragma once

#include "fastvit/base/config.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Told by a workspace when a part of the network begins and ends, in the thread that called forward(). Parts nest, and their
/// names, joined with dots, are those of cost.hpp: `mlp` inside `stages.2.blocks.0` is stages.2.blocks.0.mlp. The global average,
/// which costs nothing there, is `head.global_pool`. That thread then rounds to nearest, keeps subnormal numbers and traps
/// nothing, whatever its own settings are.
class observer {
  public:
    virtual ~observer() = default;
    /// The name lives as long as the network.
    virtual void enter(std::string_view name) = 0;
    /// Throws nothing.
    virtual void leave() = 0;
};

}} // namespace fastvit::FASTVIT_ABI
