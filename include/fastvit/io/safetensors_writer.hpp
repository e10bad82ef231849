// SPDX-License-Identifier: MIT
// Writing safetensors, in the layout that the official library writes.
#pragma once

#include "fastvit/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/float16.hpp"
#include "fastvit/io/output_file.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/io/utf8.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>

namespace fastvit::inline FASTVIT_ABI {
namespace io {

/// A tensor to be written.
struct named_tensor {
    std::string name;
    tensor_view<const float> data;
    /// If set, this is written instead, as it is stored: an integer that goes from one file to the next. Its elements are
    /// contiguous.
    const stored_tensor *stored = nullptr;
};

namespace detail {

// A string literal of JSON. The text is valid UTF-8, which JSON takes as it is but for what it must escape.
inline std::string json_string(std::string_view text) {
    if (find_invalid_utf8(text) != text.size())
        throw error(errc::invalid_argument, {.problem = "a name or metadata is not UTF-8", .found = std::string(text)});
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

inline std::string safetensors_header(std::span<const named_tensor> tensors, const string_map &metadata, dtype type) {
    std::string header = "{";
    const auto comma = [&] { return header.size() > 1 ? "," : ""; };
    if (!metadata.empty()) {
        std::string entries;
        for (const auto &[key, value] : metadata)
            entries += (entries.empty() ? "" : ",") + json_string(key) + ':' + json_string(value);
        header += "\"__metadata__\":{" + entries + '}';
    }
    std::set<std::string_view> names{"__metadata__"};
    index end = 0;
    for (const named_tensor &t : tensors) {
        if (!names.insert(t.name).second)
            throw error(errc::invalid_argument, {.problem = "the name is taken", .expected = "another one", .tensor = t.name});
        const index begin = end;
        end += t.stored ? static_cast<index>(t.stored->bytes.size()) : t.data.count() * static_cast<index>(size_of(type));
        std::string dims = (t.stored ? t.stored->dims : t.data.dims()).to_string();
        std::erase(dims, ' ');
        header += comma() + json_string(t.name) + ":{\"dtype\":\"" + std::string(to_string(t.stored ? t.stored->type : type)) +
                  "\",\"shape\":" + dims + ",\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
    }
    header += '}';
    // Padded with spaces, so that the data begins at a multiple of 8 and can be used where it is mapped.
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return header;
}

template <class Convert> void write_as_16_bits(output_file &file, std::span<const float> elements, Convert convert) {
    std::array<std::uint16_t, 4096> buffer;
    while (!elements.empty()) {
        const auto part = elements.first(std::min(elements.size(), buffer.size()));
        std::transform(part.begin(), part.end(), buffer.begin(), convert);
        file.write(std::as_bytes(std::span(buffer).first(part.size())));
        elements = elements.subspan(part.size());
    }
}

} // namespace detail

/// Writes the tensors, in the order given, and the metadata as a safetensors file, complete or not at all. The elements are
/// stored as `type`: f32, or f16 or bf16 rounded to nearest even (values from 65520 on are infinite in f16). Throws `io`;
/// `invalid_argument` for another type, a name that is there twice or is "__metadata__", and text that is not UTF-8.
inline void save_safetensors(const std::filesystem::path &path, std::span<const named_tensor> tensors,
                             const string_map &metadata = {}, dtype type = dtype::f32) {
    if (type != dtype::f32 && type != dtype::f16 && type != dtype::bf16)
        throw error(errc::invalid_argument, {.problem = "cannot write the element type",
                                             .expected = "F32, F16 or BF16",
                                             .found = std::string(to_string(type)),
                                             .file = path.string()});
    const std::string header = detail::safetensors_header(tensors, metadata, type);
    const auto length = static_cast<std::uint64_t>(header.size());
    output_file file(path);
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(std::as_bytes(std::span(header)));
    for (const named_tensor &t : tensors) {
        if (t.stored)
            file.write(t.stored->bytes);
        else if (type == dtype::f32)
            file.write(std::as_bytes(t.data.span()));
        else if (type == dtype::f16)
            detail::write_as_16_bits(file, t.data.span(), float_to_half);
        else
            detail::write_as_16_bits(file, t.data.span(), float_to_bfloat16);
    }
    file.commit();
}

} // namespace io
} // namespace fastvit::inline FASTVIT_ABI
