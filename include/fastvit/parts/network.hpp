// SPDX-License-Identifier: MIT
// The whole network as blocks with packed weights.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/head.hpp"
#include "fastvit/parts/stage.hpp"
#include "fastvit/parts/stem.hpp"
#include "fastvit/runtime/import_export.hpp"

#include <optional>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

/// What a forward pass is asked for. Only what these need is computed.
enum class output : unsigned {
    logits = 1,      ///< N x classes: the last linear layer; of a CLIP, the projection that is compared with the text's
    embedding = 2,   ///< N x head channels: what the linear layer sees, after pooling
    stem = 4,        ///< N x C x H x W: after the stem
    stages = 8,      ///< the feature pyramid: each stage after its last block
    final_conv = 16, ///< the head's convolution, after its activation
    /// What the official code's dense-prediction form (`fork_feat`) returns, for its checkpoints: the outputs of `network.0`,
    /// `.2`, `.4` and `.6`, each after a BatchNorm of its own. Without positional encodings these are the four stages. In SA and
    /// MA networks `network.6` is the positional encoding before the blocks of the last stage, so that the last feature has not
    /// seen attention; heads were trained on it like that, and it is given like that. `stages` has no such exception.
    fork_features = 32
};
constexpr output operator|(output a, output b) noexcept {
    return static_cast<output>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool wants(output set, output one) noexcept { return (static_cast<unsigned>(set) & static_cast<unsigned>(one)) != 0; }

/// The results of a forward pass: NCHW, float32, contiguous, in the workspace's memory. What was not asked for is empty.
struct outputs {
    tensor_view<const float> logits, embedding, stem, final_conv;
    std::vector<tensor_view<const float>> stages, fork_features;
};

class network {
  public:
    network(const architecture &net, const kernels::kernel_table &tier, graph form)
        : net_(net), target_(tier, &memory_), form_(form), stages_(net.stages.size()) {}
    network(const network &) = delete;
    network &operator=(const network &) = delete;

    // The next part, in the order of weights::for_each_part.
    void add(const weights::stem &w) { stem_.emplace(target_, form_, w); }
    void add(const weights::patch_embed &w) { stages_[++stage_].set(patch_embed(target_, form_, w, net_.large_kernel_gelu)); }
    void add(const weights::position &w) { stages_[stage_].set(position(target_, form_, w)); }
    void add(const weights::rep_mixer_block &w) { stages_[stage_].add(rep_mixer_block(target_, form_, w)); }
    void add(const weights::attention_block &w) { stages_[stage_].add(attention_block(target_, form_, w)); }
    void add(const weights::batch_norm &w) { fork_norms_.emplace_back(w); }
    void add(const weights::head_conv &w) { head_.emplace(target_, form_, w); }
    void add(const weights::linear &w) { linear_.emplace(target_, w); }

    const architecture &net() const noexcept { return net_; }
    const kernels::kernel_table &tier() const noexcept { return target_.tier; }
    graph form() const noexcept { return form_; }

    /// `nchw`: images of the extent `size`, its channels those of the architecture. Fills `out`; its vectors keep their memory.
    void run(const context &c, const float *nchw, const extent &size, output wanted, outputs &out) const {
        out.logits = out.embedding = out.stem = out.final_conv = {};
        out.stages.clear();
        out.fork_features.clear();
        // Results first: they stay when the rest of the memory is used again.
        extent last = stem_->output(size);
        out.stages.reserve(stages_.size());
        out.fork_features.reserve(fork_norms_.size());
        index_type number = 0; // of the official network.N
        if (wants(wanted, output::stem)) out.stem = take(c, {last.images, net_.stages[0].channels, last.height, last.width});
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            last = s == 0 ? last.with_channels(net_.stages[0].channels) : last.halved(net_.stages[s].channels);
            if (wants(wanted, output::stages))
                out.stages.push_back(take(c, {last.images, last.channels, last.height, last.width}));
            for (const index_type end = number + net_.network_modules(s); number < end; ++number)
                if (wants(wanted, output::fork_features) && is_fork_feature(number))
                    out.fork_features.push_back(take(c, {last.images, last.channels, last.height, last.width}));
        }
        const index_type wide = net_.head_channels > 0 ? net_.head_channels : net_.stages.back().channels;
        if (head_ && wants(wanted, output::final_conv)) out.final_conv = take(c, {last.images, wide, last.height, last.width});
        if (wants(wanted, output::embedding)) out.embedding = take(c, {last.images, wide});
        if (linear_ && wants(wanted, output::logits)) out.logits = take(c, {last.images, net_.classes});

        // Some images at a time, as many as a picture of 256 x 256 has pixels: the maps of a large batch would leave the caches
        // between two layers, and take memory in proportion.
        const index_type together = std::clamp<index_type>((index_type{1} << 16) / (size.height * size.width), 1, size.images);
        for (index_type first = 0; first < size.images; first += together) {
            const scope s(c);
            const index_type count = std::min(together, size.images - first);
            const group g{first, {count, size.height, size.width, size.channels}};
            run_group(c, nchw + first * size.height * size.width * size.channels, g, out);
        }
    }

  private:
    // A part of a batch: the number of its first image, and its extent.
    struct group {
        index_type first;
        extent size;
    };

    // Fills the group's part of the results that are there.
    void run_group(const context &c, const float *nchw, const group &g, outputs &out) const {
        map x = c.take_map(stem_->output(g.size).with_channels(net_.stages[0].channels), stage::halo);
        {
            const watched w(c, "stem");
            stem_->run(c, nchw, g.size, x);
        }
        give(c, x, g, out.stem);
        const bool head_wanted = !out.logits.empty() || !out.embedding.empty() || !out.final_conv.empty();
        if (!head_wanted && out.stages.empty() && out.fork_features.empty()) return;
        index_type number = 0; // of the official network.N
        const auto after_module = [&](const map &m) {
            if (!out.fork_features.empty() && is_fork_feature(number)) {
                const auto i = static_cast<std::size_t>(number / 2);
                give_normalised(c, m, fork_norms_[i], g, out.fork_features[i]);
            }
            ++number;
        };
        for (std::size_t s = 0; s < stages_.size(); ++s) {
            const watched w(c, "stages", static_cast<index_type>(s));
            x = stages_[s].run(c, x, net_.stages[s].channels, after_module);
            if (!out.stages.empty()) give(c, x, g, out.stages[s]);
        }
        if (head_wanted) run_head(c, x, g, out);
    }

    static tensor_view<const float> take(const context &c, const shape &dims) { return {c.memory.take(dims.count()), dims}; }
    // The results are views of constants for the caller; here is where they are written.
    static float *part_of(const tensor_view<const float> &out, const group &g) {
        return const_cast<float *>(out.data()) + g.first * (out.count() / out.dim(0));
    }
    static void give(const context &c, const map &m, const group &g, const tensor_view<const float> &out) {
        if (!out.empty()) export_nchw(c, m, part_of(out, g));
    }

    static void give_normalised(const context &c, const map &m, const channel_affine &norm, const group &g,
                                const tensor_view<const float> &out) {
        const scope s(c);
        const map normalised = c.take_map(m.size, 0);
        norm.run(c, m, normalised);
        give(c, normalised, g, out);
    }

    void run_head(const context &c, map x, const group &g, outputs &out) const {
        if (head_) {
            const watched w(c, "final_conv");
            const map wide = c.take_map(head_->output(x.size), 0);
            head_->run(c, x, wide);
            x = wide;
        }
        give(c, x, g, out.final_conv);
        if (out.embedding.empty() && out.logits.empty()) return;
        const watched w(c, "head");
        const index_type images = x.size.images, row = x.channels();
        float *const mean = c.memory.take(images * row);
        run_mean(c, x, mean, row);
        copy_rows(c, mean, row, g, out.embedding);
        if (out.logits.empty()) return;
        float *const logits = c.memory.take(images * linear_->out_row());
        linear_->run(c, mean, row, logits, images);
        copy_rows(c, logits, linear_->out_row(), g, out.logits);
    }

    static void copy_rows(const context &c, const float *from, index_type row, const group &g,
                          const tensor_view<const float> &out) {
        if (out.empty() || c.planning()) return;
        for (index_type n = 0; n < g.size.images; ++n) std::copy_n(from + n * row, out.dim(1), part_of(out, g) + n * out.dim(1));
    }

    architecture net_;
    kernels::weight_memory memory_;
    kernels::weight_target target_;
    graph form_;
    std::optional<stem> stem_;
    std::vector<stage> stages_;
    std::size_t stage_ = 0; ///< that the next part belongs to
    std::vector<channel_affine> fork_norms_;
    std::optional<head_conv> head_;
    std::optional<linear> linear_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
