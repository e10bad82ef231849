// SPDX-License-Identifier: MIT
// Every fold against the train-time block that it replaces. Both run in double, so the only difference allowed is the rounding of
// the folded weights to float32: half a unit of each.
// Labels: portable
#include "fastvit/parts/list.hpp"
#include "fastvit/reparam/fold.hpp"

#include "support/reference_blocks.hpp"

#include <gtest/gtest.h>

#include <map>

namespace {

using fastvit::index_type;
using fastvit::tensor;
using reference::forward;
using reference::maps;
using reference::random_part;
using reference::random_source;
using reference::random_weights;
using reference::unit;

namespace reparam = fastvit::reparam;
namespace parts = fastvit::parts;

/// The most by which rounding its weights can change a convolution's output, for inputs of magnitude 1 or less.
double rounding_of(const reparam::conv &w) {
    double most = 0;
    const index_type outputs = w.bias.count(), inputs = w.kernel.count() / outputs;
    for (index_type o = 0; o < outputs; ++o) {
        double sum = std::abs(w.bias(o));
        for (index_type i = 0; i < inputs; ++i) sum += std::abs(w.kernel.data()[o * inputs + i]);
        most = std::max(most, sum);
    }
    return 1.01 * unit * most;
}

/// One pixel, one row, one column, odd and even: where windows hang over the border is where wrong folds show.
template <class F> void for_each_size(random_source &random, index_type channels, F &&f) {
    for (const auto &[height, width] :
         {std::pair<index_type, index_type>{1, 1}, {1, 2}, {2, 2}, {5, 1}, {5, 7}, {8, 8}, {9, 6}}) {
        SCOPED_TRACE(testing::Message() << channels << " channels, " << height << " x " << width);
        f(random.batch(2, channels, height, width));
    }
}

/// The block with its branches against the same with fold(w), their one convolution.
template <class W, class Fold> void expect_fold(random_source &random, const W &w, index_type channels, Fold &&fold) {
    W folded = w;
    folded.folded = fold(w).rounded();
    for_each_size(random, channels, [&](const maps<double> &x) {
        EXPECT_TRUE(near(forward(x, w), forward(x, folded), rounding_of(*folded.folded)));
    });
}

const auto fold_branches = [](const auto &w) { return parts::fold_branches(w); };

class reparam_test : public testing::Test {
  protected:
    random_source random;

    parts::mobile_one::weights mobile_one(const reparam::conv_shape &dims, index_type branches = 1, bool scale = true) {
        return random_weights<parts::mobile_one::weights>(random, branches, dims, scale);
    }
    void expect_mobile_one(const reparam::conv_shape &dims, index_type branches = 1, bool scale = true) {
        SCOPED_TRACE(testing::Message() << dims.in << " -> " << dims.out << ", kernel " << dims.kernel << ", stride "
                                        << dims.stride << ", depthwise " << dims.depthwise << ", " << branches
                                        << " branches, scale " << scale);
        expect_fold(random, mobile_one(dims, branches, scale), dims.in, fold_branches);
    }
};

TEST_F(reparam_test, mobile_one_dense) {
    for (const bool scale : {false, true}) {
        expect_mobile_one({.in = 3, .out = 8, .kernel = 3, .stride = 2}, 1, scale);
        expect_mobile_one({.in = 3, .out = 5, .kernel = 3}, 1, scale);
        expect_mobile_one({.in = 6, .out = 6, .kernel = 3}, 1, scale); // with the identity
        expect_mobile_one({.in = 6, .out = 6, .kernel = 3, .stride = 2}, 1, scale);
    }
}

TEST_F(reparam_test, mobile_one_pointwise) {
    expect_mobile_one({.in = 7, .out = 7});
    expect_mobile_one({.in = 7, .out = 5});
}

TEST_F(reparam_test, mobile_one_depthwise) {
    for (const bool scale : {false, true})
        for (const index_type stride : {1, 2})
            for (const index_type kernel : {3, 5, 7})
                for (const index_type multiplier : {1, 2, 3})
                    expect_mobile_one({.in = 4, .out = 4 * multiplier, .kernel = kernel, .stride = stride, .depthwise = true}, 1,
                                      scale);
}

TEST_F(reparam_test, mobile_one_with_several_branches) {
    for (const index_type branches : {2, 4}) {
        expect_mobile_one({.in = 5, .out = 5, .kernel = 3}, branches);
        expect_mobile_one({.in = 5, .out = 5, .kernel = 3, .depthwise = true}, branches);
        expect_mobile_one({.in = 5, .out = 5}, branches);
    }
}

// The identity is there exactly where in = out and stride = 1, or the tests above would not see it.
TEST_F(reparam_test, random_blocks_have_all_their_branches) {
    const parts::mobile_one::weights full = mobile_one({.in = 5, .out = 5, .kernel = 3}, 3);
    EXPECT_TRUE(full.identity && full.scale && full.convs.size() == 3 && !full.folded);
    const parts::mobile_one::weights strided = mobile_one({.in = 5, .out = 5, .kernel = 3, .stride = 2});
    EXPECT_TRUE(!strided.identity && strided.scale && strided.convs.size() == 1);
}

TEST_F(reparam_test, large_kernel) {
    for (const index_type multiplier : {1, 2})
        for (const index_type stride : {1, 2}) {
            const reparam::conv_shape dims{.in = 5, .out = 5 * multiplier, .kernel = 7, .stride = stride, .depthwise = true};
            expect_fold(random, random_weights<parts::large_kernel::weights>(random, 1, dims, 0), dims.in, fold_branches);
        }
}

parts::rep_mixer::weights random_rep_mixer(random_source &random, index_type branches, index_type channels) {
    return random_part<parts::rep_mixer_block>(random, branches, {.channels = channels, .hidden = channels}).mixer;
}

TEST_F(reparam_test, rep_mixer) { expect_fold(random, random_rep_mixer(random, 2, 6), 6, parts::rep_mixer::fold_branches); }

TEST_F(reparam_test, position) {
    expect_fold(random, random_part<parts::position>(random, 1, {6}), 6, parts::position::fold_branches);
}

TEST_F(reparam_test, conv_ffns_depthwise) {
    const reparam::conv_shape dims{.in = 6, .out = 6, .kernel = 7, .depthwise = true};
    const auto w = random_weights<reparam::conv_bn>(random, 1, dims);
    const reparam::conv folded = reparam::fold(dims, w).rounded();
    for_each_size(random, dims.in, [&](const maps<double> &x) {
        EXPECT_TRUE(near(forward(x, dims, w), forward(x, dims, folded), rounding_of(folded)));
    });
}

TEST_F(reparam_test, batch_norm_before_a_pointwise_layer) {
    const reparam::conv_shape dims{.in = 6, .out = 18};
    const auto norm = random_weights<reparam::batch_norm>(random, 1, dims.in);
    const auto qkv = random_weights<reparam::conv>(random, 1, dims);
    tensor<float> matrix({dims.out, dims.in});
    std::copy(qkv.kernel.span().begin(), qkv.kernel.span().end(), matrix.data());
    const reparam::conv folded = reparam::fold_input_affine(matrix, reparam::to_affine(norm));
    EXPECT_EQ(folded.kernel.dims(), matrix.dims());
    for_each_size(random, dims.in, [&](const maps<double> &x) {
        EXPECT_TRUE(near(forward(forward(x, norm), dims, matrix), forward(x, dims, folded), rounding_of(folded)));
    });
}

TEST_F(reparam_test, layer_scale_after_a_pointwise_layer) {
    const reparam::conv_shape dims{.in = 12, .out = 6};
    const auto fc2 = random_weights<reparam::conv>(random, 1, dims);
    const auto scale = random_rep_mixer(random, 1, dims.out).layer_scale;
    const reparam::conv folded = reparam::fold_layer_scale(fc2, scale);
    EXPECT_EQ(folded.kernel.dims(), fc2.kernel.dims());
    for_each_size(random, dims.in, [&](const maps<double> &x) {
        const maps<double> expected = scale_channels(forward(x, fc2), reference::values_of(scale));
        EXPECT_TRUE(near(expected, forward(x, folded), rounding_of(folded)));
    });
}

// --- digits ---------------------------------------------------------------------------------------------------------------

/// A BatchNorm whose scale is over 10^5: a dead channel's variance, and a large weight.
void make_steep(reparam::batch_norm &bn) {
    for (float &v : bn.running_var.span()) v = 1e-12F;
    for (float &v : bn.weight.span()) v *= 1000;
}

TEST_F(reparam_test, a_tiny_variance_counts_epsilon) {
    parts::mobile_one::weights w = mobile_one({.in = 5, .out = 5, .kernel = 3, .depthwise = true});
    make_steep(w.convs[0].bn);
    make_steep(w.scale->bn);
    make_steep(*w.identity);
    expect_fold(random, w, 5, fold_branches);
    for (float &v : w.convs[0].bn.running_var.span()) v = 0;
    expect_fold(random, w, 5, fold_branches);
}

// Two steep branches whose difference is small: in float32 a fold would round each before they cancel, and be wrong by thousands
// of times what is allowed here.
TEST_F(reparam_test, steep_branches_that_cancel_keep_their_digits) {
    parts::mobile_one::weights w = mobile_one({.in = 5, .out = 5, .kernel = 3}, 2, false);
    w.identity.reset();
    make_steep(w.convs[0].bn);
    w.convs[1] = w.convs[0];
    for (float &v : w.convs[1].bn.weight.span()) v = -v;
    for (float &v : w.convs[1].bn.bias.span()) v = -v;
    for (float &v : w.convs[1].kernel.span()) v *= 1.0001F;
    expect_fold(random, w, 5, fold_branches);
}

TEST_F(reparam_test, a_steep_rep_mixer_keeps_its_digits) {
    auto w = random_rep_mixer(random, 1, 6);
    make_steep(w.norm);
    w.mixer.identity = w.norm;
    for (float &v : w.mixer.identity->weight.span()) v *= 1.0001F;
    expect_fold(random, w, 6, parts::rep_mixer::fold_branches);
}

// --- parts ----------------------------------------------------------------------------------------------------------------

/// The values of all tensors of a struct, by name.
using listing = std::map<std::string, std::vector<float>>;

class listing_archive final : public parts::archive {
  public:
    void tensor(std::string_view name, fastvit::tensor<float> &t, const fastvit::shape &dims) override {
        EXPECT_EQ(t.dims(), dims) << full(name);
        tensors[full(name)].assign(t.span().begin(), t.span().end());
    }
    void counter(std::string_view) override {}
    bool folded(const std::optional<reparam::conv> &held) const override { return held.has_value(); }
    bool present(std::string_view, bool held) const override { return held; }

    listing tensors;
};

template <class Part> listing list(typename Part::weights &w, const typename Part::config &config) {
    listing_archive all;
    Part::describe(all, w, config);
    return all.tensors;
}

bool has(const listing &tensors, const std::string &part) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const auto &t) { return t.first.find(part) != t.first.npos; });
}

const char *const train_time_names[] = {"conv_kxk",   "conv_scale", "identity",  "large_conv",
                                        "small_conv", "pos_enc",    "mixer.norm"};

/// reparameterize() leaves folded blocks and nothing of their branches, keeps the rest, computes the same, and is done the first
/// time; fold(), which folds all there is, computes the same too.
template <class Part, class Forward>
void expect_part(random_source &random, index_type branches, const typename Part::config &config, const maps<double> &x,
                 Forward &&run) {
    const auto w = random_part<Part>(random, branches, config);
    auto folded = w, whole = w;
    Part::reparameterize(folded);
    const maps<double> expected = run(x, w);
    EXPECT_TRUE(near(expected, run(x, folded), 64 * unit * reference::largest(expected.values)));
    const listing once = list<Part>(folded, config);
    EXPECT_TRUE(has(once, "reparam_conv"));
    for (const char *const name : train_time_names) EXPECT_FALSE(has(once, name)) << name;

    auto original = w;
    const listing before = list<Part>(original, config);
    for (const auto &[name, values] : once) {
        if (name.find("reparam_conv") != name.npos) continue;
        EXPECT_EQ(before.at(name), values) << name;
    }

    Part::reparameterize(folded);
    EXPECT_EQ(list<Part>(folded, config), once) << "folding twice";

    Part::fold(whole);
    EXPECT_TRUE(near(expected, run(x, whole), 64 * unit * reference::largest(expected.values)));
}

const auto run_block = [](const maps<double> &x, const auto &w) { return forward(x, w); };

TEST_F(reparam_test, parts_of_the_stem) {
    expect_part<parts::stem>(random, 2, {3, 8, true}, random.batch(1, 3, 13, 9), run_block);
}

TEST_F(reparam_test, parts_of_the_patch_embedding) {
    expect_part<parts::patch_embed>(random, 1, {8, 16, true, true, 7}, random.batch(1, 8, 9, 5),
                                    [](const maps<double> &x, const auto &w) { return forward(x, w, true); });
}

TEST_F(reparam_test, parts_of_the_rep_mixer_block) {
    expect_part<parts::rep_mixer_block>(random, 1, {.blocks = 1, .channels = 8, .hidden = 16}, random.batch(1, 8, 7, 5),
                                        run_block);
}

TEST_F(reparam_test, parts_of_the_position) { expect_part<parts::position>(random, 1, {8}, random.batch(1, 8, 7, 5), run_block); }

TEST_F(reparam_test, parts_of_the_head) {
    expect_part<parts::head_conv>(random, 1, {16, 32}, random.batch(1, 16, 7, 5), run_block);
}

TEST_F(reparam_test, attention_is_reparameterized_by_nothing_and_folded_whole) {
    fastvit::stage_architecture stage{.blocks = 1, .channels = 32, .hidden = 64, .mixer = fastvit::token_mixer::attention};
    for (const auto norm : {fastvit::attention_norm::batch_norm, fastvit::attention_norm::layer_norm}) {
        stage.norm = norm;
        const auto w = random_part<parts::attention_block>(random, 1, stage);
        auto same = w, whole = w;
        const listing before = list<parts::attention_block>(same, stage);
        parts::attention_block::reparameterize(same);
        EXPECT_EQ(list<parts::attention_block>(same, stage), before);
        parts::attention_block::fold(whole);
        EXPECT_FALSE(whole.batch_norm || whole.layer_scale_1 || whole.layer_scale_2);
        for_each_size(random, 32, [&](const maps<double> &x) {
            const maps<double> expected = forward(x, w);
            EXPECT_TRUE(near(expected, forward(x, whole), 64 * unit * reference::largest(expected.values)));
        });
    }
}

} // namespace
