// SPDX-License-Identifier: MIT
// Weights of matrix products, in the type and the order in which a tier's kernel reads them. Packed once, when a model is made.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/base/is_finite.hpp"
#include "fastvit/kernels/gemm/quantise.hpp"
#include "fastvit/kernels/weights.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// A packed matrix and its memory. Move-only.
struct packed_matrix : packed_matrix_view {
    buffer<std::byte> weight_memory;
    float_buffer bias_memory, scale_memory;
    buffer<std::int32_t> sum_memory;
};

/// A piece of a matrix: at most `height` rows and `width` columns, row by row. Read as squares of four, because a row's
/// neighbours lie far apart in most matrices, and a column's side by side.
class matrix_piece {
  public:
    static constexpr index_type height = 4, width = 16;

    /// What of `m` lies from there on, and zeros.
    void read(const unpacked_matrix &m, index_type row, index_type column) noexcept {
        const index_type rows = std::min(height, m.rows - row), columns = std::min(width, m.columns - column);
        if (rows == height && columns == width && m.row_step == 1) return read_squares(m, row, column);
        std::fill(std::begin(values_), std::end(values_), 0.0F);
        for (index_type r = 0; r < rows; ++r)
            for (index_type c = 0; c < columns; ++c) values_[r * width + c] = m.weight(row + r, column + c);
    }
    const float *row(index_type r) const noexcept { return values_ + r * width; }

    /// `group` rows, 1 or 2, from r on in bfloat16, one after the other in each column. Rounded as by io::float_to_bfloat16().
    void bfloat16_rows(index_type r, index_type group, std::uint16_t (&out)[2 * width]) const noexcept {
        FASTVIT_ASSERT(group == 1 || group == 2);
        if (surely_numbers(row(r)) && (group == 1 || surely_numbers(row(r + 1))))
            put_bfloat16<false>(r, group, out);
        else
            put_bfloat16<true>(r, group, out);
    }

  private:
    /// False if any of `width` values is NaN, and perhaps if they are infinite or their sum is.
    static bool surely_numbers(const float *values) noexcept {
        four_floats sum = load_four(values);
        for (index_type c = 4; c < width; c += 4) sum += load_four(values + c);
        return is_finite((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    template <bool MayBeNan> void put_bfloat16(index_type r, index_type group, std::uint16_t (&out)[2 * width]) const noexcept {
        using eight_halves = std::uint16_t __attribute__((vector_size(16)));
#pragma GCC unroll 2
        for (index_type c = 0; c < width; c += 8) {
            const four_words left = rounded<MayBeNan>(row(r) + c), right = rounded<MayBeNan>(row(r) + c + 4);
            if (group == 2) {
                const four_words below[2] = {rounded<MayBeNan>(row(r + 1) + c), rounded<MayBeNan>(row(r + 1) + c + 4)};
                const four_words both[2] = {left >> 16 | (below[0] & 0xffff0000), right >> 16 | (below[1] & 0xffff0000)};
                std::memcpy(out + 2 * c, both, sizeof both);
            } else {
                const eight_halves upper = __builtin_shufflevector(std::bit_cast<eight_halves>(left),
                                                                   std::bit_cast<eight_halves>(right), 1, 3, 5, 7, 9, 11, 13, 15);
                std::memcpy(out + c, &upper, sizeof upper);
            }
        }
    }
    // bfloat16 in the upper halves. A NaN is not rounded, as that could make it infinite, but becomes quiet.
    template <bool MayBeNan> static four_words rounded(const float *values) noexcept {
        const auto bits = std::bit_cast<four_words>(load_four(values));
        const four_words to_even = 0x7fff + (bits >> 16 & 1);
        if constexpr (!MayBeNan) return bits + to_even;
        const auto is_nan = std::bit_cast<four_words>(std::bit_cast<four_ints>(bits & 0x7fffffff) > 0x7f800000);
        return (bits + (~is_nan & to_even)) | (is_nan & 0x400000);
    }

    void read_squares(const unpacked_matrix &m, index_type row, index_type column) noexcept {
        const four_floats ones = {1, 1, 1, 1}, row_scale = m.row_scale ? load_four(m.row_scale + row) : ones;
        for (index_type c = 0; c < width; c += 4) {
            four_floats x[4];
#pragma GCC unroll 4
            for (index_type i = 0; i < 4; ++i)
                x[i] = load_four(m.weights + row + (column + c + i) * m.column_step) * row_scale *
                       (m.column_scale ? m.column_scale[column + c + i] : 1.0F);
            transpose_square(x);
#pragma GCC unroll 4
            for (index_type r = 0; r < height; ++r) std::memcpy(values_ + r * width + c, &x[r], sizeof x[r]);
        }
    }

    float values_[height * width];
};

/// A packed matrix of this type with its bias, its weights still to be filled in.
inline packed_matrix unfilled_matrix(const weight_target &target, precision type, const unpacked_matrix &matrix) {
    packed_matrix packed;
    packed.rows = matrix.rows;
    packed.columns = padded_channels(matrix.columns);
    packed.format =
        type == precision::float32 ? target.tier.gemm_format(packed.columns) : target.tier.encoded(type).format(packed.columns);
    packed.weight_memory = target.take<std::byte>(packed.bytes());
    packed.bias_memory = target.take<float>(packed.columns);
    packed.weights = packed.weight_memory.data();
    packed.bias = packed.bias_memory.data();
    for (index_type column = 0; column < matrix.columns; ++column) packed.bias_memory.data()[column] = matrix.bias_of(column);
    return packed;
}

/// Columns of bytes, padded(rows) apart, as groups of rows: those of a group lie side by side, column by column, and groups are
/// `groups` bytes apart.
inline void put_groups(std::byte *out, index_type groups, index_type group, const std::int8_t *bytes, index_type rows,
                       index_type columns) noexcept {
    const index_type padded = column_quantiser::padded(rows);
    index_type row = 0;
    for (; group == 4 && row + 16 <= rows; row += 16) {
        std::byte *const to = out + row / 4 * groups;
        index_type column = 0;
        for (; column + 4 <= columns; column += 4) {
            four_words x[4];
#pragma GCC unroll 4
            for (index_type i = 0; i < 4; ++i) std::memcpy(&x[i], bytes + (column + i) * padded + row, sizeof x[i]);
            transpose_square(x);
#pragma GCC unroll 4
            for (index_type i = 0; i < 4; ++i) std::memcpy(to + i * groups + 4 * column, &x[i], sizeof x[i]);
        }
        for (; column < columns; ++column)
            for (index_type i = 0; i < 4; ++i)
                std::memcpy(to + i * groups + 4 * column, bytes + column * padded + row + 4 * i, 4);
    }
    for (; row < rows; row += group) {
        std::byte *const to = out + row / group * groups;
        const auto put_group = [&](auto bytes_of_group) {
            for (index_type column = 0; column < columns; ++column)
                std::memcpy(to + group * column, bytes + column * padded + row, static_cast<std::size_t>(bytes_of_group));
        };
        if (group == 8)
            put_group(std::integral_constant<int, 8>()); // a constant: one load and one store
        else
            put_group(group);
    }
}

/// In 8 bits, or nothing where they would lose too much.
inline std::optional<packed_matrix> pack_int8(const weight_target &target, const unpacked_matrix &matrix) {
    const index_type rows = matrix.rows, padded = column_quantiser::padded(rows);
    const weight_memory before = target.memory ? *target.memory : weight_memory();
    packed_matrix packed = unfilled_matrix(target, precision::int8, matrix);
    packed.scale_memory = target.take<float>(packed.columns);
    packed.sum_memory = target.take<std::int32_t>(packed.columns);
    packed.scale = packed.scale_memory.data();
    packed.sums = packed.sum_memory.data();

    // Columns at a time, which lie in one panel.
    const index_type group = packed.format.group, width = std::min<index_type>(packed.format.panel, 16);
    FASTVIT_ASSERT(packed.format.panel % width == 0 && padded % group == 0);
    // Tasks do not allocate. Of the memory for each worker only what is used is ever there.
    const index_type float_bytes = padded * static_cast<index_type>(sizeof(float)), worker_bytes = float_bytes + width * padded;
    const platform::pages scratch(static_cast<std::size_t>(target.threads.workers() * worker_bytes));
    std::vector<int8_column> columns(static_cast<std::size_t>(matrix.columns));
    target.threads.run((matrix.columns + width - 1) / width, [&](index_type number, int worker) {
        std::byte *const memory = scratch.data() + worker * worker_bytes;
        column_quantiser quantise({reinterpret_cast<float *>(memory), static_cast<std::size_t>(padded)});
        auto *const bytes = reinterpret_cast<std::int8_t *>(memory + float_bytes);
        const index_type first = number * width, count = std::min(width, matrix.columns - first);
        for (index_type i = 0; i < count; ++i) {
            const int8_column c = quantise(matrix, first + i, bytes + i * padded);
            columns[static_cast<std::size_t>(first + i)] = c;
            packed.scale_memory.data()[first + i] = c.scale;
            packed.sum_memory.data()[first + i] = c.sum;
        }
        put_groups(packed.weight_memory.data() + packed.at(0, first), packed.at(group, first) - packed.at(0, first), group, bytes,
                   rows, count);
    });
    if (!loses_too_much(columns)) return packed;
    if (target.memory) { // zeroed again, for what is taken next
        const auto clear = [](auto &buffer) {
            std::fill_n(buffer.data(), buffer.count(), std::decay_t<decltype(*buffer.data())>{});
        };
        clear(packed.weight_memory);
        clear(packed.bias_memory);
        clear(packed.scale_memory);
        clear(packed.sum_memory);
        *target.memory = before;
    }
    return std::nullopt;
}

/// Fills in a matrix in float32 or bfloat16.
inline void fill_matrix(const packing_threads &threads, const unpacked_matrix &matrix, packed_matrix &packed) {
    const index_type panel = packed.format.panel, group = packed.format.group;
    const bool halves = packed.format.type == precision::bfloat16;
    const index_type step = group * size_of(packed.format.type); // bytes between columns
    threads.run((matrix.columns + panel - 1) / panel, [&](index_type number, int) {
        const index_type first = number * panel, last = std::min(first + panel, matrix.columns);
        const index_type groups = packed.at(group, first) - packed.at(0, first); // bytes between groups of rows
        for (index_type row = 0; row < matrix.rows; row += matrix_piece::height) {
            std::byte *const out = packed.weight_memory.data() + packed.at(row, first);
            const index_type rows = std::min(matrix_piece::height, matrix.rows - row);
            for (index_type column = first; column < last; column += matrix_piece::width) {
                matrix_piece piece;
                piece.read(matrix, row, column);
                const index_type bytes = std::min(matrix_piece::width, last - column) * step;
                for (index_type r = 0; r < rows; r += group) {
                    std::byte *const to = out + r / group * groups + (column - first) * step;
                    std::uint16_t upper[2 * matrix_piece::width];
                    if (halves) piece.bfloat16_rows(r, group, upper);
                    const void *const from = halves ? static_cast<const void *>(upper) : piece.row(r);
                    // Constants: a few registers.
                    if (bytes == 64)
                        std::memcpy(to, from, 64);
                    else if (bytes == 32)
                        std::memcpy(to, from, 32);
                    else
                        std::memcpy(to, from, static_cast<std::size_t>(bytes));
                }
            }
        }
    });
}

/// A matrix in 8 bits, or why not.
struct int8_attempt {
    std::optional<packed_matrix> packed;
    std::string_view refusal;
};

inline int8_attempt try_int8(const weight_target &target, const unpacked_matrix &matrix) {
    if (matrix.rows > int8_max_rows) return {std::nullopt, "too many inputs for 32-bit sums"};
    return {pack_int8(target, matrix), "8 bits would lose too much of these weights"};
}

/// In float32 or bfloat16.
inline packed_matrix pack_floats(const weight_target &target, precision type, const unpacked_matrix &matrix) {
    packed_matrix packed = unfilled_matrix(target, type, matrix);
    fill_matrix(target.threads, matrix, packed);
    return packed;
}

/// In the type of the target, unless that would lose too much of these weights: then bfloat16 instead of int8. The padding
/// becomes zero.
inline packed_matrix pack_gemm(const weight_target &target, const unpacked_matrix &matrix) {
    precision type = target.type;
    std::string_view reason;
    if (type == precision::int8) {
        int8_attempt in_8_bits = try_int8(target, matrix);
        if (in_8_bits.packed) {
            target.note(type, reason);
            return std::move(*in_8_bits.packed);
        }
        type = precision::bfloat16;
        reason = in_8_bits.refusal;
    }
    target.note(type, reason);
    return pack_floats(target, type, matrix);
}

/// A matrix whose activations 7 bits would serve badly: for int8 in 8 bits with its operand in two parts, unless 8 bits would
/// lose too much of these weights, then in float32; otherwise as pack_gemm(). `result_scale`, one for each column or null,
/// multiplies what it gives, bias included. In int8 the scales take it up, so that the bytes are those of the weights alone,
/// which a quantised checkpoint has; and the bias is halved, as each of the two products adds it.
inline packed_matrix pack_sensitive(const weight_target &target, unpacked_matrix matrix, const float *result_scale = nullptr) {
    FASTVIT_ASSERT(!matrix.column_scale);
    if (target.type != precision::int8) {
        matrix.column_scale = result_scale;
        return pack_gemm(target, matrix);
    }
    int8_attempt in_8_bits = try_int8(target, matrix);
    if (!in_8_bits.packed) {
        matrix.column_scale = result_scale;
        target.note(precision::float32, in_8_bits.refusal);
        return pack_floats(target, precision::float32, matrix);
    }
    packed_matrix &packed = *in_8_bits.packed;
    packed.two_parts = true;
    for (index_type column = 0; column < matrix.columns; ++column) {
        const float scale = result_scale ? result_scale[column] : 1.0F;
        packed.scale_memory.data()[column] *= scale;
        packed.bias_memory.data()[column] *= scale / 2;
    }
    target.note(precision::int8, {});
    return std::move(packed);
}

}}} // namespace fastvit::FASTVIT_ABI::kernels

FASTVIT_STRICT_MATH_END
