// SPDX-License-Identifier: MIT
// A checkpoint as the official reparameterisation leaves it: the same names, with every branched block as one convolution.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/convert.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/checkpoint/written_names.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/reparam/fold.hpp"

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Writes the folded form of a network of `source`, at `prefix` or the only one, to a safetensors file, in the spelling that
/// `source` has, so that the official folded model loads it with strict checking. Blocks that are folded already, a head that is
/// not one linear layer, and the tensors of a larger model that the network is a part of, stay as they are; other networks are
/// left out. Element types and names as save_converted() has them. Throws what loading a model and save_converted()
/// throw; the file is written whole or not at all.
inline void save_folded(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                        const std::optional<std::string_view> &prefix = std::nullopt) {
    std::vector<std::shared_ptr<void>> parts;
    lister list;
    std::vector<io::named_tensor> tensors;
    // Kept by BatchNorms that stay, and asked for by strict loading also where an old checkpoint does not have it.
    constexpr std::array<std::byte, 8> zero{};
    io::stored_tensor no_batches;
    no_batches.type = io::dtype::i64;
    no_batches.bytes = zero;
    try {
        state_dict dict(source, prefix);
        const architecture net = recognise(dict);
        check_memory(dict, net);
        reader read(dict);
        weights::for_each_part(read, net, [&]<class Part>(Part &part, const auto &describe_to) {
            reparam::fold_part(part);
            const auto kept = std::make_shared<Part>(std::move(part));
            describe_to(list, *kept);
            parts.push_back(kept);
        });
        dict.expect_all_used();
        const written_names written(source, dict.names());
        for (const listed_tensor &t : list.list()) {
            const io::stored_tensor *const stored = dict.find(t.name);
            const bool as_stored = stored && !dict.is_composed(t.name);
            io::named_tensor out{
                .name = written.of(dict.name_of(t.name)).value(), .data = {}, .stored = as_stored ? stored : nullptr};
            if (t.values && !as_stored) out.data = *t.values;
            // Anything but one integer counts nothing.
            if (!t.values && !(stored && stored->type == io::dtype::i64 && stored->dims.count() == 1)) out.stored = &no_batches;
            tensors.push_back(std::move(out));
        }
        const auto add = [&](const io::stored_tensor &t) {
            if (std::optional<std::string> name = written.of(t.name))
                tensors.push_back({.name = std::move(*name), .data = {}, .stored = &t});
        };
        for (const io::stored_tensor *const t : dict.other_head()) add(*t);
        for (const io::stored_tensor &t : source.tensors())
            if (!dict.names().to_canonical(t.name)) add(t);
        io::save_safetensors(path, tensors, source.metadata(), type);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

}}} // namespace fastvit::FASTVIT_ABI::loading
