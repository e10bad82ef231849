// SPDX-License-Identifier: MIT
// Work on several threads with results in order.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/executor.hpp"

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

namespace cli {

/// Calls make(number, worker) for 0 .. count - 1 on the executor's threads, and deliver() with each result, one at a time and in
/// the order of the numbers. Throws the first exception that either throws; what is not begun then is left out.
template <class Make, class Deliver>
void in_order(fastvit::executor &threads, fastvit::index_type count, Make make, Deliver deliver) {
    std::mutex mutex; // of all below
    std::map<fastvit::index_type, std::invoke_result_t<Make, fastvit::index_type, int>> waiting;
    fastvit::index_type next = 0;
    std::exception_ptr failure;
    std::atomic<bool> failed{false};
    threads.run(count, [&](fastvit::index_type number, int worker) {
        if (failed.load()) return;
        try {
            auto made = make(number, worker);
            const std::lock_guard lock(mutex);
            waiting.emplace(number, std::move(made));
            for (; !waiting.empty() && waiting.begin()->first == next; ++next)
                deliver(std::move(waiting.extract(waiting.begin()).mapped()));
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            failed.store(true);
        }
    });
    if (failure) std::rethrow_exception(failure);
}

} // namespace cli
