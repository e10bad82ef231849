// SPDX-License-Identifier: MIT
// The bodies of io/stored_tensor.hpp.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/base/float16.hpp"
#include "fastvit/base/is_finite.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/platform/memory.hpp"

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

FASTVIT_FUNCTION void check_name_length(std::string_view name) {
    if (name.size() > longest_name)
        throw error(error_kind::bad_format, {.problem = "a tensor's name is too long",
                                             .expected = "at most " + std::to_string(longest_name) + " bytes",
                                             .found = std::to_string(name.size())});
}

FASTVIT_FUNCTION shape checked_shape(std::span<const index_type> dims, const std::string &name) {
    try {
        return shape(dims);
    } catch (const error &e) {
        error::parts parts = e.details();
        parts.tensor = name;
        throw error(error_kind::bad_format, std::move(parts));
    }
}

FASTVIT_FUNCTION std::array<index_type, shape::max_rank> contiguous_strides(const shape &dims) noexcept {
    std::array<index_type, shape::max_rank> strides{};
    index_type step = 1;
    for (std::size_t i = dims.rank(); i-- > 0;) {
        strides[i] = step;
        step *= dims[i];
    }
    return strides;
}

FASTVIT_FUNCTION std::optional<index_type> spanned(const shape &dims,
                                                   std::span<const index_type, shape::max_rank> strides) noexcept {
    index_type room = std::numeric_limits<index_type>::max() - 1;
    for (std::size_t i = 0; i < dims.rank(); ++i) {
        if (strides[i] < 0) return std::nullopt;
        if (dims[i] > 1 && strides[i] > room / (dims[i] - 1)) return std::nullopt;
        if (dims[i] > 1) room -= strides[i] * (dims[i] - 1);
    }
    return dims.count() == 0 ? 0 : std::numeric_limits<index_type>::max() - room;
}

namespace detail {

// `count` elements, `stride` apart, converted. Memory that is contiguous float32 needs no conversion.
template <class Stored, class Convert>
void convert_run(const std::byte *from, index_type count, index_type stride, float *to, Convert convert) noexcept {
    const index_type step = stride * static_cast<index_type>(sizeof(Stored));
    if constexpr (std::is_same_v<Stored, float>)
        if (stride == 1) {
            std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
            return;
        }
    if (stride == 1) // separate from the loop below, because a constant step vectorises
        for (index_type i = 0; i < count; ++i) to[i] = convert(load<Stored>(from + i * static_cast<index_type>(sizeof(Stored))));
    else
        for (index_type i = 0; i < count; ++i) to[i] = convert(load<Stored>(from + i * step));
}

// All elements in row-major order. Dimensions that are dense within one another are merged; of the rest, the innermost is a run,
// and the others count like an odometer. Dimensions of 1 are dropped: their strides are never used and may be any number.
template <class Stored, class Convert> void convert_elements(const stored_tensor &source, float *to, Convert convert) noexcept {
    struct axis {
        index_type size;
        index_type stride;
    };
    if (source.dims.count() == 0) return;
    std::array<axis, shape::max_rank> axes{};
    std::size_t outer = 0;
    for (std::size_t i = 0; i < source.dims.rank(); ++i) {
        const axis next{source.dims[i], source.strides[i]};
        if (next.size == 1) continue;
        if (outer > 0 && axes[outer - 1].stride == next.size * next.stride)
            axes[outer - 1] = {axes[outer - 1].size * next.size, next.stride};
        else
            axes[outer++] = next;
    }
    const axis run = outer > 0 ? axes[--outer] : axis{1, 1};

    std::array<index_type, shape::max_rank> position{};
    index_type offset = 0;
    for (;;) {
        convert_run<Stored>(source.bytes.data() + offset * static_cast<index_type>(sizeof(Stored)), run.size, run.stride, to,
                            convert);
        to += run.size;
        std::size_t d = outer;
        for (; d > 0; --d) {
            const axis &a = axes[d - 1];
            if (++position[d - 1] < a.size) {
                offset += a.stride;
                break;
            }
            offset -= a.stride * (a.size - 1);
            position[d - 1] = 0;
        }
        if (d == 0) return;
    }
}

} // namespace detail

FASTVIT_FUNCTION void check_floating(const stored_tensor &source) {
    if (!is_floating(source.type))
        throw error(error_kind::unsupported, {.problem = "the elements are not floating-point numbers",
                                              .expected = "F64, F32, F16 or BF16",
                                              .found = source.type_name,
                                              .tensor = source.name});
}

namespace detail {

inline void check_strides(const stored_tensor &source) {
    const auto needed = spanned(source.dims, source.strides);
    if (!needed || static_cast<std::size_t>(*needed) > source.bytes.size() / size_of(source.type))
        throw error(error_kind::invalid_argument,
                    {.problem = "the tensor's strides reach outside its bytes", .tensor = source.name});
}

} // namespace detail

FASTVIT_FUNCTION void read_float_into(const stored_tensor &source, std::span<float> to) {
    check_floating(source);
    if (static_cast<std::size_t>(source.dims.count()) != to.size())
        throw error(error_kind::invalid_argument, {.problem = "the destination has the wrong size",
                                                   .expected = std::to_string(source.dims.count()) + " elements",
                                                   .found = std::to_string(to.size()),
                                                   .tensor = source.name});
    detail::check_strides(source);

    // Out of range, a float64 becomes an infinity, as IEEE 754 has it.
    if (source.type == dtype::f64)
        detail::convert_elements<double>(source, to.data(), [](double x) { return static_cast<float>(x); });
    else if (source.type == dtype::f32)
        detail::convert_elements<float>(source, to.data(), [](float x) { return x; });
    else if (source.type == dtype::f16)
        detail::convert_elements<std::uint16_t>(source, to.data(), [](std::uint16_t x) { return half_to_float(x); });
    else
        detail::convert_elements<std::uint16_t>(source, to.data(), [](std::uint16_t x) { return bfloat16_to_float(x); });
}

namespace detail {

// Not yet written. A large tensor takes memory straight from the system, which gets it back at once: an allocator may keep what
// was freed, tens of megabytes while a network is loaded. Fresh pages cost time, so small tensors do not take them.
inline tensor<float> tensor_in_pages(const shape &dims) {
    constexpr std::size_t large = std::size_t{1} << 20;
    const std::size_t bytes = static_cast<std::size_t>(dims.count()) * sizeof(float);
    if (bytes < large) return tensor<float>::uninitialised(dims);
    return tensor<float>::adopt(reinterpret_cast<float *>(platform::map_pages(bytes)), dims, {platform::unmap_pages, bytes});
}

} // namespace detail

FASTVIT_FUNCTION tensor<float> read_float(const stored_tensor &source) {
    check_floating(source); // before memory is allocated
    auto result = detail::tensor_in_pages(source.dims);
    read_float_into(source, result.span());
    return result;
}

FASTVIT_FUNCTION tensor<float> view_float(const stored_tensor &source) {
    const bool in_place = source.type == dtype::f32 && source.dims.count() > 0 &&
                          source.strides == contiguous_strides(source.dims) &&
                          reinterpret_cast<std::uintptr_t>(source.bytes.data()) % alignof(float) == 0 &&
                          source.bytes.size() / sizeof(float) >= static_cast<std::size_t>(source.dims.count());
    if (!in_place) return read_float(source);
    return tensor<float>::borrow({reinterpret_cast<const float *>(source.bytes.data()), source.dims});
}

FASTVIT_STRICT_MATH_BEGIN

FASTVIT_FUNCTION tensor<float> read_quantised(const stored_tensor &bytes, const stored_tensor &scales) {
    const auto wrong = [](const stored_tensor &t, error_kind kind, std::string problem, std::string expected, std::string found) {
        return error(
            kind, {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found), .tensor = t.name});
    };
    if (bytes.type != dtype::i8)
        throw wrong(bytes, error_kind::unsupported, "the elements are not those of a quantised matrix", "I8", bytes.type_name);
    if (scales.type != dtype::f32)
        throw wrong(scales, error_kind::unsupported, "the scales of a quantised matrix", "F32", scales.type_name);
    if (bytes.dims.rank() == 0 || !(scales.dims == shape{bytes.dims[0]}))
        throw wrong(scales, error_kind::shape_mismatch, "wrong shape beside " + bytes.name,
                    "a scale for each output of " + bytes.dims.to_string(), scales.dims.to_string());
    detail::check_strides(bytes);
    const tensor<float> factors = read_float(scales);
    for (const float scale : factors.span())
        if (!is_finite(scale) || !(scale >= 0))
            throw wrong(scales, error_kind::bad_value, "a scale of a quantised matrix", "a finite number, not negative",
                        std::to_string(scale));

    auto result = detail::tensor_in_pages(bytes.dims);
    detail::convert_elements<std::int8_t>(bytes, result.data(), [](std::int8_t x) { return static_cast<float>(x); });
    const index_type rows = factors.count(), columns = rows > 0 ? result.count() / rows : 0;
    for (index_type row = 0; row < rows; ++row) {
        float *const values = result.data() + row * columns;
        for (index_type i = 0; i < columns; ++i) {
            if (values[i] < -127)
                throw wrong(bytes, error_kind::bad_value, "a byte of a quantised matrix", "-127 to 127", "-128");
            values[i] *= factors(row);
        }
    }
    return result;
}

FASTVIT_STRICT_MATH_END

}}} // namespace fastvit::FASTVIT_ABI::io
