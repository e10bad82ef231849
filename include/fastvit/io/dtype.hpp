// SPDX-License-Identifier: MIT
// The element types of stored tensors.
#pragma once

#include "fastvit/base/config.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// The type of a stored tensor's elements. `other` is any that the library does not use; stored_tensor::type_name says which.
enum class dtype : std::uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, other };

/// The type's name as safetensors spells it; "other" for other.
constexpr std::string_view to_string(dtype type) noexcept {
    switch (type) {
    case dtype::f64: return "F64";
    case dtype::f32: return "F32";
    case dtype::f16: return "F16";
    case dtype::bf16: return "BF16";
    case dtype::i64: return "I64";
    case dtype::i32: return "I32";
    case dtype::i16: return "I16";
    case dtype::i8: return "I8";
    case dtype::u8: return "U8";
    case dtype::boolean: return "BOOL";
    case dtype::other: break;
    }
    return "other";
}

/// Bytes of one element; 0 for other.
constexpr std::size_t size_of(dtype type) noexcept {
    switch (type) {
    case dtype::f64:
    case dtype::i64: return 8;
    case dtype::f32:
    case dtype::i32: return 4;
    case dtype::f16:
    case dtype::bf16:
    case dtype::i16: return 2;
    case dtype::i8:
    case dtype::u8:
    case dtype::boolean: return 1;
    case dtype::other: break;
    }
    return 0;
}

/// Whether read_float() converts it.
constexpr bool is_floating(dtype type) noexcept {
    return type == dtype::f64 || type == dtype::f32 || type == dtype::f16 || type == dtype::bf16;
}

}}} // namespace fastvit::FASTVIT_ABI::io
