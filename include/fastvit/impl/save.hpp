// SPDX-License-Identifier: MIT
// See fastvit/save.hpp.
#pragma once

#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/network_names.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/checkpoint/written_names.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/save.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

FASTVIT_FUNCTION void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type,
                                     const std::optional<std::string_view> &prefix) {
    try {
        check_not_a_part(source);
        std::vector<io::named_tensor> tensors;
        if (!prefix && io::detail::find_signs(outlines_of(source)).empty()) {
            for (const io::stored_tensor &t : source.tensors()) tensors.push_back({.name = t.name, .data = {}, .stored = &t});
        } else {
            const io::name_translator names = names_of_network(source, prefix);
            const written_names written(source, names);
            for (const io::stored_tensor &t : source.tensors())
                if (std::optional<std::string> name = written.of(t.name))
                    tensors.push_back({.name = std::move(*name), .data = {}, .stored = &t});
        }
        io::save_safetensors(path, tensors, source.metadata(), type);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

FASTVIT_FUNCTION void save_folded(const checkpoint &source, const std::filesystem::path &path, io::dtype type,
                                  const std::optional<std::string_view> &prefix) {
    std::vector<std::shared_ptr<void>> kept_parts;
    lister list;
    std::vector<io::named_tensor> tensors;
    // BatchNorms that stay keep it, and strict loading asks for it even where an old checkpoint lacks it.
    constexpr std::array<std::byte, 8> zero{};
    io::stored_tensor no_batches;
    no_batches.type = io::dtype::i64;
    no_batches.bytes = zero;
    try {
        state_dict dict(source, prefix);
        const architecture net = recognise(dict);
        check_memory(dict, net);
        reader read(dict);
        for_each_read_part(read, net, [&]<class Part>(const parts::place &p, const typename Part::config &c, auto &w) {
            Part::reparameterize(w);
            const auto kept = std::make_shared<typename Part::weights>(std::move(w));
            Part::describe(list.in(p.name), *kept, c);
            kept_parts.push_back(kept);
        });
        dict.expect_all_used();
        const written_names written(source, dict.names());
        for (const listed_tensor &t : list.list()) {
            const io::stored_tensor *const stored = dict.find(t.name);
            const bool as_stored = stored && !dict.is_composed(t.name);
            io::named_tensor out{
                .name = written.of(dict.name_of(t.name)).value(), .data = {}, .stored = as_stored ? stored : nullptr};
            if (t.values && !as_stored) out.data = *t.values;
            // Anything but one integer is no count.
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
