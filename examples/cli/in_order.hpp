// SPDX-License-Identifier: MIT
// Work on several threads with results in order.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/executor.hpp"

#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

namespace cli {

/// How many more tasks than those delivered are begun: their results wait in memory where one task takes long.
constexpr fastvit::index_type begun_ahead(int workers) noexcept { return 4 * fastvit::index_type{workers}; }

/// Calls make(number, worker) for 0 .. count - 1 on the executor's threads, and deliver() with each result, one at a time and in
/// the order of the numbers. Throws the first exception that either throws; what is not begun then is left out. A single task is
/// made by the calling thread, as worker 0, and has the executor to itself.
template <class Make, class Deliver>
void in_order(fastvit::executor &threads, fastvit::index_type count, Make make, Deliver deliver) {
    const fastvit::index_type ahead = begun_ahead(threads.workers());
    std::mutex mutex; // of all below
    std::condition_variable room;
    std::map<fastvit::index_type, std::invoke_result_t<Make, fastvit::index_type, int>> waiting;
    fastvit::index_type begun = 0, next = 0;
    std::exception_ptr failure;
    // Each worker takes the lowest number that is left: an executor may begin with any of its tasks, and the results of the
    // second half would wait for all of the first.
    const auto take_tasks = [&](fastvit::index_type, int worker) {
        std::unique_lock lock(mutex);
        for (;;) {
            room.wait(lock, [&] { return failure || begun == count || begun < next + ahead; });
            if (failure || begun == count) return;
            const fastvit::index_type number = begun++;
            lock.unlock();
            try {
                auto made = make(number, worker);
                lock.lock();
                waiting.emplace(number, std::move(made));
                for (; !failure && !waiting.empty() && waiting.begin()->first == next; ++next)
                    deliver(std::move(waiting.extract(waiting.begin()).mapped()));
            } catch (...) {
                if (!lock.owns_lock()) lock.lock();
                if (!failure) failure = std::current_exception();
            }
            room.notify_all();
        }
    };
    if (count == 1)
        take_tasks(0, 0);
    else
        threads.run(threads.workers(), take_tasks);
    if (failure) std::rethrow_exception(failure);
}

} // namespace cli
