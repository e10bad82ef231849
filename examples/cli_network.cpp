// SPDX-License-Identifier: MIT
// The commands that run a network, with the calls that an application makes.
#include "fastvit/fastvit.hpp"

#include "cli_checkpoint.hpp"
#include "cli_commands.hpp"
#include "cli_report.hpp"
#include "cli_text.hpp"
#include "image_file.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <string_view>
#include <utility>

namespace cli {
namespace {

using fastvit::errc;
using fastvit::error;
using fastvit::index;
using fastvit::output;
using fastvit::preprocessing;

/// How the published checkpoints of a variant were evaluated.
preprocessing usual_preprocessing(std::string_view variant) {
    if (variant == "fastvit_mci3" || variant == "fastvit_mci4") return preprocessing::openai_clip();
    if (variant.starts_with("fastvit_mci")) return preprocessing::mobileclip();
    return preprocessing::imagenet(256, variant == "fastvit_ma36" ? 0.95 : 0.90);
}

preprocessing preprocessing_of(const classify_options &options, const fastvit::architecture &net) {
    preprocessing how = options.model ? usual_preprocessing(net.variant) : fastvit::bundled_preprocessing();
    if (options.size) how.height = how.width = *options.size;
    if (options.crop_fraction) how.crop_fraction = *options.crop_fraction;
    return how;
}

/// One label per class, or none.
std::vector<std::string> labels_of(const classify_options &options, index classes) {
    std::vector<std::string> labels;
    if (options.labels)
        labels = fastvit::read_labels(*options.labels);
    else if (!options.model)
        labels = fastvit::bundled_labels();
    if (!labels.empty() && static_cast<index>(labels.size()) != classes)
        throw error(errc::invalid_argument, {.problem = "number of labels",
                                             .expected = std::to_string(classes) + ", one for each of the network's classes",
                                             .found = std::to_string(labels.size()),
                                             .file = options.labels.value_or("labels.txt of the bundled model")});
    return labels;
}

/// The likeliest classes, by softmax.
std::vector<answer> best_answers(std::span<const float> logits, const std::vector<std::string> &labels, int top_k) {
    // Also because a NaN would not sort.
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }))
        throw error(errc::bad_value, "the network's answer is not finite");
    std::vector<index> order(logits.size());
    std::iota(order.begin(), order.end(), index{0});
    const auto count = std::min(static_cast<index>(top_k), static_cast<index>(order.size()));
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](index a, index b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
    const double highest = logits[order[0]];
    double sum = 0;
    for (const float x : logits) sum += std::exp(x - highest);
    std::vector<answer> answers;
    for (const index i : std::span(order).first(count))
        answers.push_back({i, labels.empty() ? std::string() : labels[i], std::exp(logits[i] - highest) / sum});
    return answers;
}

/// Names what is in pictures, one after the other.
class classifier {
  public:
    explicit classifier(const classify_options &options)
        : options_(options), net_(fastvit::model::open(path_of(options.model))), labels_(labels_of(options, net_.net().classes)),
          how_(preprocessing_of(options, net_.net())), threads_(options.threads), space_(threads_) {
        // The first pass makes the plan and touches the memory, which would be counted as the first picture's time. It also finds
        // out, before any picture is read, that a network cannot classify or takes no RGB.
        const std::uint8_t black[3] = {};
        try {
            net_.forward(fastvit::preprocess({.pixels = black, .height = 1, .width = 1}, how_), space_);
        } catch (const error &e) {
            throw e.in_file(path_of(options.model).string());
        }
    }

    classified look_at(const std::string &file) {
        const examples::picture picture = examples::read_picture(file);
        try {
            const fastvit::tensor<float> input = fastvit::preprocess(picture.view(), how_);
            const auto begin = std::chrono::steady_clock::now();
            const fastvit::outputs &out = net_.forward(input, space_);
            const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
            classified result{.file = file,
                              .answers = best_answers(out.logits.span(), labels_, options_.top_k),
                              .milliseconds = time.count(),
                              .matches = {},
                              .seen = {}};
            if (options_.names_are_labels) result.matches = named_after(file, result.answers[0].label);
            if (options_.html) result.seen = fastvit::resize_crop(picture.view(), how_);
            return result;
        } catch (const error &e) {
            throw e.in_file(file);
        }
    }

    std::string description() const {
        return "fastvit: " + net_.net().variant + ", " + std::to_string(how_.width) + " x " + std::to_string(how_.height) + ", " +
               std::string(net_.isa()) + ", " + std::to_string(threads_.workers()) + " threads";
    }

  private:
    const classify_options &options_;
    fastvit::model net_;
    std::vector<std::string> labels_;
    preprocessing how_;
    fastvit::thread_pool threads_;
    fastvit::workspace space_;
};

/// The results that there are, by name, in the order in which the network makes them. Views of the workspace.
std::vector<fastvit::io::named_tensor> named_results(const fastvit::outputs &out) {
    std::vector<fastvit::io::named_tensor> all{{.name = "stem", .data = out.stem}};
    for (std::size_t s = 0; s < out.stages.size(); ++s)
        all.push_back({.name = "stage" + std::to_string(s), .data = out.stages[s]});
    all.push_back({.name = "final_conv", .data = out.final_conv});
    all.push_back({.name = "embedding", .data = out.embedding});
    all.push_back({.name = "logits", .data = out.logits});
    std::erase_if(all, [](const fastvit::io::named_tensor &t) { return t.data.empty(); });
    return all;
}

/// Everything that this network can give.
output all_outputs(const fastvit::architecture &net) {
    output all = output::embedding | output::stem | output::stages;
    if (net.head_channels > 0) all = all | output::final_conv;
    if (net.classes > 0) all = all | output::logits;
    return all;
}

fastvit::tensor<float> read_input(const std::string &path) {
    const auto file = fastvit::io::checkpoint::open(path);
    const fastvit::io::stored_tensor *const stored = file.find("input");
    if (!stored)
        throw error(errc::missing_tensor,
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
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers())
        report.tiers.push_back({std::string(tier.kernels->name), tier.supported});
    report.runs = fastvit::select_kernels().name;
    const char *const forced = std::getenv("FASTVIT_ISA");
    report.why = forced && *forced ? "the environment variable FASTVIT_ISA asks for it" : "the fastest that this machine can run";
    return report;
}

int classify(const classify_options &options) {
    classifier network(options);
    std::vector<classified> found;
    int status = 0;
    for (const std::string &file : options.pictures) {
        try {
            found.push_back(network.look_at(file));
            if (!options.json) print_text(std::cout, found.back());
        } catch (const error &e) {
            std::cerr << "fastvit: " << e.what() << '\n';
            status = 1;
        }
    }
    if (options.html) save_html(*options.html, network.description(), found);
    if (options.json)
        print_json(std::cout, found);
    else if (options.names_are_labels)
        std::cout << count_matches(found) << '\n';
    return status;
}

int run(const run_options &options) {
    const fastvit::model net = fastvit::model::open(
        options.model, {.form = options.train_time ? fastvit::graph::train_time : fastvit::graph::folded, .isa = options.isa});
    if (net.net().classes == 0 && !options.features)
        throw error(
            errc::invalid_argument,
            {.problem = "this network has no linear layer, so it gives no logits; ask for --features", .file = options.model});
    const fastvit::tensor<float> images = read_input(options.input);
    fastvit::thread_pool threads(options.threads);
    fastvit::workspace space(threads);
    try {
        const fastvit::outputs &out = net.forward(images, space, options.features ? all_outputs(net.net()) : output::logits);
        fastvit::io::save_safetensors(options.output, named_results(out));
    } catch (const error &e) {
        throw e.in_file(options.input);
    }
    return 0;
}

int verify(const verify_options &options) {
    // Several times what float32 rounding makes of the deepest variant, and far below what any mistake makes.
    constexpr double allowed = 2e-5;
    const auto source = fastvit::io::checkpoint::open(path_of(options.model));
    const contents c = examine(source);
    if (c.folded == c.blocks)
        throw error(
            errc::unsupported,
            {.problem = "every block is folded already, so there is no train-time graph to compare with", .file = source.file()});
    const fastvit::model folded(source), branched(source, {.form = fastvit::graph::train_time});
    const index usual = options.model ? usual_preprocessing(c.net.variant).width : fastvit::bundled_preprocessing().width;
    const index size = options.size ? *options.size : usual;
    const fastvit::tensor<float> images = random_images({1, c.net.in_channels, size, size});
    fastvit::thread_pool threads;
    fastvit::workspace folded_space(threads), branched_space(threads);
    const auto results = named_results(folded.forward(images, folded_space, all_outputs(c.net)));
    const auto expected = named_results(branched.forward(images, branched_space, all_outputs(c.net)));

    std::cout << "Largest differences between the folded and the train-time graph, over the largest value:\n"
              << std::scientific << std::setprecision(1);
    double worst = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
        const double difference = relative_difference(results[i].data.span(), expected[i].data.span());
        worst = std::max(worst, difference);
        std::cout << std::left << std::setw(12) << results[i].name << difference << '\n';
    }
    if (worst > allowed)
        throw error(errc::bad_value, {.problem = "the folded graph differs from the train-time graph",
                                      .expected = "at most 2e-5",
                                      .found = std::to_string(worst),
                                      .file = source.file()});
    std::cout << "The graphs agree: " << c.blocks - c.folded << " blocks are folded, and no difference is above " << allowed
              << ".\n";
    return 0;
}

} // namespace cli
