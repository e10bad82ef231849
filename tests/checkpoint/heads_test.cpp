// SPDX-License-Identifier: MIT
// Heads that users have put in the place of the network's linear layer.
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using io_test::bytes_of;
using io_test::expect_error;

// The toy network with a head made of these: a name after `head.`, and the shape.
file_of_tensors with_head(const std::vector<std::pair<std::string, shape>> &head, io::spelling spelling = io::spelling::timm) {
    file_of_tensors file = toy_file(1, "", spelling);
    std::erase_if(file.tensors, [](const file_tensor &t) { return t.name.starts_with("head."); });
    for (const auto &[name, dims] : head)
        file.tensors.push_back({"head." + name, "F32", dims, std::string(static_cast<std::size_t>(dims.count()) * 4, '\0')});
    return file;
}

TEST(heads, of_a_sequential_with_one_linear_layer_give_logits) {
    const io_test::temporary_directory directory;
    const file_of_tensors plain = toy_file();
    for (const std::string layer : {"head.fc.1.", "head.fc.0.", "head.fc.2.0.", "head.3.", "head."}) {
        SCOPED_TRACE(layer);
        file_of_tensors file =
            renamed(plain, [&](const std::string &name) { return name.starts_with("head.fc.") ? layer + name.substr(8) : name; });
        expect_network(file, plain);
        const std::string bytes = file.bytes();
        fastvit::save_folded(checkpoint::from_bytes(bytes_of(bytes), "FILE"), directory / "o");
        const checkpoint folded = checkpoint::open(directory / "o");
        EXPECT_NE(folded.find(layer + "bias"), nullptr);
        EXPECT_LE(distance_between(results_of(model(folded)), results_of(plain.load())), 1e-6);

        file_of_tensors no_bias = plain;
        no_bias.at("head.fc.bias").fill(0);
        file.erase(layer + "bias");
        EXPECT_EQ(file.load().architecture().linear, linear_form::unbiased);
        expect_network(file, no_bias);
    }
    // In Apple's spelling, where the linear layer is the head itself.
    const file_of_tensors apple = toy_file(1, "", io::spelling::apple);
    expect_network(
        renamed(apple, [](const std::string &name) { return name.starts_with("head.") ? "head.1." + name.substr(5) : name; }),
        apple);
}

TEST(heads, that_are_not_one_linear_layer_leave_the_rest_and_are_named) {
    const io_test::temporary_directory directory;
    file_of_tensors headless = toy_file();
    std::erase_if(headless.tensors, [](const file_tensor &t) { return t.name.starts_with("head."); });
    for (const auto &head : std::vector<std::vector<std::pair<std::string, shape>>>{
             {{"fc.0.weight", {16, 64}}, {"fc.0.bias", {16}}, {"fc.2.weight", {4, 16}}, {"fc.2.bias", {4}}}, // two layers
             {{"fc.0.weight", {64}}, {"fc.0.bias", {64}}, {"fc.1.weight", {4, 64}}, {"fc.1.bias", {4}}},     // a norm before it
             {{"fc.1.weight", {4, 128}}, {"fc.1.bias", {4}}},      // of other features than these
             {{"fc.1.weight", {4, 64}}, {"fc.1.bias", {5}}},       // a bias that does not fit
             {{"fc.1.weight", {4, 64}}, {"fc.1.scale", {1}}},      // something unknown beside
             {{"fc.weight_matrix", {4, 64}}},                      // no linear layer by its name
             {{"classifier.weight", {4, 64}}},                     // in a module of its own, which may do anything
             {{"fc.0.weight", {4, 64, 1, 1}}, {"fc.0.bias", {4}}}, // a convolution
             {{"l.weight", {4, 64}}, {"l_dist.weight", {4, 64}}}}) {
        const file_of_tensors file = with_head(head);
        SCOPED_TRACE(file.tensors.back().name);
        expect_network(file, headless);
        const model net = file.load();
        EXPECT_EQ(net.architecture().classes, 0);
        EXPECT_EQ(net.architecture().other_head.size(), head.size());
        workspace space;
        for (const auto &[name, dims] : head)
            expect_error(error_kind::invalid_argument, {"not one linear layer", "head." + name}, [&] {
                (void)net.forward(seeded_input({1, 3, 32, 32}), space);
            });
        // It stays in what is written.
        const std::string bytes = file.bytes();
        fastvit::save_folded(checkpoint::from_bytes(bytes_of(bytes), "FILE"), directory / "o");
        const checkpoint folded = checkpoint::open(directory / "o");
        for (const auto &[name, dims] : head) EXPECT_NE(folded.find("head." + name), nullptr);
        EXPECT_EQ(model(folded).architecture().other_head.size(), head.size());
    }
}

TEST(heads, of_many_tensors_do_not_flood_the_message) {
    std::vector<std::pair<std::string, shape>> head;
    for (int i = 0; i < 40; ++i) head.emplace_back("fc.block" + std::to_string(i) + ".weight", shape{2, 2});
    const model net = with_head(head).load();
    workspace space;
    expect_error(error_kind::invalid_argument, {"and 34 more"}, [&] { (void)net.forward(seeded_input({1, 3, 32, 32}), space); });
}

} // namespace
