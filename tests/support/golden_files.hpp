// SPDX-License-Identifier: MIT
// The expected outputs and tensor names in data/goldens and data/keys, which data/README.md describes.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/model.hpp"
#include "fastvit/tensor.hpp"

#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit_test {

inline const std::filesystem::path data = FASTVIT_TEST_DATA;

/// How far float32 results may be from the reference, relative to its largest absolute value. The official code itself is up to
/// 6e-6 away.
inline constexpr double tolerance = 2e-5;

/// All that this network can give.
inline fastvit::output_kind everything(const fastvit::architecture &net) {
    using fastvit::output_kind;
    output_kind all = output_kind::embedding | output_kind::stem | output_kind::stages;
    if (net.head_channels > 0) all = all | output_kind::final_conv;
    if (net.classes > 0) all = all | output_kind::logits;
    if (net.fork_features) all = all | output_kind::fork_features;
    return all;
}

/// A published variant in the official dense-prediction form: without head, with BatchNorms beside the network.
inline fastvit::architecture dense_prediction_form(std::string_view variant) {
    fastvit::architecture net = fastvit::published_architecture(variant);
    net.head_channels = net.classes = 0;
    net.fork_features = true;
    return net;
}

/// The largest absolute difference, relative to the largest absolute value of the reference, and where it is.
struct difference {
    double relative = 0;
    index_type at = 0;

    friend std::ostream &operator<<(std::ostream &out, const difference &d) {
        return out << d.relative << " at element " << d.at;
    }
};

/// A reference: all elements of a tensor, or every step-th of them.
struct expected_tensor {
    fastvit::shape dims;
    fastvit::tensor<float> values;
    index_type step = 1;
    double largest = 0;

    static expected_tensor whole(fastvit::tensor_view<const float> values) {
        double largest = 0;
        for (const float v : values.span()) largest = std::max(largest, std::abs(static_cast<double>(v)));
        return {values.dims(), fastvit::tensor<float>(values), 1, largest};
    }

    /// Infinite for a tensor of another shape and for NaN.
    difference from(fastvit::tensor_view<const float> actual) const {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        if (actual.empty() || !(actual.dims() == dims)) {
            ADD_FAILURE() << "shape " << actual.dims().to_string() << ", not " << dims.to_string();
            return {infinity, 0};
        }
        difference worst;
        for (index_type i = 0; i < values.count(); ++i) {
            const double d = std::abs(static_cast<double>(actual.data()[i * step]) - static_cast<double>(values.data()[i]));
            const double relative = std::isfinite(d) ? d / largest : infinity;
            if (relative > worst.relative) worst = {relative, i * step};
        }
        return worst;
    }
};

/// Reads a tensor of a golden file, complete or sampled.
inline expected_tensor read_expected(const fastvit::checkpoint &file, const fastvit::io::stored_tensor &stored) {
    fastvit::tensor<float> values = fastvit::io::read_float(stored);
    const auto about = [&](std::string_view what) { return file.metadata().find(stored.name + "." + std::string(what)); };
    const auto step = about("step");
    if (step == file.metadata().end()) return expected_tensor::whole(values);
    expected_tensor result;
    result.step = std::stol(step->second);
    result.largest = std::stod(about("largest")->second);
    std::vector<index_type> dims;
    std::istringstream text(about("shape")->second);
    char punctuation = 0;
    for (index_type d = 0; text >> punctuation >> d;) dims.push_back(d);
    result.dims = fastvit::shape(dims);
    if (values.count() != (result.dims.count() + result.step - 1) / result.step)
        ADD_FAILURE() << file.file() << ": " << stored.name << " has not the samples that its metadata promise";
    result.values = std::move(values);
    return result;
}

/// A result by its name in the golden files; empty if there is none.
inline fastvit::tensor_view<const float> output_named(const fastvit::outputs &out, std::string_view name) {
    if (name == "logits") return out.logits;
    if (name == "embedding") return out.embedding;
    if (name == "stem") return out.stem;
    if (name == "final_conv") return out.final_conv;
    for (std::size_t s = 0; s < out.stages.size(); ++s)
        if (name == "stage" + std::to_string(s)) return out.stages[s];
    for (std::size_t i = 0; i < out.fork_features.size(); ++i)
        if (name == "out" + std::to_string(i)) return out.fork_features[i];
    return {};
}

/// One golden file: what it was made from, and what came out.
struct golden {
    std::string source, variant; ///< `apple`, `fastvit_t8`
    bool dense_prediction = false;
    fastvit::shape images;
    std::uint64_t seed = 0;
    std::vector<std::pair<std::string, expected_tensor>> expected;

    explicit golden(const std::filesystem::path &path) {
        const auto file = fastvit::checkpoint::open(path);
        const auto about = [&](std::string_view key) {
            const auto at = file.metadata().find(key);
            return at == file.metadata().end() ? std::string() : at->second;
        };
        source = about("source");
        variant = about("variant");
        if (const std::size_t form = variant.find(" fork_feat"); form != variant.npos) {
            dense_prediction = true;
            variant.resize(form);
        }
        seed = std::stoull(about("seed"));
        std::vector<index_type> dims;
        std::istringstream text(about("input"));
        for (index_type d = 0; text >> d; text.ignore()) dims.push_back(d);
        images = fastvit::shape(dims);
        for (const fastvit::io::stored_tensor &stored : file.tensors())
            expected.emplace_back(stored.name, read_expected(file, stored));
    }
    fastvit::io::spelling spelling() const {
        return source == "timm" ? fastvit::io::spelling::timm : fastvit::io::spelling::apple;
    }
    fastvit::architecture net() const {
        return dense_prediction ? dense_prediction_form(variant) : fastvit::published_architecture(variant);
    }
};

/// Where the golden files are: those of the repository, or complete ones, if the environment names a directory.
inline std::filesystem::path golden_directory() {
    const char *const complete = std::getenv("FASTVIT_GOLDENS");
    return complete ? std::filesystem::path(complete) : data / "goldens";
}

/// The files of a network, `apple_t8` or `apple_t8_forkfeat`.
inline std::vector<std::filesystem::path> goldens_of(const std::string &network) {
    std::vector<std::filesystem::path> paths;
    for (const auto &entry : std::filesystem::directory_iterator(golden_directory()))
        if (entry.path().filename().string().starts_with(network + "_n")) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

/// The networks that there are golden files of.
inline std::set<std::string> golden_networks() {
    std::set<std::string> networks;
    for (const auto &entry : std::filesystem::directory_iterator(golden_directory())) {
        const std::string name = entry.path().filename().string();
        if (entry.path().extension() == ".safetensors") networks.insert(name.substr(0, name.find("_n")));
    }
    return networks;
}

/// Lists of tensors are compared as text, a line for each in the order of the names: `head.bias [1000]`.
class tensor_list {
  public:
    void add(std::string_view name, const fastvit::shape &dims) { lines_.insert(std::string(name) + " " + dims.to_string()); }
    std::size_t count() const { return lines_.size(); }
    std::string text() const {
        std::string all;
        for (const std::string &line : lines_) all += line + "\n";
        return all;
    }

  private:
    std::multiset<std::string> lines_;
};

/// A line of keys/digests.txt: the tensors of a published network in one spelling and form, by their number and hash.
struct key_digest {
    std::string source, variant, form; ///< `apple`, `t8` or `t8_forkfeat`, `train` or `reparam`
    std::size_t count = 0;
    std::uint64_t hash = 0;

    fastvit::io::spelling spelling() const {
        return source == "timm" ? fastvit::io::spelling::timm : fastvit::io::spelling::apple;
    }
    bool folded() const { return form == "reparam"; }
    fastvit::architecture net() const {
        const std::size_t dense = variant.find("_forkfeat");
        const std::string published = "fastvit_" + variant.substr(0, dense);
        return dense == variant.npos ? fastvit::published_architecture(published) : dense_prediction_form(published);
    }
    std::string name() const { return source + "_" + variant + "_" + form; }

    /// Checks a list against the digest, and line by line where the complete list is kept.
    void expect(const tensor_list &actual) const {
        SCOPED_TRACE(name());
        if (std::ifstream complete(data / "keys" / (name() + ".txt")); complete) {
            const std::string text{std::istreambuf_iterator<char>(complete), {}};
            EXPECT_EQ(actual.text(), text);
        }
        EXPECT_EQ(actual.count(), count);
        EXPECT_EQ(fnv1a(actual.text()), hash);
    }
};

inline std::vector<key_digest> key_digests() {
    std::vector<key_digest> all;
    std::ifstream file(data / "keys" / "digests.txt");
    for (key_digest d; file >> d.source >> d.variant >> d.form >> d.count >> std::hex >> d.hash >> std::dec;) all.push_back(d);
    return all;
}

} // namespace fastvit_test
