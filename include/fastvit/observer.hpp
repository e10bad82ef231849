// SPDX-License-Identifier: MIT
// Watching a forward pass: which part of the network runs.
#pragma once

#include "fastvit/base/config.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Is told by a workspace which part of the network runs, in the thread that called forward(), properly nested. The names of what
/// is entered, joined with dots, are those of cost.hpp: `stages.2.blocks.0`, and in it `mlp`, is stages.2.blocks.0.mlp. Pooling
/// is `head.global_pool`.
class observer {
  public:
    virtual ~observer() = default;
    /// The name lives as long as the network.
    virtual void enter(std::string_view name) = 0;
    virtual void leave() = 0;
};

}} // namespace fastvit::FASTVIT_ABI
