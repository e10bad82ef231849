// SPDX-License-Identifier: MIT
// The spellings of tensor names: which one a checkpoint uses, and translation to and from the canonical one, which is timm's.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// How a checkpoint names the network's tensors.
enum class spelling : unsigned char {
    timm, ///< `stages.0.blocks.0.token_mixer.mixer.identity.weight`
    apple ///< `network.0.0.token_mixer.mixer.rbr_skip.weight`
};

constexpr std::string_view to_string(spelling s) noexcept { return s == spelling::timm ? "timm" : "apple"; }

/// Translates the names of one checkpoint. In Apple's spelling the stages, patch embeddings and positional encodings are numbered
/// through as `network.K`, so what K means depends on which names there are.
class name_translator {
  public:
    /// Finds the spelling, and what stands before the network's own names (`module.`, `image_encoder.model.`, ...). Throws
    /// `unsupported` where no tensor of a FastViT is among the names.
    explicit name_translator(std::span<const std::string_view> names) {
        for (const std::string_view name : names) {
            for (const auto &[s, stem] : {std::pair{spelling::timm, "stem.0."}, std::pair{spelling::apple, "patch_embed.0."}}) {
                const auto at = find_component(name, stem);
                if (!at) continue;
                source_ = s;
                prefix_ = name.substr(0, *at);
                if (s == spelling::apple) number_network(names);
                find_projection(names);
                return;
            }
        }
        throw error(error_kind::unsupported,
                    error::parts{.problem = "not a FastViT checkpoint",
                                 .expected = "tensors of the stem, stem.0.* (timm) or patch_embed.0.* (apple)",
                                 .found = names.empty() ? "no tensors" : std::to_string(names.size()) + " tensors without one"});
    }

    spelling source() const noexcept { return source_; }
    const std::string &prefix() const noexcept { return prefix_; }
    /// Whether the network is a part of a larger model, such as a CLIP, whose other tensors stand beside it: the prefix is more
    /// than the wrappers of PyTorch's DataParallel (`module.`) and compile (`_orig_mod.`).
    bool inside_larger_model() const noexcept {
        std::string_view rest = prefix_;
        for (bool wrapped = true; wrapped;) {
            wrapped = false;
            for (const std::string_view wrapper : {"module.", "_orig_mod."})
                if (rest.starts_with(wrapper)) {
                    rest.remove_prefix(wrapper.size());
                    wrapped = true;
                }
        }
        return !rest.empty();
    }

    /// Whether the last linear layer is outside the prefix: open_clip's own projection, `visual.head.proj.weight` beside a
    /// `visual.trunk.` that has no linear layer.
    bool projection_beside() const noexcept { return !projection_.empty(); }

    /// The canonical name; nullopt for a name outside the prefix, which is not the network's.
    std::optional<std::string> to_canonical(std::string_view name) const {
        if (projection_beside() && name.starts_with(projection_))
            return std::string(linear_layer) + std::string(name.substr(projection_.size()));
        if (!name.starts_with(prefix_)) return std::nullopt;
        name.remove_prefix(prefix_.size());
        return source_ == spelling::timm ? std::string(name) : from_apple(name);
    }

    /// The name that the checkpoint would use.
    std::string from_canonical(std::string_view canonical) const {
        if (projection_beside() && canonical.starts_with(linear_layer))
            return projection_ + std::string(canonical.substr(linear_layer.size()));
        return prefix_ + (source_ == spelling::timm ? std::string(canonical) : to_apple(canonical));
    }

  private:
    using parts = std::vector<std::string_view>;
    enum class place : unsigned char { blocks, downsample, position };
    struct numbered {
        place what;
        index_type stage;
    };

    // Where `component` stands in the name, at its start or after a dot.
    static std::optional<std::size_t> find_component(std::string_view name, std::string_view component) {
        for (std::size_t at = name.find(component); at != name.npos; at = name.find(component, at + 1))
            if (at == 0 || name[at - 1] == '.') return at;
        return std::nullopt;
    }

    static constexpr std::string_view linear_layer = "head.fc."; // canonical

    void find_projection(std::span<const std::string_view> names) {
        constexpr std::string_view trunk = "trunk.";
        if (source_ != spelling::timm || !prefix_.ends_with(trunk)) return;
        const std::string beside = prefix_.substr(0, prefix_.size() - trunk.size()) + "head.proj.";
        const std::string within = prefix_ + std::string(linear_layer);
        const auto any_with = [&](const std::string &start) {
            return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return name.starts_with(start); });
        };
        if (any_with(beside) && !any_with(within)) projection_ = beside;
    }

    void number_network(std::span<const std::string_view> names) {
        std::map<index_type, place> places;
        for (std::string_view name : names) {
            if (!name.starts_with(prefix_)) continue;
            const parts p = split(name.substr(prefix_.size()));
            if (p.size() < 3 || p[0] != "network") continue;
            const std::optional<index_type> number = parse(p[1]);
            if (!number) continue;
            places.try_emplace(*number, p[2] == "proj"                           ? place::downsample
                                        : p[2] == "pe" || p[2] == "reparam_conv" ? place::position
                                                                                 : place::blocks);
        }
        index_type stage = 0;
        for (const auto &[number, what] : places) {
            if (what == place::downsample) ++stage;
            network_.emplace(number, numbered{what, stage});
        }
    }

    // A number without sign or leading zeros, below 10000: anything else in its place is no index of this network.
    static std::optional<index_type> parse(std::string_view digits) {
        if (digits.empty() || digits.size() > 4 || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
        index_type value = 0;
        for (const char c : digits) {
            if (c < '0' || c > '9') return std::nullopt;
            value = 10 * value + (c - '0');
        }
        return value;
    }

    static parts split(std::string_view name) {
        parts p;
        for (;;) {
            const std::size_t dot = name.find('.');
            p.push_back(name.substr(0, dot));
            if (dot == name.npos) return p;
            name.remove_prefix(dot + 1);
        }
    }

    // Components whose words differ, wherever they stand. Apple's first, timm's second.
    using word_pair = std::pair<std::string_view, std::string_view>;
    static constexpr std::array<word_pair, 9> words{{{"patch_embed", "stem"},
                                                     {"conv_exp", "final_conv"},
                                                     {"rbr_conv", "conv_kxk"},
                                                     {"rbr_scale", "conv_scale"},
                                                     {"rbr_skip", "identity"},
                                                     {"lkb_origin", "large_conv"},
                                                     {"convffn", "mlp"},
                                                     {"pe", "pos_enc"},
                                                     {"lkb_reparam", "reparam_conv"}}};
    // Inside a squeeze and excite, where fc1 and fc2 are not the ConvFFN's.
    static constexpr std::array<word_pair, 2> gate_words{{{"reduce", "fc1"}, {"expand", "fc2"}}};

    std::string from_apple(std::string_view name) const {
        const parts p = split(name);
        std::string out;
        const auto add = [&](std::string_view word) { (out += out.empty() ? "" : ".") += word; };
        std::size_t i = 0;
        if (p[0] == "network" && p.size() >= 3) {
            const std::optional<index_type> number = parse(p[1]);
            const auto found = number ? network_.find(*number) : network_.end();
            if (found == network_.end()) return std::string(name);
            add("stages");
            add(std::to_string(found->second.stage));
            add(found->second.what == place::downsample ? "downsample"
                : found->second.what == place::position ? "pos_emb"
                                                        : "blocks");
            i = 2;
        } else if (p[0] == "head") {
            add("head");
            add("fc");
            i = 1;
        }
        for (; i < p.size(); ++i) {
            std::string_view word = p[i];
            for (const auto &[apple, timm] : words)
                if (word == apple) word = timm;
            if (i > 0 && p[i - 1] == "se")
                for (const auto &[apple, timm] : gate_words)
                    if (word == apple) word = timm;
            add(word);
            if (i + 1 == p.size() && word.starts_with("layer_scale")) add("gamma");
        }
        return out;
    }

    std::string to_apple(std::string_view canonical) const {
        const parts p = split(canonical);
        std::string out;
        const auto add = [&](std::string_view word) { (out += out.empty() ? "" : ".") += word; };
        std::size_t i = 0;
        const bool downsample = p.size() > 2 && p[2] == "downsample";
        if (p[0] == "stages" && p.size() > 3) {
            const place what = downsample ? place::downsample : p[2] == "pos_emb" ? place::position : place::blocks;
            const auto here = std::find_if(network_.begin(), network_.end(), [&](const auto &entry) {
                return entry.second.what == what && std::to_string(entry.second.stage) == p[1];
            });
            if (here == network_.end()) return std::string(canonical); // the checkpoint has no name for it
            add("network");
            add(std::to_string(here->first));
            i = 3;
        } else if (canonical.starts_with("head.fc.")) {
            add("head");
            i = 2;
        }
        for (; i < p.size(); ++i) {
            std::string_view word = p[i];
            if (word == "gamma" && i + 1 == p.size()) continue;
            for (const auto &[apple, timm] : words)
                if (word == timm && (apple != "lkb_reparam" || (downsample && i > 0 && p[i - 1] == "0"))) word = apple;
            if (i > 0 && p[i - 1] == "se")
                for (const auto &[apple, timm] : gate_words)
                    if (word == timm) word = apple;
            add(word);
        }
        return out;
    }

    spelling source_ = spelling::timm;
    std::string prefix_;
    std::string projection_;                 // what its names begin with, if it is outside the prefix
    std::map<index_type, numbered> network_; // Apple's numbers
};

}}} // namespace fastvit::FASTVIT_ABI::io
