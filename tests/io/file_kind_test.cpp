// SPDX-License-Identifier: MIT
// What is no checkpoint says what it is, in one line, and what to do.
#include "fastvit/checkpoint.hpp"
#include "fastvit/io/file_kind.hpp"

#include "support/io_test_files.hpp"
#include "support/pth_test_files.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using io_test::expect_error;
using io_test::expect_refused;
using io_test::number;
using io_test::write_file;

void expect_kind(std::string_view bytes, std::initializer_list<std::string_view> words) {
    expect_refused(bytes, words, error_kind::unsupported);
}

// A field of a protocol buffer with a length.
std::string field(unsigned number, const std::string &bytes) {
    std::string out;
    const auto varint = [&](std::size_t value) {
        for (; value > 127; value >>= 7) out += static_cast<char>((value & 127) | 128);
        out += static_cast<char>(value);
    };
    varint((number << 3) | 2);
    varint(bytes.size());
    return out + bytes;
}

std::string old_tar() {
    std::string header(512, '\0');
    header.replace(0, 9, "model.pth");
    header.replace(148, 8, "        ");
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::string octal;
    for (; sum > 0; sum /= 8) octal.insert(octal.begin(), static_cast<char>('0' + sum % 8));
    header.replace(148, 8, std::string(6 - octal.size(), '0') + octal + std::string("\0 ", 2));
    return header + std::string(1024, '\0');
}

TEST(file_kind, is_told_by_the_first_bytes) {
    const std::string zeros(600, '\0');
    const std::string letters(1023, 'a'); // here, as GCC 12 warns of std::string(1023, 'a') + "..." for no reason
    std::string tar = old_tar();
    tar.replace(257, 5, "ustar");
    for (const auto &[bytes, words] : std::vector<std::pair<std::string, std::vector<std::string_view>>>{
             {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", {"Git LFS pointer", "git lfs pull"}},
             {"<!DOCTYPE html><html>", {"HTML", "download the file itself"}},
             {"\xef\xbb\xbf \n<HTML lang=\"de\">\xff", {"HTML"}},
             {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", {"XML"}},
             {tar, {"tar archive", "tar xf"}},
             {old_tar(), {"tar archive"}},
             {"\x1f\x8b\x08" + zeros, {"gzip", "gunzip"}},
             {"BZh91AY&SY" + zeros, {"bzip2"}},
             {"\x28\xb5\x2f\xfd" + zeros, {"zstd"}},
             {std::string("\xfd"
                          "7zXZ\0",
                          6) +
                  zeros,
              {"xz"}},
             {"GGUF\x03" + zeros, {"GGUF", "made from"}},
             {std::string("\x1c\0\0\0TFL3", 8) + zeros, {"TensorFlow Lite"}},
             {"\x89HDF\r\n\x1a\n" + zeros, {"HDF5"}},
             {"\x93NUMPY\x01" + zeros, {"NumPy"}},
             {"\x08\x07" + field(2, "pytorch") + field(3, "2.1") + field(7, std::string(300, 'g')), {"ONNX", "exported from"}},
             {"\x08\x08" + field(7, std::string(300, 'g')).substr(0, 200), {"ONNX"}}, // cut short
             {"\x08\x05" + field(2, field(1, "image")) + field(500, std::string(300, 'w')), {"Core ML", "converted from"}},
             {"\x08\x01" + field(1000, "abc"), {"Core ML"}},
             {"{\"crop_pct\": 0.9}", {"JSON", "beside it"}},
             {"[1, 2]", {"JSON"}},
             {"epoch,loss\n1,0.5\n", {"text file"}},
             {"\xc3\xa9tude", {"text file"}},
             {letters + "\xc3\xa9", {"text file"}}, // a character across the end of what is looked at
             {"   \n \n  ", {"white space"}},
             {io_test::pk::proto2 + "N.", {"Python pickle", "torch.save"}},
         })
        for (const std::string_view word : words) expect_kind(bytes, {"FILE: this is ", word});
}

TEST(file_kind, of_a_zip_archive_is_told_by_the_names_in_it) {
    using names = std::vector<std::string>;
    const auto zip = [](const names &entries) {
        io_test::named_data data;
        for (const std::string &name : entries) data.emplace_back(name, "x");
        return io_test::build_zip(data);
    };
    for (const auto &[entries, word] : std::vector<std::pair<names, std::string_view>>{
             {{"net/data.pkl", "net/code/__torch__/m.py", "net/constants.pkl"}, "torch.jit.load(FILE).state_dict()"},
             {{"m.mlpackage/Manifest.json"}, "Core ML"},
             {{"net/archive_format", "net/models/model.json", "net/data.pkl"}, "torch.export"},
             {{"a.npy", "b.npy"}, "NumPy"},
             {{"config.json", "model.weights.h5"}, "Keras"},
             {{"readme.txt", "model.pth"}, "unzip"}}) {
        io_test::built_zip built = zip(entries);
        expect_kind(built.file, {"FILE: this is ", word});
        // Compressed, as TorchScript's code is.
        for (std::size_t i = 0; i < entries.size(); ++i)
            built.set<std::uint16_t>(built.local[i] + 8, 8).set<std::uint16_t>(built.central[i] + 10, 8);
        expect_kind(built.file, {word});
    }
    expect_refused(zip({"x"}).file, {"not a PyTorch file"});
    expect_refused(zip({"x/data.pkl"}).file.substr(0, 40), {"zip"});
}

TEST(file_kind, of_nobody_is_what_it_was) {
    const std::string noise("\x01\xfe\xff\xff\xff\xff\xff\xff\x00\x01", 10);
    expect_refused(noise, {"neither a safetensors nor a PyTorch file"});
    // The numbers that a protocol buffer begins with, and none behind them; text with a control character; a checksum of nothing.
    for (const std::string &bytes :
         {std::string("\x08\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 13), "abc\x01" + noise, std::string(600, '\xff')})
        expect_refused(bytes, {"neither a safetensors nor a PyTorch file"});
}

// A header's length may look like anything: of a file that is as long as it says, it decides.
TEST(file_kind, of_a_checkpoint_is_not_mistaken) {
    for (const std::size_t length : {std::size_t{0x7b}, std::size_t{0x8b1f}, std::size_t{0x0708}}) { // '{', gzip, ONNX
        std::string header = "{}";
        header.resize(length, ' ');
        const std::string file = io_test::safetensors(header);
        const checkpoint opened = checkpoint::from_bytes(io_test::bytes_of(file), "FILE");
        EXPECT_TRUE(opened.tensors().empty());
        expect_refused(file + "x", {"do not reach the end"});
    }
}

TEST(file_kind, of_a_folder_says_what_to_open) {
    const io_test::temporary_directory directory;
    const auto expect_folder = [&](const std::filesystem::path &folder, std::initializer_list<std::string_view> words) {
        expect_error(error_kind::io, words, [&] { (void)checkpoint::open(folder); });
    };
    const auto make = [&](const std::string &name, const std::string &inside) {
        std::filesystem::create_directories(directory / name);
        if (!inside.empty()) write_file(directory / (name + "/" + inside), "{}");
        return directory / name;
    };
    expect_folder(make("plain", ""), {"plain: this is a directory"});
    expect_folder(make("net.mlpackage", ""), {"Core ML package"});
    expect_folder(make("package", "Manifest.json"), {"Core ML package"});
    expect_folder(make("saved", "saved_model.pb"), {"TensorFlow"});
    expect_folder(make("adapter", "adapter_config.json"), {"LoRA", "merge"});
    expect_folder(make("distributed", ".metadata"), {"distributed PyTorch checkpoint", "dcp_to_torch"});
    expect_folder(make("deepspeed", "zero_to_fp32.py"), {"DeepSpeed", "zero_to_fp32.py"});
    expect_folder(make("both", "pytorch_model.bin"), {"open pytorch_model.bin in it"});
    expect_folder(make("both", "model.safetensors"), {"open model.safetensors in it"});
    expect_folder(make("both", "model.safetensors.index.json"), {"open model.safetensors.index.json in it"});
}

} // namespace
