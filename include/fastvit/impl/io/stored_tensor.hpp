// SPDX-License-Identifier: MIT
// The bodies of io/stored_tensor.hpp.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/base/float16.hpp"
#include "fastvit/base/is_finite.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/platform/memory.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

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

FASTVIT_STRICT_MATH_BEGIN

namespace detail {

// What converts elements to float32: one, and where they lie side by side, as many of them as whole vectors hold, whose number
// vectors() returns. Vectors of the baseline, written out because GCC 12 at -O2 leaves loops over floats scalar.
using eight_halves = std::uint16_t __attribute__((vector_size(16)));
using four_words = std::uint32_t __attribute__((vector_size(16)));
using four_ints = std::int32_t __attribute__((vector_size(16)));
using four_floats = float __attribute__((vector_size(16)));

template <dtype Type> struct convert_16_bits {
    static_assert(Type == dtype::f16 || Type == dtype::bf16);
    float operator()(std::uint16_t x) const noexcept { return Type == dtype::f16 ? half_to_float(x) : bfloat16_to_float(x); }

    static index_type vectors(const std::byte *from, index_type count, float *to) noexcept {
        constexpr eight_halves zeros = {};
        index_type i = 0;
        for (; i + 8 <= count; i += 8) {
            eight_halves x;
            std::memcpy(&x, from + 2 * i, sizeof x);
            // In 32 bits, above or below zeros.
            const eight_halves &low = Type == dtype::f16 ? x : zeros, &high = Type == dtype::f16 ? zeros : x;
            four_words words[2] = {std::bit_cast<four_words>(__builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11)),
                                   std::bit_cast<four_words>(__builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15))};
            if constexpr (Type == dtype::f16) {
                words[0] = halves_to_floats(words[0]);
                words[1] = halves_to_floats(words[1]);
            }
            std::memcpy(to + i, words, sizeof words);
        }
        return i;
    }

  private:
    // half_to_float().
    static four_words halves_to_floats(const four_words &halves) noexcept {
        const four_words sign = (halves & 0x8000) << 16, magnitude = halves & 0x7fff;
        const auto number = std::bit_cast<four_ints>(magnitude);
        const auto subnormal = std::bit_cast<four_words>(__builtin_convertvector(number, four_floats) * 0x1p-24F);
        const four_words finite = number < 0x400 ? subnormal : (magnitude << 13) + (112U << 23);
        return sign | (number < 0x7c00 ? finite : (magnitude << 13) | 0x7f800000);
    }
};

} // namespace detail

FASTVIT_STRICT_MATH_END

namespace detail {

// `count` elements, `stride` apart, converted. Contiguous memory of the same type needs no conversion.
template <class Stored, class To, class Convert>
void convert_run(const std::byte *from, index_type count, index_type stride, To *to, Convert convert) noexcept {
    const index_type step = stride * static_cast<index_type>(sizeof(Stored));
    index_type i = 0;
    if (stride == 1) {
        if constexpr (std::is_same_v<Stored, To>) {
            std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(To));
            return;
        } else if constexpr (requires { convert.vectors(from, count, to); }) {
            i = convert.vectors(from, count, to);
        }
    }
    for (; i < count; ++i) to[i] = convert(load<Stored>(from + i * step));
}

// All elements in row-major order. Dimensions that are dense within one another are merged; of the rest, the innermost is a run,
// and the others count like an odometer. Dimensions of 1 are dropped: their strides are never used and may be any number.
template <class Stored, class To, class Convert>
void convert_elements(const stored_tensor &source, To *to, Convert convert) noexcept {
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

inline void check_count(const stored_tensor &source, std::span<const float> to) {
    if (static_cast<std::size_t>(source.dims.count()) != to.size())
        throw error(error_kind::invalid_argument, {.problem = "the destination has the wrong size",
                                                   .expected = std::to_string(source.dims.count()) + " elements",
                                                   .found = std::to_string(to.size()),
                                                   .tensor = source.name});
}

inline void check_strides(const stored_tensor &source) {
    const auto needed = spanned(source.dims, source.strides);
    if (!needed || static_cast<std::size_t>(*needed) > source.bytes.size() / size_of(source.type))
        throw error(error_kind::invalid_argument,
                    {.problem = "the tensor's strides reach outside its bytes", .tensor = source.name});
}

} // namespace detail

FASTVIT_FUNCTION void read_float_into(const stored_tensor &source, std::span<float> to) {
    check_floating(source);
    detail::check_count(source, to);
    detail::check_strides(source);

    const platform::ieee_arithmetic arithmetic;
    // Out of range, a float64 becomes an infinity, as IEEE 754 has it.
    if (source.type == dtype::f64)
        detail::convert_elements<double>(source, to.data(), [](double x) { return static_cast<float>(x); });
    else if (source.type == dtype::f32)
        detail::convert_elements<float>(source, to.data(), [](float x) { return x; });
    else if (source.type == dtype::f16)
        detail::convert_elements<std::uint16_t>(source, to.data(), detail::convert_16_bits<dtype::f16>());
    else
        detail::convert_elements<std::uint16_t>(source, to.data(), detail::convert_16_bits<dtype::bf16>());
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

FASTVIT_FUNCTION bool is_float_in_place(const stored_tensor &source) noexcept {
    return source.type == dtype::f32 && source.dims.count() > 0 && source.strides == contiguous_strides(source.dims) &&
           reinterpret_cast<std::uintptr_t>(source.bytes.data()) % alignof(float) == 0 &&
           source.bytes.size() / sizeof(float) >= static_cast<std::size_t>(source.dims.count());
}

FASTVIT_FUNCTION tensor<float> view_float(const stored_tensor &source) {
    FASTVIT_ASSERT(is_float_in_place(source));
    return tensor<float>::borrow({reinterpret_cast<const float *>(source.bytes.data()), source.dims});
}

FASTVIT_STRICT_MATH_BEGIN

namespace detail {

// Writes scale * byte for each of them. Returns whether all are -127 or more.
inline bool scale_bytes(const std::byte *from, index_type count, float scale, float *to) noexcept {
    using bytes = std::int8_t __attribute__((vector_size(16)));
    using words = std::int16_t __attribute__((vector_size(16)));
    using halves = std::uint64_t __attribute__((vector_size(16)));
    bytes wrong = {};
    const auto scale_16 = [&](const std::byte *in, float *out) {
        bytes x;
        std::memcpy(&x, in, sizeof x);
        wrong |= x == -128;
        // Each byte four times in 32 bits, of which the shift leaves the uppermost.
        const auto low = std::bit_cast<words>(__builtin_shufflevector(x, x, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7)),
                   high = std::bit_cast<words>(
                       __builtin_shufflevector(x, x, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15));
        const words fours[4] = {__builtin_shufflevector(low, low, 0, 0, 1, 1, 2, 2, 3, 3),
                                __builtin_shufflevector(low, low, 4, 4, 5, 5, 6, 6, 7, 7),
                                __builtin_shufflevector(high, high, 0, 0, 1, 1, 2, 2, 3, 3),
                                __builtin_shufflevector(high, high, 4, 4, 5, 5, 6, 6, 7, 7)};
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const four_floats scaled = __builtin_convertvector(std::bit_cast<four_ints>(fours[i]) >> 24, four_floats) * scale;
            std::memcpy(out + 4 * i, &scaled, sizeof scaled);
        }
    };
    index_type i = 0;
    for (; i + 16 <= count; i += 16) scale_16(from + i, to + i);
    if (i < count) {
        std::byte rest[16] = {};
        float scaled[16];
        std::copy(from + i, from + count, rest);
        scale_16(rest, scaled);
        std::copy_n(scaled, count - i, to + i);
    }
    const auto found = std::bit_cast<halves>(wrong);
    return (found[0] | found[1]) == 0;
}

} // namespace detail

namespace detail {

inline error wrong_tensor(const stored_tensor &t, error_kind kind, std::string problem, std::string expected, std::string found) {
    return error(kind,
                 {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found), .tensor = t.name});
}

// All that may be wrong with the two but a byte of -128. Returns the scales.
inline tensor<float> checked_scales(const stored_tensor &bytes, const stored_tensor &scales) {
    if (bytes.type != dtype::i8)
        throw wrong_tensor(bytes, error_kind::unsupported, "the elements are not those of a quantised matrix", "I8",
                           bytes.type_name);
    if (scales.type != dtype::f32)
        throw wrong_tensor(scales, error_kind::unsupported, "the scales of a quantised matrix", "F32", scales.type_name);
    if (bytes.dims.rank() == 0 || !(scales.dims == shape{bytes.dims[0]}))
        throw wrong_tensor(scales, error_kind::shape_mismatch, "wrong shape beside " + bytes.name,
                           "a scale for each output of " + bytes.dims.to_string(), scales.dims.to_string());
    check_strides(bytes);
    tensor<float> factors = read_float(scales);
    for (const float scale : factors.span())
        if (!is_finite(scale) || !(scale >= 0))
            throw wrong_tensor(scales, error_kind::bad_value, "a scale of a quantised matrix", "a finite number, not negative",
                               std::to_string(scale));
    return factors;
}

inline void multiply_bytes(const stored_tensor &bytes, const tensor<float> &factors, std::span<float> to) {
    if (to.empty()) return;
    stored_tensor output = bytes; // the bytes of one output
    output.dims = bytes.dims.without_first();
    output.strides = {};
    std::copy(bytes.strides.begin() + 1, bytes.strides.end(), output.strides.begin());
    const index_type columns = output.dims.count();
    const bool in_place = output.strides == contiguous_strides(output.dims);
    std::vector<std::byte> gathered(static_cast<std::size_t>(in_place ? 0 : columns));
    for (index_type row = 0; row < factors.count(); ++row) {
        output.bytes = bytes.bytes.subspan(static_cast<std::size_t>(row * bytes.strides[0]));
        if (!in_place) convert_elements<std::int8_t>(output, gathered.data(), [](std::int8_t x) { return std::byte(x); });
        const std::byte *const values = in_place ? output.bytes.data() : gathered.data();
        if (!scale_bytes(values, columns, factors(row), to.data() + row * columns))
            throw wrong_tensor(bytes, error_kind::bad_value, "a byte of a quantised matrix", "-127 to 127", "-128");
    }
}

} // namespace detail

FASTVIT_FUNCTION void read_quantised_into(const stored_tensor &bytes, const stored_tensor &scales, std::span<float> to) {
    const platform::ieee_arithmetic arithmetic;
    const tensor<float> factors = detail::checked_scales(bytes, scales);
    detail::check_count(bytes, to);
    detail::multiply_bytes(bytes, factors, to);
}

FASTVIT_FUNCTION tensor<float> read_quantised(const stored_tensor &bytes, const stored_tensor &scales) {
    const platform::ieee_arithmetic arithmetic;
    const tensor<float> factors = detail::checked_scales(bytes, scales); // before memory is allocated
    auto result = detail::tensor_in_pages(bytes.dims);
    detail::multiply_bytes(bytes, factors, result.span());
    return result;
}

FASTVIT_STRICT_MATH_END

}}} // namespace fastvit::FASTVIT_ABI::io
