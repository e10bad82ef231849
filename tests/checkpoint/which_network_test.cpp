// SPDX-License-Identifier: MIT
// Which network of a checkpoint is opened, where there are several, or none, or others with names alike.
#include "fastvit/checkpoint/wrapped_names.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using io_test::bytes_of;
using io_test::expect_error;
using io_test::tensor_count;
using io_test::pk::dict;
using io_test::pk::integer;
using io_test::pk::text;

// The bytes of a file and of the same file in other containers.
std::vector<std::string> in_all_containers(const file_of_tensors &file) {
    torch_file zip, bare, legacy;
    return {file.bytes(), zip.zip(dict({text("state_dict"), zip.dictionary(file)})), bare.zip(bare.dictionary(file)),
            legacy.legacy(dict({text("epoch"), integer(3), text("model"), legacy.dictionary(file)}))};
}

std::string message(const std::string &bytes, const model_options &options = {}) {
    try {
        const model net(checkpoint::from_bytes(bytes_of(bytes), "FILE", options.key), options);
        return "it loads";
    } catch (const error &e) {
        return e.what();
    }
}

TEST(which_network, is_asked_for_where_there_are_two_in_any_order_and_container) {
    const file_of_tensors a = toy_file(1), b = toy_file(2);
    const auto with_prefix = [](const file_of_tensors &f, const std::string &prefix) {
        return renamed(f, [&](const std::string &name) { return prefix + name; });
    };
    for (const auto &[first, second] : {std::pair<std::string, std::string>{"model.model.", "ema.model."},
                                        {"backbone.", "momentum_backbone."},
                                        {"student.", "teacher.module."},
                                        {"", "teacher."},
                                        {"module.", "module.ema."}}) {
        SCOPED_TRACE(first + " " + second);
        const file_of_tensors fa = with_prefix(a, first), fb = with_prefix(b, second);
        file_of_tensors sorted = joined({fa, fb}), mixed = sorted;
        std::sort(sorted.tensors.begin(), sorted.tensors.end(), [](auto &x, auto &y) { return x.name < y.name; });
        std::reverse(mixed.tensors.begin(), mixed.tensors.end());
        std::optional<std::string> said;
        for (const file_of_tensors &file : {joined({fa, fb}), joined({fb, fa}), sorted, mixed})
            for (const std::string &bytes : in_all_containers(file)) {
                const std::string line = message(bytes);
                if (!said) said = line;
                EXPECT_EQ(line, *said);
                const checkpoint source = checkpoint::from_bytes(bytes_of(bytes), "FILE");
                expect_network(source, a, {.prefix = first});
                expect_network(source, b, {.prefix = second});
            }
        for (const std::string &prefix : {first, second}) {
            const std::string listed = '"' + prefix.substr(0, prefix.size() - !prefix.empty()) + '"';
            EXPECT_NE(said->find(listed), said->npos) << *said;
        }
        EXPECT_NE(said->find("--prefix"), said->npos) << *said;
        EXPECT_NE(said->find("model_options::prefix"), said->npos) << *said;
    }
}

TEST(which_network, takes_the_prefix_as_people_write_it) {
    const file_of_tensors file = joined({renamed(toy_file(1), [](auto &n) { return "module.student._orig_mod." + n; }),
                                         renamed(toy_file(2), [](auto &n) { return "module.teacher." + n; })});
    for (const std::string_view prefix : {"module.student._orig_mod.", "module.student._orig_mod", "student.", "student"})
        expect_network(file, toy_file(1), {.prefix = prefix});
    expect_network(file, toy_file(2), {.prefix = "teacher"});
    for (const std::string_view prefix : {"", "stud", "student.stem", "module", "pupil"})
        expect_error(error_kind::invalid_argument,
                     {"no FastViT has the prefix \"" + std::string(prefix), "module.student._orig_mod", "module.teacher"},
                     [&] { (void)file.load({.prefix = prefix}); });
    // Also where there is only one.
    expect_error(error_kind::invalid_argument, {"no FastViT has the prefix \"ema\"", "expected none"},
                 [&] { (void)toy_file().load({.prefix = "ema"}); });
    expect_network(toy_file(), toy_file(), {.prefix = ""});
}

// What is written has the chosen network alone, under names that lead to no other, and what belongs to neither.
TEST(which_network, is_all_that_folding_and_converting_write) {
    const io_test::temporary_directory directory;
    const file_of_tensors a = toy_file(1), b = toy_file(2);
    struct other {
        std::string first, second;
        std::vector<std::string> beside, kept; // what else is there, and its names in the file that is written
    };
    for (const auto &[first, second, beside, kept] :
         std::vector<other>{{"model.model.", "ema.model.", {}, {}},
                            {"", "teacher.", {"center"}, {}}, // at the root there is no telling it from the network's own
                            {"image_encoder.model.",
                             "ema.model.",
                             {"text_encoder.weight", "logit_scale"},
                             {"text_encoder.weight", "logit_scale"}},
                            {"module.image_encoder.model.",
                             "module.ema.",
                             {"module.text_encoder.module.weight", "module.ema.center"},
                             {"text_encoder.module.weight"}},
                            {"net.", "net.teacher.", {"net.loss.weight", "net.teacher.loss.weight"}, {}}, // inside the other
                            {"net.module.", "ema.", {"net.criterion", "net.total_ops"}, {}}}) {
        SCOPED_TRACE(first);
        file_of_tensors file =
            joined({renamed(b, [s = second](auto &n) { return s + n; }), renamed(a, [f = first](auto &n) { return f + n; })});
        for (const std::string &name : beside) file.tensors.push_back({name, "F32", {1}, io_test::floats({7})});
        const std::string bytes = file.bytes();
        const checkpoint source = checkpoint::from_bytes(bytes_of(bytes), "FILE");
        expect_error(error_kind::unsupported, {"FILE: ", "several networks"},
                     [&] { fastvit::save_folded(source, directory / "o"); });
        expect_error(error_kind::unsupported, {"FILE: ", "several networks"},
                     [&] { fastvit::save_converted(source, directory / "o"); });
        for (const bool fold : {true, false}) {
            if (fold)
                fastvit::save_folded(source, directory / "o", io::dtype::f32, first);
            else
                fastvit::save_converted(source, directory / "o", io::dtype::f32, first);
            const checkpoint written = checkpoint::open(directory / "o");
            EXPECT_LE(distance_between(results_of(model(written)), results_of(model(source, {.prefix = first}))), 1e-6);
            EXPECT_EQ(written.tensors().size(),
                      (fold ? list_of(file_of(toy_net(), io::spelling::timm, true)).count() : a.tensors.size()) + kept.size());
            for (const std::string &name : kept) EXPECT_NE(written.find(name), nullptr) << name;
            const std::string prefix = kept.empty() ? "" : "image_encoder.model.";
            EXPECT_NE(written.find(prefix + (fold ? "stem.0.reparam_conv.weight" : "stem.0.conv_kxk.0.conv.weight")), nullptr);
        }
    }
}

TEST(which_network, is_not_one_whose_tensors_are_merely_named_alike) {
    const file_of_tensors net = toy_file();
    const auto zeros = [](const std::string &name, const shape &dims) {
        return file_tensor{name, "F32", dims, std::string(static_cast<std::size_t>(dims.count()) * 4, '\0')};
    };
    const std::vector<std::vector<file_tensor>> others{
        {zeros("stem.0.weight", {8, 3, 3, 3}), zeros("stages.0.blocks.0.conv.weight", {8, 8, 3, 3})},
        {zeros("patch_embed.0.weight", {8, 3, 16, 16}), zeros("network.0.0.mlp.fc1.weight", {8, 8})},
        // The names of a FastViT, but a stem without a depthwise convolution.
        {zeros("stem.0.conv_kxk.0.conv.weight", {16, 3, 3, 3}), zeros("stem.1.conv_kxk.0.conv.weight", {16, 16, 3, 3}),
         zeros("stem.2.conv_kxk.0.conv.weight", {16, 16, 1, 1}), zeros("stages.0.blocks.0.mlp.conv.conv.weight", {16, 1, 7, 7})},
        // A stem, and nothing behind it.
        {zeros("stem.0.reparam_conv.weight", {16, 3, 3, 3}), zeros("stem.1.reparam_conv.weight", {16, 1, 3, 3}),
         zeros("stem.2.reparam_conv.weight", {16, 16, 1, 1})},
        // Widths that do not fit.
        {zeros("patch_embed.0.reparam_conv.weight", {16, 3, 3, 3}), zeros("patch_embed.1.reparam_conv.weight", {16, 1, 3, 3}),
         zeros("patch_embed.2.reparam_conv.weight", {8, 16, 1, 1}),
         zeros("network.0.0.convffn.conv.conv.weight", {16, 1, 7, 7})}};
    for (const std::vector<file_tensor> &tensors : others) {
        SCOPED_TRACE(tensors[0].name);
        for (const std::string prefix : {"", "aaa.", "zzz."}) {
            file_of_tensors other;
            other.tensors = tensors;
            other.rename([&](auto &n) { return prefix + n; });
            const file_of_tensors wrapped = renamed(net, [](auto &n) { return "encoder." + n; });
            expect_network(joined({other, wrapped}), net);
            expect_network(joined({wrapped, other}), net);
        }
    }
}

TEST(which_network, damaged_beside_a_whole_one_is_opened_only_where_it_is_asked_for) {
    const file_of_tensors whole = renamed(toy_file(1), [](auto &n) { return "b." + n; });
    file_of_tensors damaged = renamed(toy_file(2), [](auto &n) { return "a." + n; });
    damaged.erase("a.stem.1.conv_kxk.0.conv.weight");
    const file_of_tensors file = joined({damaged, whole});
    expect_network(file, toy_file(1));
    expect_error(error_kind::missing_tensor, {"a.stem.1.conv_kxk.0.conv.weight"}, [&] { (void)file.load({.prefix = "a"}); });
}

// Frameworks put their words anywhere.
TEST(which_network, is_found_through_wrappers_wherever_they_stand) {
    const io_test::temporary_directory directory;
    for (const io::spelling spelling : {io::spelling::timm, io::spelling::apple}) {
        const file_of_tensors plain = toy_file(1, "", spelling);
        for (const std::string wrapper : {"module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                          "_fsdp_wrapped_module._checkpoint_wrapped_module."}) {
            SCOPED_TRACE(wrapper);
            // After every number, and at the front: around every module of a list.
            file_of_tensors file = renamed(plain, [&](const std::string &name) {
                std::string out = wrapper;
                for (std::size_t i = 0; i < name.size(); ++i) {
                    out += name[i];
                    if (name[i] == '.' && i > 0 && name[i - 1] >= '0' && name[i - 1] <= '9') out += wrapper;
                }
                return out;
            });
            for (const std::string counter :
                 {"n_averaged", "stem.total_ops", "network.1.total_params", "head.fc.total_ops", "steps"})
                file.tensors.insert(
                    file.tensors.begin(),
                    {counter == "stem.total_ops" ? wrapper + counter : std::string(counter), "F32", {1}, io_test::floats({1})});
            expect_network(file, plain);
            const std::string bytes = file.bytes();
            const checkpoint source = checkpoint::from_bytes(bytes_of(bytes), "FILE");
            fastvit::save_converted(source, directory / "o");
            EXPECT_EQ(list_of(file_of_tensors(checkpoint::open(directory / "o"))).text(), list_of(plain).text());
            fastvit::save_folded(source, directory / "o");
            const checkpoint folded = checkpoint::open(directory / "o");
            EXPECT_EQ(list_of(file_of_tensors(folded)).text(), list_of(file_of(toy_net(), spelling, true)).text());
            EXPECT_LE(distance_between(results_of(model(folded)), results_of(plain.load())), 1e-6);
        }
    }
}

// timm's features_only joins the names of lists with an underscore, and has no head.
TEST(which_network, is_timms_features_only_under_any_prefix_with_a_decoder_beside) {
    const io_test::temporary_directory directory;
    file_of_tensors plain = toy_file();
    std::erase_if(plain.tensors,
                  [](const file_tensor &t) { return t.name.starts_with("head.") || t.name.starts_with("final_conv."); });
    const auto flat = [](std::string name) {
        for (const std::string word : {"stem.", "stages."})
            if (name.starts_with(word)) name[word.size() - 1] = '_';
        return name;
    };
    for (const std::string prefix : {"", "module.", "encoder.model.", "backbone.", "model.backbone._orig_mod."}) {
        SCOPED_TRACE(prefix);
        file_of_tensors file = renamed(plain, [&](const std::string &name) { return prefix + flat(name); });
        if (!io::without_wrappers(prefix).empty())
            for (const std::string beside : {"decoder.blocks.0.conv1.weight", "segmentation_head.0.weight"})
                file.tensors.insert(file.tensors.begin(), {beside, "F32", {2, 2}, io_test::floats({1, 2, 3, 4})});
        expect_network(file, plain);
        const std::string bytes = file.bytes();
        fastvit::save_folded(checkpoint::from_bytes(bytes_of(bytes), "FILE"), directory / "o");
        const checkpoint folded = checkpoint::open(directory / "o");
        EXPECT_LE(distance_between(results_of(model(folded)), results_of(plain.load())), 1e-6);
        const bool inside = !io::without_wrappers(prefix).empty();
        EXPECT_NE(folded.find(std::string(inside ? io::without_wrappers(prefix) : "") + "stem_0.reparam_conv.weight"), nullptr);
        EXPECT_EQ(folded.find("decoder.blocks.0.conv1.weight") != nullptr, inside);
        const std::string lost = prefix + flat("stages.1.blocks.0.token_mixer.qkv.weight");
        file.erase(lost);
        expect_error(error_kind::missing_tensor, {lost}, [&] { (void)file.load(); });
    }
}

// --- keys of PyTorch's files

struct keys_test : testing::Test {
    const file_of_tensors a = toy_file(1), b = toy_file(2);
    torch_file file;
    std::string of(const file_of_tensors &tensors) { return file.dictionary(tensors); }
    // The network of the file, in both containers.
    void expect(const std::string &object, const file_of_tensors &expected, std::string_view key = "",
                std::string_view found = "?") {
        for (const std::string &bytes : {file.zip(object), file.legacy(object)}) {
            const checkpoint source = checkpoint::from_bytes(bytes_of(bytes), "FILE", key);
            if (found != "?") {
                EXPECT_EQ(source.key(), found);
            }
            expect_network(source, expected);
        }
    }
    void expect_refused(const std::string &object, std::initializer_list<std::string_view> words, std::string_view key = "",
                        error_kind code = error_kind::unsupported) {
        for (const std::string &bytes : {file.zip(object), file.legacy(object)})
            expect_error(code, words, [&] { (void)checkpoint::from_bytes(bytes_of(bytes), "FILE", key); });
    }
    file_of_tensors resnet() const {
        file_of_tensors other;
        other.tensors = {{"stem.0.weight", "F32", {1, 1, 1, 1}, io_test::floats({1})},
                         {"stages.0.blocks.0.conv.weight", "F32", {1, 1, 1, 1}, io_test::floats({1})}};
        return other;
    }
};

TEST_F(keys_test, are_found_whatever_they_are_called) {
    for (const std::string key :
         {"model_state_dict", "net", "module", "network", "weights", "params", "student", "teacher", "ema", "a.b"}) {
        SCOPED_TRACE(key);
        expect(dict({text("epoch"), integer(3), text(key), of(a), text("other"), of(resnet())}), a, "", key);
        expect(dict({text("outer"), dict({text("n"), "N", text(key), of(a)}), text("more"), dict({})}), a, "", "outer." + key);
    }
    expect(dict({text("a"), dict({text("b"), dict({text("c"), dict({text("d"), of(a)})})})}), a, "", "a.b.c.d");
}

TEST_F(keys_test, of_averaged_weights_come_first_as_in_timm_and_another_can_be_asked_for) {
    const file_of_tensors averaged = renamed(a, [](auto &n) { return "module." + n; });
    const std::string object = dict({text("model"), of(b), text("model_ema"), of(averaged), text("epoch"), integer(1)});
    expect(object, a, "", "model_ema");
    expect(object, b, "model", "model");
    expect(object, a, "model_ema", "model_ema");
    expect_refused(object, {"no dictionary under the key \"ema\"", "model_ema (", "epoch"}, "ema", error_kind::invalid_argument);
    expect(dict({text("state_dict"), of(b), text("state_dict_ema"), of(a)}), a, "", "state_dict_ema");
    // A usual key without a network is not one; the usual order holds inside any other key, and in a usual one.
    expect(dict({text("state_dict_ema"), of(resnet()), text("model"), of(b)}), b, "", "model");
    expect(dict({text("state_dict"), of(resnet()), text("net"), of(b)}), b, "", "net");
    expect(dict({text("x"), dict({text("state_dict"), of(b), text("model_ema"), of(a)})}), a, "", "x.model_ema");
    expect(dict({text("model"), dict({text("net"), of(a)})}), a, "", "model.net");
    expect(dict({text("x"), dict({text("state_dict"), of(b), text("model_ema"), of(a)})}), b, "x.state_dict", "x.state_dict");
}

TEST_F(keys_test, are_asked_for_where_several_have_a_network) {
    const std::string object =
        dict({text("student"), of(a), text("teacher"), dict({text("net"), of(b)}), text("optimizer"), of(a)});
    expect_refused(object, {"several keys", "student, teacher.net", "--key", "model_options::key"});
    const std::string turned =
        dict({text("optimizer"), of(a), text("teacher"), dict({text("net"), of(b)}), text("student"), of(a)});
    expect_refused(turned, {"several keys", "student, teacher.net"});
    expect(object, a, "student", "student");
    expect(object, b, "teacher", "teacher.net");
    expect(object, b, "teacher.net", "teacher.net");
    // One dictionary under two keys is one network.
    const std::string shared = "}" + std::string("(") + text("student") + of(a) + "q\x01" + text("teacher") + "h\x01" + "u";
    expect(shared, a);
    expect(shared, a, "teacher", "teacher");
}

TEST_F(keys_test, are_listed_where_none_has_a_network) {
    expect_refused(dict({text("epoch"), integer(3), text("net"), of(resnet()), text("args"), "N"}),
                   {"no state dict", "the keys epoch, net (2 tensors), args"});
    expect_refused(dict({text("net"), of(resnet())}), {"no dictionary under the key \"n\"", "the keys net"}, "n",
                   error_kind::invalid_argument);
    expect_refused(dict({text("net"), dict({text("n"), integer(1)})}), {"without tensors under net"}, "net");
    // What was asked for is opened whatever it is.
    EXPECT_EQ(tensor_count(checkpoint::from_bytes(bytes_of(file.zip(dict({text("net"), of(resnet())}))), "FILE", "net")), 2U);
}

TEST_F(keys_test, are_of_pytorchs_files_alone) {
    const std::string bytes = a.bytes();
    expect_error(error_kind::invalid_argument, {"only PyTorch files have keys", "--prefix"},
                 [&] { (void)checkpoint::from_bytes(bytes_of(bytes), "FILE", "model"); });
}

// A dictionary that holds itself, or the next one under all of the usual keys, is looked through once.
TEST_F(keys_test, do_not_cost_more_than_the_file) {
    std::string object = dict({text("t"), integer(1)});
    for (int depth = 0; depth < 64; ++depth)
        object = object + "q\x01" + "0}(" + text("model") + "h\x01" + text("state_dict") + "h\x01" + text("model_ema") + "h\x01" +
                 text("net") + "h\x01" + text("ema") + "h\x01" + "u";
    expect_refused(object, {"no state dict"});
    expect_refused("}q\x01(" + text("model") + "h\x01" + text("net") + "h\x01" + "u", {"no state dict"});
}

} // namespace
