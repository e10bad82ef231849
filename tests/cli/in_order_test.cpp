// SPDX-License-Identifier: MIT
// Labels: threads
#include "cli/in_order.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using fastvit::index_type;

// A result that cannot be copied, as a picture's should not be.
using result = std::unique_ptr<index_type>;

TEST(in_order, delivers_every_result_in_order) {
    for (const int workers : {1, 2, 5}) {
        fastvit::thread_pool threads(workers);
        for (const index_type count : {index_type{0}, index_type{1}, index_type{2}, index_type{500}}) {
            std::vector<index_type> delivered; // by one thread at a time
            cli::in_order(
                threads, count,
                [&](index_type number, int worker) {
                    EXPECT_LT(worker, workers);
                    if (number % 7 == 0) std::this_thread::yield();
                    return std::make_unique<index_type>(number * number);
                },
                [&](result &&r) { delivered.push_back(*r); });
            ASSERT_EQ(static_cast<index_type>(delivered.size()), count);
            for (index_type i = 0; i < count; ++i) ASSERT_EQ(delivered[i], i * i);
        }
    }
}

// One picture's forward pass uses all threads, and there is one workspace for it.
TEST(in_order, leaves_the_executor_to_a_single_task) {
    struct last_worker_first final : fastvit::executor {
        int workers() const noexcept override { return 4; }
        void run(index_type tasks, fastvit::task_ref task) override {
            EXPECT_FALSE(busy);
            busy = true;
            for (index_type i = 0; i < tasks; ++i) task(i, workers() - 1);
            busy = false;
        }
        bool busy = false;
    } threads;
    int inside = 0, delivered = 0;
    cli::in_order(
        threads, 1,
        [&](index_type, int worker) {
            EXPECT_EQ(worker, 0);
            threads.run(3, [&](index_type, int) { ++inside; });
            return worker;
        },
        [&](int) { ++delivered; });
    EXPECT_EQ(inside, 3);
    EXPECT_EQ(delivered, 1);
}

// The first picture is the last to be ready: the others wait for it, and no more of them than there should.
TEST(in_order, waits_for_what_comes_first) {
    fastvit::thread_pool threads(2);
    const index_type ahead = cli::begun_ahead(2), count = 10 * ahead;
    std::atomic<index_type> others{0};
    std::vector<index_type> delivered;
    cli::in_order(
        threads, count,
        [&](index_type number, int) {
            if (number != 0) ++others;
            while (number == 0 && others.load() < ahead - 1) std::this_thread::yield();
            if (number == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50)); // in which no other is begun
            return number;
        },
        [&](index_type number) {
            if (number == 0) {
                EXPECT_EQ(others.load(), ahead - 1);
            }
            delivered.push_back(number);
        });
    std::vector<index_type> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), index_type{0});
    EXPECT_EQ(delivered, expected);
}

TEST(in_order, throws_what_the_work_or_the_delivery_throws) {
    for (const int workers : {1, 3}) {
        fastvit::thread_pool threads(workers);
        std::atomic<index_type> made{0};
        index_type delivered = 0;
        const auto message = [&](bool in_delivery) {
            made = delivered = 0;
            try {
                cli::in_order(
                    threads, 100000,
                    [&](index_type number, int) {
                        ++made;
                        if (!in_delivery && number == 10) throw std::runtime_error("made");
                        return number;
                    },
                    [&](index_type number) {
                        if (in_delivery && number == 10) throw std::runtime_error("delivered");
                        ++delivered;
                    });
            } catch (const std::runtime_error &e) {
                return std::string(e.what());
            }
            return std::string("nothing");
        };
        EXPECT_EQ(message(false), "made");
        EXPECT_EQ(message(true), "delivered");
        EXPECT_EQ(delivered, 10);
    }
}

TEST(in_order, leaves_out_what_is_not_begun_when_something_throws) {
    fastvit::serial_executor threads;
    index_type made = 0;
    EXPECT_THROW(cli::in_order(
                     threads, 100,
                     [&](index_type number, int) {
                         ++made;
                         if (number == 10) throw std::runtime_error("enough");
                         return number;
                     },
                     [](index_type) {}),
                 std::runtime_error);
    EXPECT_EQ(made, 11);
}

} // namespace
