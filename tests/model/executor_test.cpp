// SPDX-License-Identifier: MIT
// Labels: threads portable
#include "fastvit/executor.hpp"

#include "support/sanitized.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace {

using fastvit::executor;
using fastvit::index_type;
using fastvit::serial_executor;
using fastvit::task_ref;
using fastvit::thread_pool;

/// Runs tasks and counts what must not happen.
class recorded_run {
  public:
    recorded_run(executor &threads, index_type tasks) : workers_(threads.workers()), runs_(tasks), busy_(workers_) {
        threads.run(tasks, *this);
    }

    void operator()(index_type task, int worker) {
        if (task < 0 || task >= static_cast<index_type>(runs_.size()) || worker < 0 || worker >= workers_) {
            ++out_of_range_;
            return;
        }
        if (busy_[worker].exchange(true)) ++shared_workers_;
        ++runs_[task];
        sum_[worker % 64] += task; // not atomic: the thread sanitizer sees two threads with one worker number
        if (task % 5 == 0) std::this_thread::yield();
        busy_[worker] = false;
    }

    void expect_right() const {
        index_type wrong = 0, sum = 0;
        for (const auto &n : runs_) wrong += n != 1;
        for (const index_type s : sum_) sum += s;
        const index_type tasks = static_cast<index_type>(runs_.size());
        EXPECT_EQ(wrong, 0) << "tasks that did not run exactly once";
        EXPECT_EQ(sum, tasks * (tasks - 1) / 2) << "a worker's writes were lost";
        EXPECT_EQ(out_of_range_, 0) << "task or worker numbers out of range";
        EXPECT_EQ(shared_workers_, 0) << "two tasks at once with one worker number";
    }

  private:
    int workers_;
    std::vector<std::atomic<int>> runs_;
    std::vector<std::atomic<bool>> busy_;
    index_type sum_[64] = {};
    std::atomic<int> out_of_range_{0}, shared_workers_{0};
};

void expect_every_task_once(executor &threads, index_type tasks) {
    SCOPED_TRACE(testing::Message() << tasks << " tasks, " << threads.workers() << " workers");
    recorded_run(threads, tasks).expect_right();
}

double processor_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Processor time per second while this thread sleeps.
double load_while_asleep(std::chrono::milliseconds time) {
    const double before = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(time);
    return (processor_seconds() - before) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(serial_executor, runs_tasks_in_order_in_this_thread) {
    serial_executor serial;
    std::vector<index_type> order;
    const auto caller = std::this_thread::get_id();
    serial.run(5, [&](index_type task, int worker) {
        EXPECT_EQ(worker, 0);
        EXPECT_EQ(std::this_thread::get_id(), caller);
        order.push_back(task);
    });
    EXPECT_EQ(order, (std::vector<index_type>{0, 1, 2, 3, 4}));
    EXPECT_EQ(serial.workers(), 1);
    expect_every_task_once(serial, 0);
}

TEST(task_ref, calls_what_it_refers_to) {
    int calls = 0;
    auto counter = [&](index_type task, int worker) { calls += static_cast<int>(task) + worker; };
    const auto &constant = counter;
    const task_ref a = counter, b = constant, copy = a;
    a(1, 2);
    b(10, 20);
    copy(100, 200);
    EXPECT_EQ(calls, 333);
}

TEST(thread_pool, counts_the_calling_thread) {
    for (const int workers : {1, 2, 3, 8}) EXPECT_EQ(thread_pool(workers).workers(), workers);
    const int all = static_cast<int>(std::thread::hardware_concurrency());
    EXPECT_EQ(thread_pool().workers(), all > 0 ? all : 1);
    EXPECT_EQ(thread_pool(-3).workers(), thread_pool().workers());
}

TEST(thread_pool, runs_every_task_once) {
    for (const int workers : {1, 2, 3, 7}) {
        thread_pool pool(workers);
        for (const index_type tasks : {0, 1, 2, 3, 8, 100, 5000}) expect_every_task_once(pool, tasks);
    }
}

TEST(thread_pool, runs_round_after_round) {
    thread_pool pool(4);
    for (int round = 0; round < 3000; ++round) recorded_run(pool, round % 9).expect_right();
}

// All workers meet in their tasks, so each must have come from a thread of its own: the pool has the threads it says.
TEST(thread_pool, has_all_its_workers_at_once) {
    thread_pool pool(4);
    std::atomic<int> inside{0};
    std::vector<std::thread::id> ids(4);
    pool.run(4, [&](index_type, int worker) {
        ids[worker] = std::this_thread::get_id();
        ++inside;
        while (inside.load() < 4) std::this_thread::yield();
    });
    EXPECT_EQ(std::set<std::thread::id>(ids.begin(), ids.end()).size(), 4U);
    EXPECT_EQ(ids[0], std::this_thread::get_id()) << "worker 0 is the calling thread";
}

// Layer after layer the same worker begins with the same part, which is then in its core's cache.
TEST(thread_pool, gives_each_worker_a_part_of_its_own_first) {
    thread_pool pool(3);
    std::atomic<int> met{0};
    std::vector<index_type> first(3, -1);
    pool.run(12, [&](index_type i, int worker) {
        if (first[worker] >= 0) return;
        first[worker] = i;
        ++met;
        while (met.load() < 3) std::this_thread::yield();
    });
    EXPECT_EQ(first, (std::vector<index_type>{0, 4, 8}));
}

TEST(thread_pool, leaves_no_task_to_a_worker_that_is_held_up) {
    thread_pool pool(2);
    for (const index_type slow : {0, 50, 99}) {
        std::atomic<int> done{0};
        pool.run(100, [&](index_type i, int) {
            while (i == slow && done.load() < 99) std::this_thread::yield();
            ++done;
        });
        EXPECT_EQ(done.load(), 100);
    }
}

// What tasks wrote without atomics is there after run(), and what was written before it is there in the tasks.
TEST(thread_pool, run_publishes_memory_both_ways) {
    thread_pool pool(3);
    std::vector<index_type> in(1000), out(1000);
    for (index_type round = 1; round <= 200; ++round) {
        for (index_type &v : in) v += round;
        pool.run(1000, [&](index_type i, int) { out[i] = in[i] + i; });
        for (index_type i = 0; i < 1000; ++i) ASSERT_EQ(out[i], round * (round + 1) / 2 + i);
    }
}

TEST(thread_pool, serves_several_threads) {
    thread_pool pool(3);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([&pool, caller] {
            for (int round = 0; round < 300; ++round) recorded_run(pool, (round * 7 + caller) % 40).expect_right();
        });
    for (std::thread &t : callers) t.join();
}

TEST(thread_pool, serves_its_own_tasks) {
    thread_pool pool(3);
    for (int round = 0; round < 50; ++round) {
        std::atomic<int> finished{0};
        pool.run(12, [&](index_type outer, int) {
            recorded_run(pool, 10 + outer).expect_right();
            ++finished;
        });
        ASSERT_EQ(finished, 12);
    }
}

TEST(thread_pool, is_made_and_destroyed_often) {
    for (int round = 0; round < 200; ++round) {
        thread_pool pool(round % 4 + 1);
        if (round % 3 != 0) recorded_run(pool, round % 11).expect_right();
    }
}

TEST(thread_pool, several_pools_do_not_meet) {
    thread_pool a(2), b(3);
    a.run(8, [&](index_type tasks, int) { recorded_run(b, tasks).expect_right(); });
    recorded_run(a, 30).expect_right();
}

// A spinning worker would bring one second of processor time per second. The bound leaves room for a sanitizer's own threads.
TEST(thread_pool, sleeps_while_idle) {
    thread_pool fresh(4), used(4);
    recorded_run(used, 100).expect_right();
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // the workers' last spins
    EXPECT_LT(load_while_asleep(std::chrono::milliseconds(400)), 0.2);
    recorded_run(used, 100).expect_right();
    recorded_run(fresh, 100).expect_right();
}

#if defined(__linux__)
// With little address space left, some threads' stacks fit and the next one's does not.
[[noreturn]] void exhaust_threads() {
    const rlimit small{512U << 20, 512U << 20};
    if (setrlimit(RLIMIT_AS, &small) != 0) std::_Exit(2);
    try {
        const thread_pool pool(4000);
    } catch (const std::exception &) {
        std::_Exit(0);
    }
    std::_Exit(1);
}

TEST(thread_pool, throws_when_the_system_has_no_more_threads) {
    if (SANITIZED) GTEST_SKIP() << "a sanitizer needs the address space";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(exhaust_threads(), testing::ExitedWithCode(0), "");
}
#endif

} // namespace
