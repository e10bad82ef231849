// SPDX-License-Identifier: MIT
// The memory of a forward pass: a stack of floats. The same code plans and runs: while planning, an arena only counts, and its
// peak is the memory that the run will need.
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

}}} // namespace fastvit::FASTVIT_ABI::runtime
