// SPDX-License-Identifier: MIT
// Shapes, tensors and their views. What must not compile is in tests/build/must_not_compile.
// Labels: portable
#include "fastvit/tensor.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using io_test::expect_error;

tensor<float> counting(const shape &dims) {
    tensor<float> t(dims);
    std::iota(t.span().begin(), t.span().end(), 0.0F);
    return t;
}

TEST(shape, refuses_what_overflows) {
    constexpr index_type large = index_type{1} << 31;
    EXPECT_EQ((shape{large, large / 16}).count(), large * (large / 16));
    expect_error(error_kind::invalid_argument, {"overflows"}, [] { (void)shape{large, large}; });
    expect_error(error_kind::invalid_argument, {"negative", "-1"}, [] { (void)shape{2, -1}; });
    expect_error(error_kind::invalid_argument, {"dimensions", "9"}, [] { (void)shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; });
}

TEST(shape, loses_its_first_dimension) {
    EXPECT_EQ((shape{4, 3, 2}).without_first(), (shape{3, 2}));
    EXPECT_EQ(shape{4}.without_first(), shape{});
    EXPECT_EQ(shape{4}.without_first().count(), 1);
    EXPECT_EQ((shape{0, 3}).without_first(), shape{3});
}

TEST(tensor_view, has_a_view_of_each_image_of_a_batch) {
    tensor<float> batch = counting({3, 2, 4, 5});
    const tensor<float> &constant = batch;
    for (index_type n = 0; n < 3; ++n) {
        const tensor_view<const float> image = constant[n];
        EXPECT_EQ(image.dims(), (shape{2, 4, 5}));
        EXPECT_EQ(image.data(), batch.data() + n * 40);
        EXPECT_EQ(image(1, 3, 4), batch(n, 1, 3, 4));
        EXPECT_EQ(image[1][3].dims(), shape{5});
        EXPECT_EQ(image[1][3][4].count(), 1);
        EXPECT_EQ(image[1][3][4](), batch(n, 1, 3, 4));
    }
    // It is a view: what is written there is in the tensor.
    batch[2].span()[0] = -7;
    EXPECT_EQ(batch(2, 0, 0, 0), -7);
    static_assert(std::is_same_v<decltype(batch[0]), tensor_view<float>>);
    static_assert(std::is_same_v<decltype(constant[0]), tensor_view<const float>>);
}

TEST(tensor_view, checks_its_indices_in_debug_builds) {
    const tensor<float> t({3, 2});
    EXPECT_DEBUG_DEATH((void)t[3], "dims_");
    EXPECT_DEBUG_DEATH((void)t[-1], "dims_");
    EXPECT_DEBUG_DEATH((void)&t(0, 2), "dims_");
    EXPECT_DEBUG_DEATH((void)&t(0, -1), "dims_");
    EXPECT_DEBUG_DEATH((void)&t(0), "rank");
    EXPECT_DEBUG_DEATH((void)t.dim(2), "rank");
}

TEST(tensor, gives_adopted_elements_back) {
    static std::size_t released;
    released = 0;
    const auto release = [](void *elements, std::size_t bytes) noexcept {
        delete[] static_cast<int *>(elements);
        released += bytes;
    };
    {
        tensor<int> a = tensor<int>::adopt(new int[6]{1, 2, 3, 4, 5, 6}, {2, 3}, {release, 24});
        const tensor<int> b = std::move(a); // the elements change hands once
        EXPECT_EQ(a.data(), nullptr);       // NOLINT(bugprone-use-after-move): what is left is empty
        EXPECT_EQ(a.count(), 0);
        EXPECT_EQ(b(1, 2), 6);
        const tensor<int> copy = b; // has elements of its own
        EXPECT_NE(copy.data(), b.data());
        EXPECT_EQ(copy(1, 2), 6);
        EXPECT_EQ(released, 0u);
    }
    EXPECT_EQ(released, 24u);
}

TEST(tensor, leaves_borrowed_elements_alone) {
    const std::vector<float> elements{1, 2, 3, 4};
    tensor<float> copy;
    {
        const tensor<float> borrowed = tensor<float>::borrow({elements.data(), {2, 2}});
        EXPECT_EQ(borrowed.data(), elements.data());
        copy = borrowed;
    }
    EXPECT_NE(copy.data(), elements.data());
    EXPECT_EQ(copy(1, 1), elements[3]);
}

TEST(tensor, is_aligned_and_starts_as_zero) {
    for (const index_type count : {0, 1, 17, 100000}) {
        const tensor<double> t(shape{count});
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % alignment, 0u);
        for (const double x : t.span()) EXPECT_EQ(x, 0);
    }
}

} // namespace
