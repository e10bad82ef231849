// SPDX-License-Identifier: MIT
// PyTorch's storages, the flat arrays that tensors are views of, as the persistent ids of a pickle name them.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/pickle_value.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// A class of storages.
struct torch_storage_type {
    std::string_view name;
    dtype type;
    std::uint64_t size; ///< bytes of an element
};

/// The part of a storage that one persistent id means. Counts are in elements.
struct torch_storage_id {
    torch_storage_type type;
    std::string_view key;
    std::uint64_t count = 0;  ///< of the whole storage
    std::uint64_t offset = 0; ///< of the part, for the views that PyTorch had before 0.4; otherwise 0 ..
    std::uint64_t length = 0; ///< .. and count. offset + length <= count
};

namespace detail {

inline constexpr std::array torch_storage_types{
    torch_storage_type{"DoubleStorage", dtype::f64, 8},
    torch_storage_type{"FloatStorage", dtype::f32, 4},
    torch_storage_type{"HalfStorage", dtype::f16, 2},
    torch_storage_type{"BFloat16Storage", dtype::bf16, 2},
    torch_storage_type{"LongStorage", dtype::i64, 8},
    torch_storage_type{"IntStorage", dtype::i32, 4},
    torch_storage_type{"ShortStorage", dtype::i16, 2},
    torch_storage_type{"CharStorage", dtype::i8, 1},
    torch_storage_type{"ByteStorage", dtype::u8, 1},
    torch_storage_type{"BoolStorage", dtype::boolean, 1},
    torch_storage_type{"ComplexDoubleStorage", dtype::other, 16},
    torch_storage_type{"ComplexFloatStorage", dtype::other, 8},
    torch_storage_type{"QInt32Storage", dtype::other, 4},
    torch_storage_type{"QInt8Storage", dtype::other, 1},
    torch_storage_type{"QUInt8Storage", dtype::other, 1},
    torch_storage_type{"QUInt4x2Storage", dtype::other, 1},
    torch_storage_type{"QUInt2x4Storage", dtype::other, 1},
    torch_storage_type{"UntypedStorage", dtype::other, 1},
};

/// A value that must be a number of elements or bytes.
inline std::optional<std::uint64_t> natural(const pickle_value &value) noexcept {
    const auto *number = pickle_get<std::int64_t>(value);
    return number != nullptr && *number >= 0 ? std::optional(static_cast<std::uint64_t>(*number)) : std::nullopt;
}

} // namespace detail

/// Reads ('storage', class, key, device, count), to which files before PyTorch 1.6 add None or (view key, offset, length).
/// Throws `bad_format` for any other form, `unsupported` for a class whose elements' size is not known.
inline torch_storage_id read_storage_id(const pickle_value &id) {
    constexpr std::size_t longest_key = 100;
    const auto wrong = [](std::string found) {
        return error(error_kind::bad_format, {.problem = "a persistent id has the wrong form",
                                              .expected = "('storage', class, key, device, count)",
                                              .found = std::move(found)});
    };
    const auto *fields = pickle_tuple(id);
    if (fields == nullptr) throw wrong(describe(id));
    if (fields->size() != 5 && fields->size() != 6) throw wrong("a tuple of " + std::to_string(fields->size()));
    const auto *tag = pickle_get<std::string_view>((*fields)[0]);
    if (tag == nullptr || *tag != "storage") throw wrong("another tag");
    const auto *type = pickle_get<pickle_global>((*fields)[1]);
    if (type == nullptr) throw wrong(describe((*fields)[1]) + " as class");
    const auto *key = pickle_get<std::string_view>((*fields)[2]);
    if (key == nullptr) throw wrong(describe((*fields)[2]) + " as key");
    // Keys are numbers; a long one that is used again and again would cost time in proportion to the square of the file's size.
    if (key->size() > longest_key) throw wrong("a key of " + std::to_string(key->size()) + " characters");
    if (pickle_get<std::string_view>((*fields)[3]) == nullptr) throw wrong(describe((*fields)[3]) + " as device");
    const auto count = detail::natural((*fields)[4]);
    if (!count) throw wrong(describe((*fields)[4]) + " as count that is not natural");

    // A tensor that was on a GPU has the class of that module in old files; the elements are the same.
    const bool from_torch = type->module == "torch" || type->module == "torch.cuda" || type->module == "torch.storage";
    const auto known = std::find_if(detail::torch_storage_types.begin(), detail::torch_storage_types.end(),
                                    [&](const torch_storage_type &t) { return t.name == type->name; });
    if (!from_torch || known == detail::torch_storage_types.end())
        throw error(error_kind::unsupported,
                    {.problem = "unknown class of storage", .expected = "such as torch.FloatStorage", .found = to_string(*type)});

    torch_storage_id result{.type = *known, .key = *key, .count = *count, .offset = 0, .length = *count};
    if (fields->size() == 6 && pickle_get<pickle_none>((*fields)[5]) == nullptr) {
        const auto *view = pickle_tuple((*fields)[5]);
        if (view == nullptr || view->size() != 3) throw wrong(describe((*fields)[5]) + " as view");
        const auto offset = detail::natural((*view)[1]);
        const auto length = detail::natural((*view)[2]);
        if (!offset || !length || *offset > *count || *length > *count - *offset) throw wrong("a view outside its storage");
        result.offset = *offset;
        result.length = *length;
    }
    return result;
}

}}} // namespace fastvit::FASTVIT_ABI::io
