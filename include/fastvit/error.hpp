// SPDX-License-Identifier: MIT
// The library's exception, for bad files and bad arguments; never thrown once a forward pass has begun to compute. Beside it
// there are only std::bad_alloc, std::system_error of a thread_pool, and what an executor of the caller's throws.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

/// What kind of thing went wrong, for programs; what() is for people.
enum class error_kind {
    io,                ///< the operating system refused: open, read, write, map
    bad_format,        ///< the bytes are not what the container format allows
    unsupported,       ///< well-formed, but of a kind that this library does not read or run
    missing_tensor,    ///< a tensor that the network needs is not in the checkpoint
    unexpected_tensor, ///< a tensor that the network has no place for, or a duplicate
    shape_mismatch,    ///< a tensor's shape is not the one that the network needs
    bad_value,         ///< a number that cannot be right: a negative variance, a NaN
    invalid_argument,  ///< the caller's argument
};

/// The short name of a code, as what() and logs write it.
[[nodiscard]] constexpr std::string_view to_string(error_kind code) noexcept {
    switch (code) {
    case error_kind::io: return "input/output error";
    case error_kind::bad_format: return "bad format";
    case error_kind::unsupported: return "unsupported";
    case error_kind::missing_tensor: return "missing tensor";
    case error_kind::unexpected_tensor: return "unexpected tensor";
    case error_kind::shape_mismatch: return "shape mismatch";
    case error_kind::bad_value: return "bad value";
    case error_kind::invalid_argument: return "invalid argument";
    }
    return "error";
}

/// A failure, as one line: `FILE: TENSOR: PROBLEM: expected E, found F`, with the parts that are known.
class error : public std::exception {
  public:
    /// The parts of the message. Empty strings are left out of the line.
    struct parts {
        std::string problem = {};  ///< what is wrong, in a few words
        std::string expected = {}; ///< what would have been right
        std::string found = {};    ///< what was there instead
        std::string tensor = {};   ///< the tensor's name as the file spells it
        std::string file = {};     ///< the file's path
    };

    error(error_kind code, parts p) : code_(code), parts_(std::move(p)) { compose(); }
    error(error_kind code, std::string problem) : error(code, parts{.problem = std::move(problem)}) {}

    [[nodiscard]] const char *what() const noexcept override { return line_.c_str(); }
    [[nodiscard]] error_kind code() const noexcept { return code_; }
    [[nodiscard]] const parts &details() const noexcept { return parts_; }

    /// The same error with the file named, for the layer that knows which file the bytes came from. A name already set stays.
    [[nodiscard]] error in_file(std::string path) const {
        parts p = parts_;
        if (p.file.empty()) p.file = std::move(path);
        return {code_, std::move(p)};
    }

  private:
    void compose() {
        for (const std::string *prefix : {&parts_.file, &parts_.tensor})
            if (!prefix->empty()) line_ += printable(*prefix) + ": ";
        line_ += printable(parts_.problem);
        if (!parts_.expected.empty()) line_ += ": expected " + printable(parts_.expected);
        if (!parts_.found.empty()) line_ += (parts_.expected.empty() ? ": found " : ", found ") + printable(parts_.found);
    }

    // Names come out of untrusted files: a long one would flood the terminal.
    static std::string printable(std::string_view text) {
        constexpr std::size_t longest = 400;
        return io::printable(text.substr(0, longest)) + (text.size() > longest ? "..." : "");
    }

    error_kind code_;
    parts parts_;
    std::string line_;
};

}} // namespace fastvit::FASTVIT_ABI
