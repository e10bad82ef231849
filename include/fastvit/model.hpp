// SPDX-License-Identifier: MIT
// The library's front door: a model from a checkpoint, and its forward pass.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/parts/network.hpp"
#include "fastvit/platform/memory.hpp"
#include "fastvit/tensor.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

using nn::graph;
using nn::output;
using nn::outputs;

/// How a model is made from a checkpoint.
struct model_options {
    graph form = graph::folded;                 ///< which of the two equal graphs to run
    std::string_view isa = {};                  ///< see select_kernels()
    std::optional<bool> large_kernel_gelu = {}; ///< see architecture; for custom networks, whose tensors do not tell
    /// Of several networks in one state dict the one whose tensors' names begin so (`model.`, `ema.model.`; the last dot may be
    /// left out); without it there must be only one.
    std::optional<std::string_view> prefix = {};
    std::string_view key = {}; ///< of the dictionary in a PyTorch file, see io::checkpoint::open(); only model::open() uses it
};

class workspace;

/// A network with its weights packed for this machine. Immutable: any number of threads may run one model at once, each with its
/// own workspace. Copies share the weights.
class model {
  public:
    /// Reads, folds and packs the network of a checkpoint file (see checkpoint::open). Throws fastvit::error, which names the
    /// file, the tensor, what was expected and what was found.
    static model open(const std::filesystem::path &path, const model_options &options = {}) {
        return model(checkpoint::open(path, options.key), options);
    }

    /// The same from a checkpoint that is open. It is not needed afterwards.
    explicit model(const checkpoint &source, const model_options &options = {}) {
        try {
            loading::state_dict dict(source, options.prefix);
            architecture net = loading::recognise(dict);
            loading::check_memory(dict, net);
            if (options.large_kernel_gelu) net.large_kernel_gelu = *options.large_kernel_gelu;
            spelling_ = dict.names().source();
            auto made = std::make_shared<nn::network>(net, select_kernels(options.isa), options.form);
            loading::reader reader(dict);
            weights::for_each_part(reader, net, [&](const auto &part, const auto &) {
                made->add(part);
                reader.drop_pages();
            });
            dict.expect_all_used();
            network_ = std::move(made);
        } catch (const error &e) {
            throw e.in_file(source.file());
        }
    }

    const architecture &net() const noexcept { return network_->net(); }
    /// How the checkpoint named its tensors.
    io::spelling spelling() const noexcept { return spelling_; }
    graph form() const noexcept { return network_->form(); }
    /// The kernels that run: `avx2`, `avx512`, `neon` or `scalar`.
    std::string_view isa() const noexcept { return network_->tier().name; }

    /// Runs the network on a batch, N x C x H x W float32, already normalised (see preprocess.hpp). The results live in `space`
    /// until its next use. Throws invalid_argument for a shape that the network cannot take or an output that it does not have,
    /// and std::bad_alloc, both before anything is computed; nothing is allocated unless the shape or the outputs differ from the
    /// last call's with this workspace.
    const outputs &forward(tensor_view<const float> images, workspace &space, output wanted = output::logits) const;
    const outputs &forward(const tensor<float> &images, workspace &space, output wanted = output::logits) const {
        return forward(images.view(), space, wanted);
    }

  private:
    std::shared_ptr<const nn::network> network_;
    io::spelling spelling_ = io::spelling::timm;
};

/// The memory and threads of a forward pass: one call at a time.
class workspace {
  public:
    /// In the calling thread.
    workspace() = default;
    /// On an executor, which outlives the workspace. Any executor gives the same bits.
    explicit workspace(executor &threads) : threads_(&threads) {}

    workspace(const workspace &) = delete;
    workspace &operator=(const workspace &) = delete;

    /// From now on `who` is told which part of the network runs; null for nobody. It outlives the workspace, or is replaced.
    void watch(observer *who) noexcept { watcher_ = who; }

    /// Bytes of activations, results included, that the last shape needs.
    index_type bytes() const noexcept { return floats_ * static_cast<index_type>(sizeof(float)); }

  private:
    friend class model;

    struct plan {
        std::shared_ptr<const nn::network> network; // kept, so that another network cannot have its address
        shape images;
        output wanted = output::logits;
        friend bool operator==(const plan &, const plan &) = default;
    };

    // Runs the network once without computing anything, to count the memory.
    void prepare(const std::shared_ptr<const nn::network> &network, const nn::extent &size, const shape &images, output wanted) {
        plan next{network, images, wanted};
        if (next == plan_) return;
        nn::arena counter;
        network->run({network->tier(), counter, nullptr, threads().workers()}, nullptr, size, wanted, results_);
        plan_ = {};
        memory_ = {};
        floats_ = 0;
        memory_ = platform::pages(static_cast<std::size_t>(counter.peak()) * sizeof(float));
        floats_ = counter.peak();
        plan_ = std::move(next);
    }

    executor &threads() noexcept { return threads_ ? *threads_ : serial_; }

    serial_executor serial_;
    executor *threads_ = nullptr;
    observer *watcher_ = nullptr;
    platform::pages memory_;
    index_type floats_ = 0;
    plan plan_;
    outputs results_;
};

inline const outputs &model::forward(tensor_view<const float> images, workspace &space, output wanted) const {
    const architecture &net = network_->net();
    const shape &dims = images.dims();
    bool fits = dims.rank() == 4 && dims[1] == net.in_channels;
    for (const index_type d : dims) fits = fits && d > 0;
    // Each dimension below 2^20 and the batch's pixels below 2^34, so that no size computed from them can overflow.
    for (const index_type d : dims) fits = fits && d < (index_type{1} << 20);
    if (!fits || dims.count() / net.in_channels >= (index_type{1} << 34))
        throw error(error_kind::invalid_argument,
                    {.problem = "shape of the images",
                     .expected = "[N, " + std::to_string(net.in_channels) + ", H, W], none of them 0",
                     .found = dims.to_string()});
    if (wants(wanted, output::logits) && net.classes == 0) throw error(error_kind::invalid_argument, why_no_logits(net));
    if (wants(wanted, output::final_conv) && net.head_channels == 0)
        throw error(error_kind::invalid_argument, "this network has no last convolution");
    if (wants(wanted, output::fork_features) && !net.fork_features)
        throw error(error_kind::invalid_argument,
                    "this network has no BatchNorms for fork features, which checkpoints of the official dense-prediction form "
                    "(fork_feat) have; every network has a feature pyramid, output::stages");

    const nn::extent size{dims[0], dims[2], dims[3], dims[1]};
    space.prepare(network_, size, dims, wanted);
    nn::arena memory(reinterpret_cast<float *>(space.memory_.data()));
    executor &threads = space.threads();
    network_->run({network_->tier(), memory, &threads, threads.workers(), space.watcher_}, images.data(), size, wanted,
                  space.results_);
    return space.results_;
}

}} // namespace fastvit::FASTVIT_ABI
