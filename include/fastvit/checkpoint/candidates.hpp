// SPDX-License-Identifier: MIT
// Finds the FastViTs of a checkpoint, by the names and shapes of their first tensors, and chooses one. The order of the tensors
// never decides.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/checkpoint/wrapped_names.hpp"
#include "fastvit/error.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// What recognising needs to know of a tensor.
struct tensor_outline {
    std::string_view name;
    shape dims;
};

/// A network inside a checkpoint.
struct network_place {
    std::string prefix; ///< before the network's own names, as the file has it: empty, or with a dot at its end
    spelling source = spelling::timm;
    bool flattened = false; ///< timm's features_only: `stem_0.`, `stages_0.` for `stem.0.`, `stages.0.`

    friend bool operator==(const network_place &, const network_place &) = default;
};

/// The network that was chosen, and the prefixes of the others, sorted.
struct network_choice {
    network_place place;
    std::vector<std::string> others;
};

namespace detail {

/// The tensors that mark a FastViT: the kernels of the stem's three convolutions, and of the first block's ConvFFN.
inline constexpr std::size_t signs = 4;

struct network_sign {
    network_place place;
    std::size_t number; ///< below `signs`
};

/// A name from its end, component by component, without wrappers.
class backward_components {
  public:
    explicit backward_components(std::string_view name) : rest_(name) {}

    /// The next component; empty if there is none.
    std::string_view next() {
        while (!rest_.empty()) {
            const std::size_t dot = rest_.rfind('.');
            const std::size_t begin = dot == rest_.npos ? 0 : dot + 1;
            const std::string_view component = rest_.substr(begin);
            rest_ = rest_.substr(0, dot == rest_.npos ? 0 : dot);
            begin_ = begin;
            if (!is_wrapper(component)) return component;
        }
        return {};
    }
    /// Where in the name the last component begins.
    std::size_t begin() const noexcept { return begin_; }

  private:
    std::string_view rest_;
    std::size_t begin_ = 0;
};

/// The number of a component that is one digit, or that ends with it after `word_` (`stem_0`).
inline std::optional<std::size_t> one_digit(std::string_view component, std::string_view word = {}) {
    if (!word.empty()) {
        if (!component.starts_with(word) || component.substr(word.size(), 1) != "_") return std::nullopt;
        component.remove_prefix(word.size() + 1);
    }
    if (component.size() != 1 || component[0] < '0' || component[0] > '9') return std::nullopt;
    return static_cast<std::size_t>(component[0] - '0');
}

/// Which sign the name is, if it is one. Weights that are stored in another form (the factors of weight_norm or pruning, LoRA's
/// base) count too, so that a network with them is not overlooked beside another.
inline std::optional<network_sign> find_sign(std::string_view name) {
    backward_components parts(name);
    std::string_view word = parts.next();
    if (word == "original" || word == "original1") { // parametrizations.weight.original1
        if (parts.next() != "weight" || parts.next() != "parametrizations") return std::nullopt;
    } else if (word != "weight" && word != "weight_v" && word != "weight_orig") {
        return std::nullopt;
    }
    word = parts.next();
    if (word == "base_layer") word = parts.next();

    // X.conv.conv or X.reparam_conv, and what of the spelling X shows. The ConvFFN is folded in quantised checkpoints only.
    const auto found = [&](spelling s, bool flattened, std::size_t number) {
        return network_sign{{.prefix = std::string(name.substr(0, parts.begin())), .source = s, .flattened = flattened}, number};
    };
    std::optional<spelling> known; // the stem's branches are spelled differently, its folded form is not
    const bool folded = word == "reparam_conv";
    if (!folded && word != "conv") return std::nullopt;
    word = parts.next();
    if (word == "conv") {
        const std::string_view ffn = parts.next();
        if (parts.next() != "0") return std::nullopt;
        word = parts.next();
        if (ffn == "convffn" && word == "0" && parts.next() == "network") return found(spelling::apple, false, 3);
        if (ffn != "mlp" || word != "blocks") return std::nullopt;
        word = parts.next();
        if (word == "stages_0") return found(spelling::timm, true, 3);
        if (word == "0" && parts.next() == "stages") return found(spelling::timm, false, 3);
        return std::nullopt;
    }
    if (!folded) {
        if (word != "0") return std::nullopt;
        word = parts.next();
        if (word != "conv_kxk" && word != "rbr_conv") return std::nullopt;
        known = word == "conv_kxk" ? spelling::timm : spelling::apple;
        word = parts.next();
    }
    if (const auto number = one_digit(word, "stem"); number && *number < 3 && known != spelling::apple)
        return found(spelling::timm, true, *number);
    const auto number = one_digit(word);
    if (!number || *number >= 3) return std::nullopt;
    word = parts.next();
    if (word == "stem" && known != spelling::apple) return found(spelling::timm, false, *number);
    if (word == "patch_embed" && known != spelling::timm) return found(spelling::apple, false, *number);
    return std::nullopt;
}

/// What was seen of one network. A sign may be there in both forms, folded and not.
struct network_signs {
    std::array<std::vector<shape>, signs> seen;

    std::size_t count() const {
        return static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(), [](const auto &s) { return !s.empty(); }));
    }
    /// Whether all are there in shapes that fit each other.
    bool complete() const {
        const auto any = [&](std::size_t number, const auto &fits) {
            return std::any_of(seen[number].begin(), seen[number].end(), fits);
        };
        const auto any_is = [&](std::size_t number, const std::array<index_type, 4> &dims) {
            return any(number, [&](const shape &s) { return std::equal(s.begin(), s.end(), dims.begin(), dims.end()); });
        };
        return any(0, [&](const shape &first) {
            if (first.rank() != 4 || first.count() == 0 || first[2] != 3 || first[3] != 3) return false;
            const index_type channels = first[0];
            return any_is(1, {channels, 1, 3, 3}) && any_is(2, {channels, channels, 1, 1}) && any(3, [&](const shape &s) {
                       return s.rank() == 4 && is_window(s[2]) && any_is(3, {channels, 1, s[2], s[2]});
                   });
        });
    }
};

/// The networks by prefix, spelling and form, so that the order of the names is forgotten.
using signs_by_place = std::map<std::tuple<std::string, spelling, bool>, network_signs>;

inline signs_by_place find_signs(std::span<const tensor_outline> tensors) {
    signs_by_place places;
    for (const tensor_outline &t : tensors)
        if (auto sign = find_sign(t.name))
            places[{std::move(sign->place.prefix), sign->place.source, sign->place.flattened}].seen[sign->number].push_back(
                t.dims);
    return places;
}

inline network_place place_of(const signs_by_place::value_type &entry) {
    const auto &[prefix, source, flattened] = entry.first;
    return {.prefix = prefix, .source = source, .flattened = flattened};
}

/// `"ema.model", "model.model"`, as many as a message can take.
inline std::string list_prefixes(const std::vector<network_place> &places) {
    return first_of_list(
        places, 6, [](const network_place &p) { return '"' + p.prefix.substr(0, p.prefix.size() - !p.prefix.empty()) + '"'; });
}

/// Whether a prefix that somebody wrote, with or without its last dot and the frameworks' wrappers, is this one.
inline bool same_prefix(std::string_view wanted, std::string_view prefix) {
    std::string with_dot(wanted);
    if (!with_dot.empty() && !with_dot.ends_with('.')) with_dot += '.';
    return with_dot == prefix || with_dot == without_wrappers(prefix);
}

} // namespace detail

/// The networks whose stem and first block are there, by name and shape, sorted by prefix. A network of another kind
/// with similar names does not count.
inline std::vector<network_place> find_networks(std::span<const tensor_outline> tensors) {
    std::vector<network_place> places;
    for (const auto &entry : detail::find_signs(tensors))
        if (entry.second.complete()) places.push_back(detail::place_of(entry));
    return places;
}

/// The network at `prefix`, or the only one. If none is complete, the most complete one, so that an error can name what it lacks.
/// Throws `unsupported` if there is none or several, and `invalid_argument` if there is none at `prefix`; the error lists the
/// prefixes.
inline network_choice choose_network(std::span<const tensor_outline> tensors,
                                     const std::optional<std::string_view> &prefix = std::nullopt) {
    const detail::signs_by_place all = detail::find_signs(tensors);
    std::vector<network_place> complete, wanted, wanted_in_parts;
    std::optional<network_place> most;
    std::size_t most_signs = 0;
    for (const auto &entry : all) {
        const network_place place = detail::place_of(entry);
        const bool asked_for = prefix && detail::same_prefix(*prefix, place.prefix);
        if (entry.second.complete()) complete.push_back(place);
        if (asked_for) (entry.second.complete() ? wanted : wanted_in_parts).push_back(place);
        if (entry.second.count() > most_signs) {
            most_signs = entry.second.count();
            most = place;
        }
    }
    const auto chosen = [&](const network_place &place) {
        network_choice choice{.place = place, .others = {}};
        for (const network_place &other : complete)
            if (!(other == place)) choice.others.push_back(other.prefix);
        return choice;
    };

    const std::vector<network_place> &candidates = !prefix ? complete : !wanted.empty() ? wanted : wanted_in_parts;
    if (candidates.size() == 1) return chosen(candidates[0]);
    if (candidates.size() > 1)
        throw error(error_kind::unsupported, error::parts{.problem = "several networks; pick one by its prefix "
                                                                     "(--prefix, in C++ model_options::prefix)",
                                                          .found = detail::list_prefixes(candidates)});
    if (prefix && !complete.empty())
        throw error(error_kind::invalid_argument,
                    error::parts{.problem = "no FastViT has the prefix \"" + std::string(*prefix) + "\"",
                                 .expected = complete.size() > 1          ? "one of " + detail::list_prefixes(complete)
                                             : complete[0].prefix.empty() ? "none: the network's names have no prefix"
                                                                          : detail::list_prefixes(complete)});
    if (!prefix && most) return chosen(*most);
    throw error(error_kind::unsupported,
                error::parts{.problem = "not a FastViT checkpoint",
                             .expected = "tensors of the stem, stem.0.* (timm) or patch_embed.0.* (apple)",
                             .found = tensors.empty() ? "no tensors" : "no such name among " + std::to_string(tensors.size())});
}

}}} // namespace fastvit::FASTVIT_ABI::io
