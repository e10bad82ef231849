// SPDX-License-Identifier: MIT
// The token mixers that no published network has: the blocks, and networks of them through the whole library.
// Labels: portable
#include "fastvit/cost.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/model.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/save.hpp"

#include "support/block_harness.hpp"
#include "support/checkpoint_editor.hpp"
#include "support/custom_networks.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/loader.hpp"
#include "support/reference_network.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit_test;
using fastvit::architecture;
using fastvit::checkpoint;
using fastvit::model;
using fastvit::stage_architecture;
using fastvit::tensor;
using fastvit::token_mixer;

TEST_F(blocks, pooling_block) {
    for (const index_type channels : channel_counts) expect_part<parts::pooling_block>(stage_of(channels), channels);
}
TEST_F(blocks, conv_mixer_block) {
    for (const index_type channels : channel_counts) expect_part<parts::conv_mixer_block>(stage_of(channels), channels);
}

constexpr token_mixer mixers[] = {token_mixer::pooling, token_mixer::conv_mixer};

stage_architecture mixing(token_mixer mixer, index_type number, index_type channels, index_type hidden) {
    stage_architecture stage = plain(number, channels, hidden);
    stage.mixer = mixer;
    return stage;
}

// The mixer in all stages, as in the paper's baseline.
architecture everywhere(token_mixer mixer) {
    return make({mixing(mixer, 1, 8, 24), mixing(mixer, 2, 16, 48), mixing(mixer, 1, 32, 96)}, 64, 10);
}

struct mixer_network {
    std::string name;
    token_mixer mixer;
    architecture net;
};

std::vector<mixer_network> networks() {
    std::vector<mixer_network> all;
    for (const token_mixer mixer : mixers) {
        const auto add = [&](const std::string &name, const architecture &net) {
            all.push_back({std::string(to_string(mixer)) + "_" + name, mixer, net});
        };
        add("everywhere", everywhere(mixer));
        // MetaFormer's best pools first and attends last.
        add("before_attention", with_fork_features(make({mixing(mixer, 2, 16, 48), attending(1, 32, 96)}, 64, 7)));
        add("between_rep_mixers", make({plain(1, 8, 24), mixing(mixer, 1, 24, 37), plain(1, 24, 48)}, 0, 5));
        add("after_attention", make({attending(1, 32, 64), mixing(mixer, 1, 64, 128)}, 0, 0));
        stage_architecture positioned = mixing(mixer, 1, 24, 48);
        positioned.position = true;
        add("with_position", make({plain(1, 12, 24), positioned}, 48, 3));
    }
    // ConvFFNs and patch embeddings without large kernels, beside those with them.
    architecture small = make({plain(1, 8, 24), plain(2, 16, 48), plain(1, 16, 32), attending(1, 32, 96)}, 64, 10);
    small.stages[0].ffn_kernel = small.stages[1].ffn_kernel = small.stages[3].ffn_kernel = 3;
    small.stages[1].downsample_kernel = small.stages[2].downsample_kernel = 3;
    small.stages[2].ffn_kernel = small.stages[3].downsample_kernel = 5;
    all.push_back({"small_kernels", token_mixer::rep_mixer, small});
    return all;
}

class mixer_networks : public testing::TestWithParam<mixer_network> {
  protected:
    const architecture &net() const { return GetParam().net; }
};
INSTANTIATE_TEST_SUITE_P(token_mixers, mixer_networks, testing::ValuesIn(networks()), [](const auto &i) { return i.param.name; });

TEST_P(mixer_networks, are_recognised_in_either_spelling) {
    for (const auto spelling : {fastvit::io::spelling::timm, fastvit::io::spelling::apple}) {
        const model m(seeded_checkpoint(net(), spelling));
        EXPECT_EQ(m.spelling(), spelling);
        EXPECT_EQ(m.architecture().variant, "custom");
        ASSERT_EQ(m.architecture().stages.size(), net().stages.size());
        for (std::size_t s = 0; s < net().stages.size(); ++s)
            EXPECT_TRUE(m.architecture().stages[s] == net().stages[s]) << "stage " << s;
    }
}

TEST_P(mixer_networks, give_the_references_results_on_every_tier) {
    for (const auto spelling : {fastvit::io::spelling::timm, fastvit::io::spelling::apple}) {
        const checkpoint source = seeded_checkpoint(net(), spelling);
        // Down to maps of one pixel, one row and one column, whose windows are mostly outside.
        for (const auto &[height, width] : {std::pair<index_type, index_type>{1, 1}, {1, 40}, {70, 3}, {33, 47}, {64, 96}}) {
            const tensor<float> images = seeded_input({2, 3, height, width});
            const auto expected = reference::run_network(source, net(), images);
            for (const std::string &tier : usable_tiers()) expect_reference(expected, source, images, {.isa = tier});
        }
    }
}

TEST_P(mixer_networks, are_the_same_when_they_are_saved_folded) {
    const io_test::temporary_directory directory;
    const std::filesystem::path path = directory / "folded.safetensors";
    const tensor<float> images = seeded_input({1, 3, 40, 56});
    for (const auto spelling : {fastvit::io::spelling::timm, fastvit::io::spelling::apple}) {
        const checkpoint source = seeded_checkpoint(net(), spelling);
        const results before = run(model(source), images);
        fastvit::save_folded(source, path);
        for (const graph form : {graph::folded, graph::train_time}) {
            const model opened = model::open(path, {.graph = form});
            EXPECT_EQ(opened.spelling(), spelling);
            EXPECT_TRUE(opened.architecture().stages == net().stages);
            const results after = run(opened, images);
            ASSERT_EQ(after.size(), before.size());
            for (std::size_t i = 0; i < before.size(); ++i) {
                const difference d = expected_tensor::whole(before[i].second).from(after[i].second);
                EXPECT_LE(d.relative, tolerance) << before[i].first << ": " << d;
            }
        }
    }
}

TEST_P(mixer_networks, give_the_same_bits_on_any_executor) {
    const model m(seeded_checkpoint(net(), fastvit::io::spelling::timm));
    const tensor<float> images = seeded_input({2, 3, 72, 104});
    const results expected = run(m, images);
    fastvit::thread_pool pool(3);
    expect_same_bits(expected, run(m, images, fastvit::workspace(pool)));
    reversed_executor reversed(5);
    expect_same_bits(expected, run(m, images, fastvit::workspace(reversed)));
}

TEST_P(mixer_networks, have_a_cost_for_each_part_that_an_observer_is_told) {
    class recorder final : public fastvit::observer {
      public:
        void enter(std::string_view name) override {
            open_.push_back((open_.empty() ? "" : open_.back() + ".") + std::string(name));
            names.push_back(open_.back());
        }
        void leave() override { open_.pop_back(); }
        std::vector<std::string> names;

      private:
        std::vector<std::string> open_;
    } watcher;
    const model m(seeded_checkpoint(net(), fastvit::io::spelling::timm));
    fastvit::workspace space;
    space.watch(&watcher);
    m.forward(seeded_input({1, 3, 64, 64}), space, everything(net()));
    for (const fastvit::part_cost &part : fastvit::part_costs(net(), 64, 64)) {
        EXPECT_EQ(std::count(watcher.names.begin(), watcher.names.end(), part.name), 1) << part.name;
        EXPECT_GT(part.multiply_adds, 0) << part.name;
    }
    // A window of 9 for each channel of each pixel.
    for (std::size_t s = 0; s < net().stages.size(); ++s) {
        if (net().stages[s].mixer != GetParam().mixer) continue;
        const std::string name = "stages." + std::to_string(s) + ".blocks.0.token_mixer";
        const double side = 16 >> s, expected = 9 * side * side * static_cast<double>(net().stages[s].channels);
        double found = 0;
        for (const fastvit::part_cost &part : fastvit::part_costs(net(), 64, 64))
            if (part.name == name) found = part.multiply_adds;
        EXPECT_EQ(found, expected) << name;
    }
}

// Loading is total: what the blocks need must be there, and nothing else.
TEST(token_mixers, tensors_are_all_needed_and_used) {
    for (const auto &[mixer, names] : {
             std::pair{token_mixer::pooling,
                       std::vector<std::string>{"norm.weight", "norm.running_var", "layer_scale_1.gamma", "layer_scale_2.gamma"}},
             {token_mixer::conv_mixer,
              {"token_mixer.conv.weight", "token_mixer.conv.bias", "token_mixer.bn.running_var", "layer_scale.gamma"}},
         }) {
        const std::string block = "stages.1.blocks.1.";
        const file_of_tensors whole(seeded_checkpoint(everywhere(mixer), fastvit::io::spelling::timm));
        for (const std::string &name : names) {
            file_of_tensors without = whole;
            without.erase(block + name);
            io_test::expect_error(fastvit::error_kind::missing_tensor, {block + name}, [&] { (void)without.load(); });
        }
        file_of_tensors with = whole;
        with.tensors.push_back({block + "token_mixer.proj.bias", "F32", {16}, {}});
        io_test::expect_error(fastvit::error_kind::unexpected_tensor, {with.tensors.back().name}, [&] { (void)with.load(); });
    }
}

// A ConvMixer that lacks its convolution or its norm is still one: the message names what is missing.
TEST(token_mixers, conv_mixer_is_recognised_by_either_of_its_layers) {
    for (const std::string layer : {"conv", "bn"}) {
        file_of_tensors file(seeded_checkpoint(everywhere(token_mixer::conv_mixer), fastvit::io::spelling::timm));
        const std::string start = "stages.0.blocks.0.token_mixer." + layer + ".";
        std::erase_if(file.tensors, [&](const auto &t) { return t.name.starts_with(start); });
        io_test::expect_error(fastvit::error_kind::missing_tensor, {start + "weight"}, [&] { (void)file.load(); });
    }
}

// A block's packed windows, with their biases, count: pooling's six are in no tensor.
TEST(token_mixers, memory_counts_before_it_is_taken) {
    for (const auto &[mixer, windows] : {std::pair{token_mixer::pooling, 6}, {token_mixer::conv_mixer, 1}}) {
        const auto needed = [kind = mixer](index_type blocks) {
            return memory_needed(seeded_checkpoint(make({mixing(kind, blocks, 1024, 1)}, 0, 0), fastvit::io::spelling::timm));
        };
        const index_type bytes = 1024 * (windows * (3 * 3 + 1) + 7 * 7 + 1) * 4;
        EXPECT_GE(needed(2), needed(1) + bytes) << to_string(mixer);
    }
}

// Both graphs, against PyTorch in float64 (tools/mixers_torch.py).
TEST(token_mixers, compute_what_pytorch_does) {
    for (const token_mixer mixer :
         {token_mixer::rep_mixer, token_mixer::attention, token_mixer::pooling, token_mixer::conv_mixer}) {
        architecture net = make({mixing(mixer, 1, 32, 96), mixing(mixer, 2, 64, 192)}, 128, 10);
        for (stage_architecture &stage : net.stages) stage.position = mixer == token_mixer::attention;
        const checkpoint source = seeded_checkpoint(net, fastvit::io::spelling::timm);
        const auto expected = checkpoint::open(data / "mixers" / (std::string(to_string(mixer)) + ".safetensors"));
        for (const graph form : {graph::folded, graph::train_time}) {
            fastvit::workspace space;
            const model m(source, {.graph = form});
            const fastvit::outputs &out = m.forward(seeded_input({1, 3, 32, 32}), space, everything(net));
            for (const fastvit::io::stored_tensor &stored : expected.tensors()) {
                const difference d = read_expected(expected, stored).from(output_named(out, stored.name));
                EXPECT_LE(d.relative, tolerance) << to_string(mixer) << " " << stored.name << ": " << d;
            }
        }
    }
}

TEST(token_mixers, windows_larger_than_the_halo_are_refused) {
    for (const index_type side : {1, 4, 9}) {
        architecture net = everywhere(token_mixer::rep_mixer);
        net.stages[1].ffn_kernel = side;
        io_test::expect_error(fastvit::error_kind::unsupported, {"stages.1.blocks.0.mlp.conv.conv.weight", std::to_string(side)},
                              [&] { (void)model(seeded_checkpoint(net, fastvit::io::spelling::timm)); });
        net = everywhere(token_mixer::rep_mixer);
        net.stages[1].downsample_kernel = side;
        io_test::expect_error(fastvit::error_kind::unsupported, {"stages.1.downsample.proj.0.large_conv.conv.weight"},
                              [&] { (void)model(seeded_checkpoint(net, fastvit::io::spelling::timm)); });
    }
}

TEST(token_mixers, have_names) {
    EXPECT_EQ(to_string(token_mixer::pooling), "pooling");
    EXPECT_EQ(to_string(token_mixer::conv_mixer), "ConvMixer");
}

} // namespace
