// SPDX-License-Identifier: MIT
// A checkpoint as the official reparameterisation leaves it: the same names, with every branched block as one convolution.
#pragma once

#include "fastvit/io/checkpoint.hpp"
#include "fastvit/loading/archives.hpp"
#include "fastvit/loading/recognise.hpp"
#include "fastvit/reparam/fold.hpp"

#include <array>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

namespace fastvit::inline FASTVIT_ABI {
namespace loading {

/// Writes the folded form of `source` to a safetensors file, float32, in the spelling that `source` has, so that the official
/// folded model loads it with strict checking. Blocks that are folded already stay as they are. Throws what loading a model
/// throws, and `io`; the file is written whole or not at all.
inline void save_folded(const io::checkpoint &source, const std::filesystem::path &path) {
    std::vector<std::shared_ptr<void>> parts;
    lister list;
    std::vector<io::named_tensor> tensors;
    // Kept by BatchNorms that stay, and asked for by strict loading also where an old checkpoint does not have it.
    constexpr std::array<std::byte, 8> zero{};
    io::stored_tensor no_batches;
    no_batches.type = io::dtype::i64;
    no_batches.bytes = zero;
    try {
        state_dict dict(source);
        const architecture net = recognise(dict);
        reader read(dict);
        weights::for_each_part(read, net, [&]<class Part>(Part &part, const auto &describe_to) {
            reparam::fold_part(part);
            const auto kept = std::make_shared<Part>(std::move(part));
            describe_to(list, *kept);
            parts.push_back(kept);
        });
        dict.expect_all_used();
        for (const listed_tensor &t : list.list()) {
            io::named_tensor out{.name = dict.names().from_canonical(t.name), .data = {}};
            if (t.values) {
                out.data = *t.values;
            } else {
                // As the file has it; anything but one integer counts nothing.
                const io::stored_tensor *const counter = dict.find(t.name);
                const bool usable = counter && counter->type == io::dtype::i64 && counter->dims.count() == 1;
                out.stored = usable ? counter : &no_batches;
            }
            tensors.push_back(std::move(out));
        }
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
    io::save_safetensors(path, tensors, source.metadata());
}

} // namespace loading
} // namespace fastvit::inline FASTVIT_ABI
