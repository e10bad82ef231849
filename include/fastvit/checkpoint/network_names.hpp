// SPDX-License-Identifier: MIT
// Which network of a checkpoint is meant, and how its tensors are named there.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/candidates.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/checkpoint/unmerged.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/shard_index.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

inline std::vector<io::tensor_outline> outlines_of(const checkpoint &source) {
    std::vector<io::tensor_outline> outlines;
    outlines.reserve(source.tensors().size());
    for (const io::stored_tensor &t : source.tensors()) outlines.push_back({t.name, t.dims});
    return outlines;
}

/// Throws `unsupported` for a file that is a part of a checkpoint in several files, by its name: a network may begin in it and
/// end in the next.
inline void check_not_a_part(const checkpoint &source) {
    if (const std::optional<io::part_number> part = io::part_in_name(source.file()))
        throw error(error_kind::unsupported,
                    error::parts{.problem = "this is part " + std::to_string(part->number) + " of " + std::to_string(part->of) +
                                            " of a checkpoint; open its index, " + part->index});
}

/// The names of the network at `prefix`, or of the only one. Throws what io::choose_network() and check_not_a_part() throw, and
/// `unsupported` for a file of adapters alone.
inline io::name_translator names_of_network(const checkpoint &source,
                                            const std::optional<std::string_view> &prefix = std::nullopt) {
    check_not_a_part(source);
    std::vector<std::string_view> names;
    for (const io::stored_tensor &t : source.tensors()) names.push_back(t.name);
    const std::vector<io::tensor_outline> outlines = outlines_of(source);
    if (std::any_of(names.begin(), names.end(), is_of_an_adapter) && io::detail::find_signs(outlines).empty())
        throw error(error_kind::unsupported,
                    "adapters (LoRA) alone, without the network that they change; merge them into it (peft: "
                    "model.merge_and_unload()) and save its state dict");
    return {names, io::choose_network(outlines, prefix)};
}

}}} // namespace fastvit::FASTVIT_ABI::loading
