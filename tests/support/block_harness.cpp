// SPDX-License-Identifier: MIT
// The definitions of block_harness.hpp.
#include "support/block_harness.hpp"

#include "fastvit/runtime/image_source.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>

namespace fastvit_test {

namespace {

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

// The inside of a map. Fails if its halo or the padding of its channels is not zero.
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

} // namespace

void reversed_executor::run(index_type tasks, task_ref task) {
    for (index_type i = tasks - 1; i >= 0; --i) task(i, static_cast<int>(i % workers_));
}

maps<float> run_block(const kernel_table &tier, executor &threads, const runnable &block, const maps<double> &x,
                      const input_layout &layout) {
    runtime::pass_memory counter;
    const context plan{tier, counter, nullptr, threads.workers()};
    block(plan, take_input(plan, x, layout));

    constexpr index_type guard = 64;
    constexpr float canary = 12345.0F;
    const runtime::memory_layout planned = counter.layout(threads.workers());
    auto memory = fastvit::tensor<float>::uninitialised({planned.floats() + guard});
    float *const end = memory.data() + planned.floats();
    std::fill(memory.data(), end, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(end, guard, canary);
    runtime::pass_memory used(memory.data(), planned);
    const context c{tier, used, &threads, threads.workers()};
    const maps<float> result = read(block(c, take_input(c, x, layout)));
    EXPECT_EQ(used.layout(threads.workers()), planned) << "another amount of memory than planned";
    EXPECT_TRUE(std::all_of(end, end + guard, [](float f) { return f == canary; })) << "written behind the memory";
    return result;
}

runnable from_images(parts::stem made, const parts::stem::config &config) {
    return [shared = std::make_shared<const parts::stem>(std::move(made)), config](const context &c, const map &in) {
        float *const nchw = c.memory.take(in.size.pixels() * in.size.channels);
        runtime::export_nchw(c, in, nchw);
        const map out = c.take_map(parts::stem::output(config, in.size), map_pair::halo);
        shared->run(c, runtime::image_source::planes(nchw), in.size, out);
        return out;
    };
}

bool same_bits(const maps<float> &a, const maps<float> &b) {
    return a.values.size() == b.values.size() &&
           std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)) == 0;
}

void blocks::expect_block(const maker &make, const maps<double> &x, const maps<double> &expected, const input_layout &layout) {
    for (const isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.supported) continue;
        for (const graph form : {graph::folded, graph::train_time}) {
            SCOPED_TRACE(testing::Message() << x.images << " x " << x.channels << " x " << x.height << " x " << x.width << ", "
                                            << tier.name << (form == graph::folded ? ", folded" : ", train-time"));
            expect_block_in(*tier.kernels, make(*tier.kernels, form), x, expected, layout);
        }
    }
}

void blocks::expect_block_in(const kernel_table &tier, const runnable &block, const maps<double> &x, const maps<double> &expected,
                             const input_layout &layout) {
    const maps<float> got = run_block(tier, serial_, block, x, layout);
    EXPECT_TRUE(near(expected, got, 200 * unit * reference::largest(expected.values)));
    for (executor *const threads : std::initializer_list<executor *>{&two_, &reversed_})
        EXPECT_TRUE(same_bits(got, run_block(tier, *threads, block, x, layout))) << threads->workers() << " workers";
}

} // namespace fastvit_test
