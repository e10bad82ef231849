// SPDX-License-Identifier: MIT
// Two ways to run one network, compared: the folded graph with the train-time graph, or a precision with float32.
#include "fastvit/executor.hpp"
#include "fastvit/model.hpp"
#include "fastvit/postprocess.hpp"

#include "cli/checkpoint.hpp"
#include "cli/commands.hpp"
#include "cli/outputs.hpp"
#include "cli/picture_network.hpp"
#include "cli/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <limits>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;
using json = nlohmann::ordered_json;

/// The same numbers on every machine, from -2 to 2 like the pixels of a normalised picture.
fastvit::tensor<float> random_images(const fastvit::shape &dims) {
    fastvit::tensor<float> images(dims);
    std::mt19937 random(1);
    for (float &x : images.span()) x = static_cast<float>(random() >> 8) * 0x1p-22f - 2; // no distribution: theirs differ
    return images;
}

/// How one result differs from what it should be.
struct difference {
    std::string name;
    double largest = 0; ///< max |a - b| / max |b|
    double cosine = 1;
};

/// Infinite and 0 if there is anything but numbers.
difference compare(const std::string &name, std::span<const float> a, std::span<const float> b) {
    double most = 0, scale = 0, ab = 0, aa = 0, bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double x = a[i], y = b[i];
        if (!std::isfinite(x) || !std::isfinite(y)) return {name, std::numeric_limits<double>::infinity(), 0};
        most = std::max(most, std::abs(x - y));
        scale = std::max(scale, std::abs(y));
        ab += x * y, aa += x * x, bb += y * y;
    }
    if (most == 0) return {name, 0, 1};
    return {name, scale > 0 ? most / scale : std::numeric_limits<double>::infinity(), aa * bb > 0 ? ab / std::sqrt(aa * bb) : 0};
}

/// All results of one input, and the answers.
struct comparison {
    std::string file;
    std::vector<difference> results;
    bool answers = false; ///< there are logits
    bool first_agrees = false, five_agree = false;
};

std::vector<index_type> best_classes(fastvit::tensor_view<const float> logits, index_type count) {
    std::vector<index_type> classes;
    for (const fastvit::ranked_value &v : fastvit::top_k(logits, count)) classes.push_back(v.index);
    return classes;
}

comparison compare_all(const std::string &file, std::span<const fastvit::io::named_tensor> results,
                       std::span<const fastvit::io::named_tensor> expected) {
    comparison c;
    c.file = file;
    for (std::size_t i = 0; i < results.size(); ++i) {
        c.results.push_back(compare(results[i].name, results[i].data.span(), expected[i].data.span()));
        if (results[i].name != "logits") continue;
        std::vector<index_type> got = best_classes(results[i].data[0], 5), wanted = best_classes(expected[i].data[0], 5);
        c.answers = true;
        c.first_agrees = got[0] == wanted[0];
        std::sort(got.begin(), got.end());
        std::sort(wanted.begin(), wanted.end());
        c.five_agree = got == wanted;
    }
    return c;
}

/// Of all inputs.
struct summary {
    std::vector<difference> worst; ///< of each result: the largest difference and the smallest cosine
    std::string worst_file;        ///< whose embedding has the smallest cosine
    index_type inputs = 0, first_agrees = 0, five_agree = 0;
    bool answers = false;
    std::optional<preprocessing_options::extent> size; ///< of the input, where there are no pictures

    void add(const comparison &c) {
        if (worst.empty())
            for (const difference &d : c.results) worst.push_back({d.name});
        for (std::size_t i = 0; i < worst.size(); ++i) {
            const difference &d = c.results[i];
            if (d.name == "embedding" && (inputs == 0 || d.cosine < worst[i].cosine)) worst_file = c.file;
            worst[i].largest = std::max(worst[i].largest, d.largest);
            worst[i].cosine = std::min(worst[i].cosine, d.cosine);
        }
        ++inputs;
        answers = c.answers;
        first_agrees += c.first_agrees;
        five_agree += c.five_agree;
    }
    double largest() const {
        double most = 0;
        for (const difference &d : worst) most = std::max(most, d.largest);
        return most;
    }
};

/// Compares `tested` with `reference` on the pictures, or, if there are none, on a random input. The exit status says whether a
/// picture could not be used.
int compare_models(const verify_options &options, const fastvit::model &tested, const fastvit::model &reference,
                   fastvit::thread_pool &threads, summary &all) {
    const bool pictures = !options.input.pictures.empty() || options.input.list;
    const fastvit::output_kind wanted = all_outputs(reference.architecture());
    if (!pictures) {
        const fastvit::architecture &net = reference.architecture();
        const index_type usual = usual_size(options.model, net.variant, reference.spelling());
        const auto size = options.input.preprocessing.size.value_or(preprocessing_options::extent{usual, usual});
        all.size = size;
        const fastvit::tensor<float> images = random_images({1, net.in_channels, size.height, size.width});
        fastvit::workspace tested_space(threads), reference_space(threads);
        const auto results = named_results(tested.forward(images, tested_space, wanted));
        all.add(compare_all("", results, named_results(reference.forward(images, reference_space, wanted))));
        return 0;
    }
    // Of the network that it opens itself, only the preprocessing is wanted: the stem is the least that it can compute.
    picture_network network(options.model, options.input, {.stem = true});
    // One for each picture that is looked at at the same time.
    struct pair_of_spaces {
        fastvit::workspace tested, reference;
    };
    std::mutex mutex;
    std::vector<pair_of_spaces> idle;
    if (network.pictures().size() == 1) idle.push_back({fastvit::workspace(threads), fastvit::workspace(threads)});
    const auto look = [&](const sight &s) {
        pair_of_spaces spaces;
        {
            const std::lock_guard lock(mutex);
            if (!idle.empty()) spaces = std::move(idle.back()), idle.pop_back();
        }
        const auto results = named_results(tested.forward(s.input, spaces.tested, wanted));
        comparison c = compare_all(s.file, results, named_results(reference.forward(s.input, spaces.reference, wanted)));
        const std::lock_guard lock(mutex);
        idle.push_back(std::move(spaces));
        return c;
    };
    return network.look_at_all(
        false, 0, look, [&](const comparison &c) { all.add(c); }, [](const std::string &, const error &) {});
}

json to_json(const summary &all) {
    json differences, cosines;
    for (const difference &d : all.worst) {
        differences[d.name] = d.largest;
        cosines[d.name] = d.cosine;
    }
    json report{{"inputs", all.inputs}, {"differences", differences}, {"cosines", cosines}};
    if (all.size) report["size"] = {all.size->height, all.size->width};
    if (all.answers) {
        report["first_answer_agrees"] = all.first_agrees;
        report["first_five_agree"] = all.five_agree;
    }
    if (!all.worst_file.empty()) report["worst"] = all.worst_file;
    return report;
}

void print_table(const summary &all) {
    std::cout << std::left << std::setw(12) << "result" << std::right << std::setw(12) << "cosine" << std::setw(14)
              << "difference" << '\n';
    for (const difference &d : all.worst)
        std::cout << std::left << std::setw(12) << d.name << std::right << std::setw(12) << fixed(d.cosine, 6) << std::setw(14)
                  << std::scientific << std::setprecision(1) << d.largest << '\n';
}

std::string inputs_of(const summary &all) {
    if (!all.size) return std::to_string(all.inputs) + (all.inputs == 1 ? " picture" : " pictures");
    return "a random input of " + std::to_string(all.size->height) + " x " + std::to_string(all.size->width);
}

int verify_graphs(const verify_options &options) {
    // Several times what float32 rounding makes of the deepest variant, and far below what any mistake makes.
    constexpr double allowed = 2e-5;
    const fastvit::checkpoint source = open_checkpoint(options.model);
    const contents c = examine(source, options.model);
    if (c.folded == c.blocks)
        throw error(
            error_kind::unsupported,
            {.problem = "every block is already folded, so there is no train-time graph to compare with", .file = source.file()});
    fastvit::thread_pool threads(options.input.threads);
    const fastvit::model folded(source, {.prefix = options.model.prefix, .threads = &threads}),
        branched(source, {.graph = fastvit::graph::train_time, .prefix = options.model.prefix, .threads = &threads});
    summary all;
    const int status = compare_models(options, folded, branched, threads, all);
    if (all.inputs == 0) return status; // each is reported already
    const bool agree = all.largest() <= allowed;
    if (options.json) {
        json report = to_json(all);
        report["blocks_folded"] = c.blocks - c.folded;
        report["allowed"] = allowed;
        report["agree"] = agree;
        std::cout << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
    } else {
        std::cout << "The folded graph beside the train-time graph, for " << inputs_of(all)
                  << ". Differences are relative to the largest value:\n";
        print_table(all);
    }
    if (!agree)
        throw error(error_kind::bad_value, {.problem = "the folded graph differs from the train-time graph",
                                            .expected = "at most 2e-5",
                                            .found = std::to_string(all.largest()),
                                            .file = source.file()});
    if (!options.json)
        std::cout << "The graphs agree: " << c.blocks - c.folded << " blocks are folded, and no difference is above " << allowed
                  << ".\n";
    return status;
}

int verify_precision(const verify_options &options) {
    const std::string name(to_string(*options.precision));
    fastvit::thread_pool threads(options.input.threads);
    const fastvit::model tested = open_model(options.model, {.precision = *options.precision}, &threads);
    const fastvit::model reference = open_model(options.model, {}, &threads);
    summary all;
    const int status = compare_models(options, tested, reference, threads, all);
    if (all.inputs == 0) return status; // each is reported already
    if (options.json) {
        json report = to_json(all);
        report["precision"] = name;
        report["kernels"] = tested.isa();
        report["layers"] = layers_to_json(tested.layers());
        std::cout << report.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
        return status;
    }
    std::cout << name << " beside float32, for " << inputs_of(all)
              << ": the smallest cosine, and the largest difference relative to the largest value\n";
    print_table(all);
    if (all.answers)
        std::cout << "The first answer is the same for " << all.first_agrees << " of " << all.inputs << ", the first five for "
                  << all.five_agree << ".\n";
    if (!all.worst_file.empty()) std::cout << "The embedding differs most for " << printable(all.worst_file) << ".\n";
    print_layers(std::cout, tested, false);
    return status;
}

} // namespace

int verify(const verify_options &options) { return options.precision ? verify_precision(options) : verify_graphs(options); }

} // namespace cli
