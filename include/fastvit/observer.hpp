// SPDX-License-Identifier: MIT
// Watching a forward pass: which part of the network runs.
#pragma once

#include "fastvit/base/config.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

/// Is told by a workspace which part of the network runs, in the thread that called forward(), properly nested. The names of what
/// is entered, joined with dots, are those of cost.hpp: `stages` 2, `blocks` 0, `mlp` is stages.2.blocks.0.mlp.
class observer {
  public:
    virtual ~observer() = default;
    /// `number` is -1 for a part that is not one of several. The name lives as long as the program.
    virtual void enter(std::string_view name, index_type number) = 0;
    virtual void leave() = 0;
};

}} // namespace fastvit::FASTVIT_ABI
