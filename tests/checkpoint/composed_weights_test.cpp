// SPDX-License-Identifier: MIT
// Weights that a file holds in parts: those that can be put together exactly, and those that cannot.
#include "fastvit/checkpoint/composed_weights.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using io_test::bytes_of;
using io_test::expect_error;

std::vector<float> floats_of(const file_tensor &t) {
    std::vector<float> values(t.bytes.size() / 4);
    std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
    return values;
}
std::string bytes_of_floats(const std::vector<float> &values) {
    std::string bytes;
    for (const float v : values) bytes += io_test::number(v);
    return bytes;
}

// Replaces a tensor by two parts that make it: a direction twice as long as it, and the lengths of its rows.
void split_by_norm(file_of_tensors &file, const std::string &name, bool parametrizations) {
    const file_tensor whole = file.at(name);
    std::vector<float> direction = floats_of(whole);
    const auto rows = static_cast<std::size_t>(whole.dims[0]), row = direction.size() / rows;
    std::vector<float> lengths;
    for (std::size_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (std::size_t i = 0; i < row; ++i) squares += std::pow(double{direction[r * row + i]}, 2);
        lengths.push_back(static_cast<float>(std::sqrt(squares)));
    }
    for (float &v : direction) v *= 2;
    std::vector<index_type> dims(whole.dims.rank(), 1);
    dims[0] = whole.dims[0];
    const std::size_t dot = name.rfind('.');
    const std::string listed = name.substr(0, dot) + ".parametrizations" + name.substr(dot);
    file.erase(name);
    file.tensors.push_back(
        {parametrizations ? listed + ".original1" : name + "_v", "F32", whole.dims, bytes_of_floats(direction)});
    file.tensors.push_back(
        {parametrizations ? listed + ".original0" : name + "_g", "F32", shape(dims), bytes_of_floats(lengths)});
}

const std::vector<std::string> some{"stem.0.conv_kxk.0.conv.weight",
                                    "stem.1.conv_kxk.0.conv.weight",
                                    "stages.1.downsample.proj.0.large_conv.conv.weight",
                                    "stages.0.blocks.0.mlp.fc1.weight",
                                    "stages.1.blocks.0.token_mixer.qkv.weight",
                                    "head.fc.weight"};

// Folded, also into a file, and both ways.
void expect_exact(const file_of_tensors &file, const file_of_tensors &expected) {
    for (const graph form : {graph::folded, graph::train_time})
        EXPECT_LE(distance_between(results_of(file.load({.graph = form})), results_of(expected.load({.graph = form}))), 1e-6);
    const io_test::temporary_directory directory;
    const std::string bytes = file.bytes();
    fastvit::save_folded(checkpoint::from_bytes(bytes_of(bytes), "FILE"), directory / "o");
    const checkpoint folded = checkpoint::open(directory / "o");
    EXPECT_EQ(list_of(file_of_tensors(folded)).text(), list_of(file_of(toy_net(), io::spelling::timm, true)).text());
    EXPECT_LE(distance_between(results_of(model(folded)), results_of(expected.load())), 1e-6);
}

TEST(composed_weights, of_weight_norm_are_multiplied_out) {
    for (const bool parametrizations : {false, true}) {
        file_of_tensors file = toy_file();
        for (const std::string &name : some) split_by_norm(file, name, parametrizations);
        expect_exact(file, toy_file());
    }
    // Around the stem's convolution alone, the network is still seen beside another.
    file_of_tensors student = toy_file();
    split_by_norm(student, some[0], true);
    student.rename([](auto &n) { return "student." + n; });
    const std::optional<error> e = joined({student, renamed(toy_file(2), [](auto &n) { return "teacher." + n; })}).failure();
    ASSERT_TRUE(e);
    EXPECT_NE(e->details().found.find("\"student\", \"teacher\""), std::string::npos) << e->what();
}

TEST(composed_weights, of_pruning_are_masked) {
    file_of_tensors file = toy_file(), expected = file;
    for (const std::string &name : some) {
        file_tensor mask = file.at(name);
        std::vector<float> kept = floats_of(mask), ones(kept.size(), 1);
        for (std::size_t i = 0; i < ones.size(); i += 3) ones[i] = kept[i] = 0;
        expected.at(name).bytes = bytes_of_floats(kept);
        mask.bytes = bytes_of_floats(ones);
        mask.name += "_mask";
        file.at(name).name += "_orig";
        file.tensors.push_back(mask);
    }
    expect_exact(file, expected);
}

TEST(composed_weights, take_the_norm_over_every_dimension_that_the_magnitude_does_not_have) {
    const std::vector<float> v{3, 0, 4, 5, 12, 0};
    const auto made = [&](const shape &dims, const shape &g_dims, const std::vector<float> &g) {
        const auto stored = [](const std::vector<float> &values, const shape &d) {
            return io::stored_tensor{.name = "w",
                                     .type = io::dtype::f32,
                                     .type_name = "F32",
                                     .dims = d,
                                     .strides = io::contiguous_strides(d),
                                     .bytes = std::as_bytes(std::span(values))};
        };
        const tensor<float> w = loading::compose(loading::composition::weight_norm, stored(v, dims), stored(g, g_dims));
        return std::vector<float>(w.span().begin(), w.span().end());
    };
    const auto expect_near = [](const std::vector<float> &a, const std::vector<float> &b) {
        EXPECT_LE(distance_between(a, b), 1e-6);
    };
    expect_near(made({2, 3}, {2, 1}, {5, 26}), {3, 0, 4, 10, 24, 0});
    expect_near(made({2, 3}, {1, 3}, {std::sqrt(34.0F), 24, 8}), {3, 0, 8, 5, 24, 0});
    expect_near(made({1, 6}, {1, 1}, {std::sqrt(194.0F)}), v);
    expect_near(made({6}, {}, {2 * std::sqrt(194.0F)}), {6, 0, 8, 10, 24, 0});
    for (const auto &[dims, g_dims, count] :
         {std::tuple<shape, shape, std::size_t>{{2, 3}, {3, 1}, 3}, {{2, 3}, {2}, 2}, {{2, 3}, {2, 3}, 6}})
        expect_error(error_kind::shape_mismatch, {"wrong shape beside"},
                     [&, d = dims, g = g_dims, n = count] { made(d, g, std::vector<float>(n, 1)); });
}

TEST(composed_weights, that_do_not_fit_each_other_are_named) {
    file_of_tensors file = toy_file();
    split_by_norm(file, some[3], false);
    file_of_tensors wrong = file;
    wrong.at(some[3] + "_g").reshape({31, 1, 1, 1});
    expect_error(error_kind::shape_mismatch, {some[3] + "_g", "beside " + some[3] + "_v"}, [&] { (void)wrong.load(); });
    wrong = file;
    wrong.at(some[3] + "_g").type = "I32";
    expect_error(error_kind::unsupported, {some[3] + "_g", "floating-point"}, [&] { (void)wrong.load(); });
    wrong = file;
    wrong.erase(some[3] + "_g");
    expect_error(error_kind::missing_tensor, {some[3]}, [&] { (void)wrong.load(); });
    file_of_tensors both = file;
    both.tensors.push_back(toy_file().at(some[3]));
    expect_error(error_kind::unexpected_tensor, {some[3] + "_v", "whole and in parts", some[3]}, [&] { (void)both.load(); });
}

TEST(composed_weights, that_cannot_be_made_say_what_to_do) {
    const std::string qkv = "stages.1.blocks.0.token_mixer.qkv";
    const auto with = [&](const std::vector<std::string> &names, bool wrap) {
        file_of_tensors file = toy_file();
        if (wrap) file.at(qkv + ".weight").name = qkv + ".base_layer.weight";
        for (const std::string &name : names) file.tensors.push_back({qkv + name, "F32", {2, 2}, io_test::floats({1, 2, 3, 4})});
        return file;
    };
    for (const std::string prefix : {"", "base_model.model."}) {
        const file_of_tensors lora =
            renamed(with({".lora_A.default.weight", ".lora_B.default.weight"}, true), [&](auto &n) { return prefix + n; });
        expect_error(error_kind::unsupported, {prefix + qkv + ".base_layer.weight", "LoRA", "merge_and_unload", "3 tensors"},
                     [&] { (void)lora.load(); });
    }
    expect_error(error_kind::unsupported, {qkv + ".lora_A: ", "LoRA"}, [&] { (void)with({".lora_A", ".lora_B"}, false).load(); });
    // Around the stem's own convolution, too.
    file_of_tensors stem = renamed(toy_file(), [](const std::string &n) {
        return n == "stem.0.conv_kxk.0.conv.weight" ? "stem.0.conv_kxk.0.conv.base_layer.weight" : n;
    });
    expect_error(error_kind::unsupported, {"stem.0.conv_kxk.0.conv.base_layer.weight", "LoRA"}, [&] { (void)stem.load(); });
    // The adapters alone.
    file_of_tensors alone;
    for (const std::string leaf : {".lora_A.weight", ".lora_B.weight"})
        alone.tensors.push_back({"base_model.model." + qkv + leaf, "F32", {1}, io_test::floats({1})});
    alone.tensors.push_back({"base_model.model.head.fc.weight", "F32", {1}, io_test::floats({1})});
    expect_error(error_kind::unsupported, {"adapters (LoRA) alone", "merge them into it"}, [&] { (void)alone.load(); });

    file_of_tensors spectral = toy_file();
    spectral.at(qkv + ".weight").name = qkv + ".weight_orig";
    spectral.tensors.push_back({qkv + ".weight_u", "F32", {2}, io_test::floats({1, 2})});
    expect_error(error_kind::unsupported, {qkv + ".weight_orig", "remove_spectral_norm"}, [&] { (void)spectral.load(); });
    spectral = toy_file();
    spectral.at(qkv + ".weight").name = qkv + ".parametrizations.weight.original";
    expect_error(error_kind::unsupported, {qkv + ".parametrizations.weight.original", "remove_parametrizations"},
                 [&] { (void)spectral.load(); });
}

} // namespace
