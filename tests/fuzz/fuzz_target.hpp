// SPDX-License-Identifier: MIT
// What the fuzz targets share. A target is one function that is given bytes; whatever they are, it has to come back: findings are
// what the sanitizers report, exceptions other than fastvit::error, and require().
#pragma once

#include "fastvit/error.hpp"

#include "support/counted_memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

namespace fuzz {

/// Ends the program unless `holds`.
inline void require(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "require: %s\n", what);
    std::abort();
}

/// Whether f() accepts the input. To refuse, it throws a fastvit::error that says why, in one line that can be printed.
template <class F> bool accepts(F &&f) {
    try {
        f();
        return true;
    } catch (const fastvit::error &e) {
        const std::string_view line = e.what();
        require(!line.empty(), "an error says something");
        require(line.size() < 5000, "an error is short");
        require(std::none_of(line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }) &&
                    fastvit::io::find_invalid_utf8(line) == line.size(),
                "an error has no control characters");
        return false;
    }
}

/// Runs f(), which must not take more than n_times n + 64 MB for a file of n bytes.
template <class F> void bounded(std::size_t n, int n_times, F &&f) {
    const std::size_t most = n * static_cast<std::size_t>(n_times) + (std::size_t{64} << 20);
    require(counted_memory::peak_of(f) <= most, "memory is bounded by the file's size");
}

/// Whether `part` lies in `whole`.
inline bool inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
    const std::less_equal<> at_most;
    return part.empty() ||
           (at_most(whole.data(), part.data()) && at_most(part.data() + part.size(), whole.data() + whole.size()));
}

/// Takes numbers from the front of the input; zeros once it is used up.
class number_source {
  public:
    number_source(const std::uint8_t *data, std::size_t size) : rest_(data, size) {}
    template <class T> T take() {
        T value{};
        const std::size_t size = std::min(sizeof value, rest_.size());
        if (size != 0) std::memcpy(&value, rest_.data(), size);
        rest_ = rest_.subspan(size);
        return value;
    }
    std::span<const std::uint8_t> rest() const { return rest_; }

  private:
    std::span<const std::uint8_t> rest_;
};

} // namespace fuzz
