// SPDX-License-Identifier: MIT
// Tasks that compute, on the caller's threads.
#pragma once

#include "fastvit/executor.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Calls task(i, worker) for each i in [0, tasks) as executor::run() does, whatever arithmetic its threads are set to.
template <class F> void run_tasks(executor &threads, index_type tasks, F &&task) {
    const auto exact = [&task](index_type i, int worker) {
        const platform::ieee_arithmetic arithmetic;
        task(i, worker);
    };
    threads.run(tasks, task_ref(exact));
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
