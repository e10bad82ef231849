// SPDX-License-Identifier: MIT
// The program `fastvit`, run as its users run it.
#include "fastvit/io/checkpoint.hpp"
#include "fastvit/version.hpp"

#include "io_test_files.hpp"
#include "sanitized.hpp"
#include "seeded.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using fastvit::io::checkpoint;
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

std::string shell_word(std::string_view word) {
    std::string result = "'";
    for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

struct finished {
    int status;
    std::string out, err;
};

// `before` stands before the program in the shell's command: assignments, limits.
finished fastvit_with(const std::string &before, const std::vector<std::string> &arguments) {
    const temporary_directory files;
    std::string command = before + " " + shell_word(FASTVIT_CLI);
    for (const std::string &a : arguments) command += " " + shell_word(a);
    command += " >" + shell_word((files / "out").string()) + " 2>" + shell_word((files / "err").string());
    const int result = std::system(command.c_str());
    return {WIFEXITED(result) ? WEXITSTATUS(result) : -1, read_file(files / "out"), read_file(files / "err")};
}

finished fastvit_cli(const std::vector<std::string> &arguments) { return fastvit_with("", arguments); }

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
    const fastvit::io::named_tensor one{.name = name, .data = values};
    fastvit::io::save_safetensors(path, std::span(&one, 1));
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
    std::vector<fastvit::io::named_tensor> tensors;
    for (const auto &t : source.tensors()) {
        if (!fastvit::io::is_floating(t.type) || (t.name == name && !value)) continue;
        fastvit::tensor<float> values = fastvit::io::read_float(t);
        if (t.name == name) std::fill(values.span().begin(), values.span().end(), *value);
        made.add(t.name, std::move(values));
    }
    for (const auto &t : made.tensors())
        tensors.push_back({.name = t.name, .data = {reinterpret_cast<const float *>(t.bytes.data()), t.dims}});
    fastvit::io::save_safetensors(path, tensors);
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
                                 golden_case{"tiny_fp16.safetensors", 4e-3}, golden_case{"tiny_bf16.pth", 4e-2}})
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
    expect_refused("image", {1, 3, 64, 64}, {"in.safetensors", "input", "missing"});
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

// --- info

TEST(cli_info, says_what_a_checkpoint_holds) {
    const json train = parse(fastvit_cli({"info", "--model", tiny, "--json", "--tensors"}));
    EXPECT_EQ(train["file"], tiny);
    EXPECT_EQ(train["variant"], "custom");
    EXPECT_EQ(train["spelling"], "apple");
    EXPECT_EQ(train["prefix"], "");
    EXPECT_EQ(train["graph"], "train-time");
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
}

// The parameter counts are those of the official model, before and after its reparameterisation.
TEST(cli_info, knows_a_published_variant) {
    const temporary_directory directory;
    const checkpoint made =
        fastvit_test::seeded_checkpoint(fastvit::published_architecture("fastvit_t8"), fastvit::io::spelling::timm);
    std::vector<fastvit::io::named_tensor> tensors;
    for (const auto &t : made.tensors())
        tensors.push_back({.name = "module." + t.name, .data = {reinterpret_cast<const float *>(t.bytes.data()), t.dims}});
    fastvit::io::save_safetensors(directory / "t8.safetensors", tensors);
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

TEST(cli_verify, does_not_call_a_comparison_with_nothing_a_proof) {
    expect_failure(fastvit_cli({"verify", "--model", folded}), 1, {"tiny_reparam.safetensors", "folded already"});
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
    const finished f = fastvit_cli({"classify", "--model", tiny, (directory / "broken.png").string(), picture,
                                    (directory / "none.png").string(), directory.path().string()});
    EXPECT_EQ(f.status, 1);
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 3) << f.err;
    for (const char *word : {"broken.png", "none.png", "Is a directory"}) EXPECT_NE(f.err.find(word), f.err.npos) << f.err;
    EXPECT_TRUE(f.out.starts_with(picture)) << f.out;
    expect_failure(fastvit_cli({"classify", "--model", tiny, (directory / "broken.png").string()}), 1, {"broken.png"});
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
                                                         {"fold", "--output", output},
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
    expect_failure(fastvit_cli({"paint"}), 2, {"paint"});
    expect_failure(fastvit_cli({"classify"}), 2, {"IMAGE"});
    expect_failure(fastvit_cli({"fold", "--model", tiny}), 2, {"--output"});
    expect_failure(fastvit_cli({"info", "--no-such-option"}), 2, {"--no-such-option"});
    expect_failure(fastvit_cli({"info", "--no\nsuch"}), 2, {"--no?such"});
    expect_failure(fastvit_cli({"classify", "--top-k", "many", picture}), 2, {"many"});
    expect_failure(fastvit_cli({"classify", "--top-k", "0", picture}), 2, {"--top-k"});
    expect_failure(fastvit_cli({"classify", "--threads", "-1", picture}), 2, {"--threads"});
    expect_failure(fastvit_cli({"classify", "--size", "100000", picture}), 2, {"--size"});
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
    for (const char *command : {"classify", "run", "fold", "info", "verify"}) {
        EXPECT_NE(help.out.find(command), help.out.npos);
        const finished one = fastvit_cli({command, "--help"});
        expect_success(one);
        EXPECT_NE(one.out.find("--model"), one.out.npos);
    }
}

} // namespace
