// SPDX-License-Identifier: MIT
// A stage: patch embedding, positional encoding and blocks, and the whole backbone.
#pragma once

#include "fastvit/parts/attention.hpp"
#include "fastvit/parts/patch_embed.hpp"
#include "fastvit/parts/rep_mixer.hpp"

#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

class stage {
  public:
    void set(patch_embed p) { downsample_.emplace(std::move(p)); }
    void set(position p) { position_.emplace(std::move(p)); }
    void add(rep_mixer_block b) { blocks_.emplace_back(std::move(b)); }
    void add(attention_block b) { blocks_.emplace_back(std::move(b)); }

    /// What the maps of every stage need around them: ConvFFN's, the patch embedding's and the positional encoding's 7 x 7
    /// windows.
    static constexpr index_type halo = 3;

    /// The stage's output map, taken from the context's memory. `in` is the output of the stem or of the stage before; without a
    /// patch embedding the stage works in it. `after(map)` is called with the result of the patch embedding, of the positional
    /// encoding and of the last block, where they are there: the modules of the official `network`.
    template <class F> map run(const context &c, const map &in, index_type channels, F &&after) const {
        map x = in;
        if (downsample_) {
            x = c.take_map(downsample_->output(in.size).with_channels(channels), halo);
            const watched w(c, "downsample");
            downsample_->run(c, in, x);
            after(x);
        }
        map other = c.take_map(x.size, halo);
        if (position_) {
            const watched w(c, "pos_emb");
            position_->run(c, x, other);
            std::swap(x, other);
            after(x);
        }
        for (std::size_t i = 0; i < blocks_.size(); ++i) {
            const watched w(c, "blocks", static_cast<index_type>(i));
            std::visit([&](const auto &b) { b.run(c, x, other); }, blocks_[i]);
        }
        after(x);
        return x;
    }

  private:
    std::optional<patch_embed> downsample_;
    std::optional<position> position_;
    std::vector<std::variant<rep_mixer_block, attention_block>> blocks_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
