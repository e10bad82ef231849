// SPDX-License-Identifier: MIT
// The forward pass on threads that the application has already: fastvit::executor over its scheduler.
#include "fastvit/fastvit.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <iostream>
#include <latch>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

/// The application's scheduler: threads that take jobs off a queue.
class scheduler {
  public:
    explicit scheduler(int threads) {
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this](const std::stop_token &stop) { serve(stop); });
    }
    int threads() const noexcept { return static_cast<int>(threads_.size()); }
    void post(std::function<void()> job) {
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(std::move(job));
        }
        wake_.notify_one();
    }

  private:
    void serve(const std::stop_token &stop) {
        std::unique_lock lock(mutex_);
        while (wake_.wait(lock, stop, [this] { return !jobs_.empty(); })) {
            const auto job = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            job();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::deque<std::function<void()>> jobs_;
    std::vector<std::jthread> threads_; // last: they use all of the above
};

/// What fastvit needs of it. The calling thread helps, as worker 0. It must not be one of the scheduler's, which would wait for
/// jobs behind its own.
class scheduler_executor final : public fastvit::executor {
  public:
    explicit scheduler_executor(scheduler &threads) : threads_(threads) {}
    int workers() const noexcept override { return threads_.threads() + 1; }
    void run(fastvit::index_type tasks, fastvit::task_ref task) override {
        std::atomic<fastvit::index_type> next{0};
        const auto work = [&](int worker) {
            for (fastvit::index_type i = next++; i < tasks; i = next++) task(i, worker);
        };
        std::latch finished(threads_.threads());
        for (int worker = 1; worker < workers(); ++worker)
            threads_.post([&, worker] {
                work(worker);
                finished.count_down();
            });
        work(0);
        finished.wait();
    }

  private:
    scheduler &threads_;
};

int main() try {
    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    const fastvit::tensor<float> images({4, 3, 96, 96});
    fastvit::workspace alone;
    const auto expected = net.forward(images, alone).logits.span();

    scheduler threads(3);
    scheduler_executor adapter(threads);
    fastvit::workspace shared(adapter);
    const auto actual = net.forward(images, shared).logits.span();

    // Any executor gives the same bits.
    const bool same = std::equal(actual.begin(), actual.end(), expected.begin(), expected.end());
    std::cout << (same ? "the same as in one thread\n" : "not the same as in one thread\n");
    return same ? 0 : 1;
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
