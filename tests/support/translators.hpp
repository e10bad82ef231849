// SPDX-License-Identifier: MIT
// The names of a network's tensors in the spelling of its file.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint/names.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

/// Of a checkpoint with these names, whatever the shapes.
fastvit::io::name_translator translator_of(const std::vector<std::string> &names);

/// The names of a network's tensors in either spelling. Apple numbers stages, patch embeddings and positional encodings through,
/// so the translator learns from one name of each.
fastvit::io::name_translator translator_of(const fastvit::architecture &net, fastvit::io::spelling spelling);

} // namespace fastvit_test
