// SPDX-License-Identifier: MIT
// What the commands that read checkpoints share.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/names.hpp"
#include "fastvit/model.hpp"

#include "cli/commands.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
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

/// The model to run. `threads`, if there are any, help to open it.
fastvit::model open_model(const model_file &model, const execution_options &execution, fastvit::executor *threads = nullptr);

/// Reads all of the network that `model` means. Throws what loading a model throws.
contents examine(const fastvit::checkpoint &source, const model_file &model);

/// The side of the pictures that the model is used to.
fastvit::index_type usual_size(const model_file &model, std::string_view variant, fastvit::io::spelling spelling);

/// The dense layers of a model and what each computes in: how many of each, then each by name; without `each` only those that
/// are not what was asked for.
void print_layers(std::ostream &out, const fastvit::model &net, bool each);
nlohmann::ordered_json layers_to_json(std::span<const fastvit::layer_precision> layers);

/// The instruction sets that the program has kernels for.
struct kernel_report {
    struct tier {
        std::string name;
        bool supported = false;
    };
    std::vector<tier> tiers; ///< the fastest first
    std::string runs, why;
};
/// Of a model of that type.
kernel_report report_kernels(fastvit::precision type);

} // namespace cli
