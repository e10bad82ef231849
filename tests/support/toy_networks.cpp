// SPDX-License-Identifier: MIT
// The definitions of toy_networks.hpp.
#include "support/toy_networks.hpp"

#include "support/io_test_files.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace fastvit_test {

fastvit::architecture toy_net() {
    fastvit::architecture net;
    net.stages = {{.blocks = 1, .channels = 16, .hidden = 32},
                  {.blocks = 1, .channels = 32, .hidden = 64, .mixer = fastvit::token_mixer::attention, .position = true}};
    net.head_channels = 64;
    net.classes = 4;
    return net;
}

file_of_tensors toy_file(std::uint64_t seed, std::string_view prefix, fastvit::io::spelling spelling) {
    return file_of_tensors(seeded_checkpoint(toy_net(), spelling, prefix, seed));
}

file_of_tensors renamed(file_of_tensors file, const std::function<std::string(const std::string &)> &f) {
    file.rename(f);
    return file;
}

file_of_tensors joined(std::initializer_list<file_of_tensors> files) {
    file_of_tensors all;
    for (const file_of_tensors &f : files) all.tensors.insert(all.tensors.end(), f.tensors.begin(), f.tensors.end());
    return all;
}

std::vector<float> results_of(const fastvit::model &net) {
    std::vector<float> all;
    for (const auto &[name, t] : run(net, seeded_input({1, 3, 40, 56}))) all.insert(all.end(), t.span().begin(), t.span().end());
    return all;
}

double distance_between(const std::vector<float> &a, const std::vector<float> &b) {
    if (a.size() != b.size()) return INFINITY;
    double most = 0, largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        most = std::max(most, std::abs(double{a[i]} - double{b[i]}));
        largest = std::max(largest, std::abs(double{b[i]}));
    }
    return most / largest;
}

void expect_network(const fastvit::checkpoint &source, const file_of_tensors &expected, const fastvit::model_options &options) {
    for (const fastvit::graph form : {fastvit::graph::folded, fastvit::graph::train_time}) {
        fastvit::model_options with_form = options;
        with_form.graph = form;
        EXPECT_LE(distance_between(results_of(fastvit::model(source, with_form)), results_of(expected.load({.graph = form}))),
                  1e-6);
    }
}
void expect_network(const file_of_tensors &file, const file_of_tensors &expected, const fastvit::model_options &options) {
    const std::string bytes = file.bytes();
    expect_network(fastvit::checkpoint::from_bytes(io_test::bytes_of(bytes), "net.safetensors"), expected, options);
}

std::string torch_file::dictionary(const file_of_tensors &file) {
    using namespace io_test;
    std::string items = "}(";
    for (const file_tensor &t : file.tensors) {
        const std::string key = std::to_string(storages_.size());
        std::string dims = "(", strides = "(";
        fastvit::index_type stride = t.dims.count();
        for (const fastvit::index_type d : t.dims) {
            stride = d == 0 ? 0 : stride / d;
            dims += pk::integer(d);
            strides += pk::integer(stride);
        }
        const std::string storage = pk::tuple({pk::text("storage"), pk::global("torch", "FloatStorage"), pk::text(key),
                                               pk::text("cpu"), pk::integer(t.dims.count())}) +
                                    "Q";
        items += pk::text(t.name) + pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                                             {storage, pk::integer(0), dims + "t", strides + "t", "\x89", pk::ordered_dict({})});
        storages_.emplace_back(key, t.bytes);
    }
    return items + "u";
}

std::string torch_file::zip(const std::string &object) const { return io_test::torch_zip(object, storages_of(object)); }
std::string torch_file::legacy(const std::string &object) const { return io_test::torch_legacy(object, storages_of(object)); }

io_test::named_data torch_file::storages_of(const std::string &object) const {
    io_test::named_data used;
    for (const auto &s : storages_)
        if (object.find(io_test::pk::global("torch", "FloatStorage") + io_test::pk::text(s.first)) != object.npos)
            used.push_back(s);
    return used;
}

} // namespace fastvit_test
