// SPDX-License-Identifier: MIT
// The memory and threads of forward passes.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/observer.hpp"

#include <memory>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The memory and threads of a forward pass: one call at a time. It keeps the memory of its last call, so that another one of the
/// same network, shape and outputs allocates nothing; where shapes alternate, a workspace for each avoids allocating. Move-only;
/// results of the last call move with it.
class workspace {
  public:
    /// In the calling thread.
    workspace();
    /// On an executor, which outlives the workspace. Any executor gives the same bits.
    explicit workspace(executor &threads);
    workspace(workspace &&) noexcept;
    workspace &operator=(workspace &&) noexcept;
    ~workspace();

    /// Tells `who` from now on which part of the network runs; null for nobody. `who` outlives the workspace or is replaced.
    void watch(observer *who) noexcept;

    /// Bytes of activations that the last call needed, with those of the results unless it was a forward_into(). Pictures that
    /// were cropped are not counted.
    [[nodiscard]] index_type bytes() const noexcept;

  private:
    friend class model;
    struct state;
    // Null in a workspace that was moved from, which may only be assigned to or destroyed.
    std::unique_ptr<state> state_;
};

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/workspace.hpp"
#endif
