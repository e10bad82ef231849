// SPDX-License-Identifier: MIT
// Which dictionary of a PyTorch file has the tensors: training scripts put it under any key, beside others.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/pickle_value.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// What the caller is looking for in a file with several dictionaries.
struct dictionary_choice {
    /// The keys that lead to the dictionary, with dots between them; empty: it is found by itself.
    std::string_view key = {};
    /// Whether a dictionary has what the caller wants; if empty, any tensors are.
    std::function<bool(const pickle_dictionary &)> wanted = {};
};

/// A dictionary and the keys that lead to it; `key` is empty for the whole file.
struct found_dictionary {
    const pickle_dictionary *items = nullptr;
    std::string key;
};

namespace detail {

/// The value of a text key; nullptr if it is not there. Throws if it is there twice: Python would take the last, others the
/// first.
inline const pickle_value *find_item(const pickle_dictionary &dictionary, std::string_view key) {
    const pickle_value *found = nullptr;
    for (const auto &[name, value] : dictionary.items) {
        const auto *text = pickle_get<std::string_view>(name);
        if (text == nullptr || *text != key) continue;
        if (found != nullptr) throw error(error_kind::bad_format, "the key \"" + std::string(key) + "\" is in the file twice");
        found = &value;
    }
    return found;
}

/// The arguments of torch._utils._rebuild_tensor_v2, also inside one _rebuild_parameter; nullptr for any other value.
inline const std::vector<pickle_value> *tensor_arguments(const pickle_value &value) noexcept {
    const auto *call = pickle_get<pickle_call>(value);
    if (call != nullptr && call->function->is("torch._utils", "_rebuild_parameter") && !call->arguments->items.empty())
        call = pickle_get<pickle_call>(call->arguments->items[0]);
    return call != nullptr && call->function->is("torch._utils", "_rebuild_tensor_v2") ? &call->arguments->items : nullptr;
}

inline bool has_tensors(const pickle_dictionary &d) {
    return std::any_of(d.items.begin(), d.items.end(), [](const auto &item) { return tensor_arguments(item.second) != nullptr; });
}

/// Finds a dictionary as timm does or, where that fails, by its contents.
class dictionary_finder {
  public:
    dictionary_finder(const pickle_value &root, const dictionary_choice &choice) : root_(root), choice_(choice) {}

    found_dictionary run() {
        const auto *const top = pickle_get<pickle_dictionary>(root_);
        if (top == nullptr) throw none(describe(root_));
        if (!choice_.key.empty()) return at_key(*top);
        if (found_dictionary found = choose({top, {}}, 0); found.items) return found;
        // Nothing has what is wanted; the file's tensors are still its tensors.
        std::string object;
        for (const std::string_view wrapper : usual) {
            const pickle_value *const value = find_item(*top, wrapper);
            if (value == nullptr) continue;
            const auto *const dictionary = pickle_get<pickle_dictionary>(*value);
            if (dictionary != nullptr && has_tensors(*dictionary)) return {dictionary, std::string(wrapper)};
            if (pickle_get<pickle_call>(*value) != nullptr) object = describe(*value) + " under " + std::string(wrapper);
        }
        if (has_tensors(*top)) return {top, {}};
        throw none(!object.empty() ? object : top->items.empty() ? "a dictionary without tensors" : list_keys(*top));
    }

  private:
    // The order is timm's: averaged weights before the last ones.
    static constexpr std::array<std::string_view, 4> usual{"state_dict_ema", "model_ema", "state_dict", "model"};
    static constexpr int deepest = 8;
    static constexpr std::size_t most_visited = 65536;

    error none(std::string found) const {
        const bool object = found.starts_with("an object of ");
        return {
            error_kind::unsupported,
            {.problem = object ? "the file has no state dict but an object of Python, such as a whole model; in Python, save its "
                                 "state_dict()"
                               : "the file has no state dict",
             .expected = "a dictionary of a FastViT's tensors, by itself or under a key, such as state_dict_ema, model_ema, "
                         "state_dict or model",
             .found = std::move(found)}};
    }

    bool wanted(const pickle_dictionary &d) const { return has_tensors(d) && (!choice_.wanted || choice_.wanted(d)); }

    static found_dictionary inside(const found_dictionary &outer, std::string_view key, const pickle_dictionary &items) {
        return {&items, outer.key.empty() ? std::string(key) : outer.key + '.' + std::string(key)};
    }

    // What an optimizer keeps for each parameter has the parameter's name and shape.
    static bool is_optimizers(std::string_view key) { return key.starts_with("optim"); }

    // The dictionaries in `d` under text keys that may be a network's.
    template <class Visit> static void for_each_inner(const found_dictionary &d, Visit visit) {
        constexpr std::size_t longest_key = 256;
        for (const auto &[key, value] : d.items->items) {
            const auto *const text = pickle_get<std::string_view>(key);
            const auto *const inner = pickle_get<pickle_dictionary>(value);
            if (text && inner && text->size() <= longest_key && !is_optimizers(*text)) visit(*text, *inner);
        }
    }

    // All that are wanted, in `d` or deeper. One that is there under two keys counts once.
    void collect(const found_dictionary &d, int depth, std::set<const pickle_dictionary *> &visited,
                 std::vector<found_dictionary> &found) const {
        if (depth > deepest || barren_.contains(d.items) || !visited.insert(d.items).second) return;
        if (visited.size() > most_visited)
            throw error(error_kind::unsupported, "the file has too many dictionaries to look for a network in each; name its key "
                                                 "(--key, in C++ model_options::key)");
        if (wanted(*d.items)) return found.push_back(d);
        for_each_inner(d, [&](std::string_view key, const pickle_dictionary &inner) {
            collect(inside(d, key, inner), depth + 1, visited, found);
        });
    }
    std::vector<found_dictionary> collect(const found_dictionary &d, int depth) const {
        std::set<const pickle_dictionary *> visited;
        std::vector<found_dictionary> found;
        collect(d, depth, visited, found);
        return found;
    }

    // The usual keys first, each as far as there is a network inside, then `d` itself, then whatever else has one.
    found_dictionary choose(const found_dictionary &d, int depth) {
        if (depth > deepest || barren_.contains(d.items)) return {};
        for (const std::string_view wrapper : usual) {
            const pickle_value *const value = find_item(*d.items, wrapper);
            const auto *const inner = value ? pickle_get<pickle_dictionary>(*value) : nullptr;
            if (inner)
                if (found_dictionary found = choose(inside(d, wrapper, *inner), depth + 1); found.items) return found;
        }
        if (wanted(*d.items)) return d;
        std::vector<found_dictionary> all = collect(d, depth);
        if (all.empty()) {
            barren_.insert(d.items);
            return {};
        }
        if (all.size() == 1) return all[0];
        // All under one key: the usual keys decide there.
        const std::string_view first = first_key(all[0].key, d.key);
        if (std::all_of(all.begin(), all.end(), [&](const auto &f) { return first_key(f.key, d.key) == first; }))
            if (const pickle_value *const value = find_item(*d.items, first))
                if (const auto *const inner = pickle_get<pickle_dictionary>(*value))
                    return choose(inside(d, first, *inner), depth + 1);
        std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) { return a.key < b.key; });
        throw error(error_kind::unsupported, {.problem = "several keys have a network; pick one (--key, in C++ "
                                                         "model_options::key)",
                                              .found = first_of_list(all, 8, [](const auto &f) { return f.key; })});
    }

    static std::string_view first_key(std::string_view key, std::string_view outer) {
        if (!outer.empty()) key.remove_prefix(outer.size() + 1);
        return key.substr(0, key.find('.'));
    }

    found_dictionary at_key(const pickle_dictionary &top) {
        std::vector<found_dictionary> found;
        find_key({&top, {}}, choice_.key, 0, found);
        if (found.size() > 1)
            throw error(error_kind::bad_format, "the key \"" + std::string(choice_.key) + "\" is in the file twice");
        if (found.empty())
            throw error(error_kind::invalid_argument,
                        {.problem = "the file has no dictionary under the key \"" + std::string(choice_.key) + "\"",
                         .found = list_keys(top)});
        if (found_dictionary inner = choose(found[0], 1); inner.items) return inner;
        if (has_tensors(*found[0].items)) return found[0];
        throw none("a dictionary without tensors under " + std::string(choice_.key));
    }
    // Keys may have dots of their own.
    void find_key(const found_dictionary &d, std::string_view rest, int depth, std::vector<found_dictionary> &found) const {
        if (depth > deepest) return;
        for (const auto &[key, value] : d.items->items) {
            const auto *const text = pickle_get<std::string_view>(key);
            const auto *const inner = pickle_get<pickle_dictionary>(value);
            if (!text || text->empty() || !inner || !rest.starts_with(*text)) continue;
            const std::string_view after = rest.substr(text->size());
            if (after.empty())
                found.push_back(inside(d, *text, *inner));
            else if (after[0] == '.')
                find_key(inside(d, *text, *inner), after.substr(1), depth + 1, found);
        }
    }

    // `epoch, net (246 tensors), optimizer, ...`, as many as a message can take.
    static std::string list_keys(const pickle_dictionary &top) {
        constexpr std::size_t most = 12, longest = 40;
        std::string list = "the keys ";
        std::size_t count = 0;
        for (const auto &[key, value] : top.items) {
            const auto *const text = pickle_get<std::string_view>(key);
            if (!text) continue;
            if (++count > most) return list + ", ...";
            list += (count > 1 ? ", " : "") + std::string(text->substr(0, longest));
            const auto *const inner = pickle_get<pickle_dictionary>(value);
            if (!inner) continue;
            const auto tensors = std::count_if(inner->items.begin(), inner->items.end(),
                                               [](const auto &item) { return tensor_arguments(item.second) != nullptr; });
            if (tensors > 0) list += " (" + std::to_string(tensors) + (tensors == 1 ? " tensor)" : " tensors)");
        }
        return count > 0 ? list : "a dictionary without text keys";
    }

    const pickle_value &root_;
    const dictionary_choice &choice_;
    std::set<const pickle_dictionary *> barren_; // with nothing that is wanted: a file may repeat them under many keys
};

} // namespace detail

/// The dictionary that the file's tensors are in: at the key that was chosen; or, as timm looks, under `state_dict_ema`,
/// `model_ema`, `state_dict` or `model`, or the whole file; or the only one under other keys, however deep, that has what is
/// wanted. A file without anything that is wanted gives its tensors from one of timm's places. Throws `unsupported` where there
/// is none or several are wanted, `invalid_argument` for a key that is not there; the error lists the keys.
inline found_dictionary find_state_dict(const pickle_value &root, const dictionary_choice &choice = {}) {
    return detail::dictionary_finder(root, choice).run();
}

}}} // namespace fastvit::FASTVIT_ABI::io
