// SPDX-License-Identifier: MIT
// What the tests of the file formats share: temporary files, bytes, and errors compared with what they should say.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/error.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace io_test {

/// A directory that is removed with everything in it.
class temporary_directory {
  public:
    temporary_directory() {
        static std::atomic<int> counter{0};
        path_ = std::filesystem::path(testing::TempDir()) /
                ("fastvit_io_test_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
        std::filesystem::create_directories(path_);
    }
    temporary_directory(const temporary_directory &) = delete;
    temporary_directory &operator=(const temporary_directory &) = delete;
    ~temporary_directory() {
        std::error_code ignored;
        std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
        std::filesystem::remove_all(path_, ignored);
    }
    const std::filesystem::path &path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

    /// What is in it; temporary files left behind would show.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto &entry : std::filesystem::directory_iterator(path_)) result.push_back(entry.path().filename().string());
        return result;
    }

  private:
    std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path &path, std::string_view contents) {
    std::ofstream(path, std::ios::binary).write(contents.data(), static_cast<std::streamsize>(contents.size()));
}

inline std::size_t tensor_count(const fastvit::checkpoint &c) { return c.tensors().size(); }

inline std::string read_file(const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::byte *>(text.data()), text.size()};
}

/// Little-endian, as all formats here are.
template <class T> std::string number(T value) {
    std::string result(sizeof value, '\0');
    std::memcpy(result.data(), &value, sizeof value);
    return result;
}

inline std::string floats(std::initializer_list<float> values) {
    std::string result;
    for (const float v : values) result += number(v);
    return result;
}

/// A safetensors file with this header, whatever it says.
inline std::string safetensors(std::string_view header, std::string_view data = {}) {
    return number<std::uint64_t>(header.size()) + std::string(header) + std::string(data);
}

/// Runs `action`, which must throw fastvit::error with that code and all those words in its message.
template <class Action>
void expect_error(fastvit::error_kind code, std::initializer_list<std::string_view> words, Action action) {
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

/// The error that f() throws, as its kind and its line; "nothing" for none.
inline std::string thrown_by(const std::function<void()> &f) {
    try {
        f();
        return "nothing";
    } catch (const fastvit::error &e) {
        return std::string(fastvit::to_string(e.code())) + ": " + e.what();
    }
}

/// As expect_error, for opening these bytes as a source. The copy is exactly as long as the bytes, so that sanitizers see
/// reads past it.
inline void expect_refused(std::string_view file, std::initializer_list<std::string_view> words,
                           fastvit::error_kind code = fastvit::error_kind::bad_format) {
    const std::vector<char> copy(file.begin(), file.end());
    expect_error(code, words, [&] { (void)fastvit::checkpoint::from_bytes(std::as_bytes(std::span(copy)), "FILE"); });
}

/// Opens the bytes and reads every tensor that is floating-point; throws fastvit::error or returns the number of tensors.
inline std::size_t open_and_read(std::string_view file) {
    const std::vector<char> copy(file.begin(), file.end());
    const auto source = fastvit::checkpoint::from_bytes(std::as_bytes(std::span(copy)), "FILE");
    for (const auto &stored : source.tensors())
        if (fastvit::io::is_floating(stored.type)) (void)fastvit::io::read_float(stored);
    return source.tensors().size();
}

inline std::vector<float> values(const fastvit::checkpoint &source, std::string_view name) {
    const auto *stored = source.find(name);
    if (stored == nullptr) {
        ADD_FAILURE() << "no tensor " << name;
        return {};
    }
    const auto tensor = fastvit::io::read_float(*stored);
    return {tensor.span().begin(), tensor.span().end()};
}

} // namespace io_test
