// SPDX-License-Identifier: MIT
// Translation of the tensor names of one network in a checkpoint to and from the canonical spelling, which is timm's.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/checkpoint/candidates.hpp"
#include "fastvit/checkpoint/wrapped_names.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Translates the names of one network of a checkpoint. In Apple's spelling the stages, patch embeddings and positional encodings
/// share the numbers of `network.K`, so what K means depends on which names there are.
class name_translator {
  public:
    /// `names`: all of the checkpoint's.
    name_translator(std::span<const std::string_view> names, network_choice choice)
        : place_(std::move(choice.place)), others_(std::move(choice.others)) {
        holds_another_ = std::any_of(others_.begin(), others_.end(), [&](auto &other) { return other.starts_with(prefix()); });
        if (source() == spelling::apple) number_network(names);
        find_projection(names);
    }

    spelling source() const noexcept { return place_.source; }
    /// What stands before the network's own names (`module.`, `image_encoder.model.`, ...).
    const std::string &prefix() const noexcept { return place_.prefix; }
    /// Whether the network is part of a larger model, such as a CLIP, or beside another network: the prefix is more than the
    /// wrappers of training frameworks, or there are other networks. Tensors that are not the network's are then no mistake.
    bool inside_larger_model() const { return !others_.empty() || !without_wrappers(prefix()).empty(); }
    /// Whether the name belongs to one of the other networks. A name inside two prefixes belongs to the longer one.
    bool is_of_another(std::string_view name) const {
        const std::size_t own = name.starts_with(prefix()) ? prefix().size() + 1 : 0;
        for (std::size_t end = others_.empty() ? name.npos : name.rfind('.'); end != name.npos && end + 1 >= own;
             end = end == 0 ? name.npos : name.rfind('.', end - 1))
            if (std::binary_search(others_.begin(), others_.end(), name.substr(0, end + 1))) return true;
        return own == 0 && !others_.empty() && others_[0].empty();
    }

    /// Whether the last linear layer is outside the prefix: open_clip's own projection, `visual.head.proj.weight` beside a
    /// `visual.trunk.` that has no linear layer.
    bool projection_beside() const noexcept { return !projection_.empty(); }

    /// The canonical name; nullopt for a name outside the prefix or inside another network's.
    std::optional<std::string> to_canonical(std::string_view name) const {
        if (projection_beside() && name.starts_with(projection_))
            return std::string(linear_layer) + std::string(name.substr(projection_.size()));
        if (!name.starts_with(prefix()) || is_of_another(name)) return std::nullopt;
        std::string own = without_wrappers(name.substr(prefix().size()));
        if (place_.flattened)
            for (const std::string_view list : {"stem", "stages"})
                if (own.starts_with(std::string(list) + '_')) own[list.size()] = '.';
        if (source() == spelling::apple) own = from_apple(own);
        // If another network is inside the prefix, tensors that belong to neither may be too.
        if (holds_another_ && !is_of_a_network(own)) return std::nullopt;
        return own;
    }

    /// The name that the checkpoint would use.
    std::string from_canonical(std::string_view canonical) const {
        if (projection_beside() && canonical.starts_with(linear_layer))
            return projection_ + std::string(canonical.substr(linear_layer.size()));
        std::string own = source() == spelling::timm ? std::string(canonical) : to_apple(canonical);
        if (place_.flattened)
            for (const std::string_view list : {"stem", "stages"})
                if (own.starts_with(std::string(list) + '.')) own[list.size()] = '_';
        return prefix() + own;
    }

  private:
    using parts = std::vector<std::string_view>;
    enum class place : unsigned char { blocks, position, downsample };
    struct numbered {
        place what;
        index_type stage;
    };

    static constexpr std::string_view linear_layer = "head.fc."; // canonical

    static bool is_of_a_network(std::string_view canonical) {
        constexpr std::array<std::string_view, 5> roots{"stem.", "stages.", "final_conv.", "head.", "norm"};
        return std::any_of(roots.begin(), roots.end(), [&](std::string_view root) { return canonical.starts_with(root); });
    }

    void find_projection(std::span<const std::string_view> names) {
        constexpr std::string_view trunk = "trunk.";
        if (source() != spelling::timm || !prefix().ends_with(trunk)) return;
        const std::string beside = prefix().substr(0, prefix().size() - trunk.size()) + "head.proj.";
        const std::string within = prefix() + std::string(linear_layer);
        const auto any_with = [&](const std::string &start) {
            return std::any_of(names.begin(), names.end(), [&](std::string_view name) { return name.starts_with(start); });
        };
        if (any_with(beside) && !any_with(within)) projection_ = beside;
    }

    void number_network(std::span<const std::string_view> names) {
        std::map<index_type, place> places;
        for (const std::string_view name : names) {
            if (!name.starts_with(prefix()) || is_of_another(name)) continue;
            if (is_foreign_counter(name)) continue;
            const std::string own = without_wrappers(name.substr(prefix().size()));
            const parts p = split(own);
            if (p.size() < 3 || p[0] != "network") continue;
            const std::optional<index_type> number = parse(p[1]);
            if (!number) continue;
            const place what = p[2] == "proj"                           ? place::downsample
                               : p[2] == "pe" || p[2] == "reparam_conv" ? place::position
                                                                        : place::blocks;
            // If names contradict each other, their order must not decide.
            place &known = places.try_emplace(*number, what).first->second;
            known = std::max(known, what);
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

    // Components that the spellings write differently, anywhere in a name: Apple's word, then timm's.
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

    network_place place_;
    std::vector<std::string> others_;
    bool holds_another_ = false;             // one of them is inside the prefix
    std::string projection_;                 // what its names begin with, if it is outside the prefix
    std::map<index_type, numbered> network_; // Apple's numbers
};

}}} // namespace fastvit::FASTVIT_ABI::io
