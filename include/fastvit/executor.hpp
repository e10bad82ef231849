// SPDX-License-Identifier: MIT
// Threads belong to the caller: the executor interface, a serial default, and a small pool.
#pragma once

#include "fastvit/base/config.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A reference to a callable `void(index task, int worker)`; it must outlive the call it is given to.
class task_ref {
  public:
    template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, task_ref>) task_ref(F &&f)
    noexcept // NOLINT(google-explicit-constructor): a reference parameter in all but name
        : object_(const_cast<void *>(static_cast<const void *>(std::addressof(f)))),
          call_([](void *object, index_type task, int worker) {
              (*static_cast<std::remove_reference_t<F> *>(object))(task, worker);
          }) {}

    void operator()(index_type task, int worker) const { call_(object_, task, worker); }

  private:
    void *object_;
    void (*call_)(void *, index_type, int);
};

/// Runs independent tasks. An application implements it over its own scheduler, or uses one of the two below.
class executor {
  public:
    virtual ~executor() = default;
    /// How many tasks may run at once: worker numbers are below this. At least 1, and the same for the executor's whole life.
    virtual int workers() const noexcept = 0;
    /// Calls task(i, worker) once for each i in [0, tasks), in any order, and returns when all have returned. Two calls that run
    /// at the same time have different worker numbers. The tasks throw nothing.
    virtual void run(index_type tasks, task_ref task) = 0;
};

/// Everything in the calling thread.
class serial_executor final : public executor {
  public:
    int workers() const noexcept override { return 1; }
    void run(index_type tasks, task_ref task) override {
        for (index_type i = 0; i < tasks; ++i) task(i, 0);
    }
};

/// A pool of threads that wait for work, first spinning for some microseconds, so that the next layer's tasks find them awake,
/// then asleep in the kernel: an idle pool uses no processor time. The calling thread is worker 0.
///
/// Several threads may call run(): one at a time has the pool, and the others meanwhile run their tasks themselves.
class thread_pool final : public executor {
  public:
    /// `workers` counts the calling thread; 0 means one for each of the machine's hardware threads.
    /// Throws std::system_error if the system gives no more threads.
    explicit thread_pool(int workers = 0) : thread_pool(no_threads{workers}) { // whose destructor then stops those that there are
        for (int worker = 1; worker < this->workers(); ++worker) threads_.emplace_back([this, worker] { serve(worker); });
    }
    ~thread_pool() override {
        stop_.store(true);
        round_.fetch_add(1);
        round_.notify_all();
        for (std::thread &t : threads_) t.join();
    }
    thread_pool(const thread_pool &) = delete;
    thread_pool &operator=(const thread_pool &) = delete;

    int workers() const noexcept override { return static_cast<int>(shares_.size()); }

    void run(index_type tasks, task_ref task) override {
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
    explicit thread_pool(no_threads wanted)
        : shares_(wanted.workers > 0 ? static_cast<std::size_t>(wanted.workers)
                                     : std::max<std::size_t>(1, std::thread::hardware_concurrency())) {}

    // The tasks that a worker does first, before it helps the others with theirs. Layer after layer it so finds the part of the
    // maps that it wrote in its own core's cache: 1% of T8 on two cores, and 3% when something else slows one of them down.
    // Counters that different threads write are on cache lines of their own.
    struct alignas(64) share {
        std::atomic<index_type> next{0};
        index_type end = 0;
    };

    // About 20 microseconds at 40 cycles a turn: longer than the gap between two layers, shorter than anybody would notice.
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

}} // namespace fastvit::FASTVIT_ABI
