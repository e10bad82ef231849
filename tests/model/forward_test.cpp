// SPDX-License-Identifier: MIT
// The forward pass of any network: shapes, outputs, batches, threads, memory. What the published networks compute is in
// model_test.cpp.
// Labels: threads
#include "fastvit/cost.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/model.hpp"
#include "fastvit/postprocess.hpp"

#include "support/counted_allocations.hpp"
#include "support/custom_networks.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/reference_network.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"
#include "support/translators.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;

struct custom {
    const char *name;
    architecture net;
};

std::vector<custom> customs() {
    std::vector<custom> all{
        {"small", small_net()},
        {"three_stages", make({plain(1, 24, 72), plain(2, 48, 96), plain(1, 96, 288)}, 96, 7)},
        {"one_stage", make({plain(2, 16, 64)}, 32, 3)},
        {"six_stages",
         make({plain(1, 8, 8), plain(1, 8, 16), plain(1, 16, 16), plain(1, 16, 32), plain(1, 32, 32), attending(1, 32, 64)}, 64,
              5)},
        {"attention_twice", make({plain(1, 16, 48), attending(2, 32, 96), attending(1, 64, 128)}, 128, 11)},
        {"attention_everywhere", make({attending(1, 32, 64), attending(1, 64, 96)}, 64, 4)},
        // After a positional encoding, a patch embedding and blocks.
        {"unusual_fork_features", with_fork_features(make({attending(1, 32, 64), attending(1, 64, 96)}, 0, 0))},
        {"fork_features_of_few_stages", with_fork_features(make({plain(1, 8, 24), plain(1, 16, 48)}, 32, 3))},
        {"fork_features_of_many_stages",
         with_fork_features(make({plain(1, 8, 8), plain(1, 8, 8), plain(1, 16, 16), plain(1, 16, 16), plain(1, 32, 32)}, 0, 0))},
        {"five_input_channels", make({plain(1, 16, 32), plain(1, 32, 64)}, 64, 6, 5)},
        {"one_input_channel", make({plain(1, 16, 32), plain(1, 32, 64)}, 64, 6, 1)},
        {"twelve_input_channels", make({plain(1, 16, 32), plain(1, 32, 64)}, 64, 6, 12)},
        {"hidden_no_multiple", make({plain(1, 16, 37), plain(1, 16, 1), attending(1, 32, 50)}, 64, 9)},
        {"odd_channels", make({plain(1, 24, 72), plain(1, 24, 40), plain(1, 120, 13)}, 240, 1)},
        {"three_channels", make({plain(1, 3, 5), plain(1, 9, 7)}, 18, 2)},
        {"depth_multiplier_four", make({plain(1, 10, 20), plain(1, 40, 60)}, 160, 17)},
        {"no_linear_layer", make({plain(1, 8, 24), plain(1, 16, 48)}, 32, 0)},
        {"no_head", make({plain(1, 8, 24), plain(1, 16, 48)}, 0, 0)},
        {"linear_without_last_convolution", make({plain(1, 8, 24), plain(1, 24, 48)}, 0, 12)},
        {"layer_norm", make({plain(1, 16, 48), attending(2, 32, 96, attention_norm::layer_norm)}, 64, 8)},
    };
    // What only the MCi family has, and what it lacks.
    architecture gates = make({plain(1, 16, 48), plain(1, 32, 96), attending(1, 64, 192)}, 128, 8);
    for (const std::size_t s : {1, 2}) gates.stages[s].downsample_squeeze_excite = true;
    gates.large_kernel_gelu = true;
    all.push_back({"gated_downsampling", gates});
    for (custom &c : all)
        if (std::string(c.name) == "layer_norm") c.net.large_kernel_gelu = true, c.net.stem_scale_branch = false;
    architecture no_position = make({plain(1, 16, 48), attending(1, 32, 96)}, 64, 8);
    no_position.stages[1].position = false;
    all.push_back({"attention_without_position", no_position});
    return all;
}

// --- results

const std::vector<std::pair<index_type, index_type>> sizes{{1, 1}, {5, 7}, {33, 47}, {64, 96}, {72, 104}, {1, 40}};

class custom_test : public testing::TestWithParam<custom> {};
INSTANTIATE_TEST_SUITE_P(forward, custom_test, testing::ValuesIn(customs()), [](const auto &i) { return i.param.name; });

TEST_P(custom_test, both_graphs_give_the_references_results_on_every_tier) {
    const architecture &net = GetParam().net;
    const checkpoint source = seeded_checkpoint(net, io::spelling::timm);
    for (const auto &[height, width] : sizes) {
        const tensor<float> images = seeded_input({2, net.in_channels, height, width});
        const auto expected = reference::run_network(source, net, images);
        for (const std::string &tier : usable_tiers())
            expect_reference(expected, source, images, {.isa = tier, .large_kernel_gelu = net.large_kernel_gelu});
    }
}

TEST(forward, gives_the_official_logits_of_the_tiny_network) {
    const auto expected = checkpoint::open(data / "checkpoints" / "tiny_expected.safetensors");
    const expected_tensor logits = read_expected(expected, *expected.find("logits"));
    for (const graph form : {graph::folded, graph::train_time}) {
        workspace space;
        const model net = model::open(data / "checkpoints" / "tiny.safetensors", {.graph = form});
        EXPECT_LE(logits.from(net.forward(seeded_input({1, 3, 64, 64}), space).logits).relative, tolerance);
    }
}

// MobileOne blocks may have several k x k branches (the official `num_conv_branches`).
TEST(forward, adds_up_all_branches_of_a_block) {
    checkpoint source = seeded_checkpoint(small_net(), io::spelling::timm);
    const std::vector<io::stored_tensor> before = source.tensors();
    for (const std::string block :
         {"stem.0.", "stem.2.", "stages.0.blocks.0.token_mixer.mixer.", "stages.1.downsample.proj.1.", "final_conv."})
        for (const std::string branch : {"conv_kxk.1.", "conv_kxk.2."})
            for (const io::stored_tensor &t : before)
                if (const std::string first = block + "conv_kxk.0."; t.name.starts_with(first)) {
                    const std::string name = block + branch + t.name.substr(first.size());
                    source.add(name, seeded_parameter(name, t.dims, 1));
                }
    EXPECT_EQ(source.tensors().size(), before.size() + 5 * 2 * 5);
    const tensor<float> images = seeded_input({1, 3, 40, 24});
    expect_reference(reference::run_network(source, small_net(), images), source, images, {});
}

TEST(forward, needs_the_gelu_option_only_where_the_tensors_do_not_tell) {
    const model plain = small_model();
    EXPECT_FALSE(plain.architecture().large_kernel_gelu);
    const model with(small_checkpoint(), {.large_kernel_gelu = true});
    EXPECT_TRUE(with.architecture().large_kernel_gelu);
    const tensor<float> images = seeded_input({1, 3, 64, 64});
    workspace a, b;
    const expected_tensor logits = expected_tensor::whole(plain.forward(images, a).logits);
    EXPECT_GT(logits.from(with.forward(images, b).logits).relative, tolerance);
    for (const custom &c : customs()) {
        const bool told = c.net.stages.back().norm == attention_norm::layer_norm || c.net.stages.back().downsample_squeeze_excite;
        EXPECT_EQ(model(seeded_checkpoint(c.net, io::spelling::apple)).architecture().large_kernel_gelu, told) << c.name;
    }
}

TEST(forward, is_the_same_in_either_spelling_of_the_same_parameters) {
    for (const custom &c : customs()) {
        SCOPED_TRACE(c.name);
        const checkpoint timm = seeded_checkpoint(c.net, io::spelling::timm);
        const io::name_translator to_timm = translator_of(c.net, io::spelling::timm);
        const io::name_translator to_apple = translator_of(c.net, io::spelling::apple);
        checkpoint apple;
        for (const io::stored_tensor &t : timm.tensors())
            apple.add(to_apple.from_canonical(*to_timm.to_canonical(t.name)), io::read_float(t));
        const tensor<float> images = seeded_input({1, c.net.in_channels, 40, 56});
        const model from_apple(apple);
        EXPECT_EQ(from_apple.spelling(), io::spelling::apple);
        expect_same_bits(run(model(timm), images), run(from_apple, images));
    }
}

// --- outputs

TEST(forward, gives_each_set_of_outputs_the_same_bits) {
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        const tensor<float> images = seeded_input({2, 3, 33, 47});
        const results all = run(net, images);
        workspace kept;
        for (unsigned set = 0; set < 64; ++set) {
            SCOPED_TRACE("outputs " + std::to_string(set));
            const auto wanted = static_cast<output_kind>(set);
            const auto is_wanted = [&](const std::string &name) {
                return name == "stem"            ? wants(wanted, output_kind::stem)
                       : name == "final_conv"    ? wants(wanted, output_kind::final_conv)
                       : name == "embedding"     ? wants(wanted, output_kind::embedding)
                       : name == "logits"        ? wants(wanted, output_kind::logits)
                       : name.starts_with("out") ? wants(wanted, output_kind::fork_features)
                                                 : wants(wanted, output_kind::stages);
            };
            results expected;
            for (const auto &[name, t] : all)
                if (is_wanted(name)) expected.emplace_back(name, t);
            expect_same_bits(expected, copied(net.forward(images, kept, wanted)));
        }
    }
}

TEST(forward, gives_logits_alone_unless_asked) {
    workspace space;
    const results alone = copied(small_model().forward(seeded_input({1, 3, 32, 32}), space));
    ASSERT_EQ(alone.size(), 1U);
    EXPECT_EQ(alone[0].first, "logits");
}

TEST(forward, halves_odd_sizes_upwards) {
    const model net = small_model();
    for (const auto &[height, width] : sizes) {
        const auto reduced = [h0 = height, w0 = width](int halvings, index_type channels) {
            index_type h = h0, w = w0;
            for (int i = 0; i < halvings; ++i) h = (h + 1) / 2, w = (w + 1) / 2;
            return shape{1, channels, h, w}.to_string();
        };
        workspace space;
        const outputs &out = net.forward(seeded_input({1, 3, height, width}), space, everything(net.architecture()));
        EXPECT_EQ(out.stem.dims().to_string(), reduced(2, 8));
        ASSERT_EQ(out.stages.size(), 4U);
        ASSERT_EQ(out.fork_features.size(), 4U);
        for (int s = 0; s < 4; ++s)
            for (const auto *const maps : {&out.stages, &out.fork_features})
                EXPECT_EQ((*maps)[static_cast<std::size_t>(s)].dims().to_string(), reduced(s + 2, 8 << s));
        EXPECT_EQ(out.final_conv.dims().to_string(), reduced(5, 128));
        EXPECT_EQ(out.embedding.dims().to_string(), "[1, 128]");
        EXPECT_EQ(out.logits.dims().to_string(), "[1, 10]");
    }
}

// --- batches and threads

TEST(forward, gives_a_batch_the_bits_of_its_images_alone) {
    for (const std::string &tier : usable_tiers())
        for (const graph form : {graph::folded, graph::train_time})
            for (const auto &[height, width] : sizes) {
                SCOPED_TRACE(tier + " " + std::to_string(height) + " x " + std::to_string(width));
                const model net(small_checkpoint(), {.graph = form, .isa = tier});
                const tensor<float> images = seeded_input({3, 3, height, width});
                const results batch = run(net, images);
                for (index_type n = 0; n < 3; ++n) {
                    const tensor_view<const float> one{images.data() + n * 3 * height * width, {1, 3, height, width}};
                    results expected;
                    for (const auto &[name, t] : batch) {
                        std::vector<index_type> dims(t.dims().begin(), t.dims().end());
                        dims[0] = 1;
                        const shape single(dims);
                        expected.emplace_back(name, tensor_view<const float>(t.data() + n * single.count(), single));
                    }
                    expect_same_bits(expected, run(net, one));
                }
            }
}

// Runs the last task first, each on another worker's memory.
class backwards final : public executor {
  public:
    int workers() const noexcept override { return 7; }
    void run(index_type tasks, task_ref task) override {
        for (index_type i = tasks; i-- > 0;) task(i, static_cast<int>(i * 5 % 7));
    }
};

TEST(forward, gives_the_same_bits_on_any_executor) {
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        for (const auto &[height, width] : sizes) {
            const tensor<float> images = seeded_input({2, 3, height, width});
            const results expected = run(net, images);
            for (const int workers : {1, 2, 3}) {
                thread_pool pool(workers);
                expect_same_bits(expected, run(net, images, workspace(pool)));
            }
            backwards last_first;
            expect_same_bits(expected, run(net, images, workspace(last_first)));
        }
    }
}

// Widths and depths of a real network, so that work is split as it is there.
TEST(forward, gives_the_same_bits_of_a_published_network_with_three_threads) {
    const model net(seeded_checkpoint(published_architecture("fastvit_sa12"), io::spelling::apple));
    const tensor<float> images = seeded_input({1, 3, 96, 64});
    thread_pool pool(3);
    expect_same_bits(run(net, images), run(net, images, workspace(pool)));
}

TEST(forward, runs_one_model_in_several_threads) {
    const model net = small_model();
    const std::vector<shape> shapes{{1, 3, 64, 64}, {2, 3, 33, 47}, {1, 3, 40, 1}};
    std::vector<results> expected;
    for (const shape &s : shapes) {
        const tensor<float> images = seeded_input(s);
        expected.push_back(run(net, images));
    }
    thread_pool shared(2);
    for (const bool pooled : {false, true}) {
        std::vector<std::vector<results>> actual(3);
        std::vector<std::thread> threads;
        for (std::size_t t = 0; t < actual.size(); ++t)
            threads.emplace_back([&, t] {
                std::optional<workspace> space;
                if (pooled)
                    space.emplace(shared);
                else
                    space.emplace();
                for (int round = 0; round < 4; ++round)
                    for (const shape &s : shapes)
                        actual[t].push_back(copied(net.forward(seeded_input(s), *space, everything(net.architecture()))));
            });
        for (std::thread &t : threads) t.join();
        for (const auto &of_thread : actual)
            for (std::size_t i = 0; i < of_thread.size(); ++i) expect_same_bits(expected[i % shapes.size()], of_thread[i]);
    }
}

// --- workspaces

TEST(forward, takes_any_workspace_again) {
    const std::vector<model> models{
        small_model(), small_model(graph::train_time),
        model(seeded_checkpoint(make({plain(1, 24, 72), plain(2, 48, 96), plain(1, 96, 288)}, 96, 7), io::spelling::apple))};
    const std::vector<shape> shapes{{1, 3, 64, 64}, {2, 3, 5, 7}, {1, 3, 72, 104}, {3, 3, 1, 1}, {1, 3, 64, 64}};
    workspace kept;
    for (const std::optional<output_kind> set : {std::optional<output_kind>(), std::optional(output_kind::logits),
                                                 std::optional(output_kind::stages | output_kind::stem)})
        for (const shape &images : shapes)
            for (const model &net : models)
                for (int again = 0; again < 2; ++again) {
                    const output_kind wanted = set.value_or(everything(net.architecture()));
                    workspace fresh;
                    const tensor<float> input = seeded_input(images);
                    expect_same_bits(copied(net.forward(input, fresh, wanted)), copied(net.forward(input, kept, wanted)));
                    EXPECT_EQ(kept.bytes(), fresh.bytes());
                    EXPECT_GT(kept.bytes(), 0);
                }
}

TEST(forward, does_not_take_a_new_model_for_the_one_that_had_its_address) {
    workspace kept;
    for (const index_type classes : {10, 20, 10, 5}) {
        architecture net = small_net();
        net.classes = classes;
        const auto m = std::make_unique<model>(seeded_checkpoint(net, io::spelling::timm));
        EXPECT_EQ(m->forward(seeded_input({1, 3, 32, 32}), kept).logits.dims().to_string(), (shape{1, classes}).to_string());
    }
}

TEST(forward, allocates_nothing_after_the_first_call) {
    const long before = allocations;
    EXPECT_EQ(tensor<float>({5}).count(), 5);
    ASSERT_GT(allocations, before) << "the counter does not count";
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        thread_pool pool(2);
        workspace serial, pooled(pool);
        for (workspace *const space : {&serial, &pooled})
            for (const shape &dims : {shape{2, 3, 64, 64}, shape{1, 3, 33, 47}}) {
                const tensor<float> images = seeded_input(dims);
                net.forward(images, *space, everything(net.architecture()));
                const long first = allocations;
                for (int i = 0; i < 3; ++i) net.forward(images, *space, everything(net.architecture()));
                EXPECT_EQ(allocations, first);
            }
    }
}

// --- watching

class name_recorder final : public observer {
  public:
    void enter(std::string_view name) override {
        open_.push_back((open_.empty() ? "" : open_.back() + ".") + std::string(name));
        entered.push_back(open_.back());
    }
    void leave() override { open_.pop_back(); }
    bool all_left() const { return open_.empty(); }
    std::vector<std::string> entered;

  private:
    std::vector<std::string> open_;
};

TEST(forward, computes_only_what_is_wanted) {
    const model net = small_model(graph::folded);
    const auto runs = [&](output_kind wanted, const std::string &part) {
        workspace space;
        name_recorder parts;
        space.watch(&parts);
        net.forward(seeded_input({1, 3, 64, 64}), space, wanted);
        return std::count(parts.entered.begin(), parts.entered.end(), part) == 1;
    };
    EXPECT_TRUE(runs(output_kind::stem, "stem"));
    EXPECT_FALSE(runs(output_kind::stem, "stages.0.blocks.0"));
    EXPECT_TRUE(runs(output_kind::stages, "stages.0.blocks.0"));
    EXPECT_FALSE(runs(output_kind::stages, "final_conv"));
    EXPECT_TRUE(runs(output_kind::final_conv, "final_conv"));
    EXPECT_FALSE(runs(output_kind::final_conv, "head.fc"));
    EXPECT_TRUE(runs(output_kind::logits, "head.fc"));
}

TEST(forward, tells_an_observer_the_parts_that_have_a_cost) {
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        workspace space;
        name_recorder parts;
        space.watch(&parts);
        net.forward(seeded_input({1, 3, 64, 64}), space);
        EXPECT_TRUE(parts.all_left());
        std::vector<std::string> with_cost;
        double total = 0;
        for (const part_cost &part : part_costs(net.architecture(), 64, 64))
            with_cost.push_back(part.name), total += part.multiply_adds;
        EXPECT_EQ(total, multiply_adds(net.architecture(), 64, 64));
        // The network also enters the blocks around them, and pooling.
        std::erase_if(parts.entered, [&](const std::string &name) {
            return std::find(with_cost.begin(), with_cost.end(), name) == with_cost.end();
        });
        EXPECT_EQ(parts.entered, with_cost);
        space.watch(nullptr);
        net.forward(seeded_input({1, 3, 64, 64}), space);
        EXPECT_EQ(parts.entered, with_cost);
    }
}

// --- the model's life

TEST(forward, does_not_need_the_checkpoint) {
    auto source = std::make_unique<checkpoint>(seeded_checkpoint(small_net(), io::spelling::timm));
    const tensor<float> images = seeded_input({1, 3, 64, 64});
    const model net(*source);
    const results before = run(net, images);
    const checkpoint moved = std::move(*source);
    expect_same_bits(before, run(model(moved), images));
    source.reset();
    expect_same_bits(before, run(net, images));

    std::optional<model> original(net);
    const model copy = *original;
    const model taken = std::move(*original);
    original.reset();
    expect_same_bits(before, run(copy, images));
    expect_same_bits(before, run(taken, images));
}

// --- what it refuses

TEST(forward, refuses_shapes_that_the_network_cannot_take) {
    const model net = small_model();
    const float pixel = 0;
    workspace space;
    constexpr index_type large = index_type{1} << 20;
    for (const shape &dims :
         {shape{}, shape{0}, shape{3, 64, 64}, shape{1, 3, 64}, shape{1, 1, 3, 64, 64}, shape{0, 3, 64, 64}, shape{1, 3, 0, 64},
          shape{1, 3, 64, 0}, shape{1, 0, 64, 64}, shape{1, 4, 64, 64}, shape{1, 1, 64, 64}, shape{1, 3, large, 1},
          shape{1, 3, 1, large}, shape{large, 3, 1, 1}, shape{1, 3, large - 1, large - 1}}) {
        SCOPED_TRACE(dims.to_string());
        expect_error(error_kind::invalid_argument, {"[N, 3, H, W]", dims.to_string()}, [&] {
            net.forward({&pixel, dims}, space, output_kind::logits);
        });
    }
    for (const tensor_view<const float> &nothing :
         {tensor_view<const float>(nullptr, {1, 3, 32, 32}), tensor_view<const float>()})
        for (const bool into : {false, true})
            expect_error(error_kind::invalid_argument, {nothing.dims().rank() == 4 ? "pointer is null" : "[N, 3, H, W]"}, [&] {
                tensor<float> logits({1, net.architecture().classes});
                if (into) {
                    net.forward_into(nothing, space, {.logits = logits});
                } else {
                    net.forward(nothing, space);
                }
            });
    // It is as good as new.
    const tensor<float> images = seeded_input({1, 3, 32, 32});
    workspace fresh;
    expect_same_bits(copied(net.forward(images, fresh)), copied(net.forward(images, space)));
}

TEST(forward, refuses_outputs_that_the_network_does_not_have) {
    const tensor<float> images = seeded_input({1, 3, 32, 32});
    const auto refused = [&](const architecture &net, output_kind wanted, std::string_view word) {
        const model m(seeded_checkpoint(net, io::spelling::timm));
        workspace space;
        expect_error(error_kind::invalid_argument, {word}, [&] { m.forward(images, space, wanted); });
    };
    architecture net = small_net();
    net.classes = 0;
    refused(net, output_kind::logits, "logits");
    refused(net, output_kind::logits | output_kind::stem, "logits");
    net.head_channels = 0;
    refused(net, output_kind::final_conv, "last convolution");
    net.fork_features = false;
    refused(net, output_kind::fork_features, "fork_feat");
}

TEST(forward, gives_rows_to_normalize) {
    workspace space;
    const outputs &out = small_model().forward(seeded_input({2, 3, 32, 32}), space, output_kind::logits | output_kind::stages);
    const tensor<float> unit = l2_normalized(out.logits);
    for (index_type n = 0; n < 2; ++n) {
        double squares = 0;
        for (index_type i = 0; i < 10; ++i) squares += double{unit(n, i)} * unit(n, i);
        EXPECT_NEAR(squares, 1, 1e-6);
        EXPECT_NEAR(unit(n, 3) * out.logits(n, 1), unit(n, 1) * out.logits(n, 3), 1e-6);
    }
    expect_error(error_kind::invalid_argument, {"[N, C]", "[2, 8, 8, 8]"}, [&] { (void)l2_normalized(out.stages[0]); });
    expect_error(error_kind::invalid_argument, {"asked for"}, [&] { (void)l2_normalized(out.embedding); });
}

} // namespace
