// SPDX-License-Identifier: MIT
// The definitions of io_test_files.hpp.
#include "support/io_test_files.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <system_error>

namespace io_test {

temporary_directory::temporary_directory() {
    static std::atomic<int> counter{0};
    path_ = std::filesystem::path(testing::TempDir()) /
            ("fastvit_io_test_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
    std::filesystem::create_directories(path_);
}

temporary_directory::~temporary_directory() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path temporary_directory::operator/(std::string_view name) const { return path_ / name; }

std::vector<std::string> temporary_directory::names() const {
    std::vector<std::string> result;
    for (const auto &entry : std::filesystem::directory_iterator(path_)) result.push_back(entry.path().filename().string());
    return result;
}

void write_file(const std::filesystem::path &path, std::string_view contents) {
    std::ofstream(path, std::ios::binary).write(contents.data(), static_cast<std::streamsize>(contents.size()));
}

std::size_t tensor_count(const fastvit::checkpoint &c) { return c.tensors().size(); }

std::string read_file(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string floats(std::initializer_list<float> values) {
    std::string result;
    for (const float v : values) result += number(v);
    return result;
}

std::string safetensors(std::string_view header, std::string_view data) {
    return number<std::uint64_t>(header.size()) + std::string(header) + std::string(data);
}

void expect_error(fastvit::error_kind code, std::initializer_list<std::string_view> words, const std::function<void()> &action) {
    try {
        action();
        ADD_FAILURE() << "nothing was thrown";
    } catch (const fastvit::error &e) {
        EXPECT_EQ(fastvit::to_string(e.code()), fastvit::to_string(code)) << e.what();
        for (const std::string_view word : words)
            EXPECT_NE(std::string_view(e.what()).find(word), std::string_view::npos)
                << "\"" << word << "\" is not in: " << e.what();
    }
}

std::string thrown_by(const std::function<void()> &f) {
    try {
        f();
        return "nothing";
    } catch (const fastvit::error &e) {
        return std::string(fastvit::to_string(e.code())) + ": " + e.what();
    }
}

void expect_refused(std::string_view file, std::initializer_list<std::string_view> words, fastvit::error_kind code) {
    const std::vector<char> copy(file.begin(), file.end());
    expect_error(code, words, [&] { (void)fastvit::checkpoint::from_bytes(std::as_bytes(std::span(copy)), "FILE"); });
}

std::size_t open_and_read(std::string_view file) {
    const std::vector<char> copy(file.begin(), file.end());
    const auto source = fastvit::checkpoint::from_bytes(std::as_bytes(std::span(copy)), "FILE");
    for (const auto &stored : source.tensors())
        if (fastvit::io::is_floating(stored.type)) (void)fastvit::io::read_float(stored);
    return source.tensors().size();
}

std::vector<float> values(const fastvit::checkpoint &source, std::string_view name) {
    const auto *stored = source.find(name);
    if (stored == nullptr) {
        ADD_FAILURE() << "no tensor " << name;
        return {};
    }
    const auto tensor = fastvit::io::read_float(*stored);
    return {tensor.span().begin(), tensor.span().end()};
}

} // namespace io_test
