// SPDX-License-Identifier: MIT
// What the commands that read checkpoints share.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/names.hpp"

#include "cli/commands.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace cli {

std::filesystem::path path_of(const model_file &model);
fastvit::checkpoint open_checkpoint(const model_file &model);

/// A checkpoint that makes a whole network.
struct contents {
    fastvit::architecture net;
    fastvit::io::spelling spelling{};
    std::string prefix;                        ///< what stands before the network's own names
    fastvit::index_type folded = 0;            ///< branched blocks that are folded
    fastvit::index_type blocks = 0;            ///< branched blocks in all
    fastvit::index_type parameters = 0;        ///< that training changes: without the BatchNorms' running statistics
    fastvit::index_type folded_parameters = 0; ///< the same of the folded graph
};

/// Reads all of the network that `model` means. Throws what loading a model throws.
contents examine(const fastvit::checkpoint &source, const model_file &model);

/// The side of the pictures that the model is used to.
fastvit::index_type usual_size(const model_file &model, const contents &c);

/// The instruction sets that the program has kernels for.
struct kernel_report {
    struct tier {
        std::string name;
        bool supported = false;
    };
    std::vector<tier> tiers; ///< the fastest first
    std::string runs, why;
};
kernel_report report_kernels();

} // namespace cli
