// SPDX-License-Identifier: MIT
// See fastvit/workspace.hpp.
#pragma once

#include "fastvit/error.hpp"
#include "fastvit/image/crop.hpp"
#include "fastvit/kernels/run_tasks.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/parts/network.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/platform/memory.hpp"
#include "fastvit/workspace.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

struct workspace::state {
    /// What the memory is laid out for.
    struct plan {
        std::shared_ptr<const parts::network> network; // kept alive, so that no other network gets its address
        runtime::extent images;
        output_kind wanted = output_kind::logits;
        bool own_results = true; ///< they are in this memory, not in the caller's
        friend bool operator==(const plan &, const plan &) = default;
    };

    serial_executor serial;
    executor *given = nullptr;
    observer *watcher = nullptr;
    platform::pages memory;
    index_type result_floats = 0;  ///< the first of the memory
    runtime::memory_layout layout; ///< of the rest
    plan planned;
    output_shapes shapes;                      ///< of the plan's outputs
    output_buffers buffers;                    ///< the results, if they are in this memory
    outputs results;                           ///< the same, to read
    std::vector<resampling::cropper> croppers; ///< one for each picture of a batch
    std::vector<std::uint8_t> crops;           ///< N x height x width x 3
    byte_values values{};

    executor &threads() noexcept { return given ? *given : serial; }
    index_type bytes() const noexcept { return (result_floats + layout.floats()) * static_cast<index_type>(sizeof(float)); }

    /// Lays the memory out for a plan, unless it is the last one: a run that computes nothing counts how much it takes.
    void prepare(plan next) {
        if (next == planned) return;
        output_shapes next_shapes = parts::shapes_of(next.network->net(), next.images, next.wanted);
        runtime::arena addresses;
        output_buffers counted;
        take(addresses, next_shapes, counted);
        const index_type kept = next.own_results ? addresses.top() : 0;
        runtime::pass_memory counter;
        next.network->run({next.network->tier(), counter, nullptr, threads().workers()}, {}, next.images, counted);

        planned = {};
        buffers = {};
        results = {};
        memory = {};
        result_floats = 0;
        layout = {};
        const runtime::memory_layout next_layout = counter.layout(threads().workers());
        memory = platform::pages(static_cast<std::size_t>(kept + next_layout.floats()) * sizeof(float));
        result_floats = kept;
        layout = next_layout;
        shapes = std::move(next_shapes);
        if (next.own_results) {
            runtime::arena own(floats());
            take(own, shapes, buffers);
            for_each_output(buffers, results, [](const tensor_view<float> &from, tensor_view<const float> &to) { to = from; });
        }
        planned = std::move(next);
    }

    /// Gets ready to crop the pictures, and gives the shape of the batch that they become. Throws as preprocess() does.
    shape prepare_crops(std::span<const picture_view> pictures, const preprocessing &how) {
        if (pictures.empty()) throw error(error_kind::invalid_argument, "no pictures");
        const platform::ieee_arithmetic arithmetic;
        values = resampling::values_of(how);
        if (croppers.size() < pictures.size()) croppers.resize(pictures.size());
        for (std::size_t i = 0; i < pictures.size(); ++i) croppers[i].prepare(pictures[i], how);
        return {static_cast<index_type>(pictures.size()), 3, how.height, how.width};
    }

    /// The crops of the pictures, at least one, that prepare_crops() was given.
    runtime::image_source crop(std::span<const picture_view> pictures, const preprocessing &how) {
        const platform::ieee_arithmetic arithmetic;
        // One that is its own crop stays where it is.
        if (pictures.size() == 1 && resampling::is_own_crop(pictures[0], how))
            return runtime::image_source::pixels(pictures[0].pixels, values);
        const auto count = static_cast<index_type>(pictures.size());
        const index_type row = how.width * 3, image = how.height * row;
        crops.resize(std::max(crops.size(), static_cast<std::size_t>(count * image)));
        kernels::run_tasks(threads(), count, [&](index_type i, int) {
            croppers[static_cast<std::size_t>(i)].run(
                [&](index_type y, const std::uint8_t *from) { std::copy_n(from, row, crops.data() + i * image + y * row); });
        });
        return runtime::image_source::pixels(crops.data(), values);
    }

    /// Runs the plan.
    void run(const runtime::image_source &images, const output_buffers &out) {
        const platform::ieee_arithmetic arithmetic;
        runtime::pass_memory rest(floats() + result_floats, layout);
        planned.network->run({planned.network->tier(), rest, &threads(), threads().workers(), watcher}, images, planned.images,
                             out);
    }

  private:
    float *floats() const noexcept { return reinterpret_cast<float *>(memory.data()); }

    template <class From, class To, class F>
    static void for_each_output(const per_output<From> &from, per_output<To> &to, F &&f) {
        f(from.logits, to.logits);
        f(from.embedding, to.embedding);
        f(from.stem, to.stem);
        f(from.final_conv, to.final_conv);
        to.stages.resize(from.stages.size());
        for (std::size_t i = 0; i < from.stages.size(); ++i) f(from.stages[i], to.stages[i]);
        to.fork_features.resize(from.fork_features.size());
        for (std::size_t i = 0; i < from.fork_features.size(); ++i) f(from.fork_features[i], to.fork_features[i]);
    }
    static void take(runtime::arena &from, const output_shapes &shapes, output_buffers &out) {
        for_each_output(shapes, out, [&](const shape &dims, tensor_view<float> &view) {
            if (dims.rank() > 0) view = {from.take(dims.count()), dims};
        });
    }
};

FASTVIT_FUNCTION workspace::workspace() : state_(std::make_unique<state>()) {}
FASTVIT_FUNCTION workspace::workspace(executor &threads) : workspace() { state_->given = &threads; }
FASTVIT_FUNCTION workspace::workspace(workspace &&) noexcept = default;
FASTVIT_FUNCTION workspace &workspace::operator=(workspace &&) noexcept = default;
FASTVIT_FUNCTION workspace::~workspace() = default;
FASTVIT_FUNCTION void workspace::watch(observer *who) noexcept { state_->watcher = who; }
FASTVIT_FUNCTION index_type workspace::bytes() const noexcept { return state_->bytes(); }

}} // namespace fastvit::FASTVIT_ABI
