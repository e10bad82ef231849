// SPDX-License-Identifier: MIT
// The commands that run a network on tensors.
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/model.hpp"

#include "cli/checkpoint.hpp"
#include "cli/commands.hpp"
#include "cli/outputs.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <limits>
#include <random>
#include <span>
#include <string>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;
using fastvit::output_kind;

fastvit::tensor<float> read_input(const std::string &path) {
    const auto file = fastvit::checkpoint::open(path);
    const fastvit::io::stored_tensor *const stored = file.find("input");
    if (!stored)
        throw error(error_kind::missing_tensor,
                    {.problem = "this tensor is missing", .expected = "images, N x C x H x W", .tensor = "input", .file = path});
    try {
        return fastvit::io::read_float(*stored);
    } catch (const error &e) {
        throw e.in_file(path);
    }
}

/// The same numbers on every machine, from -2 to 2 like the pixels of a normalised picture.
fastvit::tensor<float> random_images(const fastvit::shape &dims) {
    fastvit::tensor<float> images(dims);
    std::mt19937 random(1);
    for (float &x : images.span()) x = static_cast<float>(random() >> 8) * 0x1p-22f - 2; // no distribution: theirs differ
    return images;
}

/// max |a - b| / max |b|; infinite if there is anything but numbers.
double relative_difference(std::span<const float> a, std::span<const float> b) {
    double difference = 0, scale = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return std::numeric_limits<double>::infinity();
        difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
        scale = std::max(scale, std::abs(double{b[i]}));
    }
    return difference == 0 ? 0 : difference / scale;
}

} // namespace

kernel_report report_kernels() {
    kernel_report report;
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers()) report.tiers.push_back({std::string(tier.name), tier.supported});
    report.runs = fastvit::select_isa().name;
    const char *const forced = std::getenv("FASTVIT_ISA");
    report.why = forced && *forced ? "the environment variable FASTVIT_ISA asks for it" : "the fastest that this machine can run";
    return report;
}

int run(const run_options &options) {
    const std::filesystem::path file = path_of(options.model);
    const fastvit::model net =
        fastvit::model::open(file, {.graph = options.execution.train_time ? fastvit::graph::train_time : fastvit::graph::folded,
                                    .isa = options.execution.isa,
                                    .prefix = options.model.prefix,
                                    .key = options.model.key});
    if (net.architecture().classes == 0 && !options.features)
        throw error(error_kind::invalid_argument,
                    {.problem = why_no_logits(net.architecture()) + "; ask for --features", .file = file.string()});
    const fastvit::tensor<float> images = read_input(options.input);
    fastvit::thread_pool threads(options.execution.threads);
    fastvit::workspace space(threads);
    try {
        const fastvit::outputs &out =
            net.forward(images, space, options.features ? all_outputs(net.architecture()) : output_kind::logits);
        fastvit::io::save_safetensors(options.output, named_results(out));
    } catch (const error &e) {
        throw e.in_file(options.input);
    }
    return 0;
}

int verify(const verify_options &options) {
    // Several times what float32 rounding makes of the deepest variant, and far below what any mistake makes.
    constexpr double allowed = 2e-5;
    const fastvit::checkpoint source = open_checkpoint(options.model);
    const contents c = examine(source, options.model);
    if (c.folded == c.blocks)
        throw error(
            error_kind::unsupported,
            {.problem = "every block is already folded, so there is no train-time graph to compare with", .file = source.file()});
    const fastvit::model folded(source, {.prefix = options.model.prefix}),
        branched(source, {.graph = fastvit::graph::train_time, .prefix = options.model.prefix});
    const index_type size = options.size ? *options.size : usual_size(options.model, c);
    const fastvit::tensor<float> images = random_images({1, c.net.in_channels, size, size});
    fastvit::thread_pool threads;
    fastvit::workspace folded_space(threads), branched_space(threads);
    const auto results = named_results(folded.forward(images, folded_space, all_outputs(c.net)));
    const auto expected = named_results(branched.forward(images, branched_space, all_outputs(c.net)));

    nlohmann::ordered_json differences; // of each result
    double worst = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const double difference = relative_difference(results[i].data.span(), expected[i].data.span());
        worst = std::max(worst, difference);
        differences[results[i].name] = difference;
    }
    if (options.json) {
        const nlohmann::ordered_json report{{"size", size},
                                            {"blocks_folded", c.blocks - c.folded},
                                            {"differences", differences},
                                            {"allowed", allowed},
                                            {"agree", worst <= allowed}};
        std::cout << report.dump(2) << '\n';
    } else {
        std::cout << "Largest differences between the folded and the train-time graph, relative to the largest value, for a "
                     "random input of "
                  << size << " x " << size << ":\n"
                  << std::scientific << std::setprecision(1);
        for (const auto &[name, difference] : differences.items())
            std::cout << std::left << std::setw(12) << name << difference.get<double>() << '\n';
    }
    if (worst > allowed)
        throw error(error_kind::bad_value, {.problem = "the folded graph differs from the train-time graph",
                                            .expected = "at most 2e-5",
                                            .found = std::to_string(worst),
                                            .file = source.file()});
    if (!options.json)
        std::cout << "The graphs agree: " << c.blocks - c.folded << " blocks are folded, and no difference is above " << allowed
                  << ".\n";
    return 0;
}

} // namespace cli
