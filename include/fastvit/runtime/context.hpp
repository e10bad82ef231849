// SPDX-License-Identifier: MIT
// What a block needs while it runs: the kernels, memory and threads. The same code plans and runs: in a planning context memory
// is only counted and nothing is computed.
#pragma once

#include "fastvit/executor.hpp"
#include "fastvit/kernels/table.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/runtime/map.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

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

struct context {
    const kernels::kernel_table &kernels;
    arena &memory;
    executor *threads;           ///< null while planning
    int workers;                 ///< of the executor that will run
    observer *watcher = nullptr; ///< null, or who is told which part runs

    bool planning() const noexcept { return threads == nullptr; }

    /// Runs tasks in parallel, or nothing while planning.
    template <class F> void parallel(index_type tasks, F &&task) const {
        if (!planning()) threads->run(tasks, task_ref(task));
    }

    /// A map whose halo is zero and whose inside is not initialised.
    map take_map(const extent &size, index_type halo) const { return take_map(size, halo, spread_channels(size.channels)); }
    map take_map(const extent &size, index_type halo, index_type pixel_stride) const {
        map m = layout(size, halo, pixel_stride);
        m.origin = memory.take(m.floats()) + m.origin_offset();
        if (!planning()) clear_halo(m);
        return m;
    }

    /// Memory for each worker: worker w has `count` floats from the result + w * count.
    float *take_scratch(index_type count) const { return memory.take(count * workers); }
};

/// Tells the observer that a part of the network runs, from here to the end of the scope.
class watched {
  public:
    watched(const context &c, std::string_view name, index_type number = -1) : watcher_(c.planning() ? nullptr : c.watcher) {
        if (watcher_) watcher_->enter(name, number);
    }
    ~watched() {
        if (watcher_) watcher_->leave();
    }
    watched(const watched &) = delete;
    watched &operator=(const watched &) = delete;

  private:
    observer *watcher_;
};

/// Gives back, at the end of a scope, what was taken in it.
class scope {
  public:
    explicit scope(const context &c) : memory_(c.memory), top_(c.memory.top()) {}
    ~scope() { memory_.release_to(top_); }
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;

  private:
    arena &memory_;
    index_type top_;
};

/// A rectangle of pixels of one image.
struct tile {
    index_type image, y, x, rows, columns;
    index_type pixels() const noexcept { return rows * columns; }
};

/// A map cut into tiles of nearly equal size, as many as the workers can share out evenly. Results do not depend on it.
struct tiling {
    extent size;
    index_type down, across; ///< tiles

    /// Tiles of about `target` pixels and at most kernels::gemm_max_pixels, whole rows where they fit.
    tiling(const extent &e, index_type target, int workers) : size(e) {
        target = std::clamp<index_type>(target, 1, kernels::gemm_max_pixels);
        across = (e.width + target - 1) / target;
        cut_down(std::clamp<index_type>(target / columns(), 1, e.height), workers);
    }
    /// Bands of about that many whole rows.
    static tiling bands(const extent &e, index_type rows, int workers) {
        tiling t(e);
        t.cut_down(std::clamp<index_type>(rows, 1, e.height), workers);
        return t;
    }

    index_type count() const noexcept { return size.images * down * across; }
    index_type rows() const noexcept { return (size.height + down - 1) / down; }       ///< of the highest tile
    index_type columns() const noexcept { return (size.width + across - 1) / across; } ///< of the widest tile
    index_type most_pixels() const noexcept { return rows() * columns(); }
    tile operator[](index_type i) const noexcept {
        const index_type row = i / across % down, column = i % across;
        const index_type y = row * size.height / down, x = column * size.width / across;
        return {i / (across * down), y, x, (row + 1) * size.height / down - y, (column + 1) * size.width / across - x};
    }

  private:
    explicit tiling(const extent &e) : size(e), across(1) {}
    void cut_down(index_type most_rows, int workers) noexcept {
        down = (size.height + most_rows - 1) / most_rows;
        while (count() % workers != 0 && down < size.height) ++down;
    }
};

/// Addresses of a tile's pixels in row order.
template <class Pointer> void tile_pixels(const map &m, const tile &t, Pointer *out) noexcept {
    for (index_type y = 0; y < t.rows; ++y)
        for (index_type x = 0; x < t.columns; ++x) *out++ = m.at(t.image, t.y + y, t.x + x);
}

/// Addresses of `count` pixels that lie one after the other.
template <class Pointer> void run_pixels(float *first, index_type stride, index_type count, Pointer *out) noexcept {
    for (index_type i = 0; i < count; ++i) out[i] = first + i * stride;
}

}}} // namespace fastvit::FASTVIT_ABI::nn
