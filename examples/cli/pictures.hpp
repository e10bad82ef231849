// SPDX-License-Identifier: MIT
// Which pictures the command line means.
#pragma once

#include "cli/commands.hpp"
#include "image_file.hpp"

#include <string>
#include <vector>

namespace cli {

/// The files, in the order given; those of a folder in the order of their names, without what its folders hold. Files that are
/// named are not looked at: only reading one tells whether it is a picture. A folder that cannot be read or has no picture is
/// there itself. Throws fastvit::error for a list that cannot be read or has no line.
std::vector<std::string> list_pictures(const picture_options &options);

/// A picture of that list. Throws fastvit::error for what is none, a folder among them.
examples::picture read_listed(const std::string &file);

} // namespace cli
