// SPDX-License-Identifier: MIT
// Tensors as Eigen's matrices.
// Labels: portable eigen
#include "fastvit/eigen.hpp"
#include "fastvit/tensor.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <type_traits>
#include <utility>

namespace {

using fastvit::as_matrix;
using fastvit::index_type;
using fastvit::tensor;
using fastvit::tensor_view;

tensor<float> counted(fastvit::shape dims) {
    tensor<float> t(dims);
    std::iota(t.span().begin(), t.span().end(), 0.0F);
    return t;
}

TEST(eigen, a_row_of_the_tensor_is_one_of_the_matrix) {
    const tensor<float> t = counted({3, 5});
    const auto m = as_matrix(t);
    ASSERT_EQ(m.rows(), 3);
    ASSERT_EQ(m.cols(), 5);
    EXPECT_EQ(m.data(), t.data()) << "a copy";
    for (index_type n = 0; n < 3; ++n)
        for (index_type c = 0; c < 5; ++c) EXPECT_EQ(m(n, c), t(n, c));
}

TEST(eigen, a_channel_is_a_matrix) {
    const tensor<float> t = counted({2, 3, 4, 5});
    for (index_type n = 0; n < 2; ++n)
        for (index_type c = 0; c < 3; ++c) {
            const auto m = as_matrix(t, n, c);
            ASSERT_EQ(m.rows(), 4);
            ASSERT_EQ(m.cols(), 5);
            for (index_type y = 0; y < 4; ++y)
                for (index_type x = 0; x < 5; ++x) EXPECT_EQ(m(y, x), t(n, c, y, x));
        }
}

TEST(eigen, what_may_be_written_is_written_to_the_tensor) {
    tensor<float> t = counted({2, 3, 4, 5});
    as_matrix(t, 1, 2).row(3).setConstant(-1);
    EXPECT_EQ(t(1, 2, 3, 0), -1);
    EXPECT_EQ(t(1, 2, 3, 4), -1);
    EXPECT_EQ(t(1, 2, 2, 4), 114);
    tensor<double> d({2, 2});
    as_matrix(d.view()) << 1, 2, 3, 4;
    EXPECT_EQ(d(1, 0), 3);
}

TEST(eigen, constant_elements_stay_constant) {
    tensor<float> t({2, 2});
    EXPECT_FALSE((std::is_const_v<std::remove_reference_t<decltype(*as_matrix(t).data())>>));
    EXPECT_TRUE((std::is_const_v<std::remove_reference_t<decltype(*as_matrix(std::as_const(t)).data())>>));
    EXPECT_TRUE((std::is_const_v<std::remove_reference_t<decltype(*as_matrix(tensor_view<const float>(t)).data())>>));
}

// Results of a forward pass and the tensors of a file begin anywhere.
TEST(eigen, elements_need_no_alignment) {
    tensor<float> t = counted({1 + 3 * 8});
    const auto m = as_matrix(tensor_view<const float>(t.data() + 1, {3, 8}));
    EXPECT_EQ(m.sum(), 300);
    EXPECT_EQ((m * m.transpose())(0, 0), 204);
}

TEST(eigen, other_ranks_are_refused) {
    const tensor<float> maps({2, 3, 4, 5}), vector({4}), none;
    EXPECT_THROW((void)as_matrix(maps), fastvit::error);
    EXPECT_THROW((void)as_matrix(vector), fastvit::error);
    EXPECT_THROW((void)as_matrix(none), fastvit::error);
    EXPECT_THROW((void)as_matrix(vector, 0, 0), fastvit::error);
}

template <class T>
concept has_matrix = requires(T &&t) {
    as_matrix(std::forward<T>(t));
};
static_assert(has_matrix<tensor<float> &> && has_matrix<const tensor<float> &> && has_matrix<tensor_view<float>>);
static_assert(!has_matrix<tensor<float>> && !has_matrix<const tensor<float>>, "a view of a temporary");

} // namespace
