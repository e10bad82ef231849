// SPDX-License-Identifier: MIT
// How long a cache line takes to another core and back. Cores that share a third-level cache need some 100 ns, others several
// times as long; which cores a program has may change from minute to minute on a virtual machine, and two threads are faster or
// slower by a tenth.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace bench {

/// In nanoseconds, the mean over some milliseconds.
inline double round_trip_ns() {
    std::atomic<std::int64_t> turn{-1}; // odd: the other thread's; negative: before and after
    std::thread other([&] {
        turn.store(0);
        for (;;) {
            const std::int64_t now = turn.load();
            if (now < 0) return;
            if (now % 2 == 1) turn.store(now + 1);
        }
    });
    while (turn.load() < 0) std::this_thread::yield();
    using clock = std::chrono::steady_clock;
    std::int64_t trips = 0;
    const auto begin = clock::now();
    auto end = begin;
    do {
        for (const std::int64_t some = trips + 100; trips < some; ++trips) {
            turn.store(2 * trips + 1);
            while (turn.load() != 2 * trips + 2) {
            }
        }
        end = clock::now();
    } while (end - begin < std::chrono::milliseconds(5));
    turn.store(-1);
    other.join();
    return std::chrono::duration<double, std::nano>(end - begin).count() / static_cast<double>(trips);
}

} // namespace bench
