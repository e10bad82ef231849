// SPDX-License-Identifier: MIT
// The whole network as parts with packed weights.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/parts/list.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class network {
  public:
    network(const architecture &net, const kernels::kernel_table &tier, fastvit::precision type)
        : net_(net), target_(tier, &memory_) {
        target_.type = type;
        target_.notes = &layers_;
    }
    network(const network &) = delete;
    network &operator=(const network &) = delete;

    /// Packs the next part, in the order of for_each_part().
    template <class Part>
    void add(const place &p, const typename Part::weights &w, const typename Part::config &c, kernels::packing_threads threads) {
        kernels::weight_target target = target_.in(p.name);
        target.threads = threads;
        target.without_skip = precision_without_skip<Part>();
        if (target.without_skip != target.type)
            target.without_skip_reason = target.type == precision::int8 ? "no skip connection leads past it"
                                                                        : "many attention blocks would amplify its error";
        if constexpr (std::is_same_v<Part, stem>)
            stem_.emplace(target, w, c);
        else if constexpr (std::is_same_v<Part, head_conv>)
            head_.emplace(target, w, c);
        else if constexpr (std::is_same_v<Part, linear>)
            linear_.emplace(target, w, c);
        else
            backbone_.push_back({p.name, p.ends_stage, Part(target, w, c)});
    }

    const architecture &net() const noexcept { return net_; }
    const kernels::kernel_table &tier() const noexcept { return target_.tier; }
    fastvit::precision precision() const noexcept { return target_.type; }
    /// As model::layers().
    const std::vector<layer_precision> &layers() const noexcept { return layers_; }

    /// `images`: of the extent `size`, its channels those of the architecture. Writes the outputs that `out` has memory for;
    /// their shapes are those of shapes_of().
    void run(const context &c, const image_source &images, const extent &size, const output_buffers &out) const {
        // Some images at a time, together about as many pixels as one picture of 256 x 256: the maps of a large batch would leave
        // the caches between two layers, and take memory in proportion.
        const index_type together = std::clamp<index_type>((index_type{1} << 16) / (size.height * size.width), 1, size.images);
        for (index_type first = 0; first < size.images; first += together) {
            const scope s(c.memory);
            const index_type count = std::min(together, size.images - first);
            run_group(c, images.from(size, first), {first, {count, size.height, size.width, size.channels}}, out);
        }
    }

  private:
    // Of the dense convolutions of the stem and the patch embeddings. 1 - cosine of T8's embedding, the worst of the official
    // inputs: with them in bfloat16 it is in int8 5e-5 instead of 3e-5, and in bfloat16, with qkv and the classifier too, 2e-5
    // instead of 2e-7. But behind its patch embeddings SA36 has six attention blocks, and softmax is exponential in what they
    // get: with all in bfloat16, 1 - cosine of SA36's embedding is 1.0e-4, the most that bfloat16 may lose; with the patch
    // embeddings in float32 it is 7e-5.
    template <class Part> fastvit::precision precision_without_skip() const noexcept {
        if (target_.type == precision::float32) return precision::float32;
        if (target_.type == precision::int8 || std::is_same_v<Part, stem>) return precision::bfloat16;
        // With more than four attention blocks with a BatchNorm: SA36 and MA36.
        index_type attention_blocks = 0;
        for (const stage_architecture &s : net_.stages)
            if (s.mixer == token_mixer::attention && s.norm == attention_norm::batch_norm) attention_blocks += s.blocks;
        return attention_blocks > 4 ? precision::float32 : precision::bfloat16;
    }

    // A part of a batch: the number of its first image, and its extent.
    struct group {
        index_type first;
        extent size;
    };

    template <class... Block> static std::variant<patch_embed, position, fork_norm, Block...> any_of(type_list<Block...>);

    // A part between the stem and the head.
    struct backbone_part {
        std::string name;
        bool ends_stage;
        decltype(any_of(blocks())) part;
    };

    // Fills the group's part of the results that are there.
    void run_group(const context &c, const image_source &images, const group &g, const output_buffers &out) const {
        map_pair maps;
        maps.x = c.take_stage_map(maps.place, stem::output({net_.in_channels, net_.stages[0].channels, false}, g.size),
                                  map_pair::halo);
        {
            const watched w(c, "stem");
            stem_->run(c, images, g.size, maps.x);
        }
        give(c, maps.x, g, out.stem);
        const bool head_wanted = !out.logits.empty() || !out.embedding.empty() || !out.final_conv.empty();
        if (!head_wanted && out.stages.empty() && out.fork_features.empty()) return;
        maps.other = c.take_stage_map(1 - maps.place, maps.x.size, map_pair::halo);
        std::size_t stage = 0, feature = 0;
        for (const backbone_part &b : backbone_) {
            if (const auto *norm = std::get_if<fork_norm>(&b.part)) {
                if (!out.fork_features.empty()) give_normalised(c, maps.x, *norm, g, out.fork_features[feature++]);
                continue;
            }
            const watched w(c, b.name);
            std::visit(
                [&]<class Part>(const Part &part) {
                    if constexpr (!std::is_same_v<Part, fork_norm>) part.run(c, maps);
                },
                b.part);
            if (b.ends_stage && !out.stages.empty()) give(c, maps.x, g, out.stages[stage++]);
        }
        if (head_wanted) run_head(c, maps.x, g, out);
    }

    static float *part_of(const tensor_view<float> &out, const group &g) {
        return out.data() + g.first * (out.count() / out.dim(0));
    }
    static void give(const context &c, const map &m, const group &g, const tensor_view<float> &out) {
        if (!out.empty()) export_nchw(c, m, part_of(out, g));
    }

    static void give_normalised(const context &c, const map &m, const fork_norm &norm, const group &g,
                                const tensor_view<float> &out) {
        const scope s(c.memory);
        const map normalised = c.take_map(m.size, 0);
        norm.run(c, m, normalised);
        give(c, normalised, g, out);
    }

    void run_head(const context &c, map x, const group &g, const output_buffers &out) const {
        if (head_) {
            const watched w(c, "final_conv");
            const map wide = c.take_map(x.size.with_channels(net_.head_channels), 0);
            head_->run(c, x, wide);
            x = wide;
        }
        give(c, x, g, out.final_conv);
        if (out.embedding.empty() && out.logits.empty()) return;
        const index_type images = x.size.images, row = x.channels();
        float *const mean = c.memory.take(images * row);
        {
            const watched w(c, "head.global_pool");
            run_mean(c, x, mean, row);
        }
        copy_rows(c, mean, row, g, out.embedding);
        if (out.logits.empty()) return;
        const watched w(c, "head.fc");
        float *const logits = c.memory.take(images * linear_->out_row());
        linear_->run(c, mean, row, logits, images);
        copy_rows(c, logits, linear_->out_row(), g, out.logits);
    }

    static void copy_rows(const context &c, const float *from, index_type row, const group &g, const tensor_view<float> &out) {
        if (out.empty() || c.planning()) return;
        for (index_type n = 0; n < g.size.images; ++n) std::copy_n(from + n * row, out.dim(1), part_of(out, g) + n * out.dim(1));
    }

    architecture net_;
    kernels::weight_memory memory_;
    kernels::weight_target target_;
    std::vector<layer_precision> layers_;
    std::optional<stem> stem_;
    std::vector<backbone_part> backbone_;
    std::optional<head_conv> head_;
    std::optional<linear> linear_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
