// SPDX-License-Identifier: MIT
// What the calling thread rounds to, and whether it keeps subnormal numbers, changes no result, and is as it was after each call.
// Labels: portable threads
#include "fastvit/cost.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/postprocess.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"
#include "fastvit/save.hpp"

#include "support/io_test_files.hpp"
#include "support/results.hpp"
#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
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

/// This thread rounds upward or downward, and flushes subnormal numbers to zero.
class other_arithmetic {
  public:
    explicit other_arithmetic(int rounding) {
        std::fegetenv(&before_);
        std::fesetround(rounding);
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

bits bits_of(std::span<const float> values) {
    bits result(values.size());
    std::memcpy(result.data(), values.data(), values.size_bytes());
    return result;
}
bits bits_of(tensor_view<const float> t) { return bits_of(t.span()); }
bits bits_of(const tensor<float> &t) { return bits_of(t.span()); }

/// `compute` gives the same in all arithmetics, and leaves the thread's alone.
template <class F> void expect_same(const F &compute) {
    const auto expected = compute();
    for (const int rounding : {FE_UPWARD, FE_DOWNWARD}) {
        std::optional<decltype(compute())> found;
        bool kept;
        {
            const other_arithmetic other(rounding);
            found = compute();
            kept = other.still_there();
        }
        EXPECT_TRUE(kept);
        EXPECT_TRUE(expected == *found) << (rounding == FE_UPWARD ? "upward" : "downward");
    }
}

tensor<float> row(const std::vector<float> &values) {
    tensor<float> t({static_cast<index_type>(values.size())});
    std::copy(values.begin(), values.end(), t.data());
    return t;
}

// The others are really others.
TEST(arithmetic, of_the_thread_can_be_told_apart) {
    volatile float one = 1, three = 3, tiny = 1e-40F; // 1 / 3 rounds up to nearest, -1 / 3 down
    const auto thirds = [&] { return bits_of(row({one / three, -one / three})); };
    const bits nearest = thirds();
    for (const int rounding : {FE_UPWARD, FE_DOWNWARD}) {
        bits found;
        float flushed;
        {
            const other_arithmetic other(rounding);
            found = thirds();
            flushed = tiny * one;
        }
        EXPECT_NE(found, nearest);
#if defined(__x86_64__) || defined(__aarch64__)
        EXPECT_EQ(std::bit_cast<std::uint32_t>(flushed), 0U);
#endif
    }
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

/// The elements are the caller's.
template <class T> io::stored_tensor stored(io::dtype type, const shape &dims, const std::vector<T> &elements) {
    return {.name = "t",
            .type = type,
            .type_name = std::string(io::to_string(type)),
            .dims = dims,
            .strides = io::contiguous_strides(dims),
            .bytes = std::as_bytes(std::span(elements))};
}

TEST(arithmetic, of_elements_that_are_read) {
    const std::vector<double> values{1e-40, 0.1, 1.0 / 3, -1e-42};
    expect_same([&] { return bits_of(io::read_float(stored(io::dtype::f64, {4}, values))); });
    const std::vector<std::uint16_t> halves{0x0001, 0x03FF, 0x3555};
    expect_same([&] { return bits_of(io::read_float(stored(io::dtype::f16, {3}, halves))); });
}

std::vector<std::uint8_t> pixels(unsigned height, unsigned width) {
    std::vector<std::uint8_t> all;
    for (unsigned i = 0; i < height * width * 3; ++i) all.push_back(static_cast<std::uint8_t>(i * 2654435761U >> 24));
    return all;
}

TEST(arithmetic, of_pictures) {
    const std::vector<std::uint8_t> rgb = pixels(37, 53);
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
    const std::vector<std::uint8_t> rgb = pixels(37, 53);
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

// 232 pixels of 233, cropped: rounded downward, a picture of 232 would be its own crop.
TEST(arithmetic, of_a_picture_that_is_nearly_its_own_crop) {
    const std::vector<std::uint8_t> rgb = pixels(232, 232);
    const preprocessing how = preprocessing::imagenet(232, 232.0 / 233);
    const model net(seeded_checkpoint(toy_net(), io::spelling::timm));
    expect_same([&] {
        workspace space;
        return bits_of(net.forward({.pixels = rgb.data(), .height = 232, .width = 232}, how, space).logits);
    });
}

TEST(arithmetic, of_configurations) {
    const std::string text =
        R"({"architecture": "fastvit_t8", "num_classes": 1000, "pretrained_cfg": {"input_size": [3, 256, 256],
        "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}})";
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "config.json", text);
    const auto numbers = [](const preprocessing &how) {
        std::vector<double> all{how.crop_fraction};
        all.insert(all.end(), how.mean.begin(), how.mean.end());
        all.insert(all.end(), how.stddev.begin(), how.stddev.end());
        return all;
    };
    expect_same([&] { return numbers(parse_preprocessing_config(text)); });
    expect_same([&] { return numbers(read_preprocessing_config(directory / "config.json")); });
    expect_same([&] { return numbers(find_config(directory / "model.safetensors").how.value()); });
}

TEST(arithmetic, of_costs) {
    expect_same([] { return multiply_adds(published_architecture("fastvit_ma36"), 100003, 99991); });
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

// Not what the message says: std::to_string() rounds as the thread does.
bool refused(const std::function<void()> &f) { return io_test::thrown_by(f) != "nothing"; }

TEST(arithmetic, of_numbers_that_are_refused) {
    const io_test::temporary_directory directory;
    const std::vector<double> large{3.4028235677973366e38}; // as a float32 an infinity, unless it is rounded downward
    const io::stored_tensor wide = stored(io::dtype::f64, {1}, large);
    const io::named_tensor one{.name = "t", .data = {}, .stored = &wide};
    const auto save = [&] { io::save_safetensors(directory / "out", std::span(&one, 1)); };
    EXPECT_TRUE(refused(save));
    expect_same([&] { return refused(save); });

    const std::vector<std::int8_t> byte{1};
    const std::vector<float> negative{-1e-40F};
    const io::stored_tensor matrix = stored(io::dtype::i8, {1, 1}, byte), scale = stored(io::dtype::f32, {1}, negative);
    const auto read = [&] { (void)io::read_quantised(matrix, scale); };
    EXPECT_TRUE(refused(read));
    expect_same([&] { return refused(read); });
}

TEST(arithmetic, of_the_train_time_graph) {
    const checkpoint source = seeded_checkpoint(toy_net(), io::spelling::timm);
    expect_same([&] {
        const std::vector<float> all = results_of(model(source, {.graph = graph::train_time}));
        return bits_of(std::span(all));
    });
}

} // namespace
