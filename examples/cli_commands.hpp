// SPDX-License-Identifier: MIT
// The commands of the program `fastvit`. Each prints its results to the standard output and returns the exit status, 0 or 1; what
// stops one comes out as an exception.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cli {

/// No file of a model given: the bundled one.
using model_file = std::optional<std::string>;

struct classify_options {
    model_file model;
    std::optional<std::string> labels, html;
    std::vector<std::string> pictures;
    int top_k = 5;
    int threads = 0; ///< 0: one for each of the machine's hardware threads
    std::optional<int> size;
    std::optional<double> crop_fraction;
    bool json = false;
    bool names_are_labels = false; ///< count the pictures whose names are the answers
};
int classify(const classify_options &options);

struct run_options {
    std::string model, input, output;
    bool train_time = false;
    bool features = false;
    int threads = 0;
    std::string isa;
};
int run(const run_options &options);

struct fold_options {
    std::string model, output;
};
int fold(const fold_options &options);

struct info_options {
    model_file model;
    std::optional<int> size;
    bool json = false;
    bool tensors = false;
};
int info(const info_options &options);

struct verify_options {
    model_file model;
    std::optional<int> size;
};
int verify(const verify_options &options);

} // namespace cli
