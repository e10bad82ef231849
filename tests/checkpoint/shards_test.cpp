// SPDX-License-Identifier: MIT
// Checkpoints in several files, and the index that lists them.
#include "fastvit/io/shard_index.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using io_test::bytes_of;
using io_test::expect_error;
using io_test::write_file;

std::string index_of(const std::vector<std::pair<std::string, std::string>> &places) {
    std::string map;
    for (const auto &[tensor, file] : places) map += (map.empty() ? "" : ", ") + ('"' + tensor + "\": \"" + file + '"');
    return R"({"metadata": {"total_size": 1, "more": [1, {"x": null}]}, "weight_map": {)" + map + "}}";
}

struct shards_test : testing::Test {
    shards_test() {
        const file_of_tensors whole = toy_file();
        for (std::size_t i = 0; i < whole.tensors.size(); ++i)
            parts[i * 2 / whole.tensors.size()].tensors.push_back(whole.tensors[i]);
        write();
    }
    void write(const std::string &folder = "") {
        places.clear();
        for (std::size_t i = 0; i < 2; ++i) {
            write_file(directory / (folder + names[i]), parts[i].bytes());
            for (const file_tensor &t : parts[i].tensors) places.emplace_back(t.name, folder + names[i]);
        }
        write_file(index, index_of(places));
    }
    void expect_index_refused(error_kind code, std::initializer_list<std::string_view> words) {
        expect_error(code, words, [&] { (void)checkpoint::open(index); });
    }

    const io_test::temporary_directory directory;
    const std::filesystem::path index = directory / "model.safetensors.index.json";
    const std::string names[2] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    file_of_tensors parts[2];
    std::vector<std::pair<std::string, std::string>> places;
};

TEST_F(shards_test, make_the_whole_network) {
    expect_network(checkpoint::open(index), toy_file());
    EXPECT_EQ(checkpoint::open(index).size_in_bytes(),
              std::filesystem::file_size(index) + parts[0].bytes().size() + parts[1].bytes().size());
    fastvit::save_folded(checkpoint::open(index), directory / "o");
    EXPECT_LE(distance_between(results_of(model::open(directory / "o")), results_of(toy_file().load())), 1e-6);
    // In another order, with a byte order mark, and in a folder below.
    std::reverse(places.begin(), places.end());
    write_file(index, "\xef\xbb\xbf\n" + index_of(places));
    expect_network(checkpoint::open(index), toy_file());
    std::filesystem::create_directory(directory / "sub");
    write("sub/");
    expect_network(checkpoint::open(index), toy_file());
    // Links are followed, as in a cache of downloads, whose files are links to where they are kept.
    std::filesystem::create_directory(directory / "snapshot");
    for (const std::string &name : {names[0], names[1], std::string("model.safetensors.index.json")})
        std::filesystem::create_symlink(directory / name, directory / ("snapshot/" + name));
    write();
    expect_network(checkpoint::open(directory / "snapshot/model.safetensors.index.json"), toy_file());
}

TEST_F(shards_test, may_be_pytorchs_files) {
    for (std::size_t i = 0; i < 2; ++i) {
        torch_file file;
        const std::string object = file.dictionary(parts[i]);
        write_file(directory / ("pytorch_model-" + std::to_string(i) + ".bin"), file.zip(object));
        for (auto &[tensor, name] : places)
            if (name == names[i]) name = "pytorch_model-" + std::to_string(i) + ".bin";
    }
    write_file(index, index_of(places));
    expect_network(checkpoint::open(index), toy_file());
}

TEST_F(shards_test, alone_say_which_part_they_are) {
    for (std::size_t i = 0; i < 2; ++i)
        for (const auto &action : std::vector<std::function<void()>>{
                 [&] { (void)model::open(directory / names[i]); },
                 [&] { fastvit::save_folded(checkpoint::open(directory / names[i]), directory / "o"); },
                 [&] { fastvit::save_converted(checkpoint::open(directory / names[i]), directory / "o"); }})
            expect_error(error_kind::unsupported,
                         {names[i], "part " + std::to_string(i + 1) + " of 2", "open its index, model.safetensors.index.json"},
                         action);
    // The only part is the whole.
    write_file(directory / "model-00001-of-00001.safetensors", toy_file().bytes());
    expect_network(checkpoint::open(directory / "model-00001-of-00001.safetensors"), toy_file());
}

TEST_F(shards_test, are_looked_for_in_the_folder_of_the_index_alone) {
    write_file(directory / "outside.safetensors", parts[1].bytes());
    std::filesystem::create_directory(directory / "in");
    write_file(directory / "in" / names[0], parts[0].bytes());
    for (const std::string &file :
         {std::string("../outside.safetensors"), (directory / "outside.safetensors").string(),
          std::string("a/../../outside.safetensors"), std::string("./x"), std::string("a//b"), std::string(""), std::string("/"),
          std::string(".."), std::string("a/"), std::string("..\\\\outside.safetensors"), std::string("c:outside"),
          std::string("a\\u0000b")}) {
        SCOPED_TRACE(file);
        auto wrong = places;
        for (auto &[tensor, name] : wrong)
            if (name == names[1]) name = file;
        write_file(directory / "in" / "index.json", index_of(wrong));
        expect_error(error_kind::bad_format, {"index.json: ", "outside its folder"},
                     [&] { (void)checkpoint::open(directory / "in" / "index.json"); });
    }
}

TEST_F(shards_test, have_what_the_index_says_and_nothing_else) {
    const std::string lost = parts[1].tensors.back().name;
    parts[1].erase(lost);
    write_file(directory / names[1], parts[1].bytes());
    expect_index_refused(error_kind::missing_tensor, {"index.json: ", lost, names[1]});
    parts[0].tensors.push_back({"more", "F32", {1}, io_test::floats({1})});
    write_file(directory / names[0], parts[0].bytes());
    expect_index_refused(error_kind::unexpected_tensor, {names[0] + ": more"});
    parts[0].tensors.back() = parts[1].tensors[0]; // in both
    write_file(directory / names[0], parts[0].bytes());
    expect_index_refused(error_kind::unexpected_tensor, {names[0] + ": " + parts[1].tensors[0].name});
    std::filesystem::remove(directory / names[0]);
    expect_index_refused(error_kind::io, {names[0], "does not exist", "model.safetensors.index.json lists it"});
    write_file(directory / names[0], "version https://git-lfs.github.com/spec/v1\n");
    expect_index_refused(error_kind::unsupported, {names[0], "Git LFS"});
    write_file(directory / names[0], index_of(places));
    expect_index_refused(error_kind::unsupported, {names[0], "index"});
    expect_error(error_kind::invalid_argument, {"index.json: ", "only PyTorch files have keys"},
                 [&] { (void)checkpoint::open(index, "model"); });
}

TEST_F(shards_test, need_an_index_that_is_right) {
    const auto refuse = [&](const std::string &text, std::initializer_list<std::string_view> words,
                            error_kind code = error_kind::bad_format) {
        write_file(index, text);
        expect_index_refused(code, words);
    };
    const std::string right = index_of(places);
    for (std::size_t cut : {std::size_t{1}, right.size() / 2})
        refuse(right.substr(0, right.size() - cut), {"bad JSON in the index"});
    refuse(right + "x", {"bad JSON in the index"});
    refuse(R"({"a": {"weight_map": {}}})", {"no weight_map"});
    refuse(R"({"weight_map": {}, "weight_map": {}})", {"weight_map is there twice"});
    refuse(R"({"weight_map": []})", {"bad JSON in the index"});
    refuse(R"({"weight_map": {"a": 1}})", {"bad JSON in the index"});
    refuse(R"({"weight_map": {"a": "b", "a": "b"}})", {"a: ", "in the index twice"}, error_kind::unexpected_tensor);
    refuse(R"({"weight_map": {")" + std::string(300, 'a') + R"(": "b"}})", {"name is too long"});
    refuse(R"({"weight_map": {"a": ")" + std::string(300, 'a') + R"("}})", {"bad JSON", "at most 255 bytes"});
    std::vector<std::pair<std::string, std::string>> many;
    for (std::size_t i = 0; i <= io::max_shards; ++i) many.emplace_back(std::to_string(i), std::to_string(i));
    refuse(index_of(many), {"more than 1024 files"});
    // In memory there is no folder.
    expect_error(error_kind::unsupported, {"FILE: ", "the index of a checkpoint in several files", "by its path"},
                 [&] { (void)checkpoint::from_bytes(bytes_of(right), "FILE"); });
    // An empty map is an empty checkpoint.
    write_file(index, R"({"weight_map": {}})");
    expect_error(error_kind::unsupported, {"not a FastViT checkpoint", "no tensors"}, [&] { (void)model::open(index); });
}

TEST(part_in_name, is_read_as_it_is_written) {
    const auto part = io::part_in_name("/some-00009-of-00010.x/pytorch_model-00003-of-00012.bin");
    ASSERT_TRUE(part);
    EXPECT_EQ(part->number, 3U);
    EXPECT_EQ(part->of, 12U);
    EXPECT_EQ(part->index, "pytorch_model.bin.index.json");
    for (const std::string_view name :
         {"model.safetensors", "", "-of-", "-00001-of-00002", "model-0001-of-00002.bin", "model-00001-of-2.bin",
          "model-00001-of-00001.bin", "model-00003-of-00002.bin", "model-00000-of-00002.bin", "model_00001-of-00002.bin",
          "model-0000x-of-00002.bin", "dir-00001-of-00002.bin/x"})
        EXPECT_FALSE(io::part_in_name(name)) << name;
}

} // namespace
