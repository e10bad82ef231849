// SPDX-License-Identifier: MIT
// What the tests of the file formats share: temporary files, bytes, and errors compared with what they should say.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace io_test {

/// A directory that is removed with everything in it.
class temporary_directory {
  public:
    temporary_directory();
    temporary_directory(const temporary_directory &) = delete;
    temporary_directory &operator=(const temporary_directory &) = delete;
    ~temporary_directory();
    const std::filesystem::path &path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const;

    /// What is in it; temporary files left behind would show.
    std::vector<std::string> names() const;

  private:
    std::filesystem::path path_;
};

void write_file(const std::filesystem::path &path, std::string_view contents);

std::size_t tensor_count(const fastvit::checkpoint &c);

std::string read_file(const std::filesystem::path &path);

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::byte *>(text.data()), text.size()};
}

/// Little-endian, as all formats here are.
template <class T> std::string number(T value) {
    std::string result(sizeof value, '\0');
    std::memcpy(result.data(), &value, sizeof value);
    return result;
}

std::string floats(std::initializer_list<float> values);

/// A safetensors file with this header, whatever it says.
std::string safetensors(std::string_view header, std::string_view data = {});

/// Runs `action`, which must throw fastvit::error with that code and all those words in its message.
void expect_error(fastvit::error_kind code, std::initializer_list<std::string_view> words, const std::function<void()> &action);

/// The error that f() throws, as its kind and its line; "nothing" for none.
std::string thrown_by(const std::function<void()> &f);

/// As expect_error, for opening these bytes as a source. The copy is exactly as long as the bytes, so that sanitizers see
/// reads past it.
void expect_refused(std::string_view file, std::initializer_list<std::string_view> words,
                    fastvit::error_kind code = fastvit::error_kind::bad_format);

/// Opens the bytes and reads every tensor that is floating-point; throws fastvit::error or returns the number of tensors.
std::size_t open_and_read(std::string_view file);

std::vector<float> values(const fastvit::checkpoint &source, std::string_view name);

} // namespace io_test
