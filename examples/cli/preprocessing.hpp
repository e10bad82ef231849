// SPDX-License-Identifier: MIT
// How pictures become inputs: what the command line changes of a model's own preprocessing.
#pragma once

#include "fastvit/picture.hpp"

#include "cli/commands.hpp"

namespace cli {

/// `usual`, changed to what the options say.
fastvit::preprocessing preprocessing_of(const preprocessing_options &options, fastvit::preprocessing usual);

} // namespace cli
