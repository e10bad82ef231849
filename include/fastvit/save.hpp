// SPDX-License-Identifier: MIT
// Writing checkpoints: as safetensors, and folded.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/io/dtype.hpp"

#include <filesystem>
#include <optional>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Writes the tensors and metadata of `source` to a safetensors file. Floating-point elements are written as `type`, which is
/// f32, or f16 or bf16 rounded to nearest even; others as they are. If the checkpoint has a FastViT, at `prefix` or the only one,
/// that network is written with what belongs to it, under the names that written_names gives; otherwise everything, under its own
/// name. Throws what names_of_network() and io::save_safetensors() throw; the file is written whole or not at all.
void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                    const std::optional<std::string_view> &prefix = std::nullopt);

/// Writes the folded form of a network of `source`, at `prefix` or the only one, to a safetensors file, in the spelling of
/// `source`: the official folded model loads it with strict checking. Blocks that are already folded, a head that is not one
/// linear layer, and the other tensors of a larger model stay as they are; other networks are left out. Element types and names
/// are those of save_converted(). Throws what loading a model and save_converted() throw; the file is written whole or not at
/// all.
void save_folded(const checkpoint &source, const std::filesystem::path &path, io::dtype type = io::dtype::f32,
                 const std::optional<std::string_view> &prefix = std::nullopt);

}}} // namespace fastvit::FASTVIT_ABI::loading

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/save.hpp"
#endif
