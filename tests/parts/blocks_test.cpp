// SPDX-License-Identifier: MIT
// Every block of the network that is published, by itself: see support/block_harness.hpp.
// Labels: portable
#include "fastvit/parts/encoded_windows.hpp"
#include "fastvit/parts/list.hpp"
#include "fastvit/runtime/image_source.hpp"

#include "support/block_harness.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace {

using namespace fastvit_test;
using reference::random_weights;

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
                for (const index_type kernel : {3, 7}) {
                    const parts::patch_embed::config config{channels, 2 * channels, mci, gelu, kernel};
                    const auto w = random_part<parts::patch_embed>(random, 1, config);
                    const maker block = [&](const kernel_table &tier, graph form) {
                        return in_a_stage(packed<parts::patch_embed>(tier, form, w, config));
                    };
                    for_each_batch(channels, [&](const maps<double> &x) { expect_block(block, x, forward(x, w, gelu)); });
                }
            }
        }
    }
}

TEST_F(blocks, rep_mixer_block) {
    for (const index_type channels : channel_counts) expect_part<parts::rep_mixer_block>(stage_of(channels), channels);
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

// Few pixels and matrices over 1 MiB: workers share out columns.
TEST_F(blocks, with_large_matrices) {
    constexpr index_type channels = 544;
    fastvit::stage_architecture stage = stage_of(channels);
    stage.norm = fastvit::attention_norm::layer_norm;
    const maps<double> x = random.batch(2, channels, 3, 5);
    expect_part_on<parts::rep_mixer_block>(x, stage);
    expect_part_on<parts::attention_block>(x, stage);

    const parts::patch_embed::config config{channels / 2, channels, false, false, 7};
    const auto w = random_part<parts::patch_embed>(random, 1, config);
    const maker block = [&](const kernel_table &tier, graph form) {
        return in_a_stage(packed<parts::patch_embed>(tier, form, w, config));
    };
    const maps<double> larger = random.batch(2, config.in, 5, 4);
    expect_block(block, larger, forward(larger, w, config.gelu));
}

/// A pointwise layer with a residual, in that type.
void expect_columns_shared(random_source &random, fastvit::precision type, index_type channels, const size &s) {
    const auto w = random_weights<reparam::conv>(random, 1, reparam::conv_shape{.in = channels, .out = channels});
    const maps<double> x = random.batch(s.images, channels, s.height, s.width);
    fastvit::serial_executor one;
    reversed_executor many(16);
    for (const isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.runs(fastvit::precision::int8)) continue;
        fastvit::kernels::weight_target target(*tier.kernels);
        target.type = type;
        const fastvit::kernels::packed_matrix matrix = parts::pack_pointwise(target, w);
        ASSERT_EQ(matrix.format.type, type);
        const runnable layer = [&](const context &c, const map &in) {
            EXPECT_EQ(parts::shares_columns(c, matrix, in.size.pixels()), c.workers > 1);
            const map out = c.take_map(in.size, map_pair::halo);
            const auto before = parts::encodes(matrix) ? activation::gelu : activation::none;
            parts::run_pointwise(c, matrix, in, out, {.before = before, .residual = &in});
            return out;
        };
        EXPECT_TRUE(same_bits(run_block(*tier.kernels, one, layer, x, {}), run_block(*tier.kernels, many, layer, x, {})))
            << tier.name << ", " << to_string(type);
    }
}

double relative_error(const maps<float> &exact, const maps<float> &got) {
    double error = 0, energy = 0;
    for (std::size_t i = 0; i < exact.values.size(); ++i) {
        const double e = exact.values[i], g = got.values[i];
        error += (g - e) * (g - e);
        energy += e * e;
    }
    return std::sqrt(error / energy);
}

// Whether each worker takes columns or pixels. The weights are what 8 bits can say, so that only activations are rounded.
TEST_F(blocks, sensitive_layers_are_almost_exact_in_int8) {
    for (const size &s : {size{2, 3, 5}, size{1, 23, 17}}) {
        constexpr index_type channels = 1024;
        auto w = random_weights<reparam::conv>(random, 1, reparam::conv_shape{.in = channels, .out = channels});
        for (index_type i = 0; i < channels * channels; ++i)
            w.kernel.data()[i] = i % (channels + 1) == 0 ? 127.0F / 64 : std::nearbyint(40 * random()) / 64;
        const maps<double> x = random.batch(s.images, channels, s.height, s.width);
        fastvit::serial_executor one;
        reversed_executor many(5);
        for (const isa_tier &tier : fastvit::isa_tiers()) {
            if (!tier.runs(fastvit::precision::int8)) continue;
            const auto layer_of = [&](fastvit::precision type) {
                fastvit::kernels::weight_target target(*tier.kernels);
                target.type = type;
                const auto matrix = std::make_shared<fastvit::kernels::packed_matrix>(
                    fastvit::kernels::pack_sensitive(target, parts::unpacked(w.kernel, w.bias)));
                EXPECT_EQ(matrix->format.type, type);
                return [matrix](const context &c, const map &in) {
                    const map out = c.take_map(in.size, map_pair::halo);
                    parts::run_pointwise(c, *matrix, in, out, {.residual = &in});
                    return out;
                };
            };
            const maps<float> exact = run_block(*tier.kernels, one, layer_of(fastvit::precision::float32), x, {}),
                              got = run_block(*tier.kernels, one, layer_of(fastvit::precision::int8), x, {});
            EXPECT_TRUE(same_bits(got, run_block(*tier.kernels, many, layer_of(fastvit::precision::int8), x, {}))) << tier.name;
            const double error = relative_error(exact, got);
            EXPECT_LE(error, 2e-4) << tier.name; // 7 bits alone lose 50 times as much
            EXPECT_GT(error, 0);
        }
    }
}

/// Dense convolutions in bfloat16, on every tier: near to those in float32, and the same bits for any number of workers.
template <class Part, class Run>
void expect_near_in_bfloat16(const typename Part::weights &w, const typename Part::config &config, const maps<double> &x,
                             const Run &run) {
    fastvit::serial_executor one;
    fastvit::thread_pool two(2);
    reversed_executor many(3);
    auto folded = w;
    Part::fold(folded);
    for (const isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.runs(fastvit::precision::int8)) continue;
        SCOPED_TRACE(testing::Message() << x.images << " x " << x.height << " x " << x.width << ", " << tier.name);
        fastvit::kernels::weight_target target(*tier.kernels);
        const maps<float> exact = run_block(*tier.kernels, one, run(Part(target, folded, config)), x, {});
        target.without_skip = fastvit::precision::bfloat16;
        const runnable block = run(Part(target, folded, config));
        const maps<float> got = run_block(*tier.kernels, one, block, x, {});
        // 2^-9 of each factor, and GELU's 2.5e-4, where few terms are added up.
        const double error = relative_error(exact, got);
        EXPECT_LE(error, 8e-3);
        EXPECT_GT(error, 1e-5);
        EXPECT_TRUE(same_bits(got, run_block(*tier.kernels, two, block, x, {})));
        EXPECT_TRUE(same_bits(got, run_block(*tier.kernels, many, block, x, {})));
    }
}

TEST_F(blocks, stem_in_bfloat16) {
    for (const index_type in : {1, 3, 4}) {
        const parts::stem::config config{in, 24, true};
        const auto w = random_part<parts::stem>(random, 1, config);
        const auto run = [&](parts::stem made) { return from_images(std::move(made), config); };
        for_each_batch(in, [&](const maps<double> &x) { expect_near_in_bfloat16<parts::stem>(w, config, x, run); });
        // More outputs in a row than one product takes.
        expect_near_in_bfloat16<parts::stem>(w, config, random.batch(1, in, 5, 1031), run);
    }
}

TEST_F(blocks, patch_embed_in_bfloat16) {
    for (const index_type channels : {8, 76}) {
        for (const bool mci : {false, true}) {
            const parts::patch_embed::config config{channels, 2 * channels, mci, false, 7};
            const auto w = random_part<parts::patch_embed>(random, 1, config);
            const auto run = [](parts::patch_embed made) { return in_a_stage(std::move(made)); };
            for_each_batch(channels,
                           [&](const maps<double> &x) { expect_near_in_bfloat16<parts::patch_embed>(w, config, x, run); });
        }
    }
}

// The mean over an image's tokens, which is subtracted from each.
TEST_F(blocks, centred_maps) {
    fastvit::serial_executor one;
    reversed_executor many(3);
    const runnable centred = [](const context &c, const map &in) {
        const map out = c.take_map(in.size, map_pair::halo);
        parts::run_centred(c, in, out);
        return out;
    };
    for (const index_type channels : channel_counts)
        for_each_batch(channels, [&](const maps<double> &x) {
            std::vector<std::vector<double>> means;
            for (index_type n = 0; n < x.images; ++n) means.push_back(reference::mean(x, n));
            const maps<double> expected = reference::map_like(
                x, [&](index_type n, index_type c, index_type y, index_type at) { return x(n, c, y, at) - means[n][c]; });
            for (const isa_tier &tier : fastvit::isa_tiers()) {
                if (!tier.supported) continue;
                const maps<float> got = run_block(*tier.kernels, one, centred, x, {});
                EXPECT_TRUE(near(expected, got, 1e-5)) << tier.name;
                EXPECT_TRUE(same_bits(got, run_block(*tier.kernels, many, centred, x, {}))) << tier.name;
            }
        });
}

// What an image's tokens have in common adds the same to all scores of a query, and so it must not cost them accuracy.
TEST_F(blocks, attention_in_bfloat16_of_tokens_with_much_in_common) {
    fastvit::serial_executor one;
    constexpr index_type channels = 64, half = channels / 2;
    const fastvit::stage_architecture stage = stage_of(channels);
    auto w = random_part<parts::attention_block>(random, 1, stage);
    parts::attention_block::fold(w);
    // q is a bias, k reads the channels of the first half, v those of the second, and the ConvFFN gives nothing.
    w.qkv.bias = fastvit::tensor<float>({3 * channels});
    for (index_type row = 0; row < 3 * channels; ++row) {
        w.qkv.bias.data()[row] = row < channels ? 3 * random() : 0;
        float *const weights = w.qkv.kernel.data() + row * channels;
        if (row < channels || row >= 2 * channels) std::fill_n(weights, half, 0.0F);
        if (row < 2 * channels) std::fill_n(weights + half, half, 0.0F);
    }
    for (fastvit::tensor<float> *const t : {&w.ffn.fc2.kernel, &w.ffn.fc2.bias}) std::fill_n(t->data(), t->count(), 0.0F);
    maps<double> x = random.batch(2, channels, 5, 7);
    std::vector<double> common(channels);
    for (index_type c = 0; c < half; ++c) common[c] = std::nearbyint(100 * static_cast<double>(random()));
    reference::for_each_element(x, [&](index_type n, index_type c, index_type y, index_type at) { x(n, c, y, at) += common[c]; });
    for (const isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.runs(fastvit::precision::int8)) continue;
        // What attention adds to the second half.
        const auto added = [&](fastvit::precision type) {
            fastvit::kernels::weight_target target(*tier.kernels);
            target.type = type;
            const maps<float> out = run_block(*tier.kernels, one, in_a_stage(parts::attention_block(target, w, stage)), x, {});
            maps<float> result(x.images, half, x.height, x.width);
            reference::for_each_element(result, [&](index_type n, index_type c, index_type y, index_type at) {
                result(n, c, y, at) = static_cast<float>(static_cast<double>(out(n, half + c, y, at)) - x(n, half + c, y, at));
            });
            return result;
        };
        // 0.001; where k rounds the input itself, 0.02.
        EXPECT_LE(relative_error(added(fastvit::precision::float32), added(fastvit::precision::bfloat16)), 4e-3) << tier.name;
    }
}

// Numbers that bfloat16 holds and whose sums float32 holds: results are exact. An infinity spoils only the outputs whose windows
// it lies in.
TEST_F(blocks, encoded_windows) {
    fastvit::serial_executor one;
    for (const isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.runs(fastvit::precision::int8)) continue;
        for (const index_type in : {1, 3, 4, 7, 16}) {
            for (const index_type kernel : {1, 3, 5}) {
                for (const index_type stride : {1, 2}) {
                    // No padding among the outputs, where infinity times zero is no number.
                    const reparam::conv_shape dims{.in = in, .out = 32, .kernel = kernel, .stride = stride};
                    auto w = random_weights<reparam::conv>(random, 1, dims);
                    for (float &v : w.kernel.span()) v = std::nearbyint(8 * v) / 8;
                    for (float &v : w.bias.span()) v = std::nearbyint(8 * v) / 8;
                    const parts::convolution conv(*tier.kernels, dims, w.kernel, w.bias, fastvit::precision::bfloat16),
                        exact(*tier.kernels, dims, w.kernel, w.bias);
                    const runnable in_bfloat16 = [&](const context &c, const map &x) {
                        const map out = c.take_map(parts::output_extent(dims, x.size), 0);
                        const index_type outputs = std::min<index_type>(out.size.width, 7), pad = kernel / 2;
                        const parts::encoded_windows windows(c, conv.matrix(), dims, kernel, x.size.width, outputs);
                        float *const row = c.memory.take(windows.row_floats()), *const memory = c.memory.take(windows.floats());
                        for (index_type y = 0; y < out.size.height && !c.planning(); ++y) {
                            for (index_type r = 0; r < kernel; ++r) {
                                std::copy_n(x.at(0, y * stride - pad + r, -pad), (x.size.width + 2 * pad) * in, row);
                                windows.encode_row(c, memory, r, row);
                            }
                            for (index_type i = 0; i < out.size.width; i += outputs) {
                                float *to[fastvit::kernels::gemm_max_pixels];
                                const index_type count = std::min(outputs, out.size.width - i);
                                for (index_type k = 0; k < count; ++k) to[k] = out.at(0, y, i + k);
                                windows.multiply(c, conv.matrix(), memory, 0, i, count, to, activation::none);
                            }
                        }
                        return out;
                    };
                    const runnable in_float32 = [&](const context &c, const map &x) {
                        const map out = c.take_map(parts::output_extent(dims, x.size), 0);
                        exact.run(c, x, out);
                        return out;
                    };
                    maps<double> x = random.batch(1, in, 6, 19);
                    for (double &v : x.values) v = std::nearbyint(16 * v) / 8;
                    const input_layout layout{.halo = kernel / 2, .padded = false};
                    for (const double special : {0.0, std::numeric_limits<double>::infinity()}) {
                        if (special != 0) x(0, in - 1, 3, 9) = special;
                        const maps<float> a = run_block(*tier.kernels, one, in_float32, x, layout),
                                          b = run_block(*tier.kernels, one, in_bfloat16, x, layout);
                        for (std::size_t i = 0; i < a.values.size(); ++i)
                            ASSERT_TRUE(std::isfinite(a.values[i]) ? a.values[i] == b.values[i] : !std::isfinite(b.values[i]))
                                << tier.name << ", " << in << " channels, kernel " << kernel << ", stride " << stride << ", " << i
                                << ": " << a.values[i] << ", not " << b.values[i];
                    }
                }
            }
        }
    }
}

TEST_F(blocks, share_columns_among_many_workers) {
    using fastvit::precision;
    expect_columns_shared(random, precision::float32, 1024, {3, 9, 10}); // more pixels than one product takes
    expect_columns_shared(random, precision::bfloat16, 1024, {2, 3, 6});
    expect_columns_shared(random, precision::int8, 1024, {2, 3, 6});
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
            const auto logits = reference::linear(mean(x, n), reference::values_of(w.kernel), reference::values_of(w.bias));
            std::copy(logits.begin(), logits.end(), &expected(n, 0, 0, 0));
        }
        expect_block(make, x, expected);
    }
}

TEST_F(blocks, batches_come_in_and_go_out_as_nchw) {
    for_each_batch(22, [&](const maps<double> &x) {
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
void expect_covers(const runtime::tiling &tiles) {
    const runtime::extent &e = tiles.size;
    std::vector<int> covered(e.pixels());
    index_type most = 0;
    for (index_type i = 0; i < tiles.count(); ++i) {
        const runtime::tile t = tiles[i];
        EXPECT_GT(t.pixels(), 0);
        most = std::max(most, t.pixels());
        for (index_type p = 0; p < t.pixels(); ++p)
            ++covered.at((t.image * e.height + t.y + p / t.columns) * e.width + t.x + p % t.columns);
    }
    EXPECT_TRUE(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }));
    EXPECT_LE(most, tiles.most_pixels());
    EXPECT_LE(tiles.most_pixels(), fastvit::kernels::gemm_max_pixels);
}

// What a pass takes, in the order in which it does: f(memory, floats) for each piece that is still in use at the end.
template <class F> void take_pieces(runtime::pass_memory &memory, int workers, F &&f) {
    const auto each = [&](const runtime::worker_scratch &s, index_type count) {
        for (int w = 0; w < workers; ++w) f(s.of(w), count);
    };
    memory.take_stage_map(0, 1000);
    f(memory.take_stage_map(1, 500), 500);
    f(memory.take_stage_map(0, 600), 600); // in the place of the first
    f(memory.take(33), 33);
    each(memory.take_scratch(50), 50);
    {
        const runtime::scope s(memory);
        memory.take(300);
        memory.take_scratch(200);
    }
    f(memory.take(70), 70); // in the place of those 300
    each(memory.take_scratch(9), 9);
}

TEST(pass_memory, gives_each_worker_and_map_floats_of_its_own) {
    for (const int workers : {1, 2, 5}) {
        SCOPED_TRACE(workers);
        runtime::pass_memory counter;
        take_pieces(counter, workers, [](float *, index_type) {});
        const runtime::memory_layout layout = counter.layout(workers);
        // In whole cache lines of 16 floats: 1000; 33 and 300; 50 and 200.
        EXPECT_EQ(layout, (runtime::memory_layout{1008, 48 + 304, 64 + 208, workers}));

        std::vector<int> users(static_cast<std::size_t>(layout.floats()));
        fastvit::kernels::float_buffer floats(layout.floats());
        runtime::pass_memory memory(floats.data(), layout);
        take_pieces(memory, workers, [&](float *piece, index_type count) {
            EXPECT_EQ((piece - floats.data()) % 16, 0) << "not at the beginning of a cache line";
            ASSERT_GE(piece, floats.data());
            ASSERT_LE(piece + count, floats.data() + layout.floats());
            for (index_type i = 0; i < count; ++i) ++users[static_cast<std::size_t>(piece - floats.data() + i)];
        });
        EXPECT_TRUE(std::all_of(users.begin(), users.end(), [](int n) { return n <= 1; }));
        EXPECT_EQ(memory.layout(workers), layout);
    }
}

TEST(tiling, covers_every_pixel_once) {
    for (const runtime::extent &e :
         {runtime::extent{1, 1, 1, 8}, {2, 3, 5, 8}, {1, 33, 17, 8}, {1, 8, 8, 8}, {3, 1, 300, 8}, {1, 64, 1, 8}, {1, 56, 56, 8}})
        for (const index_type target : {0, 1, 7, 48, 100, 256, 1000})
            for (const int workers : {1, 2, 3, 16}) {
                SCOPED_TRACE(testing::Message() << e.images << " x " << e.height << " x " << e.width << ", target " << target
                                                << ", " << workers << " workers");
                expect_covers(runtime::tiling(e, target, workers));
                expect_covers(runtime::tiling::windows(e, target, workers));
            }
}

TEST(tiling, keeps_maps_within_what_the_tier_says) {
    constexpr index_type most = fastvit::kernels::gemm_max_pixels;
    for (const isa_tier &tier : fastvit::isa_tiers())
        for (const index_type floats : {1, 500, 960, 3000, 1 << 20}) {
            const index_type pixels = runtime::tile_pixels_for(*tier.kernels, floats), bytes = 4 * floats;
            EXPECT_TRUE(pixels >= 48 && pixels <= most) << tier.name;
            EXPECT_TRUE(pixels == 48 || pixels * bytes <= tier.kernels->tile_bytes) << tier.name << ", " << floats;
            EXPECT_TRUE(pixels == most || (pixels + 1) * bytes > tier.kernels->tile_bytes) << tier.name << ", " << floats;
        }
}

// Two workers that take tile after tile get nearly the same number of pixels, and so end at nearly the same time.
TEST(tiling, shares_evenly) {
    for (const index_type side : {8, 16, 32, 64})
        for (const index_type target : {38, 48, 64, 96})
            for (const runtime::tiling &tiles :
                 {runtime::tiling({1, side, side, 8}, target, 2), runtime::tiling::windows({1, side, side, 8}, target, 2)}) {
                index_type work[2] = {};
                for (index_type i = 0; i < tiles.count(); ++i) work[work[1] < work[0]] += tiles[i].pixels();
                EXPECT_LE(std::abs(work[0] - work[1]), side) << side << " x " << side << ", target " << target;
            }
}

} // namespace
