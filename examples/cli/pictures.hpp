// SPDX-License-Identifier: MIT
// Which pictures the command line means.
#pragma once

#include "cli/commands.hpp"
#include "image_file.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace cli {

/// The pictures of a command line.
class picture_list {
  public:
    /// In the order given; those of a folder in the order of their names, told by their first bytes, without what its folders
    /// hold. Files that are named are not looked at: only reading one tells whether it is a picture. A folder that cannot be
    /// read or has no picture is there itself. Of all that, the part that the options ask for. Throws fastvit::error for a list
    /// that cannot be read or has no line.
    explicit picture_list(const picture_options &options);

    const std::vector<std::string> &files() const { return files_; }
    /// One line about what is in the folders and is no picture; empty if there is nothing.
    std::string skipped() const;
    /// Throws fastvit::error for what is no picture, a folder among them.
    examples::picture read(fastvit::index_type number) const;

  private:
    void add(const std::string &name);
    void add_lines(const std::vector<std::uint8_t> &text, const std::string &name);
    void add_folder(const std::string &folder);

    std::vector<std::string> files_;
    std::vector<std::string> skipped_;
    std::vector<std::uint8_t> standard_input_; ///< if it is a picture: the file `-`
    examples::camera_orientation orientation_;
};

} // namespace cli
