// SPDX-License-Identifier: MIT
// The commands of the program `fastvit`. Each prints its results to the standard output and returns the exit status, 0 or 1; what
// stops one comes out as an exception.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/picture.hpp"
#include "fastvit/precision.hpp"

#include <optional>
#include <string>
#include <vector>

namespace cli {

/// A checkpoint, and which of the networks in it is meant where there are several.
struct model_file {
    std::optional<std::string> path;   ///< without one: the bundled model
    std::optional<std::string> prefix; ///< of its tensors' names
    std::string key;                   ///< of its dictionary in a PyTorch file

    /// Whether it is the user's own.
    explicit operator bool() const { return path.has_value(); }
};

/// What the command line says of preprocessing: first a preset or a configuration, then single settings. All else is as the
/// model's checkpoint was evaluated with.
struct preprocessing_options {
    struct extent {
        fastvit::index_type height = 0, width = 0;
    };
    std::optional<fastvit::preprocessing> preset;
    std::optional<std::string> config; ///< a file of timm's, transformers' or open_clip's; instead of a preset
    std::optional<fastvit::resize_rule> rule;
    std::optional<extent> size;
    std::optional<double> crop_fraction;
    std::optional<fastvit::interpolation> filter;
};

/// One of several parts of the pictures, in their order and of nearly equal size.
struct shard {
    fastvit::index_type number = 1, of = 1; ///< from 1
};

/// What all commands that look at pictures share.
struct picture_options {
    std::vector<std::string> pictures; ///< files and folders; `-`: a picture or a list on the standard input
    std::optional<std::string> list;   ///< a text file with more of them; `-`: the standard input
    shard part;
    bool exif = false; ///< turn them upright by their EXIF orientation
    preprocessing_options preprocessing;
    int threads = 0; ///< 0: one for each of the machine's hardware threads
    fastvit::precision precision = fastvit::precision::float32;
};

struct classify_options {
    model_file model;
    picture_options input;
    std::optional<std::string> labels, html;
    int top_k = 5;
    bool json = false;
    bool names_are_labels = false; ///< count the pictures whose file names are the answers
};
int classify(const classify_options &options);

struct embed_options {
    model_file model;
    picture_options input;
    std::optional<std::string> output;
    bool json = false; ///< to the standard output; without `output` results go there anyway
    bool projection = false;
    bool normalize = false;
};
int embed(const embed_options &options);

struct features_options {
    model_file model;
    picture_options input;
    std::string output;
    bool stem = false, final_conv = false;
};
int features(const features_options &options);

struct preprocess_options {
    std::string picture, output;
    bool exif = false;
    preprocessing_options preprocessing;
};
int preprocess(const preprocess_options &options);

/// How a network is run.
struct execution_options {
    bool train_time = false; ///< with the branches that training has
    int threads = 0;         ///< 0: one for each of the machine's hardware threads
    std::string isa = {};    ///< empty: the fastest
    fastvit::precision precision = fastvit::precision::float32;
};

struct run_options {
    model_file model;
    execution_options execution;
    std::string input, output;
    bool features = false;
};
int run(const run_options &options);

struct convert_options {
    model_file model;
    std::string output;
    fastvit::io::dtype type = fastvit::io::dtype::f32;
    bool fold = false;
};
int convert(const convert_options &options);

struct info_options {
    model_file model;
    std::optional<int> size;
    fastvit::precision precision = fastvit::precision::float32;
    bool json = false;
    bool tensors = false;
};
int info(const info_options &options);

struct profile_options {
    model_file model;
    execution_options execution{.threads = 1};
    std::optional<int> size;
    std::optional<std::string> trace;
    bool json = false;
    int batch = 1, rounds = 20;
};
int profile(const profile_options &options);

struct verify_options {
    model_file model;
    bool json = false;
    /// Compared with float32; without it the folded graph is compared with the train-time graph.
    std::optional<fastvit::precision> precision;
    picture_options input; ///< what to compare on; without pictures a random input
};
int verify(const verify_options &options);

} // namespace cli
