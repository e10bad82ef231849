// SPDX-License-Identifier: MIT
#include "fastvit/architecture.hpp"
#include "fastvit/cost.hpp"

#include "support/io_test_files.hpp"
#include "support/loader.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using fastvit::index_type;

// Of 256 x 256 images; the parameters of the folded network, BatchNorm's running statistics not counted.
struct published {
    const char *name;
    double multiply_adds, parameters; ///< in 10^9, in 10^6
};
constexpr published figures[] = {{"fastvit_t8", 0.685, 4.00},    {"fastvit_t12", 1.391, 7.51},   {"fastvit_s12", 1.794, 9.43},
                                 {"fastvit_sa12", 1.937, 11.55}, {"fastvit_sa24", 3.762, 21.50}, {"fastvit_sa36", 5.587, 31.46},
                                 {"fastvit_ma36", 7.815, 43.98}};
// The image encoders of MobileCLIP and MobileCLIP2, projection included; nobody publishes comparable multiply-adds.
constexpr std::pair<const char *, double> clip_parameters[] = {
    {"fastvit_mci0", 11.4}, {"fastvit_mci1", 21.5}, {"fastvit_mci2", 35.7}, {"fastvit_mci3", 125.1}, {"fastvit_mci4", 321.6}};

double millions_of_parameters(const char *variant) {
    index_type count = 0;
    for (const fastvit_test::network_tensor &t : fastvit_test::tensors_of(published_architecture(variant), true))
        if (t.name.find("running_") == t.name.npos && !t.name.ends_with("num_batches_tracked")) count += t.dims.count();
    return static_cast<double>(count) / 1e6;
}

TEST(architecture, has_the_published_multiply_adds) {
    for (const published &p : figures)
        EXPECT_NEAR(multiply_adds(published_architecture(p.name), 256, 256) / 1e9, p.multiply_adds, 0.001) << p.name;
}

TEST(architecture, has_the_published_number_of_parameters) {
    for (const published &p : figures) EXPECT_NEAR(millions_of_parameters(p.name), p.parameters, 0.0051) << p.name;
    for (const auto &[name, parameters] : clip_parameters) EXPECT_NEAR(millions_of_parameters(name), parameters, 0.051) << name;
}

TEST(architecture, counts_the_multiply_adds_of_a_network_by_hand) {
    architecture net;
    net.in_channels = 5;
    net.classes = 7;
    net.stages = {{.blocks = 1, .channels = 8, .hidden = 20},
                  {.blocks = 2,
                   .channels = 32,
                   .hidden = 50,
                   .mixer = token_mixer::attention,
                   .position = true,
                   .downsample_squeeze_excite = true}};
    net.head_channels = 64;
    // 9 x 6 pixels become 5 x 3 after the stem's first convolution, 3 x 2 after the second, 2 x 1 in the second stage.
    const double stem = 15 * (8 * 5 * 9) + 6 * (8 * 9) + 6 * (8 * 8);
    const double first = 6 * (8 * 9 + 8 * 49 + 2 * 8 * 20);
    const double embedding = 2 * (32 * 49 + 32 * 32) + 2 * 32 * 8 + 2 * (32 * 49);
    const double attention = 2 * (3 * 32 * 32 + 32 * 32) + 2 * (2 * 2 * 32);
    const double second = 2 * (attention + 2 * (32 * 49 + 2 * 32 * 50));
    const double head = 2 * (64 * 9) + 2 * 64 * 4 + 64 * 7;
    EXPECT_EQ(multiply_adds(net, 9, 6), stem + first + embedding + second + head);
}

TEST(architecture, has_no_cost_for_images_that_cannot_be) {
    const architecture net = published_architecture("fastvit_t8");
    constexpr index_type large = index_type{1} << 20;
    using size = std::pair<index_type, index_type>;
    for (const size &s : {size{0, 1}, size{1, 0}, size{-5, 7}, size{large, 1}, size{large - 1, large - 1}}) {
        io_test::expect_error(error_kind::invalid_argument, {}, [&] { (void)multiply_adds(net, s.first, s.second); });
        io_test::expect_error(error_kind::invalid_argument, {}, [&] { (void)part_costs(net, s.first, s.second); });
    }
}

TEST(architecture, finds_every_variant_by_its_stages) {
    for (const variant_entry &v : variant_table) {
        const architecture net = published_architecture(v.name);
        EXPECT_EQ(net.variant, v.name);
        const variant_entry *const found = find_variant(net.stages);
        ASSERT_NE(found, nullptr) << v.name;
        EXPECT_EQ(found->name, v.name);
        EXPECT_EQ(net.stride(), v.stages == 5 ? 64 : 32);
        EXPECT_EQ(net.head_channels, 2 * net.stages.back().channels);
    }
}

TEST(architecture, finds_a_variant_by_nothing_else) {
    const auto differs = [](const variant_entry &v, auto change) {
        for (std::size_t s = 0; s < v.stages; ++s) {
            std::vector<stage_architecture> stages = published_architecture(v.name).stages;
            change(stages[s]);
            const variant_entry *const found = find_variant(stages);
            EXPECT_TRUE(!found || found->name != v.name) << v.name << " stage " << s;
        }
    };
    for (const variant_entry &v : variant_table) {
        differs(v, [](stage_architecture &s) { s.blocks += 1; });
        differs(v, [](stage_architecture &s) { s.channels += 32; });
        differs(v, [](stage_architecture &s) { s.hidden += 1; });
        differs(v, [](stage_architecture &s) {
            s.mixer = s.mixer == token_mixer::attention ? token_mixer::rep_mixer : token_mixer::attention;
        });
        std::vector<stage_architecture> stages = published_architecture(v.name).stages;
        stages.push_back(stages.back());
        EXPECT_EQ(find_variant(stages), nullptr);
        stages.resize(stages.size() - 2);
        EXPECT_EQ(find_variant(stages), nullptr);
    }
    EXPECT_EQ(find_variant({}), nullptr);
}

TEST(architecture, tells_the_families_apart) {
    const architecture t8 = published_architecture("fastvit_t8"), mci0 = published_architecture("fastvit_mci0"),
                       mci3 = published_architecture("fastvit_mci3");
    EXPECT_EQ(t8.classes, 1000);
    EXPECT_FALSE(t8.large_kernel_gelu);
    EXPECT_FALSE(t8.stages[3].position);
    EXPECT_EQ(mci0.classes, 512);
    EXPECT_TRUE(mci0.large_kernel_gelu);
    EXPECT_TRUE(mci0.stem_scale_branch);
    EXPECT_FALSE(mci0.stages[1].downsample_squeeze_excite);
    EXPECT_TRUE(mci0.stages[2].downsample_squeeze_excite);
    EXPECT_EQ(mci3.classes, 768);
    EXPECT_TRUE(mci3.large_kernel_gelu);
    EXPECT_FALSE(mci3.stem_scale_branch);
    EXPECT_FALSE(mci3.stages[3].downsample_squeeze_excite);
    EXPECT_EQ(mci3.stages[3].norm, attention_norm::layer_norm);
    EXPECT_EQ(mci3.stages[2].norm, attention_norm::batch_norm);
}

TEST(architecture, names_the_variants_there_are) {
    for (const char *const name : {"", "t8", "fastvit_t9", "fastvit_t8 ", "FASTVIT_T8"})
        io_test::expect_error(error_kind::invalid_argument, {"variant", "fastvit_t8, fastvit_t12", "fastvit_mci4"},
                              [&] { (void)published_architecture(name); });
}

} // namespace
