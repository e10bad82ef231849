// SPDX-License-Identifier: MIT
// What a part of the network needs while it runs: kernels, memory and threads. While planning, memory is only counted and nothing
// is computed.
#pragma once

#include "fastvit/executor.hpp"
#include "fastvit/kernels/run_tasks.hpp"
#include "fastvit/kernels/table.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/runtime/arena.hpp"
#include "fastvit/runtime/map.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace runtime {

struct context {
    const kernels::kernel_table &kernels;
    pass_memory &memory;
    executor *threads;           ///< null while planning
    int workers;                 ///< of the executor that will run
    observer *watcher = nullptr; ///< null, or who is told which part runs

    bool planning() const noexcept { return threads == nullptr; }

    /// Runs tasks in parallel, or nothing while planning.
    template <class F> void parallel(index_type tasks, F &&task) const {
        if (!planning()) kernels::run_tasks(*threads, tasks, task);
    }

    /// A map whose halo is zero and whose inside is not initialised.
    map take_map(const extent &size, index_type halo) const { return take_map(size, halo, spread_channels(size.channels)); }
    map take_map(const extent &size, index_type halo, index_type pixel_stride) const {
        const map m = unplaced_map(size, halo, pixel_stride);
        return placed(m, memory.take(m.floats()));
    }
    /// The same in the memory of the stage map 0 or 1: the map that was there is gone.
    map take_stage_map(int which, const extent &size, index_type halo) const {
        const map m = unplaced_map(size, halo, spread_channels(size.channels));
        return placed(m, memory.take_stage_map(which, m.floats()));
    }

  private:
    map placed(map m, float *at) const {
        m.origin = at + m.origin_offset();
        if (!planning()) clear_halo(m);
        return m;
    }
};

/// Tells the observer that a part of the network runs, from here to the end of the scope.
class watched {
  public:
    /// `name` lives as long as the network.
    watched(const context &c, std::string_view name) : watcher_(c.planning() ? nullptr : c.watcher) {
        if (watcher_) watcher_->enter(name);
    }
    ~watched() {
        if (watcher_) watcher_->leave();
    }
    watched(const watched &) = delete;
    watched &operator=(const watched &) = delete;

  private:
    observer *watcher_;
};

}}} // namespace fastvit::FASTVIT_ABI::runtime
