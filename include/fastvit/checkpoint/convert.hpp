// SPDX-License-Identifier: MIT
// A checkpoint of any format that the library reads, as safetensors.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/io/safetensors_writer.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// What a file has wrapped around the official names, such as `module.`: what stands before the network's names, in whole
/// components, as far as all tensors have it. Nothing of `image_encoder.model.` where the text encoder's tensors are there too:
/// it is part of that model's names. Nothing without a FastViT.
inline std::string common_prefix(const checkpoint &source) {
    std::vector<std::string_view> names;
    for (const io::stored_tensor &t : source.tensors()) names.push_back(t.name);
    std::string prefix;
    try {
        prefix = io::name_translator(names).prefix();
    } catch (const error &) {
        return {}; // no FastViT
    }
    for (const std::string_view name : names)
        while (!name.starts_with(prefix)) {
            const std::size_t dot = prefix.size() < 2 ? prefix.npos : prefix.rfind('.', prefix.size() - 2);
            prefix.resize(dot == prefix.npos ? 0 : dot + 1);
        }
    return prefix;
}

/// Writes every tensor of `source`, whatever the network, and the metadata to a safetensors file: floating-point elements as
/// `type`, which is f32, or f16 or bf16 rounded to nearest even, and others as they are. The names lose their common_prefix(), so
/// that the official code loads the file with strict checking. Throws what io::save_safetensors() throws; the file is written
/// whole or not at all.
inline void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32) {
    const std::size_t prefix = common_prefix(source).size();
    std::vector<io::named_tensor> tensors;
    for (const io::stored_tensor &t : source.tensors())
        tensors.push_back({.name = t.name.substr(prefix), .data = {}, .stored = &t});
    try {
        io::save_safetensors(path, tensors, source.metadata(), type);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

}}} // namespace fastvit::FASTVIT_ABI::loading
