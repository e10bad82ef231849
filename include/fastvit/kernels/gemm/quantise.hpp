// SPDX-License-Identifier: MIT
// Weights in 8 bits: symmetric, with a scale for each column.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/kernels/encoded/contract.hpp"
#include "fastvit/kernels/gemm/unpacked.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// The scale of a column whose largest weight, without its sign, is that: a weight is scale * its byte, in [-127, 127]. Rounded
/// up to 17 significant bits, so that scale * byte is exact in float32, and quantising those products gives the same bytes and
/// scale again. 0 where the scale would be subnormal, with fewer bits: such a column, of weights below 2^-119, counts as zero.
inline float int8_scale(float largest) noexcept {
    const float scale = std::bit_cast<float>((std::bit_cast<std::uint32_t>(largest / 127) + 0x7fu) & ~0x7fu);
    return scale < std::numeric_limits<float>::min() ? 0 : scale;
}

/// What a weight of that scale is multiplied with to become a byte.
inline float int8_reciprocal(float scale) noexcept { return scale > 0 ? 1 / scale : 0; }

/// The part of a column's energy that 8 bits may lose, on average over the columns: an error of 3%. Columns like a normal
/// distribution's lose 1%, as their largest weight is three to four times the usual one; from 13 times on the limit is passed.
inline constexpr float int8_largest_loss = 0.03F * 0.03F;

/// A column in 8 bits.
struct int8_column {
    float scale;
    std::int32_t sum; ///< of the bytes
    float loss;       ///< the share of the column's energy that quantising loses; NaN where that is not finite
};

/// Quantises columns of `rows` weights, one after the other. Never allocates. Sums are taken in eight parts, always the same: two
/// vectors of four, whose additions do not wait for each other.
class column_quantiser {
  public:
    /// Bytes of a column: its rows and zeros.
    static constexpr index_type padded(index_type rows) noexcept { return (rows + step - 1) / step * step; }

    /// `zeros`: memory to work in, padded(rows) floats.
    explicit column_quantiser(std::span<float> zeros) noexcept : weights_(zeros) {}

    /// `bytes`: padded(m.rows) of them.
    int8_column operator()(const unpacked_matrix &m, index_type column, std::int8_t *bytes) noexcept {
        FASTVIT_ASSERT(static_cast<std::size_t>(padded(m.rows)) == weights_.size() && 0 <= column && column < m.columns);
        const float scale = int8_scale(m.row_scale ? read<true>(m, column) : read<false>(m, column));
        const float reciprocal = int8_reciprocal(scale);
        four_floats energy[2] = {}, lost[2] = {};
        four_words sums[2] = {};
        // Adding 1.5 * 2^23 rounds to nearest, ties to even, and leaves the byte in the low bits.
        constexpr float shift = 12582912.0F;
        constexpr auto shift_bits = std::bit_cast<std::uint32_t>(shift);
        for (std::size_t row = 0; row < weights_.size(); row += step) {
            four_bytes shifted_bytes[4];
#pragma GCC unroll 4
            for (std::size_t i = 0; i < 4; ++i) {
                const four_floats in_bytes = load_four(weights_.data() + row + 4 * i) * reciprocal, shifted = in_bytes + shift,
                                  error = in_bytes - (shifted - shift);
                energy[i % 2] += in_bytes * in_bytes;
                lost[i % 2] += error * error;
                sums[i % 2] += std::bit_cast<four_words>(shifted); // shift_bits + the byte
                shifted_bytes[i] = std::bit_cast<four_bytes>(shifted);
            }
            const four_bytes quantised = even(even(shifted_bytes[0], shifted_bytes[1]), even(shifted_bytes[2], shifted_bytes[3]));
            std::memcpy(bytes + row, &quantised, sizeof quantised);
        }
        const four_words all_sums = sums[0] + sums[1];
        const std::uint32_t sum = all_sums[0] + all_sums[1] + all_sums[2] + all_sums[3];
        const float all = total(energy[0] + energy[1]);
        // Weights whose squares overflow are refused like infinite ones.
        const bool finite = all * scale * scale <= std::numeric_limits<float>::max();
        return {.scale = scale,
                .sum = static_cast<std::int32_t>(sum - static_cast<std::uint32_t>(weights_.size()) * shift_bits),
                .loss = !finite    ? std::numeric_limits<float>::quiet_NaN()
                        : all == 0 ? 0
                                   : total(lost[0] + lost[1]) / all};
    }

  private:
    static constexpr index_type step = 16;
    using four_bytes = std::int8_t __attribute__((vector_size(16))); ///< each the lowest of four

    /// Takes the column, and returns its largest weight without the sign, NaN left out.
    template <bool RowScale> float read(const unpacked_matrix &m, index_type column) noexcept {
        const float *from = m.weights + column * m.column_step;
        if (m.row_step != 1) {
            for (index_type row = 0; row < m.rows; ++row) weights_[static_cast<std::size_t>(row)] = from[row * m.row_step];
            from = weights_.data();
        }
        const float scale = m.column_scale ? m.column_scale[column] : 1.0F;
        float *const to = weights_.data();
        four_floats most[2] = {};
        index_type row = 0;
        for (; row + 8 <= m.rows; row += 8) {
#pragma GCC unroll 2
            for (index_type i = 0; i < 2; ++i) {
                four_floats x = load_four(from + row + 4 * i);
                if constexpr (RowScale) x *= load_four(m.row_scale + row + 4 * i);
                x *= scale;
                std::memcpy(to + row + 4 * i, &x, sizeof x);
                const auto size = std::bit_cast<four_floats>(std::bit_cast<four_ints>(x) & 0x7fffffff);
                most[i] = most[i] < size ? size : most[i];
            }
        }
        float all = 0; // not by std::max(), which belongs to the flags of the unit
        const auto count = [&](float size) { all = all < size ? size : all; };
        for (; row < m.rows; ++row) {
            to[row] = from[row] * (RowScale ? m.row_scale[row] : 1.0F) * scale;
            count(__builtin_fabsf(to[row]));
        }
        for (const four_floats &x : most)
            for (int i = 0; i < 4; ++i) count(x[i]);
        return all;
    }
    static four_bytes even(const four_bytes &a, const four_bytes &b) noexcept {
        return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    }
    static float total(const four_floats &x) noexcept { return (x[0] + x[1]) + (x[2] + x[3]); }

    std::span<float> weights_; // and zeros
};

/// Whether a matrix of these columns loses too much in 8 bits.
inline bool loses_too_much(const std::vector<int8_column> &columns) noexcept {
    double all = 0;
    index_type used = 0; // columns that are not zero
    for (const int8_column &c : columns) {
        all += static_cast<double>(c.loss);
        used += c.scale > 0;
    }
    return !(all <= static_cast<double>(int8_largest_loss) * static_cast<double>(used));
}

/// A matrix in 8 bits: the weights of column c are scales[c] * bytes[c * rows + row].
struct int8_matrix {
    std::vector<float> scales;
    std::vector<std::int8_t> bytes;
};

/// The matrix in 8 bits, or none where they would lose too much or 32 bits could not hold the sums of products.
inline std::optional<int8_matrix> quantise_matrix(const unpacked_matrix &matrix) {
    const index_type rows = matrix.rows;
    if (rows > int8_max_rows) return std::nullopt;
    int8_matrix m;
    std::vector<int8_column> columns;
    m.scales.reserve(static_cast<std::size_t>(matrix.columns));
    columns.reserve(m.scales.capacity());
    m.bytes.reserve(static_cast<std::size_t>(rows * matrix.columns));
    std::vector<float> zeros(static_cast<std::size_t>(column_quantiser::padded(rows)));
    std::vector<std::int8_t> bytes(zeros.size());
    column_quantiser quantise(zeros);
    for (index_type column = 0; column < matrix.columns; ++column) {
        columns.push_back(quantise(matrix, column, bytes.data()));
        m.scales.push_back(columns.back().scale);
        m.bytes.insert(m.bytes.end(), bytes.begin(), bytes.begin() + rows);
    }
    if (loses_too_much(columns)) return std::nullopt;
    return m;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels

FASTVIT_STRICT_MATH_END
