// SPDX-License-Identifier: MIT
// The whole network as blocks with packed weights.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/nn/head.hpp"
#include "fastvit/nn/layout.hpp"
#include "fastvit/nn/stage.hpp"
#include "fastvit/nn/stem.hpp"

#include <optional>
#include <vector>

namespace fastvit::inline FASTVIT_ABI {
namespace nn {

/// What a forward pass is asked for. Only what these need is computed.
enum class output : unsigned {
    logits = 1,     ///< N x classes: the last linear layer
    embedding = 2,  ///< N x head channels: what the linear layer sees, after pooling
    stem = 4,       ///< N x C x H x W: after the stem
    stages = 8,     ///< the feature pyramid: each stage after its last block
    final_conv = 16 ///< the head's convolution, after its activation
};
constexpr output operator|(output a, output b) noexcept {
    return static_cast<output>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool wants(output set, output one) noexcept { return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0; }

/// The results of a forward pass: NCHW, float32, contiguous, in the workspace's memory. What was not asked for is empty.
struct outputs {
    tensor_view<const float> logits, embedding, stem, final_conv;
    std::vector<tensor_view<const float>> stages;
};

class network {
  public:
    network(const architecture &net, const kernels::kernel_table &tier, graph form)
        : net_(net), tier_(tier), form_(form), stages_(net.stages.size()) {}

    // The next part, in the order of weights::for_each_part.
    void add(const weights::stem &w) { stem_.emplace(tier_, form_, w); }
    void add(const weights::patch_embed &w) { stages_[++stage_].set(patch_embed(tier_, form_, w, net_.large_kernel_gelu)); }
    void add(const weights::position &w) { stages_[stage_].set(position(tier_, form_, w)); }
    void add(const weights::rep_mixer_block &w) { stages_[stage_].add(rep_mixer_block(tier_, form_, w)); }
    void add(const weights::attention_block &w) { stages_[stage_].add(attention_block(tier_, form_, w)); }
    void add(const weights::head_conv &w) { head_.emplace(tier_, form_, w); }
    void add(const weights::linear &w) { linear_.emplace(tier_, w); }

    const architecture &net() const noexcept { return net_; }
    const kernels::kernel_table &tier() const noexcept { return tier_; }
    graph form() const noexcept { return form_; }

    /// `nchw`: images of the extent `size`, its channels those of the architecture. Fills `out`; its vectors keep their memory.
    void run(const context &c, const float *nchw, const extent &size, output wanted, outputs &out) const {
        out.logits = out.embedding = out.stem = out.final_conv = {};
        out.stages.clear();
        // Results first: they stay when the rest of the memory is used again.
        const bool head = wants(wanted, output::logits | output::embedding | output::final_conv);
        extent last = stem_->output(size);
        out.stages.reserve(stages_.size());
        if (wants(wanted, output::stem)) out.stem = take(c, {last.images, net_.stages[0].channels, last.height, last.width});
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            last = s == 0 ? last.with_channels(net_.stages[0].channels) : last.halved(net_.stages[s].channels);
            if (wants(wanted, output::stages))
                out.stages.push_back(take(c, {last.images, last.channels, last.height, last.width}));
        }
        const index wide = net_.head_channels > 0 ? net_.head_channels : net_.stages.back().channels;
        if (head_ && wants(wanted, output::final_conv)) out.final_conv = take(c, {last.images, wide, last.height, last.width});
        if (wants(wanted, output::embedding)) out.embedding = take(c, {last.images, wide});
        if (linear_ && wants(wanted, output::logits)) out.logits = take(c, {last.images, net_.classes});

        map x = c.take_map(stem_->output(size).with_channels(net_.stages[0].channels), stage::halo);
        stem_->run(c, nchw, size, x);
        give(c, x, out.stem);
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            x = stages_[s].run(c, x, net_.stages[s].channels);
            if (wants(wanted, output::stages)) give(c, x, out.stages[s]);
        }
        if (head) run_head(c, x, out);
    }

  private:
    static tensor_view<const float> take(const context &c, const shape &dims) { return {c.memory.take(dims.count()), dims}; }
    // The results are views of constants for the caller; here is where they are written.
    static void give(const context &c, const map &m, const tensor_view<const float> &out) {
        if (!out.empty()) export_nchw(c, m, const_cast<float *>(out.data()));
    }

    void run_head(const context &c, map x, outputs &out) const {
        if (head_) {
            const map wide = c.take_map(head_->output(x.size), 0);
            head_->run(c, x, wide);
            x = wide;
        }
        give(c, x, out.final_conv);
        if (out.embedding.empty() && out.logits.empty()) return;
        const index images = x.size.images, row = x.channels();
        float *const mean = c.memory.take(images * row);
        run_mean(c, x, mean, row);
        copy_rows(c, mean, row, out.embedding);
        if (out.logits.empty()) return;
        float *const logits = c.memory.take(images * linear_->out_row());
        linear_->run(c, mean, row, logits, images);
        copy_rows(c, logits, linear_->out_row(), out.logits);
    }

    static void copy_rows(const context &c, const float *from, index row, const tensor_view<const float> &out) {
        if (out.empty() || c.planning()) return;
        for (index n = 0; n < out.dim(0); ++n)
            std::copy_n(from + n * row, out.dim(1), const_cast<float *>(out.data()) + n * out.dim(1));
    }

    architecture net_;
    const kernels::kernel_table &tier_;
    graph form_;
    std::optional<stem> stem_;
    std::vector<stage> stages_;
    std::size_t stage_ = 0; ///< that the next part belongs to
    std::optional<head_conv> head_;
    std::optional<linear> linear_;
};

} // namespace nn
} // namespace fastvit::inline FASTVIT_ABI
