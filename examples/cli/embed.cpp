// SPDX-License-Identifier: MIT
// The commands that keep what the network makes of pictures: embeddings and features.
#include "cli/checkpoint.hpp"
#include "cli/commands.hpp"
#include "cli/picture_network.hpp"
#include "cli/row_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <system_error>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

// Numbers of type float: enough digits to read the same float again, and no more.
using float_json =
    nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, std::int64_t, std::uint64_t, float>;

/// A file's name may be any bytes; JSON is UTF-8.
std::string float_text_of(const float_json &value) { return value.dump(-1, ' ', false, float_json::error_handler_t::replace); }

kept_picture keep(const sight &seen) {
    kept_picture kept{.file = seen.file, .results = {}};
    for (const fastvit::io::named_tensor &t : seen.results) {
        const std::span<const float> values = t.data.span();
        if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
            throw error(error_kind::bad_value, "the network's answer is not finite");
        kept.results.push_back({t.name, fastvit::tensor<float>(t.data)});
    }
    return kept;
}

/// All that decides what the rows hold, so that a stopped run goes on with the same: the network's file, how pictures become
/// inputs, and what is asked for.
std::string job_of(const model_file &model, const picture_options &input, const fastvit::preprocessing &how,
                   const wanted_results &wanted) {
    const std::filesystem::path file = path_of(model);
    std::error_code ignored;
    const auto written = std::filesystem::last_write_time(file, ignored).time_since_epoch().count();
    return float_text_of(
        {{"model", std::filesystem::absolute(file, ignored).string()},
         {"bytes", static_cast<std::uint64_t>(std::filesystem::file_size(file, ignored))},
         {"written", static_cast<std::int64_t>(written)},
         {"prefix", model.prefix.value_or("")},
         {"key", model.key},
         {"exif", input.exif},
         {"precision", to_string(input.precision)},
         {"preprocessing",
          {static_cast<int>(how.rule), static_cast<int>(how.filter), static_cast<int>(how.rounding), how.height, how.width,
           std::to_string(how.crop_fraction), how.mean, how.stddev}},
         {"results", {wanted.logits, wanted.embedding, wanted.stem, wanted.stages, wanted.final_conv, wanted.unit_length}}});
}

row_file open_rows(const std::string &output, const std::string &job, const picture_network &network) {
    row_file rows(output, job, network.pictures());
    if (rows.done() > 0)
        std::cerr << "fastvit: resumes after " << rows.done() << " of " << network.pictures().size() << " pictures, "
                  << rows.failed() << " of which failed\n";
    return rows;
}

} // namespace

int embed(const embed_options &options) {
    const wanted_results wanted{.logits = options.projection, .embedding = !options.projection, .unit_length = options.normalize};
    picture_network network(options.model, options.input, wanted);
    std::optional<row_file> rows;
    if (options.output)
        rows = open_rows(*options.output, job_of(options.model, options.input, network.preprocessing(), wanted), network);
    const bool prints = options.json || !options.output;
    std::string_view before = "[\n";
    const auto print = [&](const std::string &file, std::span<const float> values) {
        if (!prints) return;
        std::cout << std::exchange(before, ",\n")
                  << float_text_of({{"file", file}, {"embedding", std::vector<float>(values.begin(), values.end())}});
    };
    if (rows && prints) rows->for_each_row(print);
    const bool failed_before = rows && rows->failed() > 0;
    const int status = network.look_at_all(
        prints, rows ? rows->done() : 0, keep,
        [&](kept_picture &&one) {
            one.results[0].name = "embedding"; // the projection too
            if (rows) rows->add(one);
            print(one.file, one.results[0].values.span());
        },
        [&](const std::string &file, const error &problem) {
            if (rows) rows->add_failure(file, problem);
        });
    if (prints) std::cout << (before == "[\n" ? "[]\n" : "\n]\n");
    if (rows) rows->finish();
    return failed_before ? 1 : status;
}

int features(const features_options &options) {
    const wanted_results wanted{.stem = options.stem, .stages = true, .final_conv = options.final_conv};
    picture_network network(options.model, options.input, wanted);
    row_file rows = open_rows(options.output, job_of(options.model, options.input, network.preprocessing(), wanted), network);
    const bool failed_before = rows.failed() > 0;
    const int status = network.look_at_all(
        false, rows.done(), keep, [&](const kept_picture &one) { rows.add(one); },
        [&](const std::string &file, const error &problem) { rows.add_failure(file, problem); });
    rows.finish();
    return failed_before ? 1 : status;
}

} // namespace cli
