// SPDX-License-Identifier: MIT
// What surrounds a forward pass: results in the caller's memory, shapes without running, models from bytes, workspaces that move.
#include "fastvit/executor.hpp"
#include "fastvit/model.hpp"
#include "fastvit/picture.hpp"
#include "fastvit/workspace.hpp"

#include "support/counted_allocations.hpp"
#include "support/custom_networks.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;

constexpr unsigned all_sets = 64; // of output kinds

/// Memory for results, between canaries.
class own_memory {
  public:
    explicit own_memory(const output_shapes &shapes) {
        const auto add = [&](const shape &dims) { return dims.rank() > 0 ? take(dims) : tensor_view<float>(); };
        buffers_.logits = add(shapes.logits);
        buffers_.embedding = add(shapes.embedding);
        buffers_.stem = add(shapes.stem);
        buffers_.final_conv = add(shapes.final_conv);
        for (const shape &dims : shapes.stages) buffers_.stages.push_back(add(dims));
        for (const shape &dims : shapes.fork_features) buffers_.fork_features.push_back(add(dims));
    }
    const output_buffers &buffers() const { return buffers_; }
    results contents() const { return copied(buffers_); }

    void expect_canaries() const {
        for (const std::vector<float> &block : blocks_) {
            const auto is_canary = [](float v) { return v == canary; };
            EXPECT_TRUE(std::all_of(block.begin(), block.begin() + guard, is_canary)) << "written before the memory";
            EXPECT_TRUE(std::all_of(block.end() - guard, block.end(), is_canary)) << "written after the memory";
        }
    }

  private:
    static constexpr index_type guard = 21; // so that what is between is not aligned
    static constexpr float canary = 12345;

    tensor_view<float> take(const shape &dims) {
        std::vector<float> &block = blocks_.emplace_back(static_cast<std::size_t>(2 * guard + dims.count()), canary);
        std::fill_n(block.begin() + guard, dims.count(), std::numeric_limits<float>::quiet_NaN());
        return {block.data() + guard, dims};
    }

    std::vector<std::vector<float>> blocks_;
    output_buffers buffers_;
};

TEST(forward_into, writes_what_forward_gives) {
    const picture_view grey{.pixels = nullptr, .height = 50, .width = 70, .channels = 1};
    const std::vector<std::uint8_t> pixels(50 * 70, 77);
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = small_model(form);
        const preprocessing how = preprocessing::imagenet(40);
        workspace space, kept;
        picture_view picture = grey;
        picture.pixels = pixels.data();
        const std::vector<picture_view> pictures{picture, picture, picture};
        for (const shape &dims : {shape{2, 3, 33, 47}, shape{1, 3, 64, 64}, shape{1, 3, 1, 1}}) {
            const tensor<float> images = seeded_input(dims);
            for (unsigned set = 0; set < all_sets; ++set) {
                SCOPED_TRACE("outputs " + std::to_string(set) + " of " + dims.to_string());
                const auto wanted = static_cast<output_kind>(set);
                const own_memory memory(net.output_shapes(dims, wanted));
                net.forward_into(images, kept, memory.buffers());
                expect_same_bits(copied(net.forward(images, space, wanted)), memory.contents());
                memory.expect_canaries();
            }
        }
        for (const output_kind wanted : {output_kind::logits, everything(net.architecture())}) {
            const own_memory memory(net.output_shapes({3, 3, 40, 40}, wanted)), one(net.output_shapes({1, 3, 40, 40}, wanted));
            net.forward_into(pictures, how, kept, memory.buffers());
            expect_same_bits(copied(net.forward(pictures, how, space, wanted)), memory.contents());
            net.forward_into(picture, how, kept, one.buffers());
            expect_same_bits(copied(net.forward(picture, how, space, wanted)), one.contents());
            memory.expect_canaries();
            one.expect_canaries();
        }
    }
}

TEST(forward_into, writes_a_batch_that_is_run_in_groups) {
    const model net = small_model();
    const tensor<float> images = seeded_input({5, 3, 160, 200}); // two at a time
    workspace space, kept;
    const own_memory memory(net.output_shapes(images.dims(), everything(net.architecture())));
    net.forward_into(images, kept, memory.buffers());
    expect_same_bits(copied(net.forward(images, space, everything(net.architecture()))), memory.contents());
    memory.expect_canaries();
    EXPECT_LT(kept.bytes(), space.bytes());
}

TEST(forward_into, refuses_memory_of_another_shape) {
    const model net = small_model();
    const tensor<float> images = seeded_input({2, 3, 40, 48});
    const output_shapes shapes = net.output_shapes(images.dims(), everything(net.architecture()));
    workspace space, fresh;
    const own_memory memory(shapes);
    const auto refused = [&](std::initializer_list<std::string_view> words, const std::function<void(output_buffers &)> &spoil) {
        output_buffers wrong = memory.buffers();
        spoil(wrong);
        expect_error(error_kind::shape_mismatch, words, [&] { net.forward_into(images, space, wrong); });
        const own_memory good(shapes), expected(shapes);
        net.forward_into(images, fresh, expected.buffers());
        net.forward_into(images, space, good.buffers());
        expect_same_bits(expected.contents(), good.contents());
    };
    // The last dimension is one too short.
    const auto shorter = [](tensor_view<float> &t) {
        std::vector<index_type> dims(t.dims().begin(), t.dims().end());
        --dims.back();
        t = {t.data(), shape(dims)};
    };
    refused({"logits", "[2, 10]", "[2, 9]"}, [&](output_buffers &b) { shorter(b.logits); });
    refused({"embedding", "[2, 128]", "[2, 127]"}, [&](output_buffers &b) { shorter(b.embedding); });
    refused({"stem", "[2, 8, 10, 12]", "[2, 8, 10, 11]"}, [&](output_buffers &b) { shorter(b.stem); });
    refused({"last convolution", "[2, 128, 2, 2]", "[2, 128, 2, 1]"}, [&](output_buffers &b) { shorter(b.final_conv); });
    refused({"stages", "[2, 32, 3, 3]", "[2, 32, 3, 2]"}, [&](output_buffers &b) { shorter(b.stages[2]); });
    refused({"fork features", "[2, 16, 5, 6]", "[2, 16, 5, 5]"}, [&](output_buffers &b) { shorter(b.fork_features[1]); });
    refused({"logits", "[2, 10]", "[20]"}, [&](output_buffers &b) { b.logits = {b.logits.data(), {20}}; });
    refused({"stages", "4 tensors", "3"}, [&](output_buffers &b) { b.stages.pop_back(); });
    refused({"stages", "4 tensors", "5"}, [&](output_buffers &b) { b.stages.push_back(b.stem); });
    refused({"fork features", "4 tensors", "1"}, [&](output_buffers &b) { b.fork_features.resize(1); });
    refused({"stages", "[2, 8, 10, 12]", "none"}, [&](output_buffers &b) { b.stages[0] = {}; });
    refused({"stages", "[2, 16, 5, 6]", "none"}, [&](output_buffers &b) { b.stages[1] = {nullptr, b.stages[1].dims()}; });
    // Nothing was written.
    for (const auto &[name, t] : memory.contents())
        EXPECT_TRUE(std::all_of(t.span().begin(), t.span().end(), [](float v) { return v != v; })) << name;
    memory.expect_canaries();
}

TEST(forward_into, leaves_alone_what_has_no_memory) {
    const model net = small_model();
    const tensor<float> images = seeded_input({1, 3, 40, 48});
    workspace space;
    const own_memory memory(net.output_shapes(images.dims(), output_kind::embedding | output_kind::logits));
    output_buffers some = memory.buffers();
    some.logits = {nullptr, some.logits.dims()};
    net.forward_into(images, space, some);
    net.forward_into(images, space, {});
    const results contents = memory.contents();
    ASSERT_EQ(contents.size(), 2U);
    const tensor<float> &embedding = contents[0].second, &logits = contents[1].second;
    EXPECT_TRUE(std::none_of(embedding.span().begin(), embedding.span().end(), [](float v) { return v != v; }));
    EXPECT_TRUE(std::all_of(logits.span().begin(), logits.span().end(), [](float v) { return v != v; }));
}

TEST(forward_into, refuses_memory_for_what_the_network_does_not_have) {
    const model net(seeded_checkpoint(make({plain(1, 8, 24), plain(1, 16, 48)}, 0, 0), io::spelling::timm));
    const tensor<float> images = seeded_input({1, 3, 40, 48});
    std::vector<float> some(1000);
    workspace space;
    const auto refused = [&](const char *word, const std::function<void(output_buffers &)> &add) {
        output_buffers buffers;
        add(buffers);
        expect_error(error_kind::invalid_argument, {word}, [&] { net.forward_into(images, space, buffers); });
    };
    refused("logits", [&](output_buffers &b) { b.logits = {some.data(), {1, 10}}; });
    refused("last convolution", [&](output_buffers &b) { b.final_conv = {some.data(), {1, 1, 2, 3}}; });
    refused("fork_feat", [&](output_buffers &b) { b.fork_features = {{some.data(), {1, 1, 2, 3}}}; });
    expect_error(error_kind::invalid_argument, {"[N, 3, H, W]"}, [&] {
        const tensor<float> four_channels = seeded_input({1, 4, 8, 8});
        net.forward_into(four_channels, space, {.embedding = {some.data(), {1, 16}}});
    });
}

TEST(forward_into, allocates_nothing_after_the_first_call) {
    const std::vector<std::uint8_t> pixels(50 * 70 * 3, 77);
    const picture_view picture{.pixels = pixels.data(), .height = 50, .width = 70};
    const model net = small_model();
    const tensor<float> images = seeded_input({2, 3, 40, 48});
    const own_memory memory(net.output_shapes(images.dims(), everything(net.architecture())));
    const own_memory of_picture(net.output_shapes({1, 3, 32, 32}, output_kind::embedding));
    workspace space, pictures;
    net.forward_into(images, space, memory.buffers());
    net.forward_into({&picture, 1}, preprocessing::imagenet(32), pictures, of_picture.buffers());
    const long first = allocations;
    for (int i = 0; i < 3; ++i) {
        net.forward_into(images, space, memory.buffers());
        net.forward_into({&picture, 1}, preprocessing::imagenet(32), pictures, of_picture.buffers());
    }
    EXPECT_EQ(allocations, first);
}

// --- shapes

/// A line for each, as text_of(results) has them.
std::string text_of(const output_shapes &shapes) {
    std::string text;
    for_each_output(shapes, [&](const std::string &name, const shape &dims) {
        if (dims.rank() > 0) text += name + " " + dims.to_string() + "\n";
    });
    return text;
}
std::string text_of(const results &all) {
    std::string text;
    for (const auto &[name, t] : all) text += name + " " + t.dims().to_string() + "\n";
    return text;
}

TEST(output_shapes, are_those_that_forward_gives) {
    const std::vector<architecture> nets{
        small_net(),
        make({plain(1, 8, 24), plain(1, 16, 48)}, 0, 0),
        make({plain(1, 8, 24), plain(1, 24, 48)}, 0, 12, 5),
        make({plain(2, 16, 64)}, 32, 3),
        with_fork_features(make({attending(1, 32, 64), attending(1, 64, 96)}, 0, 0)),
        make({plain(1, 8, 8), plain(1, 8, 16), plain(1, 16, 16), plain(1, 16, 32), attending(1, 32, 64)}, 64, 5),
    };
    for (const architecture &net : nets) {
        const model m(seeded_checkpoint(net, io::spelling::apple));
        for (const shape &size : {shape{1, 1}, shape{5, 7}, shape{33, 47}, shape{64, 96}, shape{1, 40}})
            for (const index_type images : {1, 3}) {
                const shape dims{images, net.in_channels, size[0], size[1]};
                workspace space;
                const auto all = static_cast<unsigned>(everything(net));
                for (const unsigned set : {all, all & 1U, all & 6U, all & 24U, all & 32U, 0U})
                    EXPECT_EQ(text_of(m.output_shapes(dims, static_cast<output_kind>(set))),
                              text_of(copied(m.forward(seeded_input(dims), space, static_cast<output_kind>(set)))))
                        << dims.to_string() << " outputs " << set;
            }
    }
}

TEST(output_shapes, of_the_published_networks_are_the_papers) {
    for (const variant_entry &v : variant_table) {
        const architecture net = published_architecture(v.name);
        for (const auto &[height, width] : {std::pair<index_type, index_type>{256, 256}, {97, 300}}) {
            const output_shapes shapes = shapes_of(net, {2, 3, height, width});
            const auto reduced = [h0 = height, w0 = width](std::size_t halvings, index_type channels) {
                index_type h = h0, w = w0;
                for (std::size_t i = 0; i < halvings; ++i) h = (h + 1) / 2, w = (w + 1) / 2;
                return shape{2, channels, h, w}.to_string();
            };
            EXPECT_EQ(shapes.stem.to_string(), reduced(2, v.channels[0])) << v.name;
            ASSERT_EQ(shapes.stages.size(), v.stages) << v.name;
            for (std::size_t s = 0; s < v.stages; ++s)
                EXPECT_EQ(shapes.stages[s].to_string(), reduced(2 + s, v.channels[s])) << v.name;
            const index_type wide = 2 * v.channels[v.stages - 1];
            EXPECT_EQ(shapes.final_conv.to_string(), reduced(1 + v.stages, wide)) << v.name;
            EXPECT_EQ(shapes.embedding.to_string(), (shape{2, wide}).to_string()) << v.name;
            EXPECT_EQ(shapes.logits.to_string(), (shape{2, net.classes}).to_string()) << v.name;
        }
        const architecture dense = dense_prediction_form(v.name);
        const output_shapes features = shapes_of(dense, {1, 3, 64, 64});
        EXPECT_EQ(features.fork_features.size(), 4U) << v.name;
        EXPECT_EQ(features.fork_features[0].to_string(), features.stages[0].to_string()) << v.name;
    }
}

TEST(output_shapes, refuse_what_forward_refuses) {
    architecture bare = small_net();
    bare.classes = bare.head_channels = 0;
    bare.fork_features = false;
    const model net(seeded_checkpoint(bare, io::spelling::timm));
    const float pixel = 0;
    workspace space;
    const auto expect_same_error = [&](const shape &dims, output_kind wanted) {
        std::string refused;
        try {
            net.forward({&pixel, dims}, space, wanted);
            ADD_FAILURE() << "nothing was thrown";
        } catch (const error &e) {
            refused = e.what();
        }
        expect_error(error_kind::invalid_argument, {refused}, [&] { (void)net.output_shapes(dims, wanted); });
    };
    constexpr index_type large = index_type{1} << 20;
    for (const shape &dims : {shape{}, shape{0}, shape{3, 64, 64}, shape{1, 1, 3, 64, 64}, shape{0, 3, 64, 64},
                              shape{1, 3, 0, 64}, shape{1, 4, 64, 64}, shape{1, 3, large, 1}, shape{1, 3, large - 1, large - 1}})
        expect_same_error(dims, output_kind::embedding);
    for (const output_kind wanted : {output_kind::logits, output_kind::final_conv, output_kind::fork_features})
        expect_same_error({1, 3, 64, 64}, wanted | output_kind::stem);
}

TEST(output_kinds, are_sets) {
    output_kind set = output_kind::stem;
    set |= output_kind::logits;
    EXPECT_EQ(set, output_kind::stem | output_kind::logits);
    EXPECT_TRUE(wants(set, output_kind::stem) && wants(set, output_kind::logits));
    EXPECT_FALSE(wants(set, output_kind::stages));
}

// --- preprocessing

TEST(usual_preprocessing, is_that_of_the_published_checkpoints) {
    const auto is = [](const preprocessing &how, double crop_fraction, interpolation filter, float mean) {
        EXPECT_TRUE(how.height == 256 && how.width == 256 && how.rule == resize_rule::shorter_side);
        EXPECT_EQ(how.crop_fraction, crop_fraction);
        EXPECT_EQ(how.filter, filter);
        EXPECT_EQ(how.mean[0], mean);
    };
    for (const char *const variant : {"fastvit_t8", "fastvit_s12", "fastvit_sa24", ""})
        for (const io::spelling spelling : {io::spelling::apple, io::spelling::timm})
            is(usual_preprocessing(variant, spelling), 0.90, interpolation::bicubic, 0.485f);
    is(usual_preprocessing("fastvit_sa36", io::spelling::timm), 0.90, interpolation::bicubic, 0.485f);
    is(usual_preprocessing("fastvit_sa36", io::spelling::apple), 0.95, interpolation::bicubic, 0.485f);
    is(usual_preprocessing("fastvit_ma36", io::spelling::timm), 0.95, interpolation::bicubic, 0.485f);
    for (const char *const variant : {"fastvit_mci0", "fastvit_mci1", "fastvit_mci2"})
        is(usual_preprocessing(variant, io::spelling::timm), 1, interpolation::bilinear, 0);
    for (const char *const variant : {"fastvit_mci3", "fastvit_mci4"})
        is(usual_preprocessing(variant, io::spelling::timm), 1, interpolation::bicubic, 0.48145466f);
    is(small_model(graph::folded).usual_preprocessing(), 0.90, interpolation::bicubic, 0.485f);
}

// --- models from bytes

TEST(model_from_bytes, is_the_one_that_open_gives) {
    for (const std::string name : {"tiny.safetensors", "tiny.pth.tar", "tiny_reparam.safetensors", "tiny_fp16.safetensors"})
        for (const graph form : {graph::folded, graph::train_time}) {
            SCOPED_TRACE(name);
            const std::filesystem::path path = data / "checkpoints" / name;
            const model opened = model::open(path, {.graph = form});
            std::optional<std::string> bytes = io_test::read_file(path);
            const model net = model::from_bytes(io_test::bytes_of(*bytes), "bytes", {.graph = form});
            std::fill(bytes->begin(), bytes->end(), '\xff');
            bytes.reset(); // it does not need them
            EXPECT_EQ(net.architecture().variant, opened.architecture().variant);
            EXPECT_TRUE(net.architecture().stages == opened.architecture().stages);
            EXPECT_EQ(net.spelling(), opened.spelling());
            EXPECT_EQ(net.graph(), form);
            const tensor<float> images = seeded_input({1, 3, 64, 64});
            expect_same_bits(run(opened, images), run(net, images));
        }
}

TEST(model_from_bytes, names_the_label_in_errors) {
    const std::string bytes = io_test::read_file(data / "checkpoints" / "tiny.safetensors");
    const auto refused = [](std::string_view file, error_kind kind, const model_options &options = {}) {
        expect_error(kind, {"camera.bin: "}, [&] { (void)model::from_bytes(io_test::bytes_of(file), "camera.bin", options); });
    };
    refused("", error_kind::bad_format);
    refused(std::string_view(bytes).substr(0, bytes.size() / 2), error_kind::bad_format);
    refused(bytes, error_kind::invalid_argument, {.key = "model_ema"});
}

// --- workspaces

TEST(workspaces, grow_in_a_vector_and_keep_their_results) {
    const model net = small_model();
    thread_pool pool(2);
    std::vector<workspace> spaces;
    std::vector<const outputs *> given;
    std::vector<outputs> views;
    std::vector<results> expected;
    for (index_type i = 0; i < 9; ++i) {
        const tensor<float> images = seeded_input({1 + i % 2, 3, 20 + i, 30}, static_cast<std::uint64_t>(i));
        workspace &space = i % 3 == 0 ? spaces.emplace_back(pool) : spaces.emplace_back();
        given.push_back(&net.forward(images, space, everything(net.architecture())));
        views.push_back(*given.back());
        expected.push_back(copied(views.back()));
    }
    for (std::size_t i = 0; i < spaces.size(); ++i) {
        expect_same_bits(expected[i], copied(views[i]));
        expect_same_bits(expected[i], copied(*given[i]));
        EXPECT_GT(spaces[i].bytes(), 0);
    }
    // They can be used again, and taken out.
    const tensor<float> images = seeded_input({1, 3, 33, 47});
    const results other = run(net, images);
    for (workspace &space : spaces) {
        workspace taken = std::move(space);
        expect_same_bits(other, copied(net.forward(images, taken, everything(net.architecture()))));
        space = std::move(taken);
        expect_same_bits(other, copied(net.forward(images, space, everything(net.architecture()))));
    }
}

// Throws instead of running, after some runs.
class failing_executor final : public executor {
  public:
    int runs = 0; ///< that are still made
    int workers() const noexcept override { return 2; }
    void run(index_type tasks, task_ref task) override {
        if (runs-- <= 0) throw std::runtime_error("no more threads");
        for (index_type i = 0; i < tasks; ++i) task(i, static_cast<int>(i % 2));
    }
};

TEST(workspaces, work_again_after_an_executor_that_threw) {
    class depth_observer final : public observer {
      public:
        int depth = 0;
        void enter(std::string_view) override { ++depth; }
        void leave() override { --depth; }
    } watcher;
    const model net = small_model(graph::folded);
    const tensor<float> images = seeded_input({1, 3, 64, 64});
    workspace plain;
    const results expected = copied(net.forward(images, plain, everything(net.architecture())));
    failing_executor threads;
    workspace space(threads);
    space.watch(&watcher);
    for (const int runs : {0, 1, 2, 5, 9}) {
        threads.runs = runs;
        EXPECT_THROW(net.forward(images, space, everything(net.architecture())), std::runtime_error) << runs;
        EXPECT_EQ(watcher.depth, 0) << runs;
        threads.runs = 1 << 20;
        expect_same_bits(expected, copied(net.forward(images, space, everything(net.architecture()))));
    }
}

TEST(workspaces, keep_their_executor_and_observer_when_they_move) {
    class counting_executor final : public executor {
      public:
        int workers() const noexcept override { return 1; }
        void run(index_type tasks, task_ref task) override {
            ++calls;
            for (index_type i = 0; i < tasks; ++i) task(i, 0);
        }
        int calls = 0;
    } threads;
    class counting_observer final : public observer {
      public:
        void enter(std::string_view) override { ++entered; }
        void leave() override {}
        int entered = 0;
    } watcher;
    const model net = small_model();
    const tensor<float> images = seeded_input({1, 3, 33, 47});
    workspace first(threads);
    first.watch(&watcher);
    workspace second = std::move(first);
    net.forward(images, second);
    EXPECT_GT(threads.calls, 0);
    EXPECT_GT(watcher.entered, 0);
    workspace third;
    third = std::move(second);
    const int calls = threads.calls, entered = watcher.entered;
    net.forward(images, third);
    EXPECT_EQ(threads.calls, 2 * calls);
    EXPECT_EQ(watcher.entered, 2 * entered);
}

TEST(workspaces, take_models_kinds_shapes_pictures_and_memory_in_turn) {
    std::vector<std::uint8_t> pixels(60 * 50 * 4);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 37);
    const picture_view picture{.pixels = pixels.data(), .height = 60, .width = 50, .channels = 4};
    const std::vector<model> models{
        small_model(), small_model(graph::train_time),
        model(seeded_checkpoint(make({plain(1, 24, 72), plain(1, 48, 96), plain(1, 96, 288)}, 96, 7), io::spelling::apple))};
    workspace kept;
    for (const output_kind wanted : {output_kind::logits, output_kind::stages | output_kind::stem, output_kind::embedding})
        for (const index_type size : {32, 45, 32})
            for (const model &net : models)
                for (const std::size_t count : {1, 3}) {
                    const std::vector<picture_view> pictures(count, picture);
                    const preprocessing how = preprocessing::imagenet(size);
                    const shape dims{static_cast<index_type>(count), 3, size, size};
                    const tensor<float> images = seeded_input(dims);
                    workspace a, b;
                    const results of_images = copied(net.forward(images, a, wanted));
                    const results of_pictures = copied(net.forward(pictures, how, b, wanted));
                    EXPECT_GT(b.bytes(), 0);

                    expect_same_bits(of_images, copied(net.forward(images, kept, wanted)));
                    EXPECT_EQ(kept.bytes(), a.bytes());
                    const own_memory memory(net.output_shapes(dims, wanted));
                    net.forward_into(pictures, how, kept, memory.buffers());
                    expect_same_bits(of_pictures, memory.contents());
                    expect_same_bits(of_pictures, copied(net.forward(pictures, how, kept, wanted)));
                    EXPECT_EQ(kept.bytes(), b.bytes());
                    net.forward_into(images, kept, memory.buffers());
                    expect_same_bits(of_images, memory.contents());
                    memory.expect_canaries();
                    expect_same_bits(of_images, copied(net.forward(images, kept, wanted)));
                }
}

} // namespace
