// SPDX-License-Identifier: MIT
// Which tensors of a checkpoint go into a file that has one network, and under which names.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/candidates.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/checkpoint/wrapped_names.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// The names for a file with one network of a checkpoint and what belongs to it, such as a CLIP's text tower: the official code
/// loads it with strict checking, and this library finds the same network in it. Other networks and the counters of training
/// frameworks are left out; so are the frameworks' words in names, and the part of the prefix that all names share.
class written_names {
  public:
    /// `names` outlives the object.
    written_names(const checkpoint &source, const io::name_translator &names)
        : names_(names), prefix_(io::without_wrappers(names.prefix())), common_(prefix_) {
        for (const io::stored_tensor &t : source.tensors())
            if (is_kept(t.name)) shorten(io::without_wrappers(t.name));
    }

    /// The name of a tensor in the file; nullopt if it is left out.
    std::optional<std::string> of(std::string_view name) const {
        if (!is_kept(name)) return std::nullopt;
        if (names_.to_canonical(name)) return io::without_wrappers(name).substr(common_.size());
        // Another model's name may have such components by itself, after those that are left out.
        std::size_t left = common_.size();
        for (std::size_t dot = name.find('.'); dot != name.npos; dot = name.find('.')) {
            const bool wrapper = io::is_wrapper(name.substr(0, dot));
            if (!wrapper && left == 0) break;
            if (!wrapper) left -= dot + 1;
            name.remove_prefix(dot + 1);
        }
        return std::string(name);
    }

  private:
    bool is_kept(std::string_view name) const {
        if (names_.is_of_another(name)) return false;
        // What is left of another network must not become one: two parts of it may differ in wrappers alone.
        const auto sign = io::detail::find_sign(name);
        if (sign && io::without_wrappers(sign->place.prefix) != prefix_) return false;
        const bool counter = io::is_foreign_counter(name);
        if (names_.to_canonical(name)) return !counter;
        if (sign) return false;
        // Without its wrappers, a name from outside the network may be one inside it.
        return !io::without_wrappers(name).starts_with(prefix_) || (!counter && !names_.inside_larger_model());
    }

    // Cuts common_ to the whole components that the name has too.
    void shorten(std::string_view name) {
        while (!name.starts_with(common_)) {
            const std::size_t dot = common_.size() < 2 ? common_.npos : common_.rfind('.', common_.size() - 2);
            common_.resize(dot == common_.npos ? 0 : dot + 1);
        }
    }

    const io::name_translator &names_;
    std::string prefix_, common_; // without wrappers
};

}}} // namespace fastvit::FASTVIT_ABI::loading
