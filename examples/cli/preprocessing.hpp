// SPDX-License-Identifier: MIT
// How pictures become inputs: a model's own preprocessing, and what the command line changes.
#pragma once

#include "fastvit/checkpoint/names.hpp"
#include "fastvit/preprocess.hpp"

#include "cli/commands.hpp"

#include <string_view>

namespace cli {

/// How the published checkpoints of a variant were evaluated, Apple's or timm's.
fastvit::preprocessing usual_preprocessing(std::string_view variant, fastvit::io::spelling source);

/// `usual`, changed to what the options say.
fastvit::preprocessing preprocessing_of(const preprocessing_options &options, fastvit::preprocessing usual);

} // namespace cli
