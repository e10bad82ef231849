// SPDX-License-Identifier: MIT
// Writing safetensors, in the layout that the official library writes.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/base/float16.hpp"
#include "fastvit/base/is_finite.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/platform/output_file.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// A tensor to be written.
struct named_tensor {
    std::string name;
    tensor_view<const float> data;
    /// If set, this is written instead of `data`: floating-point elements converted as those are, others as they are stored.
    const stored_tensor *stored = nullptr;
    /// If set, `stored` is a quantised matrix with these scales, and is written as floating-point elements.
    const stored_tensor *scales = nullptr;
    /// If set, floating-point elements are written as this type instead of the file's.
    std::optional<dtype> type = std::nullopt;
};

namespace detail {

// A string literal of JSON. Valid UTF-8 stays as it is, except for what JSON must escape.
inline std::string json_string(std::string_view text) {
    if (find_invalid_utf8(text) != text.size())
        throw error(error_kind::invalid_argument, {.problem = "a name or metadata is not UTF-8", .found = std::string(text)});
    constexpr std::string_view digits = "0123456789abcdef";
    std::string result = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20)
            result += {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
        else if (c == '"' || c == '\\')
            result += {'\\', c};
        else
            result += c;
    }
    return result + '"';
}

// The type that the tensor's elements have in a file whose floating-point elements are of `type`.
inline dtype written_type(const named_tensor &t, dtype type) {
    if (!t.stored || t.scales || is_floating(t.stored->type)) return t.type.value_or(type);
    if (t.stored->type == dtype::other)
        throw error(error_kind::unsupported,
                    {.problem = "safetensors does not have this element type, or this library does not know it",
                     .found = t.stored->type_name,
                     .tensor = t.name});
    return t.stored->type;
}

inline std::string safetensors_header(std::span<const named_tensor *const> tensors, const string_map &metadata, dtype type) {
    std::string header = "{";
    const auto comma = [&] { return header.size() > 1 ? "," : ""; };
    if (!metadata.empty()) {
        std::string entries;
        for (const auto &[key, value] : metadata)
            entries += (entries.empty() ? "" : ",") + json_string(key) + ':' + json_string(value);
        header += "\"__metadata__\":{" + entries + '}';
    }
    std::set<std::string_view> names{"__metadata__"};
    index_type end = 0;
    for (const named_tensor *const t : tensors) {
        if (!names.insert(t->name).second)
            throw error(error_kind::invalid_argument,
                        {.problem = "the name is taken", .expected = "another one", .tensor = t->name});
        const shape &dims = t->stored ? t->stored->dims : t->data.dims();
        const dtype written = written_type(*t, type);
        const index_type begin = end;
        end += dims.count() * static_cast<index_type>(size_of(written));
        std::string numbers = dims.to_string();
        std::erase(numbers, ' ');
        header += comma() + json_string(t->name) + ":{\"dtype\":\"" + std::string(to_string(written)) +
                  "\",\"shape\":" + numbers + ",\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
    }
    header += '}';
    // Padded with spaces, so that the data begins at a multiple of 8 and can be used where it is mapped.
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return header;
}

[[noreturn]] inline void refuse_large(const std::string &name, dtype type, double found) {
    throw error(error_kind::bad_value, {.problem = "an element is too large for " + std::string(to_string(type)),
                                        .expected = type == dtype::f16 ? "less than 65520" : "less than 2^128",
                                        .found = std::to_string(found),
                                        .tensor = name});
}

inline void write_as_16_bits(platform::output_file &file, const std::string &name, std::span<const float> elements, dtype type) {
    std::array<std::uint16_t, 4096> buffer;
    const std::uint16_t infinity = type == dtype::f16 ? 0x7c00 : 0x7f80;
    while (!elements.empty()) {
        const auto part = elements.first(std::min(elements.size(), buffer.size()));
        std::transform(part.begin(), part.end(), buffer.begin(), type == dtype::f16 ? float_to_half : float_to_bfloat16);
        for (std::size_t i = 0; i < part.size(); ++i)
            if ((buffer[i] & 0x7fffu) == infinity && is_finite(part[i])) refuse_large(name, type, part[i]);
        file.write(std::as_bytes(std::span(buffer).first(part.size())));
        elements = elements.subspan(part.size());
    }
}

inline void write_as(platform::output_file &file, const std::string &name, std::span<const float> elements, dtype type) {
    if (type == dtype::f32)
        file.write(std::as_bytes(elements));
    else
        write_as_16_bits(file, name, elements, type);
}

// The elements in row-major order, wherever the strides have them.
inline std::vector<std::byte> gather(const stored_tensor &t) {
    const std::size_t size = size_of(t.type);
    const auto needed = spanned(t.dims, t.strides);
    if (!needed || static_cast<std::size_t>(*needed) > t.bytes.size() / size)
        throw error(error_kind::invalid_argument, {.problem = "the tensor's strides reach outside its bytes", .tensor = t.name});
    std::vector<std::byte> elements;
    elements.reserve(static_cast<std::size_t>(t.dims.count()) * size);
    std::array<index_type, shape::max_rank> position{};
    for (index_type i = 0; i < t.dims.count(); ++i) {
        index_type offset = 0;
        for (std::size_t d = 0; d < t.dims.rank(); ++d) offset += position[d] * t.strides[d];
        const auto element = t.bytes.subspan(static_cast<std::size_t>(offset) * size, size);
        elements.insert(elements.end(), element.begin(), element.end());
        for (std::size_t d = t.dims.rank(); d-- > 0 && ++position[d] == t.dims[d];) position[d] = 0;
    }
    return elements;
}

// A double that is finite stays so. Reading it as float32 would already have made it an infinity.
inline void check_range(const stored_tensor &t, dtype type) {
    const std::vector<std::byte> elements = gather(t);
    for (std::size_t i = 0; i < elements.size(); i += sizeof(double)) {
        const auto x = load<double>(&elements[i]);
        if (is_finite(x) && !is_finite(static_cast<float>(x))) refuse_large(t.name, type, x);
    }
}

inline void write_stored(platform::output_file &file, const stored_tensor &t) {
    const bool contiguous = t.strides == contiguous_strides(t.dims);
    if (contiguous && t.bytes.size() == static_cast<std::size_t>(t.dims.count()) * size_of(t.type))
        file.write(t.bytes);
    else
        file.write(gather(t));
}

inline void write_tensor(platform::output_file &file, const named_tensor &t, dtype file_type) {
    const dtype type = written_type(t, file_type);
    if (!t.stored)
        write_as(file, t.name, t.data.span(), type);
    else if (t.scales) {
        const tensor<float> values = read_quantised(*t.stored, *t.scales);
        write_as(file, t.name, values.span(), type);
    } else if (t.stored->type == type)
        write_stored(file, *t.stored);
    else {
        if (t.stored->type == dtype::f64) check_range(*t.stored, type);
        const tensor<float> values = read_float(*t.stored);
        write_as(file, t.name, values.span(), type);
    }
}

inline void check_writable(dtype type, const std::filesystem::path &path, const char *expected = "F32, F16 or BF16") {
    if (type != dtype::f32 && type != dtype::f16 && type != dtype::bf16)
        throw error(error_kind::invalid_argument, {.problem = "cannot write the element type",
                                                   .expected = expected,
                                                   .found = std::string(to_string(type)),
                                                   .file = path.string()});
}

} // namespace detail

/// Writes the tensors and the metadata as a safetensors file, complete or not at all. Those with the widest elements come first,
/// otherwise the order stays. Floating-point elements are stored as `type`, or the tensor's own: f32, or f16 or bf16 rounded to
/// nearest even. Throws `io`; `bad_value` for a finite element that would become infinite; `unsupported` for elements that
/// safetensors does not have; `invalid_argument` for another `type`, a name that is there twice or is "__metadata__", text that
/// is not UTF-8 and strides that reach outside a stored tensor's bytes.
inline void save_safetensors(const std::filesystem::path &path, std::span<const named_tensor> tensors,
                             const string_map &metadata = {}, dtype type = dtype::f32) {
    detail::check_writable(type, path);
    const platform::ieee_arithmetic arithmetic;
    for (const named_tensor &t : tensors)
        if (t.type) detail::check_writable(*t.type, path);
    // The widest first, as the official library has it: every tensor can then be used where it is mapped. Not std::stable_sort,
    // whose temporary buffer libstdc++ 12 takes from a function that newer compilers warn of.
    std::vector<const named_tensor *> order;
    for (const named_tensor &t : tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [&](const named_tensor *a, const named_tensor *b) {
        const auto size_a = size_of(detail::written_type(*a, type)), size_b = size_of(detail::written_type(*b, type));
        return size_a != size_b ? size_a > size_b : a < b;
    });
    const std::string header = detail::safetensors_header(order, metadata, type);
    const auto length = static_cast<std::uint64_t>(header.size());
    platform::output_file file(path);
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(std::as_bytes(std::span(header)));
    for (const named_tensor *const t : order) detail::write_tensor(file, *t, type);
    file.commit();
}

}}} // namespace fastvit::FASTVIT_ABI::io
