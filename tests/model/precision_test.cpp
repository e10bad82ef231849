// SPDX-License-Identifier: MIT
// Networks whose dense layers compute below float32. What the published networks lose is in model_test.cpp, the kernels are in
// kernels/encoded_test.cpp.
// Labels: threads
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/kernels/table.hpp"
#include "fastvit/model.hpp"
#include "fastvit/reparam/balance.hpp"
#include "fastvit/save.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/counted_allocations.hpp"
#include "support/custom_networks.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;

constexpr precision lower[] = {precision::bfloat16, precision::int8};

std::vector<architecture> networks() {
    architecture gated = make({plain(1, 16, 48), plain(1, 32, 96), attending(1, 64, 192)}, 128, 8);
    for (const std::size_t s : {1, 2}) gated.stages[s].downsample_squeeze_excite = true;
    gated.large_kernel_gelu = true;
    return {small_net(),
            make({plain(1, 16, 37), plain(1, 16, 1), attending(1, 32, 50)}, 64, 9),
            make({plain(1, 3, 5), plain(1, 9, 7)}, 18, 2),
            make({attending(1, 32, 64, attention_norm::layer_norm)}, 64, 4),
            make({plain(1, 16, 32), attending(5, 32, 64)}, 64, 5),
            gated};
}

/// The smallest cosine of any result.
double nearness(const results &a, const results &b) {
    double least = 1;
    for (std::size_t i = 0; i < a.size(); ++i) least = std::min(least, cosine(a[i].second, b[i].second));
    return least;
}

TEST(lower_precision, keeps_every_result_of_any_network_on_every_tier) {
    for (const architecture &net : networks()) {
        const checkpoint source = seeded_checkpoint(net, io::spelling::timm);
        const tensor<float> images = seeded_input({2, net.in_channels, 72, 104});
        const results exact = run(model(source, {.large_kernel_gelu = net.large_kernel_gelu}), images);
        for (const std::string &tier : usable_tiers())
            for (const precision type : lower) {
                const model m(source, {.precision = type, .isa = tier, .large_kernel_gelu = net.large_kernel_gelu});
                EXPECT_EQ(m.precision(), type);
                // Networks of three channels, or of one hidden one, have nothing to average over.
                EXPECT_GE(nearness(run(m, images), exact), type == precision::int8 ? 0.98 : 0.9995) << tier << to_string(type);
            }
    }
}

TEST(lower_precision, gives_the_same_bits_on_any_number_of_threads_and_in_a_batch) {
    for (const architecture &net : networks())
        for (const precision type : lower) {
            const model m(seeded_checkpoint(net, io::spelling::timm), {.precision = type});
            const tensor<float> images = seeded_input({3, net.in_channels, 65, 47});
            const results expected = run(m, images);
            for (const int workers : {2, 3, 5}) {
                thread_pool threads(workers);
                expect_same_bits(expected, run(m, images, workspace(threads)));
            }
            for (index_type n = 0; n < 3; ++n) {
                const results alone = run(m, tensor<float>(tensor_view<const float>(images.data() + n * images.count() / 3,
                                                                                    {1, net.in_channels, 65, 47})));
                for (std::size_t i = 0; i < alone.size(); ++i) {
                    const auto all = expected[i].second.span();
                    const auto one = alone[i].second.span();
                    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + n * one.size())) << alone[i].first;
                }
            }
        }
}

// Matrices of 1 MiB in 8 bits, and a patch embedding of 1 MiB in 16.
TEST(lower_precision, gives_the_same_bits_where_threads_share_columns) {
    const checkpoint source = seeded_checkpoint(make({plain(1, 32, 96), attending(1, 736, 2304)}, 1472, 9), io::spelling::timm);
    const tensor<float> images = seeded_input({2, 3, 24, 40});
    thread_pool threads(3);
    for (const precision type : precisions) {
        const model m(source, {.precision = type});
        expect_same_bits(run(m, images), run(m, images, workspace(threads)));
    }
}

// Another order and other workers than a pool has.
struct backward_executor final : executor {
    int workers() const noexcept override { return 4; }
    void run(index_type tasks, task_ref task) override {
        for (index_type i = tasks; i-- > 0;) task(i, static_cast<int>(i % 4));
    }
};

TEST(model_options, threads_pack_the_same_weights) {
    thread_pool pool(3);
    backward_executor backward;
    for (const architecture &net : networks())
        for (const precision type : precisions)
            for (executor *const threads : {static_cast<executor *>(&pool), static_cast<executor *>(&backward)}) {
                const checkpoint source = seeded_checkpoint(net, io::spelling::timm);
                const model alone(source, {.precision = type}), together(source, {.precision = type, .threads = threads});
                const tensor<float> images = seeded_input({1, net.in_channels, 64, 64});
                expect_same_bits(run(alone, images), run(together, images));
                EXPECT_TRUE(std::ranges::equal(alone.layers(), together.layers(), [](const auto &a, const auto &b) {
                    return a.name == b.name && a.type == b.type && a.reason == b.reason;
                }));
            }
}

// Tiers with the same kernels but those of int8.
TEST(lower_precision, gives_the_same_bits_in_int8_with_any_instruction_for_it) {
    const checkpoint source = seeded_checkpoint(small_net(), io::spelling::timm);
    const tensor<float> images = seeded_input({1, 3, 64, 64});
    std::vector<std::pair<const kernels::kernel_table *, results>> seen;
    for (const isa_tier &tier : isa_tiers()) {
        if (!tier.runs(precision::int8) || tier.name == "scalar") continue;
        results here = run(model(source, {.precision = precision::int8, .isa = tier.name}), images);
        for (const auto &[other, there] : seen)
            if (other->gemm == tier.kernels->gemm && other->bfloat16.gemm == tier.kernels->bfloat16.gemm)
                expect_same_bits(there, here);
        seen.emplace_back(tier.kernels, std::move(here));
    }
}

TEST(lower_precision, allocates_nothing_after_the_first_call) {
    for (const precision type : lower) {
        const model net(seeded_checkpoint(small_net(), io::spelling::timm), {.precision = type});
        workspace space;
        const tensor<float> images = seeded_input({2, 3, 64, 64});
        net.forward(images, space, everything(net.architecture()));
        const long first = allocations;
        for (int i = 0; i < 3; ++i) net.forward(images, space, everything(net.architecture()));
        EXPECT_EQ(allocations, first);
    }
}

TEST(lower_precision, is_of_the_folded_graph) {
    const checkpoint source = seeded_checkpoint(small_net(), io::spelling::timm);
    for (const precision type : lower)
        expect_error(error_kind::invalid_argument, {"train-time graph", "float32", std::string(to_string(type))},
                     [&] { (void)model(source, {.graph = graph::train_time, .precision = type}); });
    EXPECT_EQ(model(source).precision(), precision::float32);
}

TEST(lower_precision, of_each_dense_layer_is_said) {
    const checkpoint source = seeded_checkpoint(make({plain(1, 16, 48), attending(1, 32, 96)}, 64, 8), io::spelling::timm);
    std::vector<std::string> names;
    const model net(source, {.precision = precision::int8}), exact(source);
    for (const layer_precision &l : net.layers()) names.push_back(l.name);
    EXPECT_EQ(names, (std::vector<std::string>{"stem.0", "stem.2", "stages.0.blocks.0.mlp.fc1", "stages.0.blocks.0.mlp.fc2",
                                               "stages.1.downsample.proj.1", "stages.1.blocks.0.token_mixer.qkv",
                                               "stages.1.blocks.0.token_mixer.proj", "stages.1.blocks.0.mlp.fc1",
                                               "stages.1.blocks.0.mlp.fc2", "head.fc"}));
    ASSERT_EQ(exact.layers().size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        EXPECT_EQ(exact.layers()[i].name, names[i]);
        EXPECT_EQ(exact.layers()[i].type, precision::float32);
        EXPECT_EQ(exact.layers()[i].reason, "");
    }
}

// Patch embeddings are float32 in bfloat16 where many attention blocks follow.
TEST(lower_precision, of_patch_embeddings_depends_on_the_network) {
    const auto stem = [](const layer_precision &l) { return l.name.starts_with("stem."); };
    const auto patch_embedding = [](const layer_precision &l) { return l.name.find(".downsample.") != l.name.npos; };
    const auto others = [](const layer_precision &l) { return l.name.ends_with("token_mixer.qkv") || l.name == "head.fc"; };
    for (const index_type blocks : {4, 5})
        for (const attention_norm norm : {attention_norm::batch_norm, attention_norm::layer_norm}) {
            const checkpoint source =
                seeded_checkpoint(make({plain(1, 16, 32), attending(blocks, 32, 64, norm)}, 64, 8), io::spelling::timm);
            const auto count = [&](precision type, const auto &which, precision became, std::string_view reason) {
                const model net(source, {.precision = type});
                return std::ranges::count_if(
                    net.layers(), [&](const layer_precision &l) { return which(l) && l.type == became && l.reason == reason; });
            };
            EXPECT_EQ(count(precision::int8, stem, precision::bfloat16, "no skip connection leads past it"), 2);
            EXPECT_EQ(count(precision::int8, patch_embedding, precision::bfloat16, "no skip connection leads past it"), 1);
            EXPECT_EQ(count(precision::int8, others, precision::int8, ""), blocks + 1);
            EXPECT_EQ(count(precision::bfloat16, stem, precision::bfloat16, ""), 2);
            EXPECT_EQ(count(precision::bfloat16, others, precision::bfloat16, ""), blocks + 1);
            if (blocks == 4 || norm == attention_norm::layer_norm)
                EXPECT_EQ(count(precision::bfloat16, patch_embedding, precision::bfloat16, ""), 1);
            else
                EXPECT_EQ(count(precision::bfloat16, patch_embedding, precision::float32,
                                "many attention blocks would amplify its error"),
                          1);
        }
}

// Whatever the container, the type of its numbers, and whether it is folded.
TEST(lower_precision, serves_every_checkpoint) {
    const tensor<float> images = seeded_input({1, 3, 64, 64});
    for (const char *name : {"tiny.safetensors", "tiny_fp16.safetensors", "tiny_bf16.pth", "tiny_reparam.safetensors"}) {
        const auto path = data / "checkpoints" / name;
        const results exact = run(model::open(path), images);
        EXPECT_GE(cosine(run(model::open(path, {.precision = precision::int8}), images).back().second, exact.back().second),
                  0.998)
            << name;
        EXPECT_GE(cosine(run(model::open(path, {.precision = precision::bfloat16}), images).back().second, exact.back().second),
                  0.9999)
            << name;
    }
}

/// Scales the values between each 7 x 7 and its fc1, and the weights that read them by the reciprocal: the same network.
file_of_tensors rescaled(file_of_tensors file) {
    std::mt19937 random(7);
    const auto floats = [&](const std::string &name) {
        std::string &bytes = file.at(name).bytes;
        return std::span(reinterpret_cast<float *>(bytes.data()), bytes.size() / sizeof(float));
    };
    int blocks = 0;
    for (const std::string &name : file.names()) {
        if (!name.ends_with("mlp.fc1.weight")) continue;
        ++blocks;
        const std::string block = name.substr(0, name.size() - std::string("fc1.weight").size());
        const std::span<float> scale = floats(block + "conv.bn.weight"), shift = floats(block + "conv.bn.bias"),
                               fc1 = floats(name);
        const std::size_t channels = scale.size();
        for (std::size_t c = 0; c < channels; ++c) {
            const float factor = std::exp2(12 * (static_cast<float>(random() >> 8) * 0x1p-24F) - 6); // 1/64 to 64
            scale[c] *= factor;
            shift[c] *= factor;
            for (std::size_t i = c; i < fc1.size(); i += channels) fc1[i] /= factor;
        }
    }
    EXPECT_GT(blocks, 0);
    return file;
}

TEST(lower_precision, does_not_depend_on_how_a_channel_is_scaled_on_its_way_to_fc1) {
    const file_of_tensors file(seeded_checkpoint(published_architecture("fastvit_t8"), io::spelling::timm));
    const tensor<float> images = seeded_input({1, 3, 128, 128});
    const auto embedding_nearness = [&](const file_of_tensors &other) {
        const results exact = run(file.load(), images), got = run(other.load({.precision = precision::int8}), images);
        const auto is_embedding = [](const auto &r) { return r.first == "embedding"; };
        return cosine(std::find_if(got.begin(), got.end(), is_embedding)->second,
                      std::find_if(exact.begin(), exact.end(), is_embedding)->second);
    };
    EXPECT_NEAR(embedding_nearness(file), embedding_nearness(rescaled(file)), 0.001);
}

TEST(balance, changes_no_product_and_undoes_any_scaling) {
    const auto make_pair = [](float factor) {
        reparam::conv depthwise{tensor<float>({3, 1, 7, 7}), tensor<float>({3})},
            pointwise{tensor<float>({5, 3, 1, 1}), tensor<float>({5})};
        for (index_type i = 0; i < depthwise.kernel.count(); ++i)
            depthwise.kernel.data()[i] = factor * std::sin(static_cast<float>(i));
        for (index_type c = 0; c < 3; ++c) depthwise.bias(c) = factor * 0.1F * static_cast<float>(c);
        for (index_type i = 0; i < pointwise.kernel.count(); ++i)
            pointwise.kernel.data()[i] = std::cos(static_cast<float>(i)) / factor;
        return std::pair(std::move(depthwise), std::move(pointwise));
    };
    auto [depthwise, pointwise] = make_pair(1);
    const auto [window, weights] = make_pair(1);
    reparam::scale_inputs(pointwise, reparam::balance(depthwise, pointwise));
    for (index_type c = 0; c < 3; ++c)
        for (index_type i = 0; i < 49; ++i)
            for (index_type o = 0; o < 5; ++o)
                EXPECT_EQ(depthwise.kernel.data()[c * 49 + i] * pointwise.kernel.data()[o * 3 + c],
                          window.kernel.data()[c * 49 + i] * weights.kernel.data()[o * 3 + c]);
    for (const float factor : {1.0F / 64, 0.25F, 32.0F, 0x1p40F}) {
        auto [other, reads] = make_pair(factor);
        reparam::scale_inputs(reads, reparam::balance(other, reads));
        for (index_type i = 0; i < other.kernel.count(); ++i) EXPECT_EQ(other.kernel.data()[i], depthwise.kernel.data()[i]);
        for (index_type i = 0; i < reads.kernel.count(); ++i) EXPECT_EQ(reads.kernel.data()[i], pointwise.kernel.data()[i]);
    }
}

TEST(balance, leaves_a_channel_alone_that_it_cannot_judge) {
    EXPECT_EQ(reparam::balancing_factor(0, 1), 1);
    EXPECT_EQ(reparam::balancing_factor(1, 0), 1);
    EXPECT_EQ(reparam::balancing_factor(NAN, 1), 1);
    EXPECT_EQ(reparam::balancing_factor(INFINITY, 1), 1);
    EXPECT_EQ(reparam::balancing_factor(1e300, 1e-300), 1);
    EXPECT_EQ(reparam::balancing_factor(16, 1), 2);
    EXPECT_EQ(reparam::balancing_factor(1, 16), 0.5F);
}

} // namespace
