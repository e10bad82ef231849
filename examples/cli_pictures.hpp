// SPDX-License-Identifier: MIT
// Which pictures the command line means.
#pragma once

#include "cli_commands.hpp"

#include <string>
#include <vector>

namespace cli {

/// The files, in the order given; those of a folder in the order of their names, without what its folders hold. Files that are
/// named are not looked at: only reading one tells whether it is a picture. Throws fastvit::error for a list or folder that
/// cannot be read, or that has no picture.
std::vector<std::string> list_pictures(const picture_options &options);

} // namespace cli
