// SPDX-License-Identifier: MIT
// The folding algebra against the same written as products of matrices, in Eigen: an implementation of its own, where a block's
// forward pass (reparam_test.cpp) might share a mistake with its fold.
// Labels: portable eigen
#include "fastvit/eigen.hpp"
#include "fastvit/parts/mobile_one.hpp"
#include "fastvit/parts/position.hpp"
#include "fastvit/reparam/fold.hpp"

#include "support/reference_blocks.hpp"

#include <gtest/gtest.h>

namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using fastvit::index_type;
using fastvit::tensor;
using reference::random_part;
using reference::random_source;
using reference::random_weights;
using reference::unit;

namespace reparam = fastvit::reparam;
namespace parts = fastvit::parts;

/// A row for each output.
MatrixXd matrix(const tensor<float> &kernel) {
    const index_type rows = kernel.dim(0);
    return as_matrix(fastvit::tensor_view<const float>(kernel.data(), {rows, kernel.count() / rows})).cast<double>();
}

VectorXd vector(const tensor<float> &t) { return Eigen::Map<const Eigen::VectorXf>(t.data(), t.count()).cast<double>(); }

MatrixXd matrix(const reparam::folded_conv &c) {
    using row_major = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    return Eigen::Map<const row_major>(c.kernel.data(), c.dims.out, c.dims.fan_in());
}

VectorXd bias(const reparam::folded_conv &c) { return Eigen::Map<const VectorXd>(c.bias.data(), c.dims.out); }

/// y = diag(scale) x + shift.
struct norm {
    VectorXd scale, shift;

    explicit norm(const reparam::batch_norm &bn)
        : scale(vector(bn.weight).array() / (vector(bn.running_var).array() + 1e-5).sqrt()),
          shift(vector(bn.bias) - scale.cwiseProduct(vector(bn.running_mean))) {}
};

/// Of each element relative to the largest: the two may sum in different orders.
testing::AssertionResult near(const MatrixXd &a, const MatrixXd &b, double relative = 1e-14) {
    if (a.rows() != b.rows() || a.cols() != b.cols()) return testing::AssertionFailure() << "of different sizes";
    const double difference = (a - b).cwiseAbs().maxCoeff(), largest = b.cwiseAbs().maxCoeff();
    if (largest > 0 && difference <= relative * largest) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "they differ by " << difference << ", the largest is " << largest;
}

const reparam::conv_shape shapes[] = {{.in = 3, .out = 8, .kernel = 3, .stride = 2},
                                      {.in = 6, .out = 6, .kernel = 3},
                                      {.in = 7, .out = 7},
                                      {.in = 6, .out = 6, .kernel = 7, .depthwise = true},
                                      {.in = 4, .out = 12, .kernel = 3, .stride = 2, .depthwise = true}};

TEST(algebra, a_batch_norm_after_a_convolution_scales_its_rows) {
    random_source random;
    for (const reparam::conv_shape &dims : shapes) {
        const auto w = random_weights<reparam::conv_bn>(random, 1, dims);
        const norm bn(w.bn);
        const reparam::folded_conv folded = reparam::fold(dims, w);
        EXPECT_TRUE(near(matrix(folded), bn.scale.asDiagonal() * matrix(w.kernel)));
        EXPECT_TRUE(near(bias(folded), bn.shift));
    }
}

// A k x k kernel is k^2 matrices side by side; the 1 x 1 branch and the identity add to the one in the middle.
TEST(algebra, branches_add_up) {
    random_source random;
    for (const reparam::conv_shape &dims : shapes) {
        const auto w = random_weights<parts::mobile_one::weights>(random, 3, dims, true);
        MatrixXd sum = MatrixXd::Zero(dims.out, dims.fan_in());
        VectorXd shift = VectorXd::Zero(dims.out);
        for (const reparam::conv_bn &branch : w.convs) {
            const norm bn(branch.bn);
            sum += bn.scale.asDiagonal() * matrix(branch.kernel);
            shift += bn.shift;
        }
        const auto middle = Eigen::seqN(dims.taps() / 2, dims.fan_in() / dims.taps(), dims.taps());
        MatrixXd centre = sum(Eigen::all, middle);
        if (w.scale) {
            const norm bn(w.scale->bn);
            centre += bn.scale.asDiagonal() * matrix(w.scale->kernel);
            shift += bn.shift;
        }
        if (w.identity) {
            const norm bn(*w.identity);
            if (dims.depthwise)
                centre += bn.scale;
            else
                centre += bn.scale.asDiagonal();
            shift += bn.shift;
        }
        sum(Eigen::all, middle) = centre;
        const reparam::folded_conv folded = fold_branches(w);
        EXPECT_TRUE(near(matrix(folded), sum));
        EXPECT_TRUE(near(bias(folded), shift));
    }
}

TEST(algebra, a_position_adds_one_to_the_middle) {
    random_source random;
    const auto w = random_part<parts::position>(random, 1, {6});
    MatrixXd sum = matrix(w.encoding->kernel);
    sum.col(24).array() += 1;
    const reparam::folded_conv folded = parts::position::fold_branches(w);
    EXPECT_TRUE(near(matrix(folded), sum));
    EXPECT_TRUE(near(bias(folded), vector(w.encoding->bias)));
}

TEST(algebra, an_affine_map_before_a_matrix_scales_its_columns) {
    random_source random;
    const reparam::conv_shape dims{.in = 32, .out = 96};
    const auto bn = random_weights<reparam::batch_norm>(random, 1, dims.in);
    tensor<float> w({dims.out, dims.in});
    for (float &x : w.span()) x = random(-1, 1);
    const norm n(bn);
    const reparam::conv folded = reparam::fold_input_affine(w, reparam::to_affine(bn));
    EXPECT_TRUE(near(matrix(folded.kernel), matrix(w) * n.scale.asDiagonal(), unit));
    EXPECT_TRUE(near(vector(folded.bias), matrix(w) * n.shift, 2 * unit));
}

TEST(algebra, a_layer_scale_scales_rows_and_bias) {
    random_source random;
    const auto w = random_weights<reparam::conv>(random, 1, reparam::conv_shape{.in = 12, .out = 6});
    tensor<float> scale({6});
    for (float &x : scale.span()) x = random(-1, 1);
    const reparam::conv folded = reparam::fold_layer_scale(w, scale);
    EXPECT_TRUE(near(matrix(folded.kernel), vector(scale).asDiagonal() * matrix(w.kernel), unit));
    EXPECT_TRUE(near(vector(folded.bias), vector(scale).cwiseProduct(vector(w.bias)), unit));
}

} // namespace
