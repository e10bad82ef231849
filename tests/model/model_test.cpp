// SPDX-License-Identifier: MIT
// The published networks against the official implementations. The environment variable FASTVIT_GOLDENS may name a directory of
// complete golden files; those of the repository are samples.
// Labels: portable
#include "fastvit/model.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/golden_files.hpp"
#include "support/results.hpp"
#include "support/sanitized.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;

checkpoint checkpoint_of(const golden &g) { return seeded_checkpoint(g.net(), g.spelling(), "", g.seed); }

std::string_view name_of(graph form) { return form == graph::folded ? "folded" : "train-time"; }

std::vector<std::filesystem::path> networks_files(const std::string &network, std::string_view size) {
    std::vector<std::filesystem::path> found;
    for (const auto &path : goldens_of(network))
        if (path.string().find(size) != std::string::npos) found.push_back(path);
    return found;
}

// Runs the golden's images and compares every tensor it has. `worst` collects the largest difference, `results` copies.
void expect_golden(const golden &g, const model &net, difference &worst,
                   std::map<std::string, tensor<float>> *results = nullptr) {
    SCOPED_TRACE(g.source + " " + g.variant + " " + g.images.to_string() + " " + std::string(name_of(net.graph())));
    workspace space;
    const outputs &out = net.forward(seeded_input(g.images, g.seed), space, everything(net.architecture()));
    EXPECT_FALSE(g.expected.empty());
    for (const auto &[name, expected] : g.expected) {
        const tensor_view<const float> actual = output_named(out, name);
        const difference d = expected.from(actual);
        EXPECT_LE(d.relative, tolerance) << name << ": " << d;
        if (d.relative > worst.relative) worst = d;
        if (results && !actual.empty()) results->emplace(name, actual);
    }
}

class golden_test : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(model, golden_test, testing::ValuesIn(golden_networks()), [](const auto &i) { return i.param; });

TEST_P(golden_test, both_graphs_give_the_official_outputs) {
    std::vector<golden> goldens;
    for (const auto &path : goldens_of(GetParam())) goldens.emplace_back(path);
    ASSERT_FALSE(goldens.empty());
    if (SANITIZED && goldens[0].variant == "fastvit_mci4") GTEST_SKIP() << "320 million parameters through the code of MCi3";
    const checkpoint source = checkpoint_of(goldens[0]);
    std::vector<std::map<std::string, tensor<float>>> train_time(goldens.size());
    for (const graph form : {graph::train_time, graph::folded}) {
        const model net(source, {.graph = form});
        EXPECT_EQ(net.architecture().variant, goldens[0].variant);
        EXPECT_EQ(net.architecture().fork_features, goldens[0].dense_prediction);
        EXPECT_EQ(net.spelling(), goldens[0].spelling());
        EXPECT_EQ(net.graph(), form);
        difference worst, between;
        for (std::size_t i = 0; i < goldens.size(); ++i) {
            ASSERT_EQ(goldens[i].seed, goldens[0].seed);
            std::map<std::string, tensor<float>> results;
            expect_golden(goldens[i], net, worst, &results);
            for (const auto &[name, train] : train_time[i]) {
                const difference d = expected_tensor::whole(train).from(results.at(name));
                EXPECT_LE(d.relative, tolerance)
                    << "the two graphs differ, " << goldens[i].images.to_string() << " " << name << ": " << d;
                if (d.relative > between.relative) between = d;
            }
            train_time[i] = std::move(results);
        }
        std::cout << GetParam() << " " << name_of(form) << ": " << worst.relative << " from the official outputs";
        if (form == graph::folded) std::cout << ", " << between.relative << " from the train-time graph";
        std::cout << "\n";
    }
}

TEST_P(golden_test, lower_precisions_keep_the_direction_of_embedding_and_logits) {
    std::vector<golden> goldens;
    for (const auto &path : goldens_of(GetParam())) goldens.emplace_back(path);
    const std::string_view variant = goldens[0].variant;
    if (SANITIZED && variant != "fastvit_t8" && variant != "fastvit_sa12") GTEST_SKIP() << "the same code as T8 and SA12";
    const checkpoint source = checkpoint_of(goldens[0]);
    const model exact(source);
    for (const auto &[type, least] : {std::pair(precision::bfloat16, 0.9999), std::pair(precision::int8, 0.998)}) {
        const model net(source, {.precision = type});
        for (const golden &g : goldens) {
            const tensor<float> images = seeded_input(g.images, g.seed);
            const auto expected = run(exact, images), actual = run(net, images);
            for (std::size_t i = 0; i < expected.size(); ++i)
                if (const std::string &name = expected[i].first; name == "embedding" || name == "logits") {
                    const double c = cosine(actual[i].second, expected[i].second);
                    EXPECT_GE(c, least) << name << " in " << to_string(type) << ", " << g.images.to_string();
                    std::cout << GetParam() << " " << to_string(type) << " " << g.images.to_string() << " " << name << ": " << c
                              << "\n";
                }
        }
    }
}

TEST(goldens, are_there_for_every_variant_and_source) {
    for (const variant_entry &variant : variant_table)
        for (const std::string source : {"apple_", "timm_"}) {
            if (variant.large_kernel_gelu && source == "apple_") continue; // MCi: timm's alone
            for (const std::string_view size : {"64x64", "256x256"})
                EXPECT_FALSE(networks_files(source + std::string(variant.name.substr(8)), size).empty()) << variant.name;
        }
    for (const std::string network : {"apple_t8_forkfeat", "apple_sa12_forkfeat"})
        EXPECT_FALSE(networks_files(network, "64x64").empty()) << network;
}

// ml-mobileclip's checkpoint of the same network: its variant, and with that its GELU, is found from Apple's names.
TEST(goldens, hold_for_mobileclips_spelling_of_mci0) {
    const std::vector<std::filesystem::path> paths = networks_files("timm_mci0", "64x64");
    ASSERT_EQ(paths.size(), 1U);
    const golden g(paths[0]);
    const checkpoint timm = checkpoint_of(g);
    const tensor<float> bias = io::read_float(*timm.find("head.fc.bias"));
    const file_of_tensors mobileclip = file_of_tensors(timm).in_mobileclip_spelling(g.net());
    for (const graph form : {graph::train_time, graph::folded}) {
        SCOPED_TRACE(std::string(name_of(form)));
        const model net = mobileclip.load({.graph = form});
        EXPECT_EQ(net.architecture().variant, "fastvit_mci0");
        EXPECT_EQ(net.spelling(), io::spelling::apple);
        EXPECT_EQ(net.architecture().linear, linear_form::transposed);
        workspace space;
        const outputs &out = net.forward(seeded_input(g.images, g.seed), space, everything(net.architecture()));
        tensor<float> biased(out.logits); // MobileCLIP has none
        for (index_type i = 0; i < biased.count(); ++i) biased.data()[i] += bias.data()[i];
        for (const auto &[name, expected] : g.expected) {
            const difference d = expected.from(name == "logits" ? biased.view() : output_named(out, name));
            EXPECT_LE(d.relative, tolerance) << name << ": " << d;
        }
    }
}

// The goldens above ran on the fastest tier.
class tier_test : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(model, tier_test, testing::ValuesIn(usable_tiers()), [](const auto &i) { return i.param; });

TEST_P(tier_test, gives_the_official_outputs) {
    for (const std::string network : {"apple_t8", "apple_sa12"}) {
        checkpoint source;
        for (const auto size : {"64x64", "72x104"})
            for (const auto &path : networks_files(network, size)) {
                const golden g(path);
                if (source.tensors().empty()) source = checkpoint_of(g);
                for (const graph form : {graph::train_time, graph::folded}) {
                    const model net(source, {.graph = form, .isa = GetParam()});
                    ASSERT_EQ(net.isa(), GetParam());
                    difference worst;
                    expect_golden(g, net, worst);
                    std::cout << GetParam() << " " << network << " " << size << " " << name_of(form) << ": " << worst.relative
                              << "\n";
                }
            }
        ASSERT_FALSE(source.tensors().empty());
    }
}

TEST(tier, refuses_a_name_that_the_machine_cannot_run) {
    const checkpoint tiny = checkpoint::open(data / "checkpoints" / "tiny.safetensors");
    try {
        model(tiny, {.isa = "mmx"});
        FAIL() << "nothing was thrown";
    } catch (const error &e) {
        EXPECT_EQ(e.code(), error_kind::invalid_argument);
        EXPECT_NE(std::string_view(e.what()).find("scalar"), std::string_view::npos) << e.what();
    }
}

} // namespace
