// SPDX-License-Identifier: MIT
// See fastvit/executor.hpp.
#pragma once

#include "fastvit/executor.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

class thread_pool::state { // NOLINT(clang-analyzer-optin.performance.Padding): counters have cache lines of their own
  public:
    explicit state(int workers) : state(no_threads{workers}) { // so that its destructor stops the threads that were started
        for (int worker = 1; worker < this->workers(); ++worker) threads_.emplace_back([this, worker] { serve(worker); });
    }
    ~state() {
        stop_.store(true);
        round_.fetch_add(1);
        round_.notify_all();
        for (std::thread &t : threads_) t.join();
    }
    state(const state &) = delete;
    state &operator=(const state &) = delete;

    int workers() const noexcept { return static_cast<int>(shares_.size()); }

    void run(index_type tasks, task_ref task) {
        if (workers() == 1 || tasks < 2 || busy_.exchange(true)) {
            for (index_type i = 0; i < tasks; ++i) task(i, 0);
            return;
        }
        task_ = &task;
        for (index_type w = 0; w < workers(); ++w) {
            share &s = shares_[static_cast<std::size_t>(w)];
            s.next.store(tasks * w / workers());
            s.end = tasks * (w + 1) / workers();
        }
        open_.store(true);
        round_.fetch_add(1);
        round_.notify_all();
        work(0);
        // A worker that is late finds the round closed; one that is inside is waited for. Sequential consistency makes sure that
        // either it sees open_ == false or this thread sees it inside.
        open_.store(false);
        for (int spins = 0; inside_.load() != 0; ++spins) relax(spins);
        busy_.store(false);
    }

  private:
    struct no_threads {
        int workers;
    };
    explicit state(no_threads wanted)
        : shares_(wanted.workers > 0 ? static_cast<std::size_t>(wanted.workers)
                                     : std::max<std::size_t>(1, std::thread::hardware_concurrency())) {}

    // The tasks that a worker does first, before it helps the others with theirs. In the next layer it then reads what it wrote
    // in this one, from its own core's cache: 1% of T8 on two cores, and 3% when something else slows one of them down. Counters
    // that different threads write are on cache lines of their own.
    struct alignas(64) share {
        std::atomic<index_type> next{0};
        index_type end = 0;
    };

    // About 20 microseconds at 40 cycles an iteration: longer than the gap between two layers, shorter than anybody would notice.
    static constexpr int spin_turns = 2000;

    static void relax(int spins) noexcept {
        if (spins >= spin_turns) return std::this_thread::yield();
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

    void work(int worker) {
        for (int turn = 0; turn < workers(); ++turn) {
            share &s = shares_[static_cast<std::size_t>((worker + turn) % workers())];
            for (index_type i = s.next.fetch_add(1); i < s.end; i = s.next.fetch_add(1)) (*task_)(i, worker);
        }
    }

    void serve(int worker) {
        for (std::uint32_t seen = 0; !stop_.load();) {
            for (int spins = 0; round_.load() == seen && spins < spin_turns; ++spins) relax(spins);
            round_.wait(seen);
            seen = round_.load();
            inside_.fetch_add(1);
            if (open_.load()) work(worker);
            inside_.fetch_sub(1);
        }
    }

    // Not a mutex: a task that calls run() would try to lock what its thread may already hold, which a mutex does not allow.
    std::atomic<bool> busy_{false};
    const task_ref *task_ = nullptr;
    std::vector<share> shares_; ///< one for each worker
    alignas(64) std::atomic<std::uint32_t> round_{0};
    alignas(64) std::atomic<int> inside_{0};
    std::atomic<bool> open_{false};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_; // last: started when all of the above exists
};

FASTVIT_FUNCTION thread_pool::thread_pool(int workers) : state_(std::make_unique<state>(workers)) {}
FASTVIT_FUNCTION thread_pool::~thread_pool() = default;
FASTVIT_FUNCTION int thread_pool::workers() const noexcept { return state_->workers(); }
FASTVIT_FUNCTION void thread_pool::run(index_type tasks, task_ref task) { state_->run(tasks, task); }

}} // namespace fastvit::FASTVIT_ABI
