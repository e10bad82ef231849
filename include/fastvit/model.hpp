// SPDX-License-Identifier: MIT
// The library's front door: a model from a checkpoint, and its forward pass.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/picture.hpp"
#include "fastvit/precision.hpp"
#include "fastvit/tensor.hpp"
#include "fastvit/workspace.hpp"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace parts {
class network;
}

/// The preprocessing with which the published checkpoints of a variant (architecture::variant) were evaluated, those in Apple's
/// spelling by Apple; imagenet() for other networks.
[[nodiscard]] preprocessing usual_preprocessing(std::string_view variant, io::spelling source);

/// Which of two equivalent graphs to run.
enum class graph : unsigned char {
    folded,    ///< every branch, BatchNorm and layer scale folded into a convolution
    train_time ///< every branch with its BatchNorm, as the network was trained (in evaluation form); folded blocks stay folded
};

/// How a model is made from a checkpoint. The texts are not kept.
struct model_options {
    fastvit::graph graph = fastvit::graph::folded;
    fastvit::precision precision =
        fastvit::precision::float32;            ///< of the folded graph's dense layers; the train-time graph has only float32
    std::string_view isa = {};                  ///< see select_isa()
    std::optional<bool> large_kernel_gelu = {}; ///< overrides the architecture's, which no tensor of a custom network shows
    /// Which network, where a state dict has several: the one whose tensors' names begin with this (`model.`, `ema.model.`; the
    /// last dot may be left out). Without it there must be only one.
    std::optional<std::string_view> prefix = {};
    /// Which dictionary of a PyTorch file: see checkpoint::open(). The constructor, whose checkpoint is open, does not look at
    /// it.
    std::string_view key = {};
    /// Packs the weights, and is not kept; null: the calling thread does. The model is the same, to the last bit.
    executor *threads = nullptr;
};

/// A network with its weights packed for this machine. Immutable: any number of threads may run one model at once, each with its
/// own workspace. Copies share the weights; one that was moved from may only be assigned to or destroyed.
class model {
  public:
    /// Reads, folds and packs the network of a checkpoint file (see checkpoint::open). Throws fastvit::error, which names the
    /// file, the tensor, what was expected and what was found; and std::bad_alloc.
    [[nodiscard]] static model open(const std::filesystem::path &path, const model_options &options = {});
    /// The same from a file in memory, which is not needed afterwards. `label` is its name in messages.
    [[nodiscard]] static model from_bytes(std::span<const std::byte> bytes, std::string label, const model_options &options = {});
    /// The same from an open checkpoint, which is not needed afterwards.
    explicit model(const checkpoint &source, const model_options &options = {});

    [[nodiscard]] const fastvit::architecture &architecture() const noexcept;
    /// How the checkpoint named its tensors.
    [[nodiscard]] io::spelling spelling() const noexcept { return spelling_; }
    [[nodiscard]] fastvit::graph graph() const noexcept { return graph_; }
    /// The kernels that run: a name of isa_tiers(), which may be another one below float32.
    [[nodiscard]] std::string_view isa() const noexcept;
    /// What was asked for.
    [[nodiscard]] fastvit::precision precision() const noexcept;
    /// The dense layers of the blocks, the classifier, and in the folded graph those of the stem and of the patch embeddings, in
    /// the order in which they run, and what each computes in: precision(), or another type for the reason given. Where the model
    /// is int8, bfloat16 takes over for weights that would lose too much and for more than 131072 inputs, or float32 for
    /// attention's qkv and the classifier. As long as the model lives.
    [[nodiscard]] std::span<const layer_precision> layers() const &noexcept;
    std::span<const layer_precision> layers() const && = delete;

    /// usual_preprocessing() of this network. If the checkpoint has a configuration beside it, follow that: find_config().
    [[nodiscard]] preprocessing usual_preprocessing() const {
        return fastvit::usual_preprocessing(architecture().variant, spelling());
    }

    /// The shapes of the outputs for images of this shape, N x C x H x W, without running anything. Throws like forward().
    [[nodiscard]] fastvit::output_shapes output_shapes(const shape &images, output_kind wanted = output_kind::logits) const;

// The references are the workspace's; from 13 on GCC suspects that they are those of temporary arguments.
#if !defined(__clang__) && __GNUC__ >= 13
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-reference"
#endif
    /// Runs the network on a batch, N x C x H x W float32, already normalised (see preprocess.hpp). The results live in `space`
    /// until its next use. Throws invalid_argument for a null pointer, a shape that the network cannot take (each dimension is
    /// from 1 to 2^20 - 1, C is the network's in_channels, and N x H x W less than 2^34) or an output that it does not have, and
    /// std::bad_alloc; both before anything is computed. Allocates only if the network, the shape or the outputs are not those of
    /// the workspace's last call, or if that was a forward_into().
    const outputs &forward(tensor_view<const float> images, workspace &space, output_kind wanted = output_kind::logits) const;
    /// The same for a tensor, which may be a temporary: forward(preprocess(picture, how), space).
    const outputs &forward(const tensor<float> &images, workspace &space, output_kind wanted = output_kind::logits) const {
        return forward(images.view(), space, wanted);
    }

    /// From decoded pictures to the answer in one call: the bits of preprocess() and forward(), but the pixels go straight to the
    /// stem. The pictures form one batch, of at least one, and may differ in size; the network has 3 input channels. Throws what
    /// both throw, and allocates as forward() does or for pictures larger than before.
    const outputs &forward(std::span<const picture_view> pictures, const preprocessing &how, workspace &space,
                           output_kind wanted = output_kind::logits) const;
    const outputs &forward(const picture_view &picture, const preprocessing &how, workspace &space,
                           output_kind wanted = output_kind::logits) const {
        return forward({&picture, 1}, how, space, wanted);
    }
#if !defined(__clang__) && __GNUC__ >= 13
#pragma GCC diagnostic pop
#endif

    /// Runs the network and writes its results to the caller's memory. An output without memory (a null view, an empty vector) is
    /// not asked for; the others must have the shapes that output_shapes() gives. The stages are written all or not at all, and
    /// so are the fork features. The memory must not overlap the images: they are still read while results are written. Throws
    /// like forward(), whose results in the workspace end here, and shape_mismatch. Allocates only if the network, the shape or
    /// the outputs are not those of the workspace's last call, or if that was not a forward_into().
    void forward_into(tensor_view<const float> images, workspace &space, const output_buffers &results) const;
    void forward_into(std::span<const picture_view> pictures, const preprocessing &how, workspace &space,
                      const output_buffers &results) const;
    void forward_into(const picture_view &picture, const preprocessing &how, workspace &space,
                      const output_buffers &results) const {
        forward_into({&picture, 1}, how, space, results);
    }

  private:
    std::shared_ptr<const parts::network> network_;
    io::spelling spelling_ = io::spelling::timm;
    fastvit::graph graph_ = fastvit::graph::folded;
};

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/model.hpp"
#endif
