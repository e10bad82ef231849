// SPDX-License-Identifier: MIT
// The program `fastvit`, run as its users run it.
#include "fastvit/checkpoint.hpp"
#include "fastvit/cost.hpp"
#include "fastvit/model.hpp"
#include "fastvit/version.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/io_test_files.hpp"
#include "support/sanitized.hpp"
#include "support/seeded.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using fastvit::checkpoint;
using fastvit_test::save_checkpoint;
using io_test::read_file;
using io_test::temporary_directory;
using io_test::write_file;
using nlohmann::json;
namespace fs = std::filesystem;

const fs::path data = FASTVIT_TEST_DATA;
const fs::path checkpoints = data / "checkpoints";
const std::string tiny = (checkpoints / "tiny.safetensors").string();
const std::string folded = (checkpoints / "tiny_reparam.safetensors").string();
const std::string picture = (data / "preprocess" / "rgb.png").string();
const std::vector<std::string> three_pictures{(data / "preprocess" / "photo_31x47.png").string(),
                                              (data / "preprocess" / "rgb.jpg").string(),
                                              (data / "preprocess" / "photo_200x300.png").string()};

std::string shell_word(std::string_view word) {
    std::string result = "'";
    for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

struct finished {
    int status;
    std::string out, err;
};

// The shell's.
std::string command_of(const std::vector<std::string> &arguments) {
    std::string command = shell_word(FASTVIT_CLI);
    for (const std::string &a : arguments) command += " " + shell_word(a);
    return command;
}

// `before` stands before the program in the shell's command: assignments, limits.
finished fastvit_with(const std::string &before, const std::vector<std::string> &arguments) {
    const temporary_directory files;
    const std::string command = before + " " + command_of(arguments) + " >" + shell_word((files / "out").string()) + " 2>" +
                                shell_word((files / "err").string());
    const int result = std::system(command.c_str());
    return {WIFEXITED(result) ? WEXITSTATUS(result) : -1, read_file(files / "out"), read_file(files / "err")};
}

finished fastvit_cli(const std::vector<std::string> &arguments) { return fastvit_with("", arguments); }

// Starts the program, kills it as soon as ready() is true, and returns when it is gone, its locks with it.
template <class F> void kill_when(F &&ready, const std::vector<std::string> &arguments) {
    const std::string command = "exec " + command_of(arguments) + " >/dev/null 2>&1";
    const ::pid_t program = ::fork();
    ASSERT_GE(program, 0);
    if (program == 0) {
        ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
        ::_exit(127);
    }
    int status = 0;
    while (!ready()) {
        ASSERT_EQ(::waitpid(program, &status, WNOHANG), 0) << "ended before it was to be killed, with status " << status;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(::kill(program, SIGKILL), 0);
    EXPECT_EQ(::waitpid(program, &status, 0), program);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
}

void expect_success(const finished &f) {
    EXPECT_EQ(f.status, 0);
    EXPECT_EQ(f.err, "");
}

// One line on the standard error with all those words, and nothing on the standard output.
void expect_failure(const finished &f, int status, std::initializer_list<std::string_view> words) {
    EXPECT_EQ(f.status, status) << f.err;
    EXPECT_EQ(f.out, "");
    EXPECT_TRUE(f.err.starts_with("fastvit: ")) << f.err;
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
    EXPECT_TRUE(f.err.ends_with('\n'));
    for (const std::string_view word : words) EXPECT_NE(f.err.find(word), f.err.npos) << "no \"" << word << "\" in: " << f.err;
}

json parse(const finished &f) {
    expect_success(f);
    const json result = json::parse(f.out, nullptr, false);
    EXPECT_FALSE(result.is_discarded()) << f.out;
    return result;
}

void save(const fs::path &path, const std::string &name, const fastvit::tensor<float> &values) {
    checkpoint one;
    one.add(name, fastvit::tensor<float>(values));
    save_checkpoint(path, one);
}

std::string save_input(const temporary_directory &directory) {
    save(directory / "input.safetensors", "input", fastvit_test::seeded_input({1, 3, 64, 64}));
    return (directory / "input.safetensors").string();
}

// max |a - b| / max |b|
double difference(const std::vector<float> &a, const std::vector<float> &b) {
    if (a.size() != b.size()) return INFINITY;
    double largest = 0, scale = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!std::isfinite(a[i])) return INFINITY;
        largest = std::max(largest, std::abs(double{a[i]} - double{b[i]}));
        scale = std::max(scale, std::abs(double{b[i]}));
    }
    return largest / scale;
}

// The pictures of a result in JSON.
std::vector<std::string> files_of(const json &list) {
    std::vector<std::string> files;
    for (const json &entry : list) files.push_back(entry["file"]);
    return files;
}

// The lines of a list in JSON.
std::vector<json> lines_of(const fs::path &path) {
    std::vector<json> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line, nullptr, false));
    return lines;
}

std::vector<std::string> names_of(const checkpoint &c) {
    std::vector<std::string> names;
    for (const auto &t : c.tensors()) names.push_back(t.name);
    return names;
}

// A copy of the small checkpoint without the tensor named, or with other values in it.
std::string damaged(const fs::path &path, const std::string &name, const float *value = nullptr) {
    const checkpoint source = checkpoint::open(tiny);
    EXPECT_NE(source.find(name), nullptr);
    checkpoint made;
    for (const auto &t : source.tensors()) {
        if (!fastvit::io::is_floating(t.type) || (t.name == name && !value)) continue;
        fastvit::tensor<float> values = fastvit::io::read_float(t);
        if (t.name == name) std::fill(values.span().begin(), values.span().end(), *value);
        made.add(t.name, std::move(values));
    }
    save_checkpoint(path, made);
    return path.string();
}

// --- run

struct golden_case {
    const char *file;
    double tolerance;
};

TEST(cli_run, gives_the_official_logits_for_every_container_and_graph) {
    const temporary_directory directory;
    const std::string input = save_input(directory), output = (directory / "output.safetensors").string();
    const auto expected = io_test::values(checkpoint::open(checkpoints / "tiny_expected.safetensors"), "logits");
    // Of the two 16-bit formats the parameters themselves are rounded.
    for (const golden_case &c : {golden_case{"tiny.safetensors", 2e-5}, golden_case{"tiny_reparam.safetensors", 2e-5},
                                 golden_case{"tiny.pth.tar", 2e-5}, golden_case{"tiny_legacy.pth.tar", 2e-5},
                                 golden_case{"tiny_fp16.safetensors", 4e-3}, golden_case{"tiny_bf16.pth", 3e-2}})
        for (const char *graph : {"folded", "train"}) {
            SCOPED_TRACE(std::string(c.file) + " " + graph);
            const finished f = fastvit_cli(
                {"run", "--model", (checkpoints / c.file).string(), "--input", input, "--output", output, "--graph", graph});
            expect_success(f);
            EXPECT_EQ(f.out, "");
            const checkpoint result = checkpoint::open(output);
            EXPECT_EQ(names_of(result), std::vector<std::string>{"logits"});
            EXPECT_LE(difference(io_test::values(result, "logits"), expected), c.tolerance);
        }
}

TEST(cli_run, writes_features_that_the_two_graphs_agree_on) {
    const temporary_directory directory;
    const std::string input = save_input(directory);
    for (const char *graph : {"folded", "train"})
        expect_success(fastvit_cli({"run", "--model", tiny, "--input", input, "--output", (directory / graph).string(), "--graph",
                                    graph, "--features", "--threads", "1", "--isa", "scalar"}));
    const checkpoint a = checkpoint::open(directory / "folded"), b = checkpoint::open(directory / "train");
    EXPECT_EQ(names_of(a),
              (std::vector<std::string>{"stem", "stage0", "stage1", "stage2", "stage3", "final_conv", "embedding", "logits"}));
    EXPECT_EQ(names_of(b), names_of(a));
    EXPECT_EQ(a.find("stem")->dims, (fastvit::shape{1, 8, 16, 16}));
    EXPECT_EQ(a.find("stage3")->dims, (fastvit::shape{1, 32, 2, 2}));
    for (const std::string &name : names_of(a))
        EXPECT_LE(difference(io_test::values(a, name), io_test::values(b, name)), 2e-5) << name;
}

TEST(cli_run, gives_the_official_dense_prediction_beside_the_stages) {
    const temporary_directory directory;
    fastvit::architecture net = fastvit::published_architecture("fastvit_t8");
    net.fork_features = true;
    net.head_channels = net.classes = 0;
    const std::string model = (directory / "fork_feat.safetensors").string(), input = save_input(directory),
                      output = (directory / "output.safetensors").string();
    save_checkpoint(model, fastvit_test::seeded_checkpoint(net, fastvit::io::spelling::apple));
    expect_success(fastvit_cli({"run", "--model", model, "--input", input, "--output", output, "--features"}));
    const checkpoint made = checkpoint::open(output),
                     official = checkpoint::open(data / "goldens" / "apple_t8_forkfeat_n1_64x64_s1.safetensors");
    for (const std::string name : {"out0", "out1", "out2", "out3"}) {
        EXPECT_EQ(made.find(name)->dims.to_string(), official.metadata().at(name + ".shape"));
        std::vector<float> samples;
        const auto all = io_test::values(made, name);
        for (std::size_t i = 0; i < all.size(); i += 5) samples.push_back(all[i]); // what the file has of it
        EXPECT_LE(difference(samples, io_test::values(official, name)), 2e-5) << name;
    }
    EXPECT_EQ(names_of(made), (std::vector<std::string>{"stem", "stage0", "stage1", "stage2", "stage3", "out0", "out1", "out2",
                                                        "out3", "embedding"}));
    EXPECT_EQ(parse(fastvit_cli({"info", "--model", model, "--json"}))["fork_features"], true);
    expect_success(fastvit_cli({"features", "--model", model, "--output", output, "--size", "64", picture}));
    EXPECT_EQ(names_of(checkpoint::open(output)),
              (std::vector<std::string>{"stage0", "stage1", "stage2", "stage3", "out0", "out1", "out2", "out3"}));
    expect_failure(fastvit_cli({"run", "--model", model, "--input", input, "--output", output}), 1, {"--features"});
}

TEST(cli_run, gives_the_same_bytes_for_any_number_of_threads) {
    const temporary_directory directory;
    const std::string input = save_input(directory);
    for (const char *threads : {"1", "2", "5"})
        expect_success(fastvit_cli({"run", "--model", tiny, "--input", input, "--output", (directory / threads).string(),
                                    "--threads", threads, "--features"}));
    EXPECT_EQ(read_file(directory / "2"), read_file(directory / "1"));
    EXPECT_EQ(read_file(directory / "5"), read_file(directory / "1"));
}

TEST(cli_run, refuses_inputs_that_the_network_cannot_take) {
    const temporary_directory directory;
    const std::string output = (directory / "output.safetensors").string();
    const auto expect_refused = [&](const std::string &name, const fastvit::shape &dims,
                                    std::initializer_list<std::string_view> words) {
        const std::string path = (directory / "in.safetensors").string();
        save(path, name, fastvit::tensor<float>(dims));
        expect_failure(fastvit_cli({"run", "--model", tiny, "--input", path, "--output", output}), 1, words);
    };
    expect_refused("image", {1, 3, 64, 64}, {"in.safetensors", "input", "missing", "found image"});
    expect_refused("input", {1, 4, 64, 64}, {"in.safetensors", "shape", "[1, 4, 64, 64]"});
    expect_refused("input", {3, 64, 64}, {"in.safetensors", "[3, 64, 64]"});
    expect_refused("input", {1, 3, 0, 64}, {"in.safetensors", "[1, 3, 0, 64]"});
    const std::string input = save_input(directory);
    expect_failure(fastvit_cli({"run", "--model", tiny, "--input", input, "--output", output, "--isa", "sse"}), 1,
                   {"sse", "scalar"});
    EXPECT_FALSE(fs::exists(output));
}

// --- fold

TEST(cli_fold, writes_what_the_official_reparameterisation_writes) {
    const temporary_directory directory;
    const fs::path output = directory / "a folded one.safetensors";
    const finished f = fastvit_cli({"fold", "--model", tiny, "--output", output.string()});
    expect_success(f);
    const checkpoint made = checkpoint::open(output), official = checkpoint::open(folded);
    const auto made_names = names_of(made), names = names_of(official);
    EXPECT_EQ(std::set<std::string>(made_names.begin(), made_names.end()), std::set<std::string>(names.begin(), names.end()));
    for (const auto &t : official.tensors()) {
        const auto *const mine = made.find(t.name);
        if (!mine) continue; // reported above
        EXPECT_EQ(mine->dims, t.dims) << t.name;
        EXPECT_EQ(mine->type_name, t.type_name) << t.name;
        if (!fastvit::io::is_floating(t.type)) continue;
        const auto a = io_test::values(made, t.name), b = io_test::values(official, t.name);
        for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6 * std::max(1.0f, std::abs(b[i]))) << t.name;
    }
    EXPECT_EQ(directory.names(), std::vector<std::string>{"a folded one.safetensors"});
}

// --- convert

TEST(cli_convert, writes_the_types_and_forms) {
    const temporary_directory directory;
    const std::string output = (directory / "out.safetensors").string();
    const auto converted = [&](const char *source, std::vector<std::string> options) {
        options.insert(options.begin(), {"convert", "--model", (checkpoints / source).string(), "--output", output});
        const finished f = fastvit_cli(options);
        expect_success(f);
        EXPECT_EQ(f.out, "");
        return checkpoint::open(output);
    };
    const auto type_of = [](const checkpoint &c, const char *name) { return c.find(name) ? c.find(name)->type_name : "none"; };
    const checkpoint source = checkpoint::open(tiny);
    const checkpoint same = converted("tiny_fp16.safetensors", {});
    EXPECT_EQ(same.tensors().size(), source.tensors().size());
    EXPECT_EQ(type_of(same, "head.weight"), "F32");
    EXPECT_EQ(type_of(same, "patch_embed.0.rbr_conv.0.bn.num_batches_tracked"), "I64");
    EXPECT_EQ(io_test::values(same, "head.weight"),
              io_test::values(checkpoint::open(checkpoints / "tiny_fp16.safetensors"), "head.weight"));
    EXPECT_EQ(type_of(converted("tiny.pth.tar", {"--dtype", "float32"}), "head.weight"), "F32");
    EXPECT_EQ(type_of(converted("tiny.pth.tar", {"--dtype", "float16"}), "head.weight"), "F16");
    EXPECT_EQ(type_of(converted("tiny.pth.tar", {"--dtype", "bf16"}), "head.weight"), "BF16");
    const checkpoint both = converted("tiny.pth.tar", {"--dtype", "bfloat16", "--fold"});
    EXPECT_EQ(type_of(both, "head.weight"), "BF16");
    const checkpoint one = checkpoint::open(folded);
    EXPECT_EQ(both.tensors().size(), one.tensors().size());
    const checkpoint quantised = converted("tiny.pth.tar", {"--dtype", "int8"});
    EXPECT_EQ(type_of(quantised, "network.0.0.convffn.fc1.weight"), "I8");
    EXPECT_EQ(type_of(quantised, "network.0.0.convffn.fc1.weight_scale"), "F32");
    EXPECT_EQ(type_of(quantised, "head.weight"), "I8");
    EXPECT_EQ(type_of(quantised, "head.bias"), "F32");
    const std::string bytes = read_file(output);
    converted("tiny.pth.tar", {"--dtype", "int8", "--fold"});
    EXPECT_EQ(read_file(output), bytes);

    expect_success(fastvit_cli({"fold", "--model", tiny, "--output", (directory / "folded").string()}));
    converted("tiny.safetensors", {"--fold"});
    EXPECT_EQ(read_file(output), read_file(directory / "folded"));
    const checkpoint views = converted("views.pth", {}), expected = checkpoint::open(checkpoints / "views_expected.safetensors");
    for (const std::string &name : names_of(expected)) EXPECT_EQ(io_test::values(views, name), io_test::values(expected, name));
}

// --- info

TEST(cli_info, says_what_a_checkpoint_holds) {
    const json train = parse(fastvit_cli({"info", "--model", tiny, "--json", "--tensors"}));
    EXPECT_EQ(train["file"], tiny);
    EXPECT_EQ(train["variant"], "custom");
    EXPECT_EQ(train["spelling"], "apple");
    EXPECT_EQ(train["prefix"], "");
    EXPECT_EQ(train["graph"], "train-time");
    EXPECT_EQ(train["token_mixers"], (json{"RepMixer", "RepMixer", "RepMixer", "attention"}));
    EXPECT_EQ(train["classes"], 10);
    EXPECT_EQ(train["input_channels"], 3);
    EXPECT_EQ(train["size"], 256);
    const checkpoint source = checkpoint::open(tiny);
    EXPECT_EQ(train["tensors"], source.tensors().size());
    EXPECT_EQ(train["tensor_list"].size(), source.tensors().size());
    EXPECT_EQ(train["tensor_list"][0]["name"], source.tensors()[0].name);
    EXPECT_EQ(train["tensor_list"][0]["dtype"], "F32");
    EXPECT_EQ(train["tensor_list"][0]["shape"], (std::vector<int>{8, 3, 3, 3}));

    const json whole = parse(fastvit_cli({"info", "--model", folded, "--json", "--size", "64"}));
    EXPECT_EQ(whole["graph"], "folded");
    EXPECT_EQ(whole["blocks"]["unfolded"], 0);
    EXPECT_EQ(whole["blocks"]["folded"], train["blocks"]["unfolded"]);
    EXPECT_EQ(whole["parameters"]["file"], train["parameters"]["folded"]);
    EXPECT_LT(whole["parameters"]["file"], train["parameters"]["file"]);
    EXPECT_LT(whole["gmac"], train["gmac"]);
    EXPECT_EQ(whole["size"], 64);
    EXPECT_FALSE(whole.contains("tensor_list"));

    const temporary_directory directory;
    const std::string output = (directory / "quantised").string();
    expect_success(fastvit_cli({"convert", "--model", tiny, "--output", output, "--dtype", "int8"}));
    const json quantised = parse(fastvit_cli({"info", "--model", output, "--json"}));
    EXPECT_EQ(quantised["graph"], "folded");
    EXPECT_EQ(quantised["blocks"], whole["blocks"]);
    EXPECT_EQ(quantised["types"]["I8"], 13);
    EXPECT_EQ(train["types"]["F32"].get<int>() + train["types"]["I64"].get<int>(), train["tensors"]);
    const finished text = fastvit_cli({"info", "--model", output, "--tensors"});
    EXPECT_NE(text.out.find(", 13 I8"), text.out.npos) << text.out;
    EXPECT_NE(text.out.find("network.0.0.convffn.fc1.weight I8 ["), text.out.npos);
}

// The parameter counts are those of the official model, before and after its reparameterisation.
TEST(cli_info, knows_a_published_variant) {
    const temporary_directory directory;
    save_checkpoint(directory / "t8.safetensors", fastvit_test::seeded_checkpoint(fastvit::published_architecture("fastvit_t8"),
                                                                                  fastvit::io::spelling::timm, "module."));
    const json t8 = parse(fastvit_cli({"info", "--model", (directory / "t8.safetensors").string(), "--json"}));
    EXPECT_EQ(t8["variant"], "fastvit_t8");
    EXPECT_EQ(t8["spelling"], "timm");
    EXPECT_EQ(t8["prefix"], "module.");
    EXPECT_EQ(t8["parameters"]["file"], 4026232);
    EXPECT_EQ(t8["parameters"]["folded"], 3996040);
    EXPECT_NEAR(t8["gmac"].get<double>(), 0.7, 0.05);
}

TEST(cli_info, says_which_kernels_run_and_why) {
    const json usual = parse(fastvit_with("env -u FASTVIT_ISA", {"info", "--model", tiny, "--json"}))["kernels"];
    const json &tiers = usual["tiers"];
    const auto first = std::find_if(tiers.begin(), tiers.end(), [](const json &t) { return t["supported"] == true; });
    ASSERT_NE(first, tiers.end());
    EXPECT_EQ(usual["runs"], (*first)["name"]);
    EXPECT_EQ(tiers.back()["name"], "scalar");

    const json forced = parse(fastvit_with("FASTVIT_ISA=scalar", {"info", "--model", tiny, "--json"}))["kernels"];
    EXPECT_EQ(forced["runs"], "scalar");
    EXPECT_NE(forced["why"].get<std::string>().find("FASTVIT_ISA"), std::string::npos);
    expect_failure(fastvit_with("FASTVIT_ISA=mmx", {"info", "--model", tiny}), 1, {"mmx", "scalar"});
}

TEST(cli_info, prints_text_without_being_asked_for_json) {
    const finished f = fastvit_cli({"info", "--model", tiny, "--tensors"});
    expect_success(f);
    for (const char *word : {"custom", "apple", "train-time", "GMAC", "kernels", "[8, 3, 3, 3]"})
        EXPECT_NE(f.out.find(word), f.out.npos) << word;
}

// --- verify

TEST(cli_verify, finds_that_the_graphs_agree) {
    const finished f = fastvit_cli({"verify", "--model", tiny, "--size", "64"});
    expect_success(f);
    for (const char *word : {"stem", "stage0", "stage3", "final_conv", "embedding", "logits", "agree"})
        EXPECT_NE(f.out.find(word), f.out.npos) << word;
}

TEST(cli_verify, prints_json) {
    const finished f = fastvit_cli({"verify", "--model", tiny, "--size", "64", "--json"});
    expect_success(f);
    const json report = parse(f);
    EXPECT_EQ(report["size"], json({64, 64}));
    EXPECT_EQ(report["agree"], true);
    EXPECT_GT(report["blocks_folded"], 0);
    for (const char *result : {"stem", "stage0", "stage3", "final_conv", "embedding", "logits"}) {
        EXPECT_GT(report["differences"][result], 0) << "the graphs round differently";
        EXPECT_LE(report["differences"][result], report["allowed"]);
    }
}

TEST(cli_verify, does_not_call_a_comparison_with_nothing_a_proof) {
    expect_failure(fastvit_cli({"verify", "--model", folded}), 1, {"tiny_reparam.safetensors", "already folded"});
}

TEST(cli_verify, fails_where_the_results_are_no_numbers) {
    const temporary_directory directory;
    const float nan = NAN;
    const std::string path = damaged(directory / "nan.safetensors", "patch_embed.0.rbr_conv.0.bn.bias", &nan);
    const finished f = fastvit_cli({"verify", "--model", path, "--size", "64"});
    EXPECT_EQ(f.status, 1);
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
    EXPECT_EQ(f.out.find("agree"), f.out.npos);
}

TEST(cli_verify, compares_a_precision_with_float32) {
    for (const std::string name : {"bfloat16", "int8"}) {
        const json report = parse(fastvit_cli({"verify", "--precision", name, "--model", folded, "--size", "64", "--json"}));
        EXPECT_EQ(report["precision"], name);
        EXPECT_EQ(report["inputs"], 1);
        EXPECT_EQ(report["size"], json({64, 64}));
        EXPECT_GT(report["cosines"]["stem"], 0.9999);
        for (const char *result : {"stem", "stage3", "embedding", "logits"}) {
            EXPECT_GT(report["differences"][result], 0);
            EXPECT_GT(report["cosines"][result], 0.99);
            EXPECT_LT(report["cosines"][result], 1);
        }
        EXPECT_EQ(report["layers"].size(), 18);
        for (const json &layer : report["layers"]) {
            const std::string part = layer["name"];
            const bool without_skip = part.starts_with("stem.") || part.find(".downsample.") != part.npos;
            EXPECT_EQ(layer["precision"], without_skip ? "bfloat16" : name) << part;
            EXPECT_EQ(layer.contains("reason"), layer["precision"] != name) << part;
        }
    }
    const json same = parse(fastvit_cli({"verify", "--precision", "float32", "--model", folded, "--size", "64", "--json"}));
    for (const auto &[name, difference] : same["differences"].items()) EXPECT_EQ(difference, 0) << name;
}

TEST(cli_verify, compares_on_pictures) {
    std::vector<std::string> command{"verify", "--precision", "int8", "--json"};
    command.insert(command.end(), three_pictures.begin(), three_pictures.end());
    const json report = parse(fastvit_cli(command));
    EXPECT_EQ(report["inputs"], 3);
    EXPECT_FALSE(report.contains("size"));
    EXPECT_GE(report["first_answer_agrees"], 2);
    EXPECT_LE(report["first_five_agree"], 3);
    EXPECT_NE(std::find(three_pictures.begin(), three_pictures.end(), report["worst"].get<std::string>()), three_pictures.end());
    command[3] = "none.png";
    const finished f = fastvit_cli(command);
    EXPECT_EQ(f.status, 1);
    EXPECT_NE(f.out.find("for 3 pictures"), f.out.npos) << f.out;
    EXPECT_NE(f.err.find("none.png"), f.err.npos);
    EXPECT_EQ(parse(fastvit_cli({"verify", "--precision", "float32", "--json", picture}))["differences"]["logits"], 0);
    // The graphs on pictures, too.
    const json graphs = parse(fastvit_cli({"verify", "--json", picture}));
    EXPECT_EQ(graphs["inputs"], 1);
    EXPECT_EQ(graphs["agree"], true);
    EXPECT_GT(graphs["differences"]["logits"], 0) << "the graphs round differently";
    const finished nothing = fastvit_cli({"verify", "none.png"});
    EXPECT_EQ(nothing.status, 1);
    EXPECT_EQ(nothing.out, "");
}

TEST(cli, takes_a_precision_wherever_a_network_runs) {
    const json info = parse(fastvit_cli({"info", "--model", folded, "--precision", "int8", "--json"}));
    EXPECT_EQ(info["precision"], "int8");
    EXPECT_EQ(info["layers"].size(), 18);
    EXPECT_EQ(parse(fastvit_cli({"info", "--model", folded, "--json"}))["precision"], "float32");
    const json profile =
        parse(fastvit_cli({"profile", "--model", folded, "--size", "64", "--rounds", "1", "--precision", "bfloat16", "--json"}));
    EXPECT_EQ(profile["precision"], "bfloat16");
    EXPECT_EQ(profile["parts"][0]["precision"], "bfloat16");
    EXPECT_EQ(profile["parts"][1]["precision"], "float32");
    EXPECT_EQ(profile["parts"][2]["name"], "stages.0.blocks.0.mlp");
    EXPECT_EQ(profile["parts"][2]["precision"], "bfloat16");
    const json int8 =
        parse(fastvit_cli({"profile", "--model", folded, "--size", "64", "--rounds", "1", "--precision", "int8", "--json"}));
    const json &last = int8["parts"].back();
    EXPECT_EQ(last["name"], "head.fc");
    EXPECT_EQ(last["precision"], "int8");
    EXPECT_EQ(int8["parts"][0]["precision"], "bfloat16");
    const std::string exact = fastvit_cli({"embed", "--json", picture}).out;
    EXPECT_EQ(fastvit_cli({"embed", "--json", picture, "--precision", "float32"}).out, exact);
    const finished rough = fastvit_cli({"embed", "--json", picture, "--precision", "int8"});
    expect_success(rough);
    EXPECT_NE(rough.out, exact);
    expect_failure(fastvit_cli({"profile", "--model", tiny, "--graph", "train", "--precision", "int8"}), 1, {"train-time graph"});
    expect_failure(fastvit_cli({"classify", picture, "--precision", "int4"}), 2, {"--precision"});
}

// --- profile

TEST(cli_profile, times_every_part_of_the_network) {
    const json profile =
        parse(fastvit_cli({"profile", "--model", folded, "--size", "64", "--rounds", "2", "--threads", "2", "--json"}));
    EXPECT_EQ(profile["threads"], 2);
    EXPECT_GT(profile["milliseconds"], 0.0);
    EXPECT_GT(profile["peak_gflop_per_s"], 0.0);
    std::vector<std::string> names, expected;
    double multiply_adds = 0;
    for (const json &part : profile["parts"]) {
        names.push_back(part["name"]);
        EXPECT_GT(part["milliseconds"], 0.0) << names.back();
        multiply_adds += part["multiply_adds"].get<double>();
    }
    const fastvit::model net = fastvit::model::open(folded);
    for (const fastvit::part_cost &part : fastvit::part_costs(net.architecture(), 64, 64)) expected.push_back(part.name);
    EXPECT_EQ(names, expected);
    const json info = parse(fastvit_cli({"info", "--model", folded, "--size", "64", "--json"}));
    EXPECT_NEAR(1e-9 * multiply_adds, info["gmac"].get<double>(), 1e-9);
}

TEST(cli_profile, prints_a_table) {
    const finished f = fastvit_cli({"profile", "--model", tiny, "--graph", "train", "--size", "64", "--rounds", "1"});
    expect_success(f);
    for (const char *word : {"1 x 64 x 64", "of peak", "stem", "stages.3.blocks.0.mlp", "head", "the rest", "all"})
        EXPECT_NE(f.out.find(word), f.out.npos) << word;
}

TEST(cli_profile, writes_a_trace) {
    const temporary_directory directory;
    const std::string path = (directory / "trace.json").string();
    expect_success(fastvit_cli(
        {"profile", "--model", folded, "--size", "64", "--rounds", "2", "--threads", "2", "--batch", "2", "--trace", path}));
    const json trace = json::parse(read_file(path), nullptr, false);
    ASSERT_TRUE(trace.is_object());
    std::set<std::string> threads, parts;
    std::size_t tasks = 0;
    for (const json &event : trace["traceEvents"]) {
        if (event["ph"] == "M") {
            threads.insert(event["args"]["name"]);
            continue;
        }
        ASSERT_EQ(event["ph"], "X");
        EXPECT_GE(event["ts"], 0.0);
        EXPECT_GE(event["dur"], 0.0);
        if (event["tid"] == 0)
            parts.insert(event["name"]);
        else
            ++tasks;
    }
    EXPECT_EQ(threads, (std::set<std::string>{"parts of the network", "worker 0", "worker 1"}));
    for (const char *part : {"stem", "stages.0.blocks.0", "stages.0.blocks.0.token_mixer", "head.fc"})
        EXPECT_TRUE(parts.contains(part)) << part;
    EXPECT_GT(tasks, parts.size()) << "a part has several tasks";
}

// --- classify

TEST(cli_classify, prints_the_likeliest_classes) {
    const json found = parse(fastvit_cli({"classify", "--model", tiny, "--size", "64", "--top-k", "20", "--json", picture,
                                          (data / "preprocess" / "rgb.jpg").string()}));
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0]["file"], picture);
    EXPECT_GT(found[0]["milliseconds"], 0);
    const json &answers = found[0]["answers"];
    ASSERT_EQ(answers.size(), 10u);
    double sum = 0, before = 1;
    for (const json &a : answers) {
        EXPECT_LE(a["probability"].get<double>(), before);
        before = a["probability"];
        sum += before;
        EXPECT_FALSE(a.contains("label"));
    }
    EXPECT_NEAR(sum, 1, 1e-9);

    const finished text = fastvit_cli({"classify", "--model", tiny, "--size", "64", "--top-k", "1", picture});
    expect_success(text);
    EXPECT_NE(text.out.find("class " + answers[0]["class"].dump()), text.out.npos) << text.out;
    EXPECT_EQ(std::count(text.out.begin(), text.out.end(), '\n'), 2) << text.out;
}

TEST(cli_classify, uses_labels_and_counts_matching_names) {
    const temporary_directory directory;
    std::string ten, nine;
    for (int i = 0; i < 10; ++i) ten += "it <" + std::to_string(i) + ">\r\n";
    for (int i = 0; i < 9; ++i) nine += "label\n";
    write_file(directory / "labels.txt", ten);
    const std::vector<std::string> begin{"classify", "--model", tiny, "--labels", (directory / "labels.txt").string()};
    auto arguments = begin;
    arguments.insert(arguments.end(), {"--json", picture});
    const json answer = parse(fastvit_cli(arguments))[0]["answers"][0];
    const std::string label = answer["label"];
    EXPECT_EQ(label, "it <" + answer["class"].dump() + ">");

    const fs::path right = directory / (label + "_2.png");
    fs::copy_file(picture, right);
    arguments = begin;
    arguments.insert(arguments.end(),
                     {"--names-are-labels", "--html", (directory / "a page.html").string(), right.string(), picture});
    const finished f = fastvit_cli(arguments);
    expect_success(f);
    EXPECT_NE(f.out.find("\n1 of 2 pictures"), f.out.npos) << f.out;
    const std::string page = read_file(directory / "a page.html");
    EXPECT_NE(page.find("1 of 2 pictures"), page.npos);
    EXPECT_NE(page.find("it &lt;"), page.npos);
    EXPECT_EQ(page.find("it <"), page.npos);
    EXPECT_NE(page.find("data:image/bmp;base64,Qk"), page.npos);
    EXPECT_TRUE(page.ends_with("</html>\n"));

    write_file(directory / "labels.txt", nine);
    arguments = begin;
    arguments.push_back(picture);
    expect_failure(fastvit_cli(arguments), 1, {"labels.txt", "expected 10", "found 9"});
    fs::remove(directory / "labels.txt");
    expect_failure(fastvit_cli(arguments), 1, {"labels.txt", "No such file"});
}

TEST(cli_classify, skips_pictures_that_cannot_be_read) {
    const temporary_directory directory;
    write_file(directory / "broken.png", read_file(picture).substr(0, 60));
    write_file(directory / "text.png", "no picture");
    const std::vector<std::string> some{(directory / "broken.png").string(), picture, (directory / "none.png").string(),
                                        (directory / "text.png").string(), picture};
    for (const char *threads : {"1", "3"}) {
        std::vector<std::string> arguments{"classify", "--model", tiny, "--threads", threads, "--json"};
        arguments.insert(arguments.end(), some.begin(), some.end());
        const finished f = fastvit_cli(arguments);
        EXPECT_EQ(f.status, 1);
        EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 3) << f.err;
        // In the order of the pictures.
        const std::size_t broken = f.err.find("broken.png"), none = f.err.find("none.png: cannot open"),
                          text = f.err.find("text.png: unknown kind of file");
        EXPECT_LT(broken, none) << f.err;
        EXPECT_LT(none, text) << f.err;
        EXPECT_NE(text, f.err.npos) << f.err;
        EXPECT_EQ(files_of(json::parse(f.out, nullptr, false)), (std::vector<std::string>{picture, picture})) << f.out;
    }
    expect_failure(fastvit_cli({"classify", "--model", tiny, some[0]}), 1, {"broken.png"});
    const finished nothing = fastvit_cli({"classify", "--model", tiny, "--json", some[0]});
    EXPECT_EQ(nothing.status, 1);
    EXPECT_EQ(nothing.out, "[]\n");
}

TEST(cli_classify, needs_pictures_of_three_channels_and_a_last_layer) {
    const temporary_directory directory;
    fastvit_test::file_of_tensors headless(checkpoint::open(tiny));
    std::erase_if(headless.tensors, [](const auto &t) { return t.name.starts_with("head."); });
    const std::string path = (directory / "headless.safetensors").string();
    io_test::write_file(path, headless.bytes());
    expect_failure(fastvit_cli({"classify", "--model", path, picture}), 1, {"headless.safetensors", "no linear layer"});
    expect_failure(fastvit_cli({"embed", "--projection", "--model", path, picture}), 1, {"no linear layer"});
    expect_success(fastvit_cli({"embed", "--model", path, picture}));

    fastvit::architecture net = fastvit::published_architecture("fastvit_t8");
    net.in_channels = 4;
    save_checkpoint(path, fastvit_test::seeded_checkpoint(net, fastvit::io::spelling::timm));
    expect_failure(fastvit_cli({"classify", "--model", path, picture}), 1, {"headless.safetensors", "input channels", "found 4"});
}

// --- which pictures

TEST(cli_pictures, come_from_folders_and_lists_in_order) {
    const temporary_directory directory;
    const fs::path folder = directory / "some pictures";
    fs::create_directory(folder);
    for (const char *name : {"b", "C.PNG", ".hidden.png"}) fs::copy_file(picture, folder / name);
    fs::copy_file(data / "preprocess" / "rgb.jpg", folder / "a.jfif");
    const std::vector<std::string> inside{(folder / "C.PNG").string(), (folder / "a.jfif").string(), (folder / "b").string()};
    const std::vector<std::string> begin{"classify", "--model", tiny, "--size", "32", "--json"};
    const auto seen = [&](const std::string &before, const std::vector<std::string> &more) {
        std::vector<std::string> arguments = begin;
        arguments.insert(arguments.end(), more.begin(), more.end());
        return files_of(parse(fastvit_with(before, arguments)));
    };
    EXPECT_EQ(seen("", {folder.string()}), inside);

    write_file(directory / "list.txt", "\xef\xbb\xbf" + inside[2] + "\r\n\n" + folder.string() + "\n" + picture);
    std::vector<std::string> expected{inside[1], inside[2]};
    expected.insert(expected.end(), inside.begin(), inside.end());
    expected.push_back(picture);
    EXPECT_EQ(seen("", {inside[1], "--list", (directory / "list.txt").string()}), expected);
    EXPECT_EQ(seen("cat " + shell_word((directory / "list.txt").string()) + " |", {inside[1], "--list", "-"}), expected);

    EXPECT_EQ(seen("cat " + shell_word((directory / "list.txt").string()) + " |", {inside[1], "-"}), expected);

    // A folder without pictures is as bad as a file that is none: the others are classified.
    fs::create_directory(directory / "empty");
    const std::string empty = (directory / "empty").string();
    const finished skipped = fastvit_cli({"classify", "--model", tiny, "--size", "32", "--json", empty, picture});
    EXPECT_EQ(skipped.status, 1);
    EXPECT_NE(skipped.err.find(empty + ": no picture in this folder"), skipped.err.npos) << skipped.err;
    EXPECT_EQ(files_of(parse({0, skipped.out, ""})), std::vector<std::string>{picture});

    const auto refused = [&](const std::vector<std::string> &more, std::initializer_list<std::string_view> words) {
        std::vector<std::string> arguments = begin;
        arguments.insert(arguments.end(), more.begin(), more.end());
        expect_failure(fastvit_cli(arguments), 1, words);
    };
    refused({"--list", (directory / "none.txt").string()}, {"none.txt", "No such file"});
    refused({"--list", folder.string()}, {folder.string(), "directory"});
    write_file(directory / "list.txt", "\n");
    refused({"--list", (directory / "list.txt").string()}, {"list.txt", "the list is empty"});
    write_file(directory / "list.txt", std::string("\xff\xfe"
                                                   "a\0\n\0",
                                                   6));
    refused({"--list", (directory / "list.txt").string()}, {"list.txt", "UTF-16", "save it as UTF-8"});
}

TEST(cli_pictures, of_a_folder_are_told_by_their_content) {
    const temporary_directory directory;
    const fs::path folder = directory / "mixed";
    fs::create_directory(folder);
    const std::vector<std::pair<std::string, std::string>> kinds{
        {"rgb.jpg", "a.jpe"}, {"rgb.jpg", "b.jfif"},    {"rgb.jpg", "c"},      {"rgb.png", "d.txt"},
        {"rgb.webp", "e"},    {"palette.gif", "f.gif"}, {"rgb.tif", "g.tiff"}, {"rgb.bmp", "h.bmp"}};
    std::vector<std::string> expected;
    for (const auto &[from, to] : kinds) {
        fs::copy_file(data / "preprocess" / from, folder / to);
        expected.push_back((folder / to).string());
    }
    write_file(folder / "i.pbm", "P1 2 2 0 1 1 0");
    expected.push_back((folder / "i.pbm").string());
    const std::vector<std::string> command{"classify", "--model", tiny, "--size", "32", "--json", folder.string()};
    EXPECT_EQ(files_of(parse(fastvit_cli(command))), expected);

    // What is none is counted and named in one line; hidden files are not worth one.
    write_file(folder / "notes.txt", "no picture");
    write_file(folder / "late.jpg", "");
    write_file(folder / ".hidden", "");
    fs::create_directory(folder / "sub");
    const finished f = fastvit_cli(command);
    EXPECT_EQ(f.status, 1);
    EXPECT_EQ(f.err, "fastvit: 3 entries of folders are no picture, and skipped: " + (folder / "late.jpg").string() + ", " +
                         (folder / "notes.txt").string() + ", " + (folder / "sub/").string() + "\n");
    EXPECT_EQ(files_of(parse({0, f.out, ""})), expected);
    for (int i = 0; i < 30; ++i) write_file(folder / ("z" + std::to_string(i)), "");
    const finished many = fastvit_cli(command);
    EXPECT_NE(many.err.find("33 entries"), many.err.npos);
    EXPECT_NE(many.err.find(" and 13 more\n"), many.err.npos) << many.err;
}

TEST(cli_pictures, one_comes_from_the_standard_input) {
    const std::string from = shell_word(FASTVIT_CLI), jpeg = (data / "preprocess" / "rgb.jpg").string();
    const std::vector<std::string> command{"classify", "--model", tiny, "--size", "32", "--json"};
    const auto answers = [&](const std::string &before, const std::string &name) {
        std::vector<std::string> arguments = command;
        arguments.push_back(name);
        return parse(fastvit_with(before, arguments))[0]["answers"];
    };
    EXPECT_EQ(answers("cat " + shell_word(jpeg) + " |", "-"), answers("", jpeg));
    const temporary_directory directory;
    const std::string a = (directory / "a").string(), b = (directory / "b").string();
    expect_success(fastvit_with("cat " + shell_word(jpeg) + " |", {"preprocess", "-", "--output", a}));
    expect_success(fastvit_cli({"preprocess", jpeg, "--output", b}));
    EXPECT_EQ(read_file(a), read_file(b));
    expect_failure(fastvit_with("printf '' |", {"classify", "-"}), 1, {"standard input", "the list is empty"});
}

TEST(cli_pictures, are_turned_where_exif_is_asked_for) {
    const temporary_directory directory;
    const std::string file = (data / "preprocess" / "turned.webp").string();
    const auto input = [&](std::vector<std::string> more) {
        const std::string output = (directory / "out").string();
        more.insert(more.begin(), {"preprocess", file, "--output", output, "--size", "8", "--mode", "squash"});
        expect_success(fastvit_cli(more));
        return io_test::values(checkpoint::open(output), "input");
    };
    const auto stored = input({}), turned = input({"--exif"});
    ASSERT_EQ(stored.size(), 3U * 8 * 8);
    EXPECT_NE(stored, turned);
    // Squashed to the square a quarter turn is exact but for rounding: the first pixel's row is the last column.
    for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(stored[i], turned[8 * i + 7], 0.05);
}

// --- what lies beside a checkpoint

TEST(cli_config, beside_the_checkpoint_is_used_and_said) {
    const temporary_directory directory;
    const std::string model = (directory / "model.safetensors").string(), config = (directory / "config.json").string();
    fs::copy_file(tiny, model);
    std::string labels;
    for (int i = 9; i >= 0; --i) labels += (i == 9 ? "\"" : ",\"") + std::to_string(i) + "\":\"it " + std::to_string(i) + "\"";
    const auto write = [&](const std::string &pixels) { write_file(config, "{" + pixels + "\"id2label\":{" + labels + "}}"); };
    const auto first = [](const finished &f) { return json::parse(f.out)[0]["answers"][0]; };
    const auto classify = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"classify", "--model", model, "--json", picture});
        return fastvit_cli(more);
    };
    write(R"("input_size":[3,32,48],"mean":[0,0,0],"std":[1,1,1],)");
    const finished f = classify({});
    EXPECT_EQ(f.status, 0);
    EXPECT_EQ(f.err, "fastvit: preprocessing as " + config + " says; 10 labels of " + config + "\n");
    const std::string label = first(f)["label"];
    EXPECT_EQ(label, "it " + first(f)["class"].dump());
    json expected = first(fastvit_cli({"classify", "--model", tiny, "--json", picture, "--config", config}));
    EXPECT_EQ(first(f), expected);
    // Options win.
    const finished own = classify({"--preset", "imagenet"});
    EXPECT_EQ(own.err, "fastvit: 10 labels of " + config + "\n");
    EXPECT_EQ(first(own)["probability"], first(fastvit_cli({"classify", "--model", tiny, "--json", picture}))["probability"]);
    write_file(directory / "labels.json", R"(["a","b","c","d","e","f","g","h","i","j"])");
    const finished named = classify({"--labels", (directory / "labels.json").string(), "--preset", "imagenet"});
    expect_success(named);
    EXPECT_EQ(first(named)["label"].get<std::string>().size(), 1U);
    // Only labels; of another number of classes; nothing; not readable.
    write("");
    EXPECT_EQ(classify({}).err, "fastvit: 10 labels of " + config + "\n");
    EXPECT_EQ(fastvit_cli({"embed", "--model", model, picture}).err, "");
    write_file(config, R"({"id2label":{"0":"a"}})");
    const finished few = classify({});
    EXPECT_EQ(few.err, "fastvit: 1 labels of " + config + " not used: there are 10 classes\n");
    EXPECT_FALSE(first(few).contains("label"));
    write_file(config, R"({"something": "else"})");
    EXPECT_EQ(classify({}).err, "");
    write_file(config, R"({"input_size":[3,32,32],"interpolation":"lanczos"})");
    const finished unsupported = classify({});
    EXPECT_EQ(unsupported.status, 0);
    EXPECT_TRUE(unsupported.err.starts_with("fastvit: not used: " + config + ": interpolation")) << unsupported.err;
    fs::remove(config);
    write_file(directory / "preprocessor_config.json",
               R"({"image_processor_type":"CLIPImageProcessor","size":32,"crop_size":32})");
    EXPECT_NE(fastvit_cli({"embed", "--model", model, picture}).err.find("preprocessor_config.json says\n"), std::string::npos);
}

// A terminal on the standard error.
TEST(cli_pictures, many_have_a_progress_bar_on_a_terminal) {
    const auto open_terminal = [] {
        const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
        if (terminal < 0 || (::grantpt(terminal) == 0 && ::unlockpt(terminal) == 0 && ::ptsname(terminal))) return terminal;
        ::close(terminal);
        return -1;
    };
    if (const int terminal = open_terminal(); terminal >= 0)
        ::close(terminal);
    else
        GTEST_SKIP() << "this machine has no pseudo-terminals: a chroot without /dev/pts";
    const temporary_directory directory;
    const auto shown = [&](int pictures, const std::string &arguments) {
        const int terminal = open_terminal();
        const std::string name = ::ptsname(terminal);
        const int kept_open = ::open(name.c_str(), O_RDWR | O_NOCTTY);
        std::string command = shell_word(FASTVIT_CLI) + " embed --model " + shell_word(tiny) + " --size 32 " + arguments;
        for (int i = 0; i < pictures; ++i) command += " " + shell_word(picture);
        EXPECT_EQ(std::system((command + " 2>" + name).c_str()), 0);
        ::close(kept_open);
        std::string text(65536, '\0');
        std::size_t size = 0;
        for (ssize_t got = 1; got > 0 && size<text.size(); size += got> 0 ? static_cast<std::size_t>(got) : 0)
            got = ::read(terminal, text.data() + size, text.size() - size);
        ::close(terminal);
        text.resize(size);
        return text;
    };
    const std::string file = " >" + shell_word((directory / "out").string());
    const std::string text = shown(20, file);
    EXPECT_NE(text.find("20 of 20"), text.npos) << text;
    EXPECT_TRUE(text.ends_with("\r\033[K")) << text; // and it is gone
    EXPECT_EQ(json::parse(read_file(directory / "out")).size(), 20U);
    EXPECT_EQ(shown(3, file), "");
}

// --- embed and features

// What `fastvit run --features` makes of the picture that `fastvit preprocess` has made an input of.
checkpoint features_of(const temporary_directory &directory, const std::string &file, const std::string &size) {
    const std::string input = (directory / "one.safetensors").string(), output = (directory / "run.safetensors").string();
    expect_success(fastvit_cli({"preprocess", file, "--output", input, "--size", size}));
    expect_success(fastvit_cli({"run", "--model", tiny, "--input", input, "--output", output, "--features"}));
    return checkpoint::open(output);
}

// The rows of a stack of results, one for each of `three_pictures`.
void expect_rows(const checkpoint &stack, const std::string &name, const std::vector<checkpoint> &expected,
                 const std::string &expected_name) {
    SCOPED_TRACE(name);
    ASSERT_NE(stack.find(name), nullptr);
    const fastvit::shape &dims = stack.find(name)->dims, &one = expected[0].find(expected_name)->dims;
    ASSERT_EQ(dims.rank(), one.rank());
    EXPECT_EQ(dims[0], static_cast<fastvit::index_type>(expected.size()));
    EXPECT_TRUE(std::equal(dims.begin() + 1, dims.end(), one.begin() + 1, one.end())) << dims.to_string();
    std::vector<float> all;
    for (const checkpoint &e : expected) {
        const auto values = io_test::values(e, expected_name);
        all.insert(all.end(), values.begin(), values.end());
    }
    EXPECT_EQ(io_test::values(stack, name), all);
}

TEST(cli_embed, gives_what_run_gives) {
    const temporary_directory directory;
    std::vector<checkpoint> expected;
    for (const std::string &file : three_pictures) expected.push_back(features_of(directory, file, "64x96"));
    const std::string output = (directory / "out.safetensors").string();
    const auto embedded = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"embed", "--model", tiny, "--size", "64x96"});
        more.insert(more.end(), three_pictures.begin(), three_pictures.end());
        return fastvit_cli(more);
    };
    for (const char *threads : {"1", "2", "5"}) {
        const finished f = embedded({"--output", output, "--threads", threads});
        expect_success(f);
        EXPECT_EQ(f.out, "");
        const checkpoint stack = checkpoint::open(output);
        EXPECT_EQ(names_of(stack), std::vector<std::string>{"embedding"});
        expect_rows(stack, "embedding", expected, "embedding");
        EXPECT_EQ(json::parse(stack.metadata().at("files")), json(three_pictures));
    }
    expect_success(embedded({"--output", output, "--projection"}));
    expect_rows(checkpoint::open(output), "embedding", expected, "logits");

    const json printed = parse(embedded({}));
    EXPECT_EQ(files_of(printed), three_pictures);
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(printed[i]["embedding"].get<std::vector<float>>(), io_test::values(expected[i], "embedding"));
    const finished both = embedded({"--json", "--output", output});
    EXPECT_EQ(parse(both), printed);
    expect_rows(checkpoint::open(output), "embedding", expected, "embedding");
}

TEST(cli_embed, normalizes) {
    const json plain = parse(fastvit_cli({"embed", "--model", tiny, picture})),
               unit = parse(fastvit_cli({"embed", "--model", tiny, "--normalize", picture}));
    const auto values = plain[0]["embedding"].get<std::vector<float>>(), scaled = unit[0]["embedding"].get<std::vector<float>>();
    ASSERT_EQ(scaled.size(), values.size());
    double squares = 0;
    for (const float x : values) squares += double{x} * double{x};
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(scaled[i], values[i] / std::sqrt(squares), 1e-7);
}

TEST(cli_embed, leaves_out_what_is_no_picture) {
    const temporary_directory directory;
    const std::string output = (directory / "out.safetensors").string();
    write_file(directory / "broken.png", read_file(picture).substr(0, 60));
    const std::string odd = (directory / "odd\xff.png").string();
    fs::copy_file(picture, odd);
    const finished f =
        fastvit_cli({"embed", "--model", tiny, "--output", output, "--json", (directory / "broken.png").string(), picture, odd});
    EXPECT_EQ(f.status, 1);
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
    const std::vector<std::string> expected{picture, (directory / "odd\xef\xbf\xbd.png").string()}; // JSON is UTF-8
    EXPECT_EQ(files_of(json::parse(f.out, nullptr, false)), expected) << f.out;
    const checkpoint stack = checkpoint::open(output);
    EXPECT_EQ(stack.find("embedding")->dims[0], 2);
    EXPECT_EQ(json::parse(stack.metadata().at("files")), json(expected));
    // The list beside it names all of them.
    const std::vector<json> list = lines_of(output + ".files.jsonl");
    ASSERT_EQ(list.size(), 3U);
    EXPECT_EQ(list[0]["file"], (directory / "broken.png").string());
    EXPECT_NE(list[0]["error"].get<std::string>().find("broken PNG"), std::string::npos);
    for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(list[i + 1], (json{{"file", expected[i]}, {"row", i}}));

    fs::remove(output);
    expect_failure(fastvit_cli({"embed", "--model", tiny, "--output", output, (directory / "broken.png").string()}), 1,
                   {"broken.png"});
    EXPECT_FALSE(fs::exists(output));
    EXPECT_EQ(lines_of(output + ".files.jsonl").size(), 1U);
    EXPECT_FALSE(fs::exists(output + ".partial"));
}

TEST(cli_embed, writes_numpys_format) {
    const temporary_directory directory;
    const std::string npy = (directory / "out.npy").string(), tensors = (directory / "out.safetensors").string();
    for (const std::string &output : {npy, tensors}) {
        std::vector<std::string> arguments{"embed", "--model", tiny, "--output", output};
        arguments.insert(arguments.end(), three_pictures.begin(), three_pictures.end());
        expect_success(fastvit_cli(arguments));
    }
    const std::string file = read_file(npy);
    ASSERT_GT(file.size(), 128U);
    EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    const std::size_t header = static_cast<unsigned char>(file[8]) + 256U * static_cast<unsigned char>(file[9]);
    EXPECT_EQ((10 + header) % 64, 0U);
    const auto values = io_test::values(checkpoint::open(tensors), "embedding");
    const std::string dims = "(3, " + std::to_string(values.size() / 3) + ")";
    EXPECT_TRUE(file.substr(10, header).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': " + dims + ", }"));
    EXPECT_EQ(file[9 + header], '\n');
    ASSERT_EQ(file.size(), 10 + header + values.size() * sizeof(float));
    EXPECT_EQ(std::memcmp(file.data() + 10 + header, values.data(), values.size() * sizeof(float)), 0);
    EXPECT_EQ(lines_of(npy + ".files.jsonl").size(), 3U);
    expect_failure(fastvit_cli({"features", "--model", tiny, "--output", npy, picture}), 2, {"--output", "one array"});
}

TEST(cli_embed, takes_its_part_of_the_pictures) {
    const temporary_directory directory;
    std::vector<std::string> all;
    for (const char *part : {"1/4", "2/4", "3/4", "4/4"}) {
        std::vector<std::string> arguments{"embed", "--model", tiny, "--shard", part};
        arguments.insert(arguments.end(), three_pictures.begin(), three_pictures.end());
        const std::vector<std::string> files = files_of(parse(fastvit_cli(arguments)));
        EXPECT_LE(files.size(), 1U);
        all.insert(all.end(), files.begin(), files.end());
    }
    EXPECT_EQ(all, three_pictures);
    for (const char *wrong : {"0/2", "3/2", "1", "1/", "/2", "1/0", "a/b", "1/2/3", "-1/2"})
        expect_failure(fastvit_cli({"embed", "--model", tiny, "--shard=" + std::string(wrong), picture}), 2, {"--shard", "I/N"});
}

// A run that is stopped by a picture that never comes: a pipe without a writer.
TEST(cli_embed, goes_on_after_it_was_stopped) {
    const temporary_directory directory;
    const std::string output = (directory / "out.safetensors").string(), whole = (directory / "whole.safetensors").string(),
                      pipe = (directory / "pipe").string(), broken = (directory / "broken.png").string();
    write_file(broken, "no picture");
    std::vector<std::string> files{three_pictures[0], broken, three_pictures[1], pipe, three_pictures[2]};
    const auto command = [&](const std::string &command_name, const std::string &to, std::vector<std::string> more) {
        more.insert(more.begin(), {command_name, "--model", tiny, "--size", "64", "--threads", "1", "--output", to});
        more.insert(more.end(), files.begin(), files.end());
        return more;
    };
    for (const std::string name : {"embed", "features"}) {
        SCOPED_TRACE(name);
        ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
        const auto waits_for_the_pipe = [&] { // the pictures before it are done
            const std::string list = output + ".files.jsonl.partial", lines = fs::exists(list) ? read_file(list) : "";
            return lines.ends_with('\n') && std::count(lines.begin(), lines.end(), '\n') == 3;
        };
        kill_when(waits_for_the_pipe, command(name, output, {}));
        EXPECT_FALSE(fs::exists(output));
        EXPECT_EQ(lines_of(output + ".files.jsonl.partial").size(), 3U);
        EXPECT_THROW((void)checkpoint::open(output + ".partial"), fastvit::error);
        fs::remove(pipe);
        fs::copy_file(picture, pipe);

        // Not with other options or pictures, whose results would not belong together.
        expect_failure(fastvit_cli(command(name, output, {"--mode", "squash"})), 1, {"out.safetensors.partial", "another model"});
        expect_failure(fastvit_cli(command(name, output, {"--precision", "int8"})), 1,
                       {"out.safetensors.partial", "another model"});
        std::swap(files[0], files[2]);
        expect_failure(fastvit_cli(command(name, output, {})), 1, {"out.safetensors.partial", "other pictures"});
        std::swap(files[0], files[2]);
        // A line and a row that were cut off are made again.
        const std::string rows = read_file(output + ".partial"), list = read_file(output + ".files.jsonl.partial");
        for (const int cut : {0, 1, 2}) {
            write_file(output + ".partial", cut == 1 ? rows.substr(0, rows.size() - 5) : rows);
            write_file(output + ".files.jsonl.partial", cut == 2 ? list.substr(0, list.size() - 5) : list);
            const finished f = fastvit_cli(command(name, output, {}));
            EXPECT_EQ(f.status, 1); // one picture is broken
            EXPECT_EQ(f.err, "fastvit: resumes after " + std::to_string(cut ? 2 : 3) + " of 5 pictures, 1 of which failed\n");
            EXPECT_EQ(fastvit_cli(command(name, whole, {})).status, 1);
            EXPECT_EQ(read_file(output), read_file(whole)) << cut;
            EXPECT_EQ(read_file(output + ".files.jsonl"), read_file(whole + ".files.jsonl")) << cut;
            EXPECT_FALSE(fs::exists(output + ".partial"));
            EXPECT_FALSE(fs::exists(output + ".files.jsonl.partial"));
        }
        if (name == "embed") { // also what was made before is printed
            write_file(output + ".partial", rows);
            write_file(output + ".files.jsonl.partial", list);
            const finished f = fastvit_cli(command(name, output, {"--json"}));
            EXPECT_EQ(f.out, fastvit_cli(command(name, whole, {"--json"})).out);
        }
        for (const std::string &old : {output, whole, pipe}) fs::remove(old);
    }
}

TEST(cli_features, gives_what_run_gives) {
    const temporary_directory directory;
    std::vector<checkpoint> expected;
    for (const std::string &file : three_pictures) expected.push_back(features_of(directory, file, "96"));
    const std::string output = (directory / "out.safetensors").string();
    const auto made = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"features", "--model", tiny, "--size", "96", "--output", output});
        more.insert(more.end(), three_pictures.begin(), three_pictures.end());
        const finished f = fastvit_cli(more);
        expect_success(f);
        EXPECT_EQ(f.out, "");
        return checkpoint::open(output);
    };
    const checkpoint stages = made({});
    EXPECT_EQ(names_of(stages), (std::vector<std::string>{"stage0", "stage1", "stage2", "stage3"}));
    EXPECT_EQ(json::parse(stages.metadata().at("files")), json(three_pictures));
    const checkpoint all = made({"--stem", "--final-conv", "--threads", "2"});
    EXPECT_EQ(names_of(all), (std::vector<std::string>{"stem", "stage0", "stage1", "stage2", "stage3", "final_conv"}));
    for (const std::string &name : names_of(all)) expect_rows(all, name, expected, name);
    for (const std::string &name : names_of(stages)) expect_rows(stages, name, expected, name);
}

// --- preprocess

std::uint64_t digest(const checkpoint &file, const char *name) {
    const auto bytes = file.find(name)->bytes;
    return fastvit_test::fnv1a({reinterpret_cast<const char *>(bytes.data()), bytes.size()});
}

// The digests are of what Pillow 9.4 and torchvision give, as in the test of the library.
TEST(cli_preprocess, gives_pillows_bytes) {
    const temporary_directory directory;
    const std::string output = (directory / "out.safetensors").string();
    const auto preprocessed = [&](const char *file, std::vector<std::string> options) {
        options.insert(options.begin(), {"preprocess", (data / "preprocess" / file).string(), "--output", output});
        const finished f = fastvit_cli(options);
        expect_success(f);
        EXPECT_EQ(f.out, "");
        return checkpoint::open(output);
    };
    const checkpoint usual = preprocessed("photo_31x47.png", {});
    EXPECT_EQ(digest(usual, "pixels"), 0x91b36d96b7584cc6);
    EXPECT_EQ(digest(preprocessed("photo_31x47.png", {"--size", "256", "--crop-pct", "0.9", "--mode", "crop"}), "pixels"),
              0x91b36d96b7584cc6);
    EXPECT_EQ(digest(preprocessed("photo_31x47.png", {"--filter", "bilinear", "--crop-pct", "1"}), "pixels"), 0x2352e55aaf428379);
    EXPECT_EQ(digest(preprocessed("photo_31x47.png", {"--preset", "mobileclip"}), "pixels"), 0x2352e55aaf428379);
    for (const char *const filter : {"bicubic", "bilinear"}) {
        const checkpoint wide = preprocessed("photo_284x284.png", {"--mode", "squash", "--size", "192x320", "--filter", filter});
        EXPECT_EQ(wide.find("pixels")->dims, (fastvit::shape{192, 320, 3}));
        EXPECT_EQ(wide.find("input")->dims, (fastvit::shape{1, 3, 192, 320}));
        EXPECT_EQ(digest(wide, "pixels") == 0xd68ed7bdfe903941, std::string_view(filter) == "bicubic");
    }
    const checkpoint padded = preprocessed("photo_200x300.png", {"--mode", "pad", "--size", "30"});
    const auto bars = padded.find("pixels")->bytes;
    for (std::size_t x = 0; x < 30 * 3; ++x) EXPECT_EQ(bars[x], std::byte{0}) << "row 0, byte " << x;
    EXPECT_NE(bars[15 * 30 * 3], std::byte{0});

    ASSERT_EQ(usual.find("pixels")->dims, (fastvit::shape{256, 256, 3}));
    EXPECT_EQ(usual.find("pixels")->type_name, "U8");
    ASSERT_EQ(usual.find("input")->dims, (fastvit::shape{1, 3, 256, 256}));
    const auto pixels = usual.find("pixels")->bytes;
    const std::vector<float> tensor = io_test::values(usual, "input");
    const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    for (std::size_t i = 0; i < 256 * 256; ++i)
        for (std::size_t c = 0; c < 3; ++c)
            ASSERT_EQ(tensor[c * 256 * 256 + i],
                      (static_cast<float>(std::to_integer<int>(pixels[3 * i + c])) / 255.0f - mean[c]) / deviation[c]);
}

TEST(cli_preprocess, reads_timms_configuration) {
    const temporary_directory directory;
    const std::string output = (directory / "out.safetensors").string(), config = (directory / "config.json").string();
    write_file(config, R"({"num_classes": 10, "label_names": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], "pretrained_cfg":
                       {"input_size": [3, 192, 320], "crop_pct": 1.0, "crop_mode": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]}})");
    const std::string photo = (data / "preprocess" / "photo_31x47.png").string();
    expect_success(fastvit_cli({"preprocess", photo, "--output", output, "--config", config}));
    const checkpoint made = checkpoint::open(output);
    EXPECT_EQ(digest(made, "pixels"), 0x68e46a8e9fbd002e);
    const auto tensor = io_test::values(made, "input");
    EXPECT_EQ(tensor[0], static_cast<float>(std::to_integer<int>(made.find("pixels")->bytes[0])) / 255.0f);
    // An option says more than the file.
    expect_success(fastvit_cli({"preprocess", photo, "--output", output, "--config", config, "--size", "256", "--crop-pct", "0.9",
                                "--mode", "crop", "--filter", "bicubic"}));
    EXPECT_EQ(digest(checkpoint::open(output), "pixels"), 0x91b36d96b7584cc6);

    const json answer = parse(fastvit_cli({"classify", "--model", tiny, "--config", config, "--json", photo}))[0]["answers"][0];
    EXPECT_EQ(answer["label"], std::string(1, static_cast<char>('a' + answer["class"].get<int>())));
    const json embedding = parse(fastvit_cli({"embed", "--model", tiny, "--config", config, photo}));
    EXPECT_NE(embedding, parse(fastvit_cli({"embed", "--model", tiny, photo})));

    write_file(config, "{}");
    for (const char *command : {"preprocess", "features"})
        expect_failure(fastvit_cli({command, photo, "--output", output, "--config", config}), 1, {"config.json", "input_size"});
}

TEST(cli_preprocess, says_what_it_cannot_read_or_write) {
    const temporary_directory directory;
    const std::string output = (directory / "out").string();
    expect_failure(fastvit_cli({"preprocess", tiny, "--output", output}), 1, {"tiny.safetensors", "unknown kind of file"});
    expect_failure(fastvit_cli({"preprocess", picture, "--output", output, "--size", "16384", "--crop-pct", "0.01"}), 1,
                   {"rgb.png", "crop fraction"});
    EXPECT_TRUE(directory.names().empty());
    expect_failure(fastvit_cli({"preprocess", picture, "--output", (directory / "none" / "out").string()}), 1, {"none/out"});
}

TEST(cli_classify, takes_the_bundled_model_from_where_the_environment_says) {
    const temporary_directory directory;
    const std::string before = "FASTVIT_DATA_DIR=" + shell_word(directory.path().string());
    expect_failure(fastvit_with(before, {"classify", picture}), 1,
                   {"fastvit_shapes.safetensors", directory.path().string(), "FASTVIT_DATA_DIR"});
    fs::copy_file(tiny, directory / "fastvit_shapes.safetensors");
    expect_failure(fastvit_with(before, {"classify", picture}), 1, {"labels.txt", "FASTVIT_DATA_DIR"});
    write_file(directory / "labels.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    const json answer = parse(fastvit_with(before, {"classify", "--json", picture}))[0]["answers"][0];
    EXPECT_EQ(answer["label"], std::string(1, static_cast<char>('a' + answer["class"].get<int>())));
    EXPECT_EQ(parse(fastvit_with(before, {"info", "--json"}))["size"], 96);
    expect_success(fastvit_with(before, {"verify"}));
}

// --- what can go wrong with files

// Every command with that model must fail, name it, and leave nothing behind.
void expect_bad_model(const std::string &model, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(model);
    const temporary_directory directory;
    const std::string input = save_input(directory), output = (directory / "output").string();
    const std::vector<std::vector<std::string>> commands{{"classify", "--html", output, picture},
                                                         {"run", "--input", input, "--output", output},
                                                         {"embed", "--output", output, picture},
                                                         {"features", "--output", output, picture},
                                                         {"fold", "--output", output},
                                                         {"convert", "--fold", "--dtype", "bfloat16", "--output", output},
                                                         {"info"},
                                                         {"info", "--json"},
                                                         {"verify", "--size", "64"}};
    for (std::vector<std::string> arguments : commands) {
        SCOPED_TRACE(arguments[0]);
        arguments.insert(arguments.end(), {"--model", model});
        expect_failure(fastvit_cli(arguments), 1, words);
    }
    EXPECT_EQ(directory.names(), std::vector<std::string>{"input.safetensors"});
}

// Every command that opens a model obeys the same options.
TEST(cli_files, of_several_networks_one_is_picked) {
    const temporary_directory directory;
    const checkpoint plain = checkpoint::open(tiny);
    checkpoint both;
    for (const std::string prefix : {"ema.", "model."})
        for (const auto &t : plain.tensors()) {
            if (!fastvit::io::is_floating(t.type)) continue;
            fastvit::tensor<float> values = fastvit::io::read_float(t);
            if (prefix == "ema." && t.name == "head.bias")
                for (float &x : values.span()) x += 1;
            both.add(prefix + t.name, std::move(values));
        }
    const std::string two = (directory / "two.safetensors").string(), input = save_input(directory),
                      output = (directory / "output").string();
    save_checkpoint(two, both);
    const std::vector<std::vector<std::string>> commands{{"run", "--input", input, "--output", output},
                                                         {"fold", "--output", output},
                                                         {"convert", "--output", output},
                                                         {"info", "--json"},
                                                         {"verify", "--json", "--size", "64"},
                                                         {"profile", "--json", "--size", "64", "--rounds", "1"},
                                                         {"classify", "--json", "--size", "64", picture},
                                                         {"embed", "--json", "--size", "64", picture},
                                                         {"features", "--size", "64", "--output", output, picture}};
    for (std::vector<std::string> command : commands) {
        SCOPED_TRACE(command[0]);
        command.insert(command.end(), {"--model", two});
        expect_failure(fastvit_cli(command), 1, {two, "\"ema\", \"model\"", "--prefix"});
        command.insert(command.end(), {"--prefix", "model"});
        EXPECT_EQ(fastvit_cli(command).status, 0);
        command.back() = "mode";
        expect_failure(fastvit_cli(command), 1, {two, "no FastViT has the prefix \"mode\"", "\"ema\", \"model\""});
        command.insert(command.end(), {"--key", "model"});
        expect_failure(fastvit_cli(command), 1, {two, "only PyTorch files have keys"});
    }

    const auto run = [&](const std::vector<std::string> &which) {
        std::vector<std::string> command{"run", "--input", input, "--output", output, "--model"};
        command.insert(command.end(), which.begin(), which.end());
        expect_success(fastvit_cli(command));
        return io_test::values(checkpoint::open(output), "logits");
    };
    const std::vector<float> expected = run({tiny});
    std::vector<float> averaged = expected;
    for (float &x : averaged) x += 1;
    EXPECT_EQ(run({two, "--prefix", "model."}), expected);
    EXPECT_LE(difference(run({two, "--prefix", "ema"}), averaged), 1e-6);
    for (const std::string prefix : {"ema", "model"}) {
        const std::string written = (directory / "written").string();
        for (const std::string command : {"fold", "convert"}) {
            expect_success(fastvit_cli({command, "--model", two, "--prefix", prefix, "--output", written}));
            EXPECT_LE(difference(run({written}), prefix == "ema" ? averaged : expected), 1e-6);
        }
    }
    EXPECT_EQ(parse(fastvit_cli({"info", "--json", "--model", two, "--prefix", "ema"}))["prefix"], "ema.");

    const std::string pth = (checkpoints / "tiny_legacy.pth.tar").string();
    EXPECT_EQ(run({pth, "--key", "state_dict"}), run({pth}));
    EXPECT_EQ(parse(fastvit_cli({"info", "--json", "--model", pth}))["key"], "state_dict");
    expect_failure(fastvit_cli({"info", "--model", pth, "--key", "model"}), 1,
                   {pth, "no dictionary under the key \"model\"", "state_dict ("});
}

TEST(cli_files, models_that_cannot_be_used) {
    const temporary_directory directory;
    const auto path = [&](const char *name) { return (directory / name).string(); };
    expect_bad_model(path("none"), {"none: ", "does not exist"});
    expect_bad_model(directory.path().string(), {directory.path().string(), "directory"});
    expect_bad_model(picture, {"rgb.png: "});
    write_file(directory / "empty", "");
    expect_bad_model(path("empty"), {"empty: "});
    const std::string whole = read_file(tiny);
    for (const std::size_t size : {std::size_t{5}, std::size_t{1000}, whole.size() - 1}) {
        write_file(directory / "truncated", std::string_view(whole).substr(0, size));
        expect_bad_model(path("truncated"), {"truncated: "});
    }
    expect_bad_model((checkpoints / "views.pth").string(), {"views.pth: ", "not a FastViT"});
    const std::string name = "network.0.0.convffn.fc1.weight";
    expect_bad_model(damaged(directory / "incomplete", name), {"incomplete: " + name, "missing"});
}

TEST(cli_files, outputs_that_cannot_be_written) {
    const temporary_directory directory;
    const std::string input = save_input(directory);
    fs::create_directory(directory / "taken");
    for (const std::string &output : {(directory / "none" / "out").string(), (directory / "taken").string()}) {
        SCOPED_TRACE(output);
        expect_failure(fastvit_cli({"fold", "--model", tiny, "--output", output}), 1, {output});
        expect_failure(fastvit_cli({"run", "--model", tiny, "--input", input, "--output", output}), 1, {output});
        expect_failure(fastvit_cli({"convert", "--model", tiny, "--output", output}), 1, {output});
        expect_failure(fastvit_cli({"embed", "--model", tiny, "--output", output, picture}), 1, {output});
        expect_failure(fastvit_cli({"features", "--model", tiny, "--output", output, picture}), 1, {output});
        expect_failure(fastvit_cli({"classify", "--model", tiny, "--json", "--html", output, picture}), 1, {output});
    }
    EXPECT_TRUE(fs::is_empty(directory / "taken"));
    EXPECT_EQ(directory.names().size(), 2u);
}

TEST(cli_files, a_failed_run_keeps_the_old_output) {
    const temporary_directory directory;
    write_file(directory / "output", "old");
    const std::string output = (directory / "output").string();
    expect_failure(fastvit_cli({"fold", "--model", picture, "--output", output}), 1, {"rgb.png"});
    expect_failure(fastvit_cli({"convert", "--model", picture, "--output", output}), 1, {"rgb.png"});
    EXPECT_EQ(read_file(output), "old");
    const fs::path full = "/dev/full";
    if (!fs::exists(full)) return;
    expect_failure(fastvit_cli({"fold", "--model", tiny, "--output", full.string()}), 1, {"/dev/full", "not a regular file"});
}

TEST(cli_files, a_standard_output_that_is_full) {
    if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
    // The shell hands over its standard output; the test's own redirection comes last, so a subshell does it.
    const temporary_directory files;
    const std::string command =
        shell_word(FASTVIT_CLI) + " info --model " + shell_word(tiny) + " >/dev/full 2>" + shell_word((files / "err").string());
    const int result = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(result));
    EXPECT_EQ(WEXITSTATUS(result), 1);
    EXPECT_EQ(read_file(files / "err"), "fastvit: cannot write to the standard output\n");
}

TEST(cli_files, paths_with_spaces_and_quotes) {
    const temporary_directory directory;
    const fs::path inside = directory / "it's a directory";
    fs::create_directory(inside);
    fs::copy_file(tiny, inside / "a model.safetensors");
    fs::copy_file(picture, inside / "a picture.png");
    const std::string model = (inside / "a model.safetensors").string();
    expect_success(fastvit_cli({"fold", "--model", model, "--output", (inside / "the output").string()}));
    EXPECT_TRUE(fs::exists(inside / "the output"));
    const json found = parse(fastvit_cli({"classify", "--json", "--model", model, (inside / "a picture.png").string()}));
    EXPECT_EQ(found[0]["file"], (inside / "a picture.png").string());
}

TEST(cli_files, a_machine_without_enough_memory) {
#if SANITIZED
    GTEST_SKIP() << "the sanitizers need the address space";
#else
    expect_failure(fastvit_with("ulimit -v 300000;", {"classify", "--model", tiny, "--threads", "1", "--size", "8192", picture}),
                   1, {"memory"});
#endif
}

// --- the command line

TEST(cli_usage, mistakes_have_status_2) {
    expect_failure(fastvit_cli({}), 2, {"subcommand"});
    expect_failure(fastvit_cli({"paint"}), 2, {"paint", "fastvit --help"});
    for (const char *command : {"classify", "embed"}) expect_failure(fastvit_cli({command}), 2, {"IMAGE or --list"});
    expect_failure(fastvit_cli({"features", "--output", "x"}), 2, {"IMAGE or --list"});
    expect_failure(fastvit_cli({"features", picture}), 2, {"--output"});
    expect_failure(fastvit_cli({"preprocess", "--output", "x"}), 2, {"IMAGE"});
    expect_failure(fastvit_cli({"preprocess", picture}), 2, {"--output"});
    expect_failure(fastvit_cli({"preprocess", picture, picture, "--output", "x"}), 2, {"rgb.png"});
    expect_failure(fastvit_cli({"convert", "--model", tiny}), 2, {"--output"});
    expect_failure(fastvit_cli({"convert", "--output", "x"}), 2, {"--model"});
    expect_failure(fastvit_cli({"convert", "--model", tiny, "--output", "x", "--dtype", "int4"}), 2,
                   {"--dtype", "int8", "float16"});
    expect_failure(fastvit_cli({"fold", "--model", tiny}), 2, {"--output"});
    expect_failure(fastvit_cli({"info", "--no-such-option"}), 2, {"--no-such-option", "fastvit info --help"});
    expect_failure(fastvit_cli({"info", "--no\nsuch"}), 2, {"--no?such"});
    expect_failure(fastvit_cli({"classify", "--top-k", "many", picture}), 2, {"many"});
    expect_failure(fastvit_cli({"classify", "--top-k", "0", picture}), 2, {"--top-k"});
    expect_failure(fastvit_cli({"classify", "--threads", "-1", picture}), 2, {"--threads"});
    for (const char *size : {"100000", "0", "-5", "12x", "x12", "12x0", "1x2x3", "+5", "12X12", ""})
        expect_failure(fastvit_cli({"embed", "--size", size, picture}), 2, {"--size"});
    expect_failure(fastvit_cli({"embed", "--mode", "stretch", picture}), 2, {"--mode", "stretch"});
    expect_failure(fastvit_cli({"embed", "--filter", "nearest", picture}), 2, {"--filter", "nearest"});
    expect_failure(fastvit_cli({"embed", "--preset", "cifar", picture}), 2, {"--preset", "cifar"});
    expect_failure(fastvit_cli({"embed", "--preset", "imagenet", "--config", "x", picture}), 2, {"--preset", "--config"});
    expect_failure(fastvit_cli({"classify", "--crop-pct", "2", picture}), 2, {"--crop-pct"});
    expect_failure(fastvit_cli({"run", "--model", tiny, "--input", tiny, "--output", "x", "--graph", "both"}), 2, {"--graph"});
}

TEST(cli_usage, help_and_version_are_results) {
    const finished version = fastvit_cli({"--version"});
    expect_success(version);
    EXPECT_EQ(version.out, "fastvit " + std::to_string(FASTVIT_VERSION_MAJOR) + "." + std::to_string(FASTVIT_VERSION_MINOR) +
                               "." + std::to_string(FASTVIT_VERSION_PATCH) + "\n");
    const finished help = fastvit_cli({"--help"});
    expect_success(help);
    for (const char *command : {"classify", "embed", "features", "preprocess", "run", "fold", "convert", "info", "verify"}) {
        EXPECT_NE(help.out.find(command), help.out.npos);
        const finished one = fastvit_cli({command, "--help"});
        expect_success(one);
        EXPECT_NE(one.out.find(std::string_view(command) == "preprocess" ? "--mode" : "--model"), one.out.npos);
    }
}

} // namespace
