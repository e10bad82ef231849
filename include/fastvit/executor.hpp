// SPDX-License-Identifier: MIT
// Threads belong to the caller: the executor interface, a serial default, and a small pool.
#pragma once

#include "fastvit/base/config.hpp"

#include <memory>
#include <type_traits>

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
    /// Calls task(i, worker) once for each i in [0, tasks), in any order, and returns when all have returned; what they wrote is
    /// then visible to the caller, and what the caller wrote before was visible to them. Tasks of one run() that are called at
    /// the same time have different worker numbers. Tasks do not throw, and do not call run(). What run() itself throws leaves
    /// forward(), whose results are then undefined.
    ///
    /// A forward pass calls run() from the thread that called forward(). So an executor of several workspaces that are used at
    /// the same time must allow several threads in run(); one that belongs to a single workspace need not.
    ///
    /// During run() that thread rounds to nearest, keeps subnormal numbers and traps nothing, whatever its own settings are. On
    /// other threads each task sets that for itself, and back.
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

/// A pool of threads. A thread without work spins for some microseconds, so that the next layer's tasks find it awake, and then
/// sleeps: an idle pool uses no processor time. The calling thread is worker 0.
///
/// Several threads may call run(). One of them at a time has the pool; the others run their tasks themselves.
class thread_pool final : public executor {
  public:
    /// `workers` counts the calling thread; 0 or less means one for each of the machine's hardware threads.
    /// Throws std::system_error if the system has no more threads to give.
    explicit thread_pool(int workers = 0);
    ~thread_pool() override;
    thread_pool(const thread_pool &) = delete;
    thread_pool &operator=(const thread_pool &) = delete;

    int workers() const noexcept override;
    void run(index_type tasks, task_ref task) override;

  private:
    class state;
    std::unique_ptr<state> state_;
};

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/executor.hpp"
#endif
