// SPDX-License-Identifier: MIT
// Every block of the network with random weights, in both graphs and every tier, against the same block in double. Also: the same
// bits for any number of workers and any order of tasks, memory exactly as planned, halos and padding channels left zero.
// Labels: portable
#include "fastvit/isa.hpp"
#include "fastvit/kernels/weights.hpp"
#include "fastvit/model.hpp"
#include "fastvit/parts/list.hpp"
#include "fastvit/runtime/image_source.hpp"

#include "support/reference_blocks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <utility>

namespace {

using fastvit::executor;
using fastvit::graph;
using fastvit::index_type;
using fastvit::isa_tier;
using fastvit::task_ref;
using fastvit::kernels::activation;
using fastvit::kernels::kernel_table;
using fastvit::parts::map_pair;
using fastvit::runtime::context;
using fastvit::runtime::map;
using reference::forward;
using reference::maps;
using reference::random_part;
using reference::random_source;
using reference::random_weights;
using reference::unit;

namespace parts = fastvit::parts;
namespace reparam = fastvit::reparam;
namespace runtime = fastvit::runtime;

/// One thread that behaves like several: tasks in reverse order, worker numbers in turn.
class reversed_executor final : public executor {
  public:
    explicit reversed_executor(int workers) : workers_(workers) {}
    int workers() const noexcept override { return workers_; }
    void run(index_type tasks, task_ref task) override {
        for (index_type i = tasks - 1; i >= 0; --i) task(i, static_cast<int>(i % workers_));
    }

  private:
    int workers_;
};

/// A block with its weights packed: takes maps from the context and returns the one with the result.
using runnable = std::function<map(const context &, const map &in)>;

/// Makes a block for a tier and a graph.
using maker = std::function<runnable(const kernel_table &, graph)>;

/// How the input map has to lie.
struct input_layout {
    index_type halo = map_pair::halo;
    bool padded = true;
};

map take_input(const context &c, const maps<double> &x, const input_layout &layout) {
    const runtime::extent size{x.images, x.height, x.width, x.channels};
    const map m = layout.padded ? c.take_map(size, layout.halo) : c.take_map(size, layout.halo, size.channels);
    if (c.planning()) return m;
    const index_type channels = layout.padded ? m.channels() : x.channels;
    for (index_type n = 0; n < x.images; ++n)
        for (index_type y = 0; y < x.height; ++y)
            for (index_type i = 0; i < x.width; ++i)
                for (index_type k = 0; k < channels; ++k)
                    m.at(n, y, i)[k] = k < x.channels ? static_cast<float>(x(n, k, y, i)) : 0;
    return m;
}

/// f(n, y, x) for all pixels with those of the halo.
template <class F> void for_each_pixel_and_halo(const map &m, F &&f) {
    for (index_type n = 0; n < m.size.images; ++n)
        for (index_type y = -m.halo; y < m.size.height + m.halo; ++y)
            for (index_type x = -m.halo; x < m.size.width + m.halo; ++x) f(n, y, x);
}

/// The inside of a map. Fails if its halo or the padding of its channels is not zero.
maps<float> read(const map &m) {
    maps<float> result(m.size.images, m.size.channels, m.size.height, m.size.width);
    index_type spoilt = 0;
    for_each_pixel_and_halo(m, [&](index_type n, index_type y, index_type x) {
        const bool inside = y >= 0 && y < m.size.height && x >= 0 && x < m.size.width;
        for (index_type c = 0; c < m.channels(); ++c) {
            if (inside && c < m.size.channels)
                result(n, c, y, x) = m.at(n, y, x)[c];
            else
                spoilt += m.at(n, y, x)[c] != 0;
        }
    });
    EXPECT_EQ(spoilt, 0) << "numbers other than zero in halo or padding";
    return result;
}

/// Plans, then runs in memory of exactly that size, which is full of NaN.
maps<float> run_block(const kernel_table &tier, executor &threads, const runnable &block, const maps<double> &x,
                      const input_layout &layout) {
    runtime::arena counter;
    const context plan{tier, counter, nullptr, threads.workers()};
    block(plan, take_input(plan, x, layout));

    constexpr index_type guard = 64;
    constexpr float canary = 12345.0F;
    fastvit::kernels::float_buffer memory(counter.peak() + guard);
    std::fill_n(memory.data(), counter.peak(), std::numeric_limits<float>::quiet_NaN());
    std::fill_n(memory.data() + counter.peak(), guard, canary);
    runtime::arena arena(memory.data());
    const context c{tier, arena, &threads, threads.workers()};
    const maps<float> result = read(block(c, take_input(c, x, layout)));
    EXPECT_EQ(arena.peak(), counter.peak()) << "another amount of memory than planned";
    EXPECT_EQ(arena.top(), counter.top());
    EXPECT_TRUE(std::all_of(memory.data() + counter.peak(), memory.data() + counter.peak() + guard, [](float f) {
        return f == canary;
    })) << "written behind the memory";
    return result;
}

/// block.run(context, in, out) with an output map of its own. As the network does it, with a halo.
template <class Block, class Output> runnable into_new_map(Block made, Output output) {
    return [shared = std::make_shared<const Block>(std::move(made)), output](const context &c, const map &in) {
        const map out = c.take_map(output(in.size), map_pair::halo);
        shared->run(c, in, out);
        return out;
    };
}

/// The output has that many channels.
auto with_channels(index_type channels) {
    return [channels](const runtime::extent &in) { return in.with_channels(channels); };
}

/// The stem on the images of a map.
runnable from_images(parts::stem made, const parts::stem::config &config) {
    return [shared = std::make_shared<const parts::stem>(std::move(made)), config](const context &c, const map &in) {
        float *const nchw = c.memory.take(in.size.pixels() * in.size.channels);
        runtime::export_nchw(c, in, nchw);
        const map out = c.take_map(parts::stem::output(config, in.size), map_pair::halo);
        shared->run(c, runtime::image_source::planes(nchw), in.size, out);
        return out;
    };
}

/// A part of the backbone, on the two maps of a stage.
template <class Part> runnable in_a_stage(Part made) {
    return [shared = std::make_shared<const Part>(std::move(made))](const context &c, const map &x) {
        map_pair maps{x, c.take_map(x.size, map_pair::halo)};
        shared->run(c, maps);
        return maps.x;
    };
}

/// Packs weights as the graph wants them.
template <class Part>
Part packed(const kernel_table &tier, graph form, typename Part::weights w, const typename Part::config &config) {
    if (form == graph::folded) Part::fold(w);
    return Part(tier, w, config);
}

bool same_bits(const maps<float> &a, const maps<float> &b) {
    return a.values.size() == b.values.size() &&
           std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)) == 0;
}

struct size {
    index_type images, height, width;
};

constexpr size sizes[] = {{1, 1, 1}, {2, 3, 5}, {3, 7, 7}, {2, 9, 13}, {1, 33, 17}};

class blocks : public testing::Test {
  protected:
    /// Runs the block in every tier and graph and compares with `expected` (the relative error of float32 chains of some hundred
    /// terms through the block's few layers, in the largest norm), and with itself on several workers.
    void expect_block(const maker &make, const maps<double> &x, const maps<double> &expected, const input_layout &layout = {}) {
        for (const isa_tier &tier : fastvit::isa_tiers()) {
            if (!tier.supported) continue;
            for (const graph form : {graph::folded, graph::train_time}) {
                SCOPED_TRACE(testing::Message() << x.images << " x " << x.channels << " x " << x.height << " x " << x.width
                                                << ", " << tier.name << (form == graph::folded ? ", folded" : ", train-time"));
                expect_block_in(*tier.kernels, make(*tier.kernels, form), x, expected, layout);
            }
        }
    }

    /// f(x) for a random batch of each size. The largest only for few channels: the references are slow.
    template <class F> void for_each_batch(index_type channels, F &&f) {
        for (const size &s : sizes)
            if (s.height * s.width * channels < 48 * 1024) f(random.batch(s.images, channels, s.height, s.width));
    }

    /// The same over all sizes, for a block whose reference is forward(x, w).
    template <class W> void expect_block_of(const maker &make, const W &w, index_type channels, const input_layout &layout = {}) {
        for_each_batch(channels, [&](const maps<double> &x) { expect_block(make, x, forward(x, w), layout); });
    }

    /// The same for a part of the backbone with random weights.
    template <class Part> void expect_part(const typename Part::config &config, index_type channels) {
        const auto w = random_part<Part>(random, 1, config);
        expect_block_of([&](const kernel_table &tier, graph form) { return in_a_stage(packed<Part>(tier, form, w, config)); }, w,
                        channels);
    }

    random_source random;

  private:
    void expect_block_in(const kernel_table &tier, const runnable &block, const maps<double> &x, const maps<double> &expected,
                         const input_layout &layout) {
        const maps<float> got = run_block(tier, serial_, block, x, layout);
        EXPECT_TRUE(near(expected, got, 200 * unit * reference::largest(expected.values)));
        for (executor *const threads : std::initializer_list<executor *>{&two_, &reversed_})
            EXPECT_TRUE(same_bits(got, run_block(tier, *threads, block, x, layout))) << threads->workers() << " workers";
    }

    fastvit::serial_executor serial_;
    fastvit::thread_pool two_{2};
    reversed_executor reversed_{3};
};

/// With padding (8, 24, 76), without (32), and with the pixels spread over the cache's sets (128).
constexpr index_type channel_counts[] = {8, 24, 32, 76, 128};

TEST_F(blocks, stem) {
    for (const index_type channels : channel_counts) {
        for (const bool scale_branch : {true, false}) {
            const parts::stem::config config{3, channels, scale_branch};
            const auto w = random_part<parts::stem>(random, channels == 8 ? 3 : 1, config);
            expect_block_of([&](const kernel_table &tier,
                                graph form) { return from_images(packed<parts::stem>(tier, form, w, config), config); },
                            w, 3);
        }
    }
}

TEST_F(blocks, patch_embed) {
    for (const index_type channels : channel_counts) {
        for (const bool mci : {false, true}) {
            for (const bool gelu : {false, true}) {
                const parts::patch_embed::config config{channels, 2 * channels, mci, gelu};
                const auto w = random_part<parts::patch_embed>(random, 1, config);
                const maker block = [&](const kernel_table &tier, graph form) {
                    return in_a_stage(packed<parts::patch_embed>(tier, form, w, config));
                };
                for_each_batch(channels, [&](const maps<double> &x) { expect_block(block, x, forward(x, w, gelu)); });
            }
        }
    }
}

fastvit::stage_architecture stage_of(index_type channels) { return {.blocks = 1, .channels = channels, .hidden = 3 * channels}; }

TEST_F(blocks, rep_mixer_block) {
    for (const index_type channels : channel_counts) expect_part<parts::rep_mixer_block>(stage_of(channels), channels);
}

TEST_F(blocks, pooling_block) {
    for (const index_type channels : channel_counts) expect_part<parts::pooling_block>(stage_of(channels), channels);
}

TEST_F(blocks, attention_block) {
    for (const index_type channels : {32, 96, 128}) {
        for (const auto norm : {fastvit::attention_norm::batch_norm, fastvit::attention_norm::layer_norm}) {
            fastvit::stage_architecture stage = stage_of(channels);
            stage.norm = norm;
            expect_part<parts::attention_block>(stage, channels);
        }
    }
}

TEST_F(blocks, position) {
    for (const index_type channels : channel_counts) expect_part<parts::position>({channels}, channels);
}

TEST_F(blocks, head_conv) {
    for (const index_type channels : channel_counts) {
        const parts::head_conv::config config{2 * channels, 4 * channels};
        const auto w = random_part<parts::head_conv>(random, 1, config);
        const maker block = [&](const kernel_table &tier, graph form) {
            return into_new_map(packed<parts::head_conv>(tier, form, w, config), with_channels(config.out));
        };
        for_each_batch(config.in, [&](const maps<double> &x) { expect_block(block, x, gelu_of(forward(x, w))); });
    }
}

TEST_F(blocks, conv_ffn) {
    for (const index_type channels : channel_counts) {
        const auto w = random_part<parts::rep_mixer_block>(random, 1, stage_of(channels));
        const maker block = [&](const kernel_table &tier, graph form) {
            auto weights = w;
            if (form == graph::folded) parts::conv_ffn::fold(weights.ffn, weights.layer_scale);
            return into_new_map(parts::conv_ffn(tier, weights.ffn, weights.layer_scale), with_channels(channels));
        };
        for_each_batch(channels,
                       [&](const maps<double> &x) { expect_block(block, x, add_scaled(x, w.layer_scale, forward(x, w.ffn))); });
    }
}

TEST_F(blocks, squeeze_excite) {
    for (const index_type channels : channel_counts) {
        const auto w =
            random_weights<parts::squeeze_excite::weights>(random, 1, channels, std::max<index_type>(1, channels / 16));
        for (const activation act : {activation::none, activation::gelu}) {
            const maker make = [&](const kernel_table &tier, graph) {
                return [block = std::make_shared<parts::squeeze_excite>(tier, w), act](const context &c, const map &m) {
                    block->run(c, m, act);
                    return m;
                };
            };
            for_each_batch(channels, [&](const maps<double> &x) {
                const maps<double> gated = forward(x, w);
                expect_block(make, x, act == activation::gelu ? gelu_of(gated) : gated);
            });
        }
    }
}

// A dense convolution of any size in the network's own layout, which only the stem uses.
TEST_F(blocks, dense_convolutions) {
    for (const index_type kernel : {1, 3, 5}) {
        for (const index_type stride : {1, 2}) {
            const reparam::conv_shape dims{.in = 5, .out = 24, .kernel = kernel, .stride = stride};
            const auto w = random_weights<reparam::conv>(random, 1, dims);
            const maker block = [&](const kernel_table &tier, graph) {
                return into_new_map(parts::convolution(tier, dims, w.kernel, w.bias),
                                    [dims](const runtime::extent &in) { return parts::output_extent(dims, in); });
            };
            for_each_batch(dims.in, [&](const maps<double> &x) {
                expect_block(block, x, forward(x, dims, w), {.halo = kernel / 2, .padded = false});
            });
        }
    }
}

// Pooling and the classifier, for more images than one matrix product takes.
TEST_F(blocks, mean_and_linear) {
    constexpr index_type channels = 76, classes = 100;
    const parts::linear::config config{channels, classes, fastvit::linear_form::biased};
    const auto w = random_part<parts::linear>(random, 1, config);
    const maker make = [&](const kernel_table &tier, graph) {
        return [block = std::make_shared<parts::linear>(tier, w, config)](const context &c, const map &m) {
            const map out = c.take_map({m.size.images, 1, 1, classes}, 0, block->out_row());
            float *const mean = c.memory.take(m.size.images * m.channels());
            parts::run_mean(c, m, mean, m.channels());
            block->run(c, mean, m.channels(), out.origin, m.size.images);
            return out;
        };
    };
    for (const size &s : {size{1, 33, 17}, size{3, 2, 3}, size{257, 1, 2}}) {
        const maps<double> x = random.batch(s.images, channels, s.height, s.width);
        maps<double> expected(s.images, classes, 1, 1);
        for (index_type n = 0; n < s.images; ++n) {
            const auto logits =
                reference::linear(mean(x, n), reference::values_of<double>(w.kernel), reference::values_of<double>(w.bias));
            std::copy(logits.begin(), logits.end(), &expected(n, 0, 0, 0));
        }
        expect_block(make, x, expected);
    }
}

TEST_F(blocks, batches_come_in_and_go_out_as_nchw) {
    for_each_batch(24, [&](const maps<double> &x) {
        const std::vector<float> nchw(x.values.begin(), x.values.end());
        std::vector<float> back(nchw.size());
        const runnable run = [&](const context &c, const map &m) {
            const map imported = c.take_map(m.size, 1);
            if (!c.planning()) // import_images leaves the padding alone: its map has none in the network
                for_each_pixel_and_halo(
                    imported, [&](index_type n, index_type y, index_type i) { std::fill_n(imported.at(n, y, i), 32, 0.0F); });
            runtime::import_images(c, runtime::image_source::planes(nchw.data()), imported);
            runtime::export_nchw(c, imported, back.data());
            return imported;
        };
        expect_block([&](const kernel_table &, graph) { return run; }, x, x);
        EXPECT_EQ(back, nchw);
    });
}

// A block that is folded in the checkpoint runs folded in either graph.
TEST_F(blocks, folded_weights_run_in_either_graph) {
    const auto stage = stage_of(24);
    auto mixer = random_part<parts::rep_mixer_block>(random, 1, stage);
    parts::rep_mixer_block::reparameterize(mixer);
    expect_block_of([&](const kernel_table &tier,
                        graph form) { return in_a_stage(packed<parts::rep_mixer_block>(tier, form, mixer, stage)); },
                    mixer, 24);
    const parts::stem::config config{3, 24, true};
    auto stem = random_part<parts::stem>(random, 1, config);
    parts::reparameterize(stem.convs[1]); // the others not
    expect_block_of(
        [&](const kernel_table &tier, graph form) { return from_images(packed<parts::stem>(tier, form, stem, config), config); },
        stem, 3);
}

// Every pixel of a map is in exactly one tile, and no tile has more pixels than a kernel takes or than was planned for.
TEST(tiling, covers_every_pixel_once) {
    for (const runtime::extent &e :
         {runtime::extent{1, 1, 1, 8}, {2, 3, 5, 8}, {1, 33, 17, 8}, {1, 8, 8, 8}, {3, 1, 300, 8}, {1, 64, 1, 8}})
        for (const index_type target : {0, 1, 7, 48, 100, 256, 1000})
            for (const int workers : {1, 2, 3, 16}) {
                SCOPED_TRACE(testing::Message() << e.images << " x " << e.height << " x " << e.width << ", target " << target
                                                << ", " << workers << " workers");
                const runtime::tiling tiles(e, target, workers);
                std::vector<int> covered(e.pixels());
                index_type most = 0;
                for (index_type i = 0; i < tiles.count(); ++i) {
                    const runtime::tile t = tiles[i];
                    most = std::max(most, t.pixels());
                    for (index_type p = 0; p < t.pixels(); ++p)
                        ++covered.at((t.image * e.height + t.y + p / t.columns) * e.width + t.x + p % t.columns);
                }
                EXPECT_TRUE(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }));
                EXPECT_LE(most, tiles.most_pixels());
                EXPECT_LE(tiles.most_pixels(), fastvit::kernels::gemm_max_pixels);
            }
}

// Two workers that take tile after tile get nearly the same number of pixels, and so end at nearly the same time.
TEST(tiling, shares_evenly) {
    for (const index_type side : {8, 16, 32, 64})
        for (const index_type target : {38, 48, 64, 96}) {
            const runtime::tiling tiles({1, side, side, 8}, target, 2);
            index_type work[2] = {};
            for (index_type i = 0; i < tiles.count(); ++i) work[work[1] < work[0]] += tiles[i].pixels();
            EXPECT_LE(std::abs(work[0] - work[1]), side) << side << " x " << side << ", target " << target;
        }
}

} // namespace
