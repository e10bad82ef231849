// SPDX-License-Identifier: MIT
// Runs a block of the network with random weights, in both graphs and every tier, against the same block in double. Also: the
// same bits for any number of workers and any order of tasks, memory exactly as planned, halos and padding channels left zero.
#pragma once

#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/model.hpp"
#include "fastvit/parts/list.hpp"

#include "support/reference_blocks.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <utility>

namespace fastvit_test {

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
using reference::unit;

namespace parts = fastvit::parts;
namespace reparam = fastvit::reparam;
namespace runtime = fastvit::runtime;

/// One thread that behaves like several: tasks in reverse order, worker numbers in turn.
class reversed_executor final : public executor {
  public:
    explicit reversed_executor(int workers) : workers_(workers) {}
    int workers() const noexcept override { return workers_; }
    void run(index_type tasks, task_ref task) override;

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

/// f(n, y, x) for all pixels with those of the halo.
template <class F> void for_each_pixel_and_halo(const map &m, F &&f) {
    for (index_type n = 0; n < m.size.images; ++n)
        for (index_type y = -m.halo; y < m.size.height + m.halo; ++y)
            for (index_type x = -m.halo; x < m.size.width + m.halo; ++x) f(n, y, x);
}

/// Plans, then runs in memory of exactly that size, which is full of NaN. The inside of the resulting map; fails if its halo or
/// the padding of its channels is not zero.
maps<float> run_block(const kernel_table &tier, executor &threads, const runnable &block, const maps<double> &x,
                      const input_layout &layout);

/// block.run(context, in, out) with an output map of its own. As the network does it, with a halo.
template <class Block, class Output> runnable into_new_map(Block made, Output output) {
    return [shared = std::make_shared<const Block>(std::move(made)), output](const context &c, const map &in) {
        const map out = c.take_map(output(in.size), map_pair::halo);
        shared->run(c, in, out);
        return out;
    };
}

/// The output has that many channels.
inline auto with_channels(index_type channels) {
    return [channels](const runtime::extent &in) { return in.with_channels(channels); };
}

/// The stem on the images of a map.
runnable from_images(parts::stem made, const parts::stem::config &config);

/// A part of the backbone, on the two maps of a stage.
template <class Part> runnable in_a_stage(Part made) {
    return [shared = std::make_shared<const Part>(std::move(made))](const context &c, const map &x) {
        map_pair maps{c.take_stage_map(0, x.size, map_pair::halo), c.take_stage_map(1, x.size, map_pair::halo)};
        parts::copy_pixels(c, x, maps.x);
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

bool same_bits(const maps<float> &a, const maps<float> &b);

struct size {
    index_type images, height, width;
};

inline constexpr size sizes[] = {{1, 1, 1}, {2, 3, 5}, {3, 7, 7}, {2, 9, 13}, {1, 33, 17}};

class blocks : public testing::Test {
  protected:
    /// Runs the block in every tier and graph and compares with `expected` (the relative error of float32 chains of some hundred
    /// terms through the block's few layers, in the largest norm), and with itself on several workers.
    void expect_block(const maker &make, const maps<double> &x, const maps<double> &expected, const input_layout &layout = {});

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
        expect_block_of(maker_of<Part>(w, config), w, channels);
    }

    /// The same for one batch.
    template <class Part> void expect_part_on(const maps<double> &x, const typename Part::config &config) {
        const auto w = random_part<Part>(random, 1, config);
        expect_block(maker_of<Part>(w, config), x, forward(x, w));
    }

    random_source random;

  private:
    template <class Part> static maker maker_of(const typename Part::weights &w, const typename Part::config &config) {
        return [w, config](const kernel_table &tier, graph form) { return in_a_stage(packed<Part>(tier, form, w, config)); };
    }

    void expect_block_in(const kernel_table &tier, const runnable &block, const maps<double> &x, const maps<double> &expected,
                         const input_layout &layout);

    fastvit::serial_executor serial_;
    fastvit::thread_pool two_{2};
    reversed_executor reversed_{3};
};

/// With padding (8, 24, 76), without (32), and with the pixels spread over the cache's sets (128).
inline constexpr index_type channel_counts[] = {8, 24, 32, 76, 128};

/// A stage of one block.
inline fastvit::stage_architecture stage_of(index_type channels) {
    return {.blocks = 1, .channels = channels, .hidden = 3 * channels};
}

} // namespace fastvit_test
