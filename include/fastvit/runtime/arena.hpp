// SPDX-License-Identifier: MIT
// The memory of a forward pass. The same code plans and runs: while planning, memory is only counted, and the peaks are what the
// run will need.
#pragma once

#include "fastvit/tensor.hpp"

#include <algorithm>

namespace fastvit { inline namespace FASTVIT_ABI { namespace runtime {

/// A stack of floats: a block takes memory from the top and gives it back when it returns.
class arena {
  public:
    /// Counts only: what it hands out must not be touched.
    arena() = default;
    /// Over memory that outlives the arena, as many floats as an arena of the first kind counted.
    explicit arena(float *memory) : base_(memory) {}

    float *take(index_type count) noexcept {
        constexpr index_type line = static_cast<index_type>(alignment / sizeof(float));
        float *const p = base_ + top_;
        top_ += (count + line - 1) / line * line;
        peak_ = std::max(peak_, top_);
        return p;
    }
    index_type peak() const noexcept { return peak_; }
    index_type top() const noexcept { return top_; }
    void release_to(index_type top) noexcept { top_ = top; }

  private:
    // A counting arena needs addresses to count from; this one is aligned, not null, and never read or written.
    float *base_ = reinterpret_cast<float *>(alignment); // NOLINT(performance-no-int-to-ptr)
    index_type top_ = 0;
    index_type peak_ = 0;
};

/// How the memory of a pass is divided, in floats.
struct memory_layout {
    index_type stage_map = 0; ///< of each of the two
    index_type shared = 0;
    index_type scratch = 0; ///< of each worker
    int workers = 0;

    index_type floats() const noexcept { return 2 * stage_map + shared + scratch * workers; }
    friend bool operator==(const memory_layout &, const memory_layout &) = default;
};

/// Memory of each worker's own.
struct worker_scratch {
    float *first;    ///< the first worker's
    index_type step; ///< floats from one worker's to the next one's
    float *of(int worker) const noexcept { return first + worker * step; }
};

/// The memory of a forward pass: for the two maps of a stage, in the same places for every stage; a stack that the workers share;
/// and a stack of each worker's own:
///
///     | stage map 0 | stage map 1 | shared | scratch of worker 0 | scratch of worker 1 | ...
///
/// On one stack, a worker's scratch would lie where another's, or its part of a map, was some layers ago. Where two cores do not
/// share a cache, each of those lines comes from the other core, which took T8 3% of its time, and 7% in int8.
class pass_memory {
  public:
    /// Counts only.
    pass_memory() = default;
    /// Over memory of layout.floats() floats, which outlives this object.
    pass_memory(float *memory, const memory_layout &layout)
        : stage_maps_{arena(memory), arena(memory + layout.stage_map)}, shared_(memory + 2 * layout.stage_map),
          scratch_(memory + 2 * layout.stage_map + layout.shared), step_(layout.scratch) {}

    /// Memory of the stage map 0 or 1. What was there is gone.
    float *take_stage_map(int which, index_type count) noexcept {
        arena &a = stage_maps_[which];
        a.release_to(0);
        return a.take(count);
    }
    float *take(index_type count) noexcept { return shared_.take(count); }
    worker_scratch take_scratch(index_type count) noexcept { return {scratch_.take(count), step_}; }
    /// What has been counted, for so many workers.
    memory_layout layout(int workers) const noexcept {
        return {std::max(stage_maps_[0].peak(), stage_maps_[1].peak()), shared_.peak(), scratch_.peak(), workers};
    }

  private:
    friend class scope;
    arena stage_maps_[2];
    arena shared_;
    arena scratch_; ///< of the first worker
    index_type step_ = 0;
};

/// Gives back, at the end of a scope, what was taken in it from the stacks.
class scope {
  public:
    explicit scope(pass_memory &memory) : memory_(memory), shared_(memory.shared_.top()), scratch_(memory.scratch_.top()) {}
    ~scope() {
        memory_.shared_.release_to(shared_);
        memory_.scratch_.release_to(scratch_);
    }
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;

  private:
    pass_memory &memory_;
    index_type shared_, scratch_;
};

}}} // namespace fastvit::FASTVIT_ABI::runtime
