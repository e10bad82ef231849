// SPDX-License-Identifier: MIT
#include "fastvit/bundled.hpp"
#include "fastvit/labels.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"

#include "cli/commands.hpp"
#include "cli/picture_network.hpp"
#include "cli/report.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <numeric>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

/// One label per class, or none.
std::vector<std::string> labels_of(const classify_options &options, const picture_network &network) {
    const index_type classes = network.net().classes;
    const std::optional<std::string> &config = options.input.preprocessing.config;
    std::vector<std::string> labels;
    if (options.labels)
        labels = fastvit::read_labels(*options.labels);
    else if (!options.model)
        labels = fastvit::bundled_labels();
    else if (config)
        labels = fastvit::read_preprocessing_config(*config).labels;
    if (labels.empty()) return network.labels();
    if (static_cast<index_type>(labels.size()) != classes)
        throw error(error_kind::invalid_argument,
                    {.problem = "number of labels",
                     .expected = std::to_string(classes) + ", one for each of the network's classes",
                     .found = std::to_string(labels.size()),
                     .file = options.labels  ? *options.labels
                             : options.model ? *config
                                             : "labels.txt of the bundled model"});
    return labels;
}

/// The likeliest classes, by softmax.
std::vector<answer> best_answers(std::span<const float> logits, const std::vector<std::string> &labels, int top_k) {
    // Also because a NaN would not sort.
    if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }))
        throw error(error_kind::bad_value, "the network's answer is not finite");
    std::vector<index_type> order(logits.size());
    std::iota(order.begin(), order.end(), index_type{0});
    const auto count = std::min(static_cast<index_type>(top_k), static_cast<index_type>(order.size()));
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](index_type a, index_type b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
    const double highest = logits[order[0]];
    double sum = 0;
    for (const float x : logits) sum += std::exp(x - highest);
    std::vector<answer> answers;
    for (const index_type i : std::span(order).first(count))
        answers.push_back({i, labels.empty() ? std::string() : labels[i], std::exp(logits[i] - highest) / sum});
    return answers;
}

} // namespace

int classify(const classify_options &options) {
    picture_network network(options.model, options.input,
                            {.logits = true, .times = true, .labels = !options.labels && !options.input.preprocessing.config});
    const std::vector<std::string> labels = labels_of(options, network);
    std::vector<classified> found;
    const int status = network.look_at_all(
        !options.json, 0,
        [&](const sight &seen) {
            classified result{.file = seen.file,
                              .answers = best_answers(seen.results[0].data.span(), labels, options.top_k),
                              .milliseconds = seen.milliseconds,
                              .matches = {},
                              .seen = {}};
            if (options.names_are_labels) result.matches = named_after(seen.file, result.answers[0].label);
            if (options.html) result.seen = fastvit::resize_crop(seen.picture.view(), network.preprocessing());
            return result;
        },
        [&](classified &&result) {
            if (!options.json) print_text(std::cout, result);
            found.push_back(std::move(result));
        },
        [](const std::string &, const error &) {});
    if (options.html) save_html(*options.html, network.description(), found);
    if (options.json)
        print_json(std::cout, found);
    else if (options.names_are_labels)
        std::cout << count_matches(found) << '\n';
    return status;
}

} // namespace cli
