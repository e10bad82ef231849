// SPDX-License-Identifier: MIT
// A checkpoint's tensors under their canonical names, with a record of which have been used.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/composed_weights.hpp"
#include "fastvit/checkpoint/head_layout.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/checkpoint/network_names.hpp"
#include "fastvit/checkpoint/part_memory.hpp"
#include "fastvit/checkpoint/unmerged.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

class state_dict {
  public:
    /// The network at `prefix`, or the only one (io::choose_network). The checkpoint outlives the state_dict. Throws what
    /// names_of_network() throws, `unexpected_tensor` for a tensor under two spellings and for scales without their bytes, and
    /// `unsupported` for weights that must be merged first.
    explicit state_dict(const checkpoint &source, const std::optional<std::string_view> &prefix = std::nullopt)
        : source_(source), names_(names_of_network(source, prefix)) {
        std::size_t adapters = 0;
        const io::stored_tensor *adapter = nullptr;
        for (const io::stored_tensor &stored : source.tensors()) {
            if (io::is_foreign_counter(stored.name)) continue;
            std::optional<std::string> canonical = names_.to_canonical(stored.name);
            if (!canonical && names_.inside_larger_model()) continue;
            if (!canonical) canonical = stored.name;
            if (is_of_an_adapter(*canonical)) {
                if (++adapters == 1 || stored.name < adapter->name) adapter = &stored;
                continue;
            }
            const auto [at, fresh] = tensors_.emplace(std::move(*canonical), entry{.stored = &stored});
            if (!fresh)
                throw error(error_kind::unexpected_tensor, {.problem = "two spellings of one tensor",
                                                            .found = at->second.stored->name,
                                                            .tensor = stored.name,
                                                            .file = source.file()});
        }
        if (adapter) throw unmerged_adapter(adapter->name, adapters);
        compose_weights();
        find_scales();
        find_head();
        for (const auto &[name, e] : tensors_)
            if (io::is_floating(e.stored->type) || (e.second && !e.how))
                smallest_element_ = std::min(smallest_element_, io::size_of(e.stored->type));
    }

    const checkpoint &source() const noexcept { return source_; }
    const io::name_translator &names() const noexcept { return names_; }

    /// By canonical name; null if there is none. Does not count as use.
    const io::stored_tensor *find(std::string_view canonical) const {
        const auto at = tensors_.find(canonical);
        return at == tensors_.end() ? nullptr : at->second.stored;
    }
    const io::stored_tensor *use(std::string_view canonical) {
        const auto at = tensors_.find(canonical);
        if (at == tensors_.end()) return nullptr;
        at->second.used = true;
        return at->second.stored;
    }

    /// The tensor's elements as float32, computed if it is stored in parts, and without a copy where possible. Copies are in
    /// `memory` as far as it has room. The checkpoint must outlive the result. The tensor must be there.
    tensor<float> read(std::string_view canonical, part_memory &memory) const {
        const entry &e = tensors_.find(canonical)->second;
        if (e.how) return compose(e.how->how, *e.stored, *e.second);
        if (!e.second && io::is_float_in_place(*e.stored)) return io::view_float(*e.stored);
        std::optional<tensor<float>> taken = memory.take(e.stored->dims);
        if (!taken) return e.second ? io::read_quantised(*e.stored, *e.second) : io::read_float(*e.stored);
        if (e.second)
            io::read_quantised_into(*e.stored, *e.second, taken->span());
        else
            io::read_float_into(*e.stored, taken->span());
        return std::move(*taken);
    }
    /// Whether read() computes the tensor from two of the file's, so that what find() returns is only one of them.
    bool is_composed(std::string_view canonical) const {
        const auto at = tensors_.find(canonical);
        return at != tensors_.end() && at->second.second;
    }
    /// Whether one of the two is the tensor's bytes, and the other their scales.
    bool is_quantised(std::string_view canonical) const {
        const auto at = tensors_.find(canonical);
        return at != tensors_.end() && at->second.second && !at->second.how;
    }
    /// Bytes of the smallest type that the tensors' elements have: 4, 2, or 1 where any is quantised.
    std::size_t smallest_element() const noexcept { return smallest_element_; }

    /// Whether the last linear layer is inside a Sequential instead of in its usual place. It may lack a bias.
    bool linear_moved() const noexcept { return linear_moved_; }
    /// The tensors of a head that is not one linear layer, sorted by their names in the file. It is not run.
    const std::vector<const io::stored_tensor *> &other_head() const noexcept { return other_head_; }

    /// The tensor's name in the checkpoint; if it is not there, the name that its spelling would have.
    std::string name_of(std::string_view canonical) const {
        const auto at = tensors_.find(canonical);
        if (at == tensors_.end()) return names_.from_canonical(canonical);
        const entry &e = at->second;
        return e.how ? whole_name(e.stored->name, *e.how).value_or(e.stored->name) : e.stored->name;
    }

    /// Whether any name begins with this.
    bool any_with_prefix(std::string_view prefix) const {
        const auto at = tensors_.lower_bound(prefix);
        return at != tensors_.end() && at->first.starts_with(prefix);
    }

    /// Throws `unexpected_tensor` for a tensor that nothing has used: it would be silently left out of the network.
    void expect_all_used() const {
        std::size_t unused = 0;
        const entry *first = nullptr;
        std::string_view first_name;
        for (const auto &[name, e] : tensors_)
            if (!e.used && ++unused == 1) first = &e, first_name = name;
        if (!first) return;
        error::parts p{
            .problem = "the network has no place for this tensor", .tensor = first->stored->name, .file = source_.file()};
        if (const std::string folded = folded_sibling(first_name); !folded.empty())
            p.problem = "train-time tensor of a block that the file also has folded, as " + names_.from_canonical(folded);
        p.found = std::to_string(unused) + (unused == 1 ? " such tensor" : " such tensors");
        throw error(error_kind::unexpected_tensor, std::move(p));
    }

  private:
    struct entry {
        const io::stored_tensor *stored;
        const io::stored_tensor *second = nullptr; // of a weight that is stored in two parts
        const composed_name *how = nullptr;        // null if that is its scales
        bool used = false;
    };

    // Enters weights that are stored in parts under their own names.
    void compose_weights() {
        std::vector<std::pair<std::string, entry>> whole;
        for (const composed_name &c : composed_names)
            for (auto at = tensors_.begin(); at != tensors_.end();) {
                const std::string &name = at->first;
                auto second = tensors_.end();
                std::optional<std::string> own;
                if (name.ends_with(c.first)) {
                    second = tensors_.find(name.substr(0, name.size() - c.first.size()) + std::string(c.second));
                    own = whole_name(name, c);
                }
                if (second == tensors_.end() || !own) {
                    ++at;
                    continue;
                }
                const io::stored_tensor *const stored = at->second.stored;
                whole.emplace_back(std::move(*own), entry{.stored = stored, .second = second->second.stored, .how = &c});
                tensors_.erase(second);
                at = tensors_.erase(at);
            }
        for (const auto &[name, e] : tensors_)
            if (detail::has_component(name, "parametrizations.") || name.ends_with("weight_orig"))
                throw unmerged_parametrization(e.stored->name);
        for (auto &[name, e] : whole) {
            const auto [at, fresh] = tensors_.emplace(std::move(name), e);
            if (!fresh)
                throw error(error_kind::unexpected_tensor, {.problem = "the weight is stored both whole and in parts",
                                                            .found = at->second.stored->name,
                                                            .tensor = e.stored->name,
                                                            .file = source_.file()});
        }
    }

    // Enters the scales of quantised weights with them.
    void find_scales() {
        for (auto at = tensors_.begin(); at != tensors_.end();) {
            if (!at->first.ends_with(scales_of_weight)) {
                ++at;
                continue;
            }
            const io::stored_tensor *const scales = at->second.stored;
            const std::string_view own = std::string_view(at->first).substr(0, at->first.size() - scale_suffix.size());
            const auto weight = tensors_.find(own);
            const bool there = weight != tensors_.end();
            const bool in_parts = at->second.second || (there && weight->second.how); // of weight_norm or pruning
            if (!there || in_parts || weight->second.stored->type != io::dtype::i8)
                throw error(error_kind::unexpected_tensor, {.problem = "scales without the quantised weight that they belong to",
                                                            .expected = names_.from_canonical(own) + " of type I8",
                                                            .found = !there     ? "no such tensor"
                                                                     : in_parts ? "one of them in parts"
                                                                                : weight->second.stored->type_name,
                                                            .tensor = scales->name,
                                                            .file = source_.file()});
            weight->second.second = scales;
            at = tensors_.erase(at);
        }
    }

    // Channels of the head's input; 0 if unknown.
    index_type head_width() const {
        const auto first = [&](const std::string &name) {
            const io::stored_tensor *const t = find(name);
            return t && t->dims.rank() > 0 ? t->dims[0] : 0;
        };
        for (const char *const branch : {"final_conv.reparam_conv.weight", "final_conv.conv_kxk.0.conv.weight"})
            if (const index_type width = first(branch)) return width;
        index_type width = 0;
        for (std::size_t s = 0; any_with_prefix("stages." + std::to_string(s) + "."); ++s)
            for (const char *const window : {"reparam_conv", "conv"})
                if (const index_type n = first("stages." + std::to_string(s) + ".blocks.0.mlp.conv." + window + ".weight"))
                    width = n;
        return width;
    }

    void find_head() {
        std::vector<head_tensor> head;
        const auto begin = tensors_.lower_bound("head.");
        auto end = begin;
        for (; end != tensors_.end() && end->first.starts_with("head."); ++end)
            head.push_back({end->first, end->second.stored->dims});
        if (head.empty() || is_usual_head(head)) return;
        if (const std::optional<std::string> layer = only_linear_layer(head, head_width())) {
            linear_moved_ = true;
            for (const head_tensor &t : head) {
                const entry e = std::exchange(tensors_.find(t.name)->second, {});
                tensors_.erase(t.name);
                tensors_.emplace("head.fc." + t.name.substr(layer->size()), e);
            }
            return;
        }
        for (auto at = begin; at != end; ++at) {
            other_head_.push_back(at->second.stored);
            if (at->second.second) other_head_.push_back(at->second.second);
        }
        tensors_.erase(begin, end);
        std::sort(other_head_.begin(), other_head_.end(), [](auto *a, auto *b) { return a->name < b->name; });
    }

    // The folded convolution of a block that the name is inside of, if the checkpoint has it.
    std::string folded_sibling(std::string_view name) const {
        for (std::size_t dot = name.rfind('.'); dot != name.npos && dot > 0; dot = name.rfind('.', dot - 1)) {
            std::string sibling = std::string(name.substr(0, dot)) + ".reparam_conv.weight";
            if (find(sibling) && !name.substr(dot + 1).starts_with("reparam_conv")) return sibling;
        }
        return {};
    }

    const checkpoint &source_;
    io::name_translator names_;
    std::map<std::string, entry, std::less<>> tensors_;
    bool linear_moved_ = false;
    std::size_t smallest_element_ = sizeof(float);
    std::vector<const io::stored_tensor *> other_head_;
};

}}} // namespace fastvit::FASTVIT_ABI::loading
