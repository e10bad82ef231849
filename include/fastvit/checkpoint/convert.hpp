// SPDX-License-Identifier: MIT
// A checkpoint of any format that the library reads, as safetensors.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/checkpoint/network_names.hpp"
#include "fastvit/checkpoint/written_names.hpp"
#include "fastvit/io/safetensors_writer.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Writes the tensors of `source` and its metadata to a safetensors file: floating-point elements as `type`, which is f32, or f16
/// or bf16 rounded to nearest even, and others as they are. Of a checkpoint with a FastViT, at `prefix` or the only one, what
/// written_names says; of any other checkpoint everything, as it is named. Throws what names_of_network() and
/// io::save_safetensors() throw; the file is written whole or not at all.
inline void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                           const std::optional<std::string_view> &prefix = std::nullopt) {
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

}}} // namespace fastvit::FASTVIT_ABI::loading
