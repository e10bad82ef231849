// SPDX-License-Identifier: MIT
// A checkpoint's tensors under their canonical names, with a record of which have been used.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/names.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

class state_dict {
  public:
    /// The checkpoint outlives the state_dict. Throws `unsupported` for a checkpoint without a FastViT, `unexpected_tensor` where
    /// two spellings of one name are there.
    explicit state_dict(const checkpoint &source) : source_(source), names_(names_of(source)) {
        for (const io::stored_tensor &stored : source.tensors()) {
            std::optional<std::string> canonical = names_.to_canonical(stored.name);
            if (!canonical && names_.inside_larger_model()) continue;
            if (!canonical) canonical = stored.name;
            const auto [at, fresh] = tensors_.emplace(std::move(*canonical), entry{&stored});
            if (!fresh)
                throw error(error_kind::unexpected_tensor, {.problem = "two spellings of one tensor",
                                                            .found = at->second.stored->name,
                                                            .tensor = stored.name,
                                                            .file = source.file()});
        }
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

    /// The tensor's name in the checkpoint: as it is there, or as its spelling would have it.
    std::string name_of(std::string_view canonical) const {
        const io::stored_tensor *const stored = find(canonical);
        return stored ? stored->name : names_.from_canonical(canonical);
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
            p.problem = "train-time tensor of a block that is also there folded, as " + names_.from_canonical(folded);
        p.found = std::to_string(unused) + (unused == 1 ? " such tensor" : " such tensors");
        throw error(error_kind::unexpected_tensor, std::move(p));
    }

  private:
    static std::vector<std::string_view> names_of(const checkpoint &source) {
        std::vector<std::string_view> names;
        for (const io::stored_tensor &t : source.tensors()) names.push_back(t.name);
        return names;
    }

    struct entry {
        const io::stored_tensor *stored;
        bool used = false;
    };

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
};

}}} // namespace fastvit::FASTVIT_ABI::loading
