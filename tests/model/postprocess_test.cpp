// SPDX-License-Identifier: MIT
// What is made of a network's outputs: probabilities, the best classes, rows of length one.
// Labels: portable
#include "fastvit/postprocess.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using io_test::expect_error;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

tensor<float> made(shape dims, std::initializer_list<float> values) {
    tensor<float> t(dims);
    EXPECT_EQ(t.count(), static_cast<index_type>(values.size()));
    std::copy(values.begin(), values.end(), t.data());
    return t;
}

std::vector<float> of(const tensor<float> &t) { return {t.span().begin(), t.span().end()}; }

template <class F> void expect_refusal_of_nothing(const F &f) {
    for (const auto &nothing : {tensor_view<const float>(), tensor_view<const float>(nullptr, {2, 3})})
        expect_error(error_kind::invalid_argument, {"asked for"}, [&] { (void)f(nothing); });
}

bool all_nan(const tensor_view<const float> &row) {
    return std::all_of(row.span().begin(), row.span().end(), [](float x) { return std::isnan(x); });
}

template <class F> void expect_refusal_of_other_shapes(const F &f) {
    for (const shape &dims : {shape{}, shape{2, 3, 4}, shape{2, 8, 8, 8}})
        expect_error(error_kind::invalid_argument, {"[C] or [N, C]", dims.to_string()}, [&] { (void)f(tensor<float>(dims)); });
}

// --- softmax

TEST(softmax, gives_probabilities_row_by_row) {
    const tensor<float> p = softmax(made({2, 3}, {0, std::log(2.0F), std::log(5.0F), 7, 7, 7}));
    EXPECT_EQ(p.dims(), (shape{2, 3}));
    const float expected[] = {0.125F, 0.25F, 0.625F, 1 / 3.0F, 1 / 3.0F, 1 / 3.0F};
    for (index_type i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(p.data()[i], expected[i]) << i;
    EXPECT_EQ(softmax(made({3}, {7, 7, 7})).dims(), shape{3});
    EXPECT_EQ(of(softmax(made({1}, {-4}))), std::vector<float>{1});
}

TEST(softmax, of_large_logits_does_not_overflow) {
    EXPECT_EQ(of(softmax(made({2, 2}, {3e38F, -3e38F, 1e30F, 1e30F}))), (std::vector<float>{1, 0, 0.5F, 0.5F}));
    // Far below the largest, single precision would have lost the others; the sum of many small ones counts too.
    tensor<float> many({100001});
    std::fill_n(many.data(), many.count(), -10.0F);
    many.data()[0] = 0;
    EXPECT_NEAR(softmax(many)(0), 1 / (1 + 100000 * std::exp(-10.0)), 1e-7);
}

TEST(softmax, gives_minus_infinity_no_probability) {
    EXPECT_EQ(of(softmax(made({4}, {-infinity, 2, 2, -infinity}))), (std::vector<float>{0, 0.5F, 0.5F, 0}));
}

TEST(softmax, of_a_row_that_has_no_probabilities_is_nan) {
    const tensor<float> p =
        softmax(made({5, 3}, {1, nan, 2, 0, 0, 0, infinity, 0, 0, -infinity, -infinity, -infinity, nan, nan, nan}));
    for (const index_type row : {0, 2, 3, 4}) EXPECT_TRUE(all_nan(p[row])) << row;
    for (const float x : p[1].span()) EXPECT_FLOAT_EQ(x, 1 / 3.0F); // one row's NaN is not another's
}

TEST(softmax, takes_rows_only) {
    expect_refusal_of_other_shapes([](const tensor<float> &t) { return softmax(t); });
    expect_refusal_of_nothing([](tensor_view<const float> t) { return softmax(t); });
    EXPECT_EQ(softmax(tensor<float>(shape{0, 4})).dims(), (shape{0, 4}));
    EXPECT_EQ(softmax(tensor<float>(shape{4, 0})).dims(), (shape{4, 0}));
}

// --- l2_normalized

TEST(l2_normalized, gives_rows_of_length_one) {
    // Rows too short to have a direction stay short.
    const tensor<float> unit = l2_normalized(made({5, 2}, {3, -4, 0, 0, 3e30F, 4e30F, 3e-9F, 4e-9F, 3e-20F, 4e-20F}));
    EXPECT_EQ(unit.dims(), (shape{5, 2}));
    const float expected[] = {0.6F, -0.8F, 0, 0, 0.6F, 0.8F, 0.6F, 0.8F, 3e-8F, 4e-8F};
    for (index_type i = 0; i < 10; ++i) EXPECT_FLOAT_EQ(unit.data()[i], expected[i]) << i;

    const tensor<float> one = l2_normalized(unit[0]);
    EXPECT_EQ(one.dims(), shape{2});
    EXPECT_FLOAT_EQ(one(1), -0.8F);
}

TEST(l2_normalized, has_pytorchs_nan) {
    const tensor<float> unit = l2_normalized(made({3, 3}, {nan, 1, 0, -infinity, 1, -2, 3, 0, 4}));
    EXPECT_TRUE(all_nan(unit[0]));
    EXPECT_TRUE(std::isnan(unit(1, 0)));
    EXPECT_EQ(unit(1, 1), 0);
    EXPECT_EQ(unit(1, 2), 0);
    EXPECT_FLOAT_EQ(unit(2, 2), 0.8F);
}

TEST(l2_normalized, takes_rows_only) {
    expect_refusal_of_other_shapes([](const tensor<float> &t) { return l2_normalized(t); });
    expect_refusal_of_nothing([](tensor_view<const float> t) { return l2_normalized(t); });
    EXPECT_EQ(l2_normalized(tensor<float>(shape{0, 4})).count(), 0);
    EXPECT_EQ(l2_normalized(tensor<float>(shape{4, 0})).count(), 0);
}

// --- top_k

using ranking = std::vector<ranked_value>;

TEST(top_k, gives_the_largest_first) {
    const tensor<float> row = made({5}, {0.5F, -1, 3, 2, -infinity});
    EXPECT_EQ(top_k(row, 3), (ranking{{2, 3}, {3, 2}, {0, 0.5F}}));
    EXPECT_EQ(top_k(row, 1), (ranking{{2, 3}}));
    EXPECT_EQ(top_k(row, 0), ranking{});
    // A row of a batch, by its own indices.
    const tensor<float> batch = made({2, 3}, {9, 8, 7, 1, 3, 2});
    EXPECT_EQ(top_k(batch[1], 2), (ranking{{1, 3}, {2, 2}}));
}

TEST(top_k, gives_all_if_there_are_no_more) {
    const tensor<float> row = made({3}, {1, 3, 2});
    const ranking all{{1, 3}, {2, 2}, {0, 1}};
    EXPECT_EQ(top_k(row, 3), all);
    EXPECT_EQ(top_k(row, 4), all);
    EXPECT_EQ(top_k(row, std::numeric_limits<index_type>::max()), all);
    EXPECT_EQ(top_k(tensor<float>(shape{0}), 2), ranking{});
}

TEST(top_k, breaks_ties_by_index) {
    EXPECT_EQ(top_k(made({6}, {1, 2, 1, 2, 1, 2}), 4), (ranking{{1, 2}, {3, 2}, {5, 2}, {0, 1}}));
    EXPECT_EQ(top_k(made({3}, {-0.0F, 0.0F, -0.0F}), 3), (ranking{{0, 0}, {1, 0}, {2, 0}}));
    const tensor<float> equal(shape{1000});
    const ranking first = top_k(equal, 100);
    ASSERT_EQ(first.size(), 100u);
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].index, static_cast<index_type>(i));
}

TEST(top_k, puts_nan_last) {
    const tensor<float> row = made({6}, {nan, -infinity, nan, 1, infinity, -nan});
    const ranking all = top_k(row, 6);
    std::vector<index_type> order;
    for (const ranked_value &r : all) order.push_back(r.index);
    EXPECT_EQ(order, (std::vector<index_type>{4, 3, 1, 0, 2, 5}));
    EXPECT_TRUE(std::isnan(all[3].value));
}

TEST(top_k, refuses_a_batch_and_a_negative_k) {
    const tensor<float> batch({1, 3});
    expect_error(error_kind::invalid_argument, {"[C]", "[1, 3]"}, [&] { (void)top_k(batch, 1); });
    expect_refusal_of_nothing([](tensor_view<const float> t) { return top_k(t, 1); });
    expect_error(error_kind::invalid_argument, {"k", "-1"}, [&] { (void)top_k(batch[0], -1); });
}

} // namespace
