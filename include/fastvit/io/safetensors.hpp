// SPDX-License-Identifier: MIT
// Reading safetensors: 8 bytes of little-endian header length, a JSON object, the data.
// https://github.com/huggingface/safetensors#format. Stricter than the official reader where it leaves a choice.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/json_reader.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// The official reader's limit.
inline constexpr std::uint64_t max_safetensors_header = 100'000'000;

namespace detail {

/// Where a tensor is in the data, as the header claims, and the bits of its elements; 0 if unknown.
struct safetensors_span {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t element_bits = 0;
};

/// What the format calls a type, and the bits of an element: some types that this library does not convert are smaller than a
/// byte.
struct safetensors_type {
    std::string_view name;
    dtype type;
    std::uint64_t bits;
};
inline constexpr std::array safetensors_types{
    safetensors_type{"F64", dtype::f64, 64},      safetensors_type{"F32", dtype::f32, 32},
    safetensors_type{"F16", dtype::f16, 16},      safetensors_type{"BF16", dtype::bf16, 16},
    safetensors_type{"I64", dtype::i64, 64},      safetensors_type{"I32", dtype::i32, 32},
    safetensors_type{"I16", dtype::i16, 16},      safetensors_type{"I8", dtype::i8, 8},
    safetensors_type{"U8", dtype::u8, 8},         safetensors_type{"BOOL", dtype::boolean, 8},
    safetensors_type{"U64", dtype::other, 64},    safetensors_type{"U32", dtype::other, 32},
    safetensors_type{"U16", dtype::other, 16},    safetensors_type{"C64", dtype::other, 64},
    safetensors_type{"F8_E5M2", dtype::other, 8}, safetensors_type{"F8_E4M3", dtype::other, 8},
    safetensors_type{"F8_E8M0", dtype::other, 8}, safetensors_type{"F6_E2M3", dtype::other, 6},
    safetensors_type{"F6_E3M2", dtype::other, 6}, safetensors_type{"F4", dtype::other, 4},
};

/// Reads the header and then checks it as a whole.
class safetensors_parser {
  public:
    explicit safetensors_parser(std::span<const std::byte> file) : file_(file) {}

    file_contents run() {
        read_header();
        check_names();
        check_tiling();
        for (std::size_t i = 0; i < spans_.size(); ++i) {
            stored_tensor &t = contents_.tensors[i];
            const safetensors_span &span = spans_[i];
            check_size(t, span);
            t.bytes = data_.subspan(static_cast<std::size_t>(span.begin), static_cast<std::size_t>(span.end - span.begin));
        }
        return std::move(contents_);
    }

  private:
    void read_header() {
        constexpr std::size_t prefix = sizeof(std::uint64_t);
        if (file_.size() < prefix)
            throw error(error_kind::bad_format, {.problem = "the file is too short for a checkpoint",
                                                 .expected = "at least 8 bytes",
                                                 .found = std::to_string(file_.size())});
        const auto length = load<std::uint64_t>(file_.data());
        if (length == 0) throw error(error_kind::bad_format, "the safetensors header is empty");
        if (length > file_.size() - prefix)
            throw error(error_kind::bad_format,
                        {.problem = "neither a safetensors nor a PyTorch file, or cut short",
                         .expected = "a header of at most " + std::to_string(file_.size() - prefix) + " bytes",
                         .found = std::to_string(length)});
        if (length > max_safetensors_header)
            throw error(error_kind::bad_format, {.problem = "the safetensors header is too long",
                                                 .expected = "at most " + std::to_string(max_safetensors_header) + " bytes",
                                                 .found = std::to_string(length)});
        const auto header = file_.subspan(prefix, static_cast<std::size_t>(length));
        data_ = file_.subspan(prefix + static_cast<std::size_t>(length));

        json_reader json({reinterpret_cast<const char *>(header.data()), header.size()}, " in the header");
        bool has_metadata = false;
        json.object([&](const std::string &name) {
            if (name == "__metadata__") {
                if (std::exchange(has_metadata, true)) throw error(error_kind::bad_format, "__metadata__ is there twice");
                read_metadata(json);
            } else {
                read_tensor(json, name);
            }
        });
        json.end();
    }

    void read_metadata(json_reader &json) {
        json.object([&](const std::string &key) {
            if (contents_.metadata.size() == max_tensors)
                throw error(error_kind::bad_format, "__metadata__ has more than " + std::to_string(max_tensors) + " entries");
            if (!contents_.metadata.try_emplace(key, json.string()).second)
                throw error(error_kind::bad_format, "__metadata__ has the key \"" + key + "\" twice");
        });
    }

    void read_tensor(json_reader &json, const std::string &name) {
        if (spans_.size() == max_tensors)
            throw error(error_kind::bad_format, "the file has more than " + std::to_string(max_tensors) + " tensors");
        check_name_length(name);
        const auto wrong = [&](std::string problem) {
            return error(error_kind::bad_format, {.problem = std::move(problem), .tensor = name});
        };
        std::optional<std::string> type;
        std::optional<shape> dims;
        std::optional<safetensors_span> span;
        json.object([&](const std::string &field) {
            const auto once = [&](const auto &value) {
                if (value) throw wrong("the field " + field + " is there twice");
            };
            if (field == "dtype") {
                once(type);
                type = json.string(json_reader::longest_key);
            } else if (field == "shape") {
                once(dims);
                dims = read_shape(json, name);
            } else if (field == "data_offsets") {
                once(span);
                span = read_offsets(json, name);
            } else {
                // It could change what the elements mean.
                throw error(
                    error_kind::bad_format,
                    {.problem = "unknown field", .expected = "dtype, shape and data_offsets", .found = field, .tensor = name});
            }
        });
        if (!type) throw wrong("the field dtype is missing");
        if (!dims) throw wrong("the field shape is missing");
        if (!span) throw wrong("the field data_offsets is missing");

        const auto known =
            std::find_if(safetensors_types.begin(), safetensors_types.end(), [&](auto &t) { return t.name == *type; });
        const bool unknown = known == safetensors_types.end();
        span->element_bits = unknown ? 0 : known->bits;
        contents_.tensors.push_back({.name = name,
                                     .type = unknown ? dtype::other : known->type,
                                     .type_name = std::move(*type),
                                     .dims = *dims,
                                     .strides = contiguous_strides(*dims),
                                     .bytes = {}});
        spans_.push_back(*span);
    }

    static shape read_shape(json_reader &json, const std::string &name) {
        std::array<index_type, shape::max_rank> dims{};
        std::size_t rank = 0;
        json.array([&] {
            if (rank == dims.size())
                throw error(
                    error_kind::bad_format,
                    {.problem = "too many dimensions", .expected = "at most " + std::to_string(dims.size()), .tensor = name});
            dims[rank++] = static_cast<index_type>(json.integer());
        });
        return checked_shape(std::span(dims).first(rank), name);
    }

    static safetensors_span read_offsets(json_reader &json, const std::string &name) {
        std::array<std::uint64_t, 2> offsets{};
        std::size_t count = 0;
        json.array([&] {
            const std::uint64_t offset = json.integer();
            if (count < offsets.size()) offsets[count] = offset;
            ++count;
        });
        if (count != offsets.size())
            throw error(
                error_kind::bad_format,
                {.problem = "wrong number of data_offsets", .expected = "2", .found = std::to_string(count), .tensor = name});
        if (offsets[0] > offsets[1])
            throw error(error_kind::bad_format, {.problem = "the tensor's data ends before it begins",
                                                 .expected = "at least " + std::to_string(offsets[0]),
                                                 .found = std::to_string(offsets[1]),
                                                 .tensor = name});
        return {.begin = offsets[0], .end = offsets[1]};
    }

    void check_names() const {
        std::vector<const std::string *> names;
        names.reserve(contents_.tensors.size());
        for (const stored_tensor &t : contents_.tensors) names.push_back(&t.name);
        std::sort(names.begin(), names.end(), [](auto *a, auto *b) { return *a < *b; });
        const auto twice = std::adjacent_find(names.begin(), names.end(), [](auto *a, auto *b) { return *a == *b; });
        if (twice != names.end())
            throw error(error_kind::unexpected_tensor, {.problem = "the tensor is in the file twice", .tensor = **twice});
    }

    // The tensors cover the data from its first byte to its last, each byte once: nothing hides in the file, no two share bytes.
    void check_tiling() const {
        std::vector<std::size_t> order(spans_.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return std::pair(spans_[a].begin, spans_[a].end) < std::pair(spans_[b].begin, spans_[b].end);
        });
        std::uint64_t covered = 0;
        for (const std::size_t i : order) {
            const std::uint64_t begin = spans_[i].begin;
            const std::uint64_t end = spans_[i].end;
            const std::string &name = contents_.tensors[i].name;
            if (end > data_.size())
                throw error(error_kind::bad_format, {.problem = "the tensor's data is past the end of the file",
                                                     .expected = "at most " + std::to_string(data_.size()) + " bytes of data",
                                                     .found = "an end at " + std::to_string(end),
                                                     .tensor = name});
            if (begin != covered)
                throw error(error_kind::bad_format, {.problem = begin < covered ? "the tensor's data overlaps another's"
                                                                                : "there is a hole before the tensor's data",
                                                     .expected = "a beginning at " + std::to_string(covered),
                                                     .found = std::to_string(begin),
                                                     .tensor = name});
            covered = end;
        }
        if (covered != data_.size())
            throw error(error_kind::bad_format, {.problem = "the tensors do not reach the end of the file",
                                                 .expected = std::to_string(covered) + " bytes of data",
                                                 .found = std::to_string(data_.size())});
    }

    // A type that is not in the table has no size to compare with; its span is inside the data all the same.
    static void check_size(const stored_tensor &t, const safetensors_span &span) {
        if (span.element_bits == 0) return;
        // A count that large fits no file; below it the product with 64 bits cannot wrap.
        const auto count = static_cast<std::uint64_t>(t.dims.count());
        const bool sane = count <= json_reader::largest_integer * 8;
        const std::uint64_t bits = sane ? count * span.element_bits : 0;
        if (!sane || bits % 8 != 0 || bits / 8 != span.end - span.begin)
            throw error(error_kind::bad_format, {.problem = "the tensor's data_offsets do not fit its shape and type",
                                                 .expected = t.type_name + " " + t.dims.to_string() +
                                                             (sane ? " in " + std::to_string(bits / 8) + " bytes" : ""),
                                                 .found = std::to_string(span.end - span.begin) + " bytes",
                                                 .tensor = t.name});
    }

    std::span<const std::byte> file_;
    std::span<const std::byte> data_;
    file_contents contents_;
    std::vector<safetensors_span> spans_; // of contents_.tensors, in the data
};

} // namespace detail

/// Whether the bytes may begin with the length of a header: no other format that begins with 8 such bytes is as long as they say.
inline bool looks_like_safetensors(std::span<const std::byte> file) noexcept {
    constexpr std::size_t prefix = sizeof(std::uint64_t);
    return file.size() >= prefix && load<std::uint64_t>(file.data()) <= file.size() - prefix;
}

/// The tensors and the metadata of a safetensors file; their bytes are `file`'s. Throws `bad_format`, or `unexpected_tensor` for
/// a name that is there twice. Allocates at most twice the header's length and 64 MB, and never for data.
inline file_contents parse_safetensors(std::span<const std::byte> file) { return detail::safetensors_parser(file).run(); }

}}} // namespace fastvit::FASTVIT_ABI::io
