// SPDX-License-Identifier: MIT
// What the calling thread rounds to, and whether it keeps subnormal numbers, changes no result, and is as it was after each call.
// Labels: portable threads
#include "fastvit/executor.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/postprocess.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/save.hpp"

#include "support/io_test_files.hpp"
#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;

std::uint64_t control_word() {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr() & ~0x3FU; // without the flags
#elif defined(__aarch64__)
    std::uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
#else
    return static_cast<std::uint64_t>(std::fegetround());
#endif
}

/// This thread rounds upward and flushes subnormal numbers to zero.
class other_arithmetic {
  public:
    other_arithmetic() {
        std::fegetenv(&before_);
        std::fesetround(FE_UPWARD);
#if defined(__x86_64__)
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
        const std::uint64_t fpcr = control_word() | (std::uint64_t{1} << 24);
        __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#endif
        set_ = control_word();
    }
    ~other_arithmetic() { std::fesetenv(&before_); }
    other_arithmetic(const other_arithmetic &) = delete;
    other_arithmetic &operator=(const other_arithmetic &) = delete;

    bool still_there() const { return control_word() == set_; }

  private:
    std::fenv_t before_;
    std::uint64_t set_;
};

using bits = std::vector<std::uint32_t>;

bits bits_of(tensor_view<const float> t) {
    bits result(static_cast<std::size_t>(t.count()));
    std::memcpy(result.data(), t.data(), result.size() * sizeof(float));
    return result;
}

bits bits_of(const tensor<float> &t) { return bits_of(t.view()); }

/// `compute` gives the same in both arithmetics, and leaves the thread's alone.
template <class F> void expect_same(const F &compute) {
    const auto expected = compute();
    std::optional<decltype(compute())> found;
    bool kept;
    {
        const other_arithmetic other;
        found = compute();
        kept = other.still_there();
    }
    EXPECT_TRUE(kept);
    EXPECT_TRUE(expected == *found);
}

tensor<float> row(const std::vector<float> &values) {
    tensor<float> t({static_cast<index_type>(values.size())});
    std::copy(values.begin(), values.end(), t.data());
    return t;
}

// The other arithmetic is really another.
TEST(arithmetic, of_the_thread_can_be_told_apart) {
    volatile float one = 1, three = 3, tiny = 1e-40F;
    const float third = one / three, same = tiny * one;
    float third_upward, flushed;
    {
        const other_arithmetic other;
        third_upward = one / three;
        flushed = tiny * one;
    }
    EXPECT_LT(std::bit_cast<std::uint32_t>(1 / 3.0F) - 1, std::bit_cast<std::uint32_t>(third_upward));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(third), std::bit_cast<std::uint32_t>(1 / 3.0F));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(same), std::bit_cast<std::uint32_t>(1e-40F));
#if defined(__x86_64__) || defined(__aarch64__)
    EXPECT_EQ(std::bit_cast<std::uint32_t>(flushed), 0U);
#endif
}

TEST(arithmetic, of_what_is_made_of_outputs) {
    expect_same([] { return bits_of(softmax(row({0, -100, -90, 0.1F}))); });
    expect_same([] { return bits_of(l2_normalized(row({1e-40F, 2e-40F, 3e-40F, 0}))); });
    expect_same([] { return bits_of(l2_normalized(row({1, 2, 3, 0.1F}))); });
    expect_same([] {
        std::vector<index_type> order;
        for (const ranked_value &v : top_k(row({1e-40F, 2e-40F, 3e-40F, 0}), 4)) order.push_back(v.index);
        return order;
    });
}

TEST(arithmetic, of_elements_that_are_read) {
    const std::vector<double> values{1e-40, 0.1, 1.0 / 3, -1e-42};
    io::stored_tensor stored{.name = "t",
                             .type = io::dtype::f64,
                             .type_name = "F64",
                             .dims = shape{4},
                             .strides = {1},
                             .bytes = std::as_bytes(std::span(values))};
    expect_same([&] { return bits_of(io::read_float(stored)); });
    const std::vector<std::uint16_t> halves{0x0001, 0x03FF, 0x3555};
    stored.type = io::dtype::f16, stored.type_name = "F16", stored.dims = shape{3};
    stored.bytes = std::as_bytes(std::span(halves));
    expect_same([&] { return bits_of(io::read_float(stored)); });
}

std::vector<std::uint8_t> pixels() {
    std::vector<std::uint8_t> all;
    for (unsigned i = 0; i < 37 * 53 * 3; ++i) all.push_back(static_cast<std::uint8_t>(i * 2654435761U >> 24));
    return all;
}

TEST(arithmetic, of_pictures) {
    const std::vector<std::uint8_t> rgb = pixels();
    const picture_view picture{.pixels = rgb.data(), .height = 37, .width = 53};
    for (const preprocessing &how : {preprocessing::imagenet(32), preprocessing::mobileclip(24), preprocessing::fastvlm(40)}) {
        expect_same([&] { return bits_of(preprocess(picture, how)); });
        expect_same([&] {
            const tensor<std::uint8_t> crop = resize_crop(picture, how);
            return std::vector<std::uint8_t>(crop.span().begin(), crop.span().end());
        });
    }
}

TEST(arithmetic, of_networks_that_are_loaded_and_run) {
    const checkpoint source = seeded_checkpoint(toy_net(), io::spelling::timm);
    const std::vector<std::uint8_t> rgb = pixels();
    const picture_view picture{.pixels = rgb.data(), .height = 37, .width = 53};
    const preprocessing how = preprocessing::imagenet(64);
    const tensor<float> images = seeded_input({2, 3, 40, 56});
    for (const precision type : {precision::float32, precision::bfloat16, precision::int8})
        for (const int workers : {1, 2}) {
            SCOPED_TRACE(std::string(to_string(type)) + ", threads: " + std::to_string(workers));
            expect_same([&] {
                thread_pool threads(workers); // whose arithmetic is that of the thread that starts them
                const model net(source, {.precision = type, .threads = &threads});
                workspace space(threads);
                std::vector<bits> all;
                const auto add = [&](const outputs &out) {
                    for (const auto &stage : out.stages) all.push_back(bits_of(stage));
                    for (const auto &t : {out.stem, out.final_conv, out.embedding, out.logits}) all.push_back(bits_of(t));
                };
                add(net.forward(images, space, everything(net.architecture())));
                add(net.forward(picture, how, space, everything(net.architecture())));
                return all;
            });
        }
}

TEST(arithmetic, of_files_that_are_written) {
    const io_test::temporary_directory directory;
    const checkpoint source = seeded_checkpoint(toy_net(), io::spelling::timm);
    for (const io::dtype type : {io::dtype::f32, io::dtype::f16, io::dtype::bf16, io::dtype::i8}) {
        expect_same([&] {
            save_folded(source, directory / "folded", type);
            return io_test::read_file(directory / "folded");
        });
        expect_same([&] {
            save_converted(source, directory / "converted", type);
            return io_test::read_file(directory / "converted");
        });
    }
}

TEST(arithmetic, of_the_train_time_graph) {
    const checkpoint source = seeded_checkpoint(toy_net(), io::spelling::timm);
    expect_same([&] {
        const std::vector<float> all = results_of(model(source, {.graph = graph::train_time}));
        bits result(all.size());
        std::memcpy(result.data(), all.data(), all.size() * sizeof(float));
        return result;
    });
}

} // namespace
