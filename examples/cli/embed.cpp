// SPDX-License-Identifier: MIT
// The commands that keep what the network makes of pictures: embeddings and features.
#include "cli/commands.hpp"
#include "cli/picture_network.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <string_view>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

// Numbers of type float: enough digits to read the same float again, and no more.
using json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, std::int64_t, std::uint64_t, float>;

/// A file's name may be any bytes; JSON is UTF-8.
std::string text_of(const json &value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

/// What the network made of one picture, kept.
struct kept_picture {
    std::string file;
    struct result {
        std::string name;
        fastvit::tensor<float> values; ///< [1, ...]
    };
    std::vector<result> results;
};

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

/// The results of picture after picture, those of the same name as one tensor [pictures, ...].
class picture_stack {
  public:
    explicit picture_stack(std::size_t most) : most_(most) {}

    void add(const kept_picture &picture) {
        parts_.resize(picture.results.size());
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            const kept_picture::result &one = picture.results[i];
            part &p = parts_[i];
            if (files_.empty()) p = {one.name, one.values.dims(), {}};
            if (files_.empty()) p.values.reserve(most_ * one.values.span().size());
            p.values.insert(p.values.end(), one.values.span().begin(), one.values.span().end());
        }
        files_.push_back(picture.file);
    }

    /// The pictures' files are named in the metadata, as the JSON text `files`. Without a picture nothing is written.
    void save(const std::string &path) const {
        if (files_.empty()) return;
        std::vector<fastvit::io::named_tensor> tensors;
        for (const part &p : parts_) {
            std::vector<index_type> dims(p.one.begin(), p.one.end());
            dims[0] = static_cast<index_type>(files_.size());
            tensors.push_back({.name = p.name, .data = {p.values.data(), fastvit::shape(dims)}});
        }
        fastvit::io::save_safetensors(path, tensors, {{"files", text_of(files_)}});
    }

  private:
    struct part {
        std::string name;
        fastvit::shape one; ///< of one picture
        std::vector<float> values;
    };
    std::size_t most_;
    std::vector<std::string> files_;
    std::vector<part> parts_;
};

} // namespace

int embed(const embed_options &options) {
    picture_network network(options.model, options.input,
                            {.logits = options.projection, .embedding = !options.projection, .unit_length = options.normalize});
    const bool print = options.json || !options.output;
    picture_stack stack(network.pictures().size());
    std::string_view before = "[\n";
    const int status = network.look_at_all(print, keep, [&](kept_picture &&one) {
        one.results[0].name = "embedding"; // the projection too
        if (options.output) stack.add(one);
        if (!print) return;
        const std::span<const float> values = one.results[0].values.span();
        std::cout << std::exchange(before, ",\n")
                  << text_of({{"file", one.file}, {"embedding", std::vector<float>(values.begin(), values.end())}});
    });
    if (print) std::cout << (before == "[\n" ? "[]\n" : "\n]\n");
    if (options.output) stack.save(*options.output);
    return status;
}

int features(const features_options &options) {
    picture_network network(options.model, options.input,
                            {.stem = options.stem, .stages = true, .final_conv = options.final_conv});
    picture_stack stack(network.pictures().size());
    const int status = network.look_at_all(false, keep, [&](kept_picture &&one) { stack.add(one); });
    stack.save(options.output);
    return status;
}

} // namespace cli
