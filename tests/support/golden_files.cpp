// SPDX-License-Identifier: MIT
// The definitions of golden_files.hpp.
#include "support/golden_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <ios>
#include <iterator>
#include <limits>
#include <ostream>
#include <sstream>

namespace fastvit_test {

namespace {

fastvit::io::spelling spelling_of(const std::string &source) {
    return source == "timm" ? fastvit::io::spelling::timm : fastvit::io::spelling::apple;
}

} // namespace

fastvit::architecture dense_prediction_form(std::string_view variant) {
    fastvit::architecture net = fastvit::published_architecture(variant);
    net.head_channels = net.classes = 0;
    net.fork_features = true;
    return net;
}

std::ostream &operator<<(std::ostream &out, const difference &d) { return out << d.relative << " at element " << d.at; }

expected_tensor expected_tensor::whole(fastvit::tensor_view<const float> values) {
    double largest = 0;
    for (const float v : values.span()) largest = std::max(largest, std::abs(static_cast<double>(v)));
    return {values.dims(), fastvit::tensor<float>(values), 1, largest};
}

difference expected_tensor::from(fastvit::tensor_view<const float> actual) const {
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

expected_tensor read_expected(const fastvit::checkpoint &file, const fastvit::io::stored_tensor &stored) {
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

golden::golden(const std::filesystem::path &path) {
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

fastvit::io::spelling golden::spelling() const { return spelling_of(source); }

fastvit::architecture golden::net() const {
    return dense_prediction ? dense_prediction_form(variant) : fastvit::published_architecture(variant);
}

std::filesystem::path golden_directory() {
    const char *const complete = std::getenv("FASTVIT_GOLDENS");
    return complete ? std::filesystem::path(complete) : data / "goldens";
}

std::vector<std::filesystem::path> goldens_of(const std::string &network) {
    std::vector<std::filesystem::path> paths;
    for (const auto &entry : std::filesystem::directory_iterator(golden_directory()))
        if (entry.path().filename().string().starts_with(network + "_n")) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

std::set<std::string> golden_networks() {
    std::set<std::string> networks;
    for (const auto &entry : std::filesystem::directory_iterator(golden_directory())) {
        const std::string name = entry.path().filename().string();
        if (entry.path().extension() == ".safetensors") networks.insert(name.substr(0, name.find("_n")));
    }
    return networks;
}

void tensor_list::add(std::string_view name, const fastvit::shape &dims) {
    lines_.insert(std::string(name) + " " + dims.to_string());
}

std::string tensor_list::text() const {
    std::string all;
    for (const std::string &line : lines_) all += line + "\n";
    return all;
}

fastvit::io::spelling key_digest::spelling() const { return spelling_of(source); }

fastvit::architecture key_digest::net() const {
    const std::size_t dense = variant.find("_forkfeat");
    const std::string published = "fastvit_" + variant.substr(0, dense);
    return dense == variant.npos ? fastvit::published_architecture(published) : dense_prediction_form(published);
}

void key_digest::expect(const tensor_list &actual) const {
    SCOPED_TRACE(name());
    if (std::ifstream complete(data / "keys" / (name() + ".txt")); complete) {
        const std::string text{std::istreambuf_iterator<char>(complete), {}};
        EXPECT_EQ(actual.text(), text);
    }
    EXPECT_EQ(actual.count(), count);
    EXPECT_EQ(fnv1a(actual.text()), hash);
}

std::vector<key_digest> key_digests() {
    std::vector<key_digest> all;
    std::ifstream file(data / "keys" / "digests.txt");
    for (key_digest d; file >> d.source >> d.variant >> d.form >> d.count >> std::hex >> d.hash >> std::dec;) all.push_back(d);
    return all;
}

} // namespace fastvit_test
