// SPDX-License-Identifier: MIT
// Numbers as files store them.
#pragma once

#include "fastvit/base/config.hpp"

#include <bit>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

// All formats read here store little-endian numbers, and tensors' elements are used as they are stored.
static_assert(std::endian::native == std::endian::little, "fastvit reads checkpoints on little-endian machines only");

/// One number of a file, at any alignment. `bytes` has at least sizeof(T) bytes.
template <class T>
requires std::is_arithmetic_v<T> T load(const std::byte *bytes)
noexcept {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

}}} // namespace fastvit::FASTVIT_ABI::io
