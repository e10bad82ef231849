// SPDX-License-Identifier: MIT
// The bodies of bundled.hpp. They do not see the macro FASTVIT_DATA_DIR: whoever calls them passes it on.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/bundled.hpp"
#include "fastvit/error.hpp"

#include <cstdlib>
#include <system_error>

namespace fastvit { inline namespace FASTVIT_ABI { namespace bundled {

FASTVIT_FUNCTION std::filesystem::path file(std::string_view name, std::string_view directory) {
    const char *const set = std::getenv("FASTVIT_DATA_DIR");
    const bool by_environment = set != nullptr && *set != '\0';
    const std::string remedy = "; set the environment variable or the macro FASTVIT_DATA_DIR to the directory that has it";
    if (by_environment) directory = set;
    if (directory.empty())
        throw error(error_kind::io,
                    {.problem = "no directory is known for the bundled model" + remedy, .file = std::string(name)});
    std::filesystem::path path = std::filesystem::path(directory) / name;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) return path;
    const std::string source =
        by_environment ? "the environment variable FASTVIT_DATA_DIR" : "the macro FASTVIT_DATA_DIR of the build";
    throw error(error_kind::io,
                {.problem = "this file of the bundled model is not in the directory that " + source + " names" + remedy,
                 .file = path.string()});
}

}}} // namespace fastvit::FASTVIT_ABI::bundled
