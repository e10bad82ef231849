// SPDX-License-Identifier: MIT
// Weights in 8 bits: symmetric, with a scale for each column.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/kernels/encoded/contract.hpp"
#include "fastvit/kernels/gemm/unpacked.hpp"

#include <array>
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

/// The sum that a scale lets the weights of one sign have, in bytes, among four that are added up in 16 bits. Rounding four adds
/// 2 at most, and 258 still fits (packed_matrix_view).
inline constexpr int int8_group_limit = 256;

/// What decides a column's scale, each without its sign.
struct column_size {
    float weight; ///< the largest weight
    float group;  ///< the largest sum of one sign among four weights that are added up in 16 bits

    float scale_of_weight() const noexcept { return weight / 127; }
    float scale_of_group() const noexcept { return group / int8_group_limit; }
    bool group_decides() const noexcept { return scale_of_weight() < scale_of_group(); }
};

/// The scale of a column: a weight is scale * its byte, in [-127, 127]. Rounded up to 15 significant bits, so that scale * byte
/// and sums of four such products are exact in float32, and quantising the products gives the same bytes and scale
/// again. 0 where the scale would be subnormal, with fewer bits: such a column, of weights below 2^-119, counts as zero.
inline float int8_scale(const column_size &size) noexcept {
    const float least = size.group_decides() ? size.scale_of_group() : size.scale_of_weight();
    const float scale = std::bit_cast<float>((std::bit_cast<std::uint32_t>(least) + 0x1ffu) & ~0x1ffu);
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
    /// The share of the column's energy that quantising loses; NaN where that is not finite. If int8_largest_loss would not be
    /// passed by errors of half a step, it is an estimate: a twelfth of a step's square for each weight, as for errors that are
    /// spread evenly. byte_groups::limit() is left out: at most 2.5 steps each for four of a group of 256.
    float loss;
};

/// The groups of a column's bytes that are added up in 16 bits, and their limit.
class byte_groups {
  public:
    /// `bytes`: whole vectors of them.
    explicit byte_groups(std::span<std::int8_t> bytes) noexcept : bytes_(bytes) {}

    /// Brings groups that are over the limit by their roundings to it, by steps of one. If the groups decided the scale, the
    /// largest is brought to the limit too, which it may miss by its roundings: then the products of scale and bytes have the
    /// same scale again. Returns what it adds to the column's sum.
    std::int32_t limit(bool decided_scale) noexcept {
        std::int32_t added = 0;
        words most = {};
        for (std::size_t row = 0; row < bytes_.size(); row += sizeof(vector)) {
            const words sums = sums_at(row), over = sums > int8_group_limit;
            if (any(over)) added += move(row, [](int sum) { return sum > int8_group_limit ? -1 : 0; });
            most = most < sums ? sums : most;
        }
        int largest = 0;
        for (const std::int16_t sum : std::bit_cast<std::array<std::int16_t, 8>>(most)) largest = largest < sum ? sum : largest;
        if (!decided_scale || largest >= int8_group_limit) return added;
        for (std::size_t row = 0; row < bytes_.size(); row += sizeof(vector))
            if (any(sums_at(row) == static_cast<std::int16_t>(largest)))
                return added + move(row, [&](int sum) { return sum == largest ? 1 : 0; });
        return added;
    }

  private:
    using vector = std::int8_t __attribute__((vector_size(16)));
    using words = std::int16_t __attribute__((vector_size(16)));
    using unsigned_words = std::uint16_t __attribute__((vector_size(16)));
    using halves = std::uint64_t __attribute__((vector_size(16)));

    static bool any(const words &mask) noexcept {
        const auto both = std::bit_cast<halves>(mask);
        return (both[0] | both[1]) != 0;
    }
    /// The larger sum of one sign of each group of 16 bytes, and smaller ones.
    words sums_at(std::size_t row) const noexcept {
        vector x;
        std::memcpy(&x, bytes_.data() + row, sizeof x);
        const words positive = sums_of(x & (x > 0)), negative = sums_of(-x & (x < 0));
        return positive < negative ? negative : positive;
    }
    static words sums_of(const vector &sizes) noexcept {
        const auto pairs = std::bit_cast<unsigned_words>(sizes);
        const auto sums = std::bit_cast<halves>((pairs & 0xff) + (pairs >> 8));
        return std::bit_cast<words>(std::bit_cast<unsigned_words>(sums) + std::bit_cast<unsigned_words>(sums >> 32));
    }
    /// Moves the groups of 16 bytes towards the limit, which is two steps away at most, by step_of(sum). Bytes at 127 stay: with
    /// one the scale is kept anyway. Over the limit there are others, as two of 127 sum up to 254.
    template <class StepOf> std::int32_t move(std::size_t row, StepOf step_of) noexcept {
        std::int32_t added = 0;
        for (const std::size_t first : {row, row + 2, row + 8, row + 10})
            for (const int sign : {1, -1}) {
                std::int8_t *const group = bytes_.data() + first;
                int sum = 0;
                for (const int i : {0, 1, 4, 5}) sum += group[i] * sign > 0 ? group[i] * sign : 0;
                const int step = step_of(sum);
                for (int turn = 0; turn < 2 && step != 0; ++turn)
                    for (const int i : {0, 1, 4, 5}) {
                        const int size = group[i] * sign;
                        if (sum == int8_group_limit || size <= 0 || size == 127) continue;
                        group[i] = static_cast<std::int8_t>(group[i] + sign * step);
                        added += sign * step;
                        sum += step;
                    }
            }
        return added;
    }

    std::span<std::int8_t> bytes_;
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
        const column_size size = m.row_scale ? read<true>(m, column) : read<false>(m, column);
        const float scale = int8_scale(size);
        const float reciprocal = int8_reciprocal(scale);
        four_floats energy[2] = {};
        four_words sums[2] = {};
        constexpr auto shift_bits = std::bit_cast<std::uint32_t>(shift);
        for (std::size_t row = 0; row < weights_.size(); row += step) {
            four_bytes shifted_bytes[4];
#pragma GCC unroll 4
            for (std::size_t i = 0; i < 4; ++i) {
                const four_floats in_bytes = load_four(weights_.data() + row + 4 * i) * reciprocal, shifted = in_bytes + shift;
                energy[i % 2] += in_bytes * in_bytes;
                sums[i % 2] += std::bit_cast<four_words>(shifted); // shift_bits + the byte
                shifted_bytes[i] = std::bit_cast<four_bytes>(shifted);
            }
            const four_bytes quantised = even(even(shifted_bytes[0], shifted_bytes[1]), even(shifted_bytes[2], shifted_bytes[3]));
            std::memcpy(bytes + row, &quantised, sizeof quantised);
        }
        const four_words all_sums = sums[0] + sums[1];
        std::uint32_t sum = all_sums[0] + all_sums[1] + all_sums[2] + all_sums[3];
        const float all = total(energy[0] + energy[1]);
        // Weights whose squares overflow are refused like infinite ones.
        const bool finite = all * scale * scale <= std::numeric_limits<float>::max();
        // Each of four roundings adds half a step at most.
        if (finite && size.group * reciprocal > int8_group_limit - 2)
            sum += static_cast<std::uint32_t>(byte_groups({bytes, weights_.size()}).limit(size.group_decides()));
        return {.scale = scale,
                .sum = static_cast<std::int32_t>(sum - static_cast<std::uint32_t>(weights_.size()) * shift_bits),
                .loss = !finite    ? std::numeric_limits<float>::quiet_NaN()
                        : all == 0 ? 0
                                   : lost(static_cast<float>(m.rows), all, reciprocal) / all};
    }

  private:
    static constexpr index_type step = 16;
    // Adding 1.5 * 2^23 rounds to nearest, ties to even, and leaves the byte in the low bits.
    static constexpr float shift = 12582912.0F;
    using four_bytes = std::int8_t __attribute__((vector_size(16))); ///< each the lowest of four

    /// Takes the column, and returns its size, NaN left out.
    template <bool RowScale> column_size read(const unpacked_matrix &m, index_type column) noexcept {
        const float *from = m.weights + column * m.column_step;
        if (m.row_step != 1) {
            for (index_type row = 0; row < m.rows; ++row) weights_[static_cast<std::size_t>(row)] = from[row * m.row_step];
            from = weights_.data();
        }
        const float scale = m.column_scale ? m.column_scale[column] : 1.0F;
        float *const to = weights_.data();
        four_floats weight[2] = {}, groups = {}; // groups: twice their larger sum of one sign
        const auto measure = [&](const four_floats(&x)[4]) {
            const four_floats sizes[4] = {absolute(x[0]), absolute(x[1]), absolute(x[2]), absolute(x[3])};
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) weight[i % 2] = weight[i % 2] < sizes[i] ? sizes[i] : weight[i % 2];
            // Of both signs together, and their difference.
            const four_floats all = pair_sums(sizes[0] + sizes[1], sizes[2] + sizes[3]),
                              difference = pair_sums(x[0] + x[1], x[2] + x[3]), sums = all + absolute(difference);
            groups = groups < sums ? sums : groups;
        };
        index_type row = 0;
        for (; row + step <= m.rows; row += step) {
            four_floats x[4];
#pragma GCC unroll 4
            for (index_type i = 0; i < 4; ++i) {
                x[i] = load_four(from + row + 4 * i);
                if constexpr (RowScale) x[i] *= load_four(m.row_scale + row + 4 * i);
                x[i] *= scale;
                std::memcpy(to + row + 4 * i, &x[i], sizeof x[i]);
            }
            measure(x);
        }
        if (row < m.rows) {
            const float *const rest = to + row; // and zeros
            for (; row < m.rows; ++row) to[row] = from[row] * (RowScale ? m.row_scale[row] : 1.0F) * scale;
            measure({load_four(rest), load_four(rest + 4), load_four(rest + 8), load_four(rest + 12)});
        }
        return {.weight = largest(weight[0] < weight[1] ? weight[1] : weight[0]), .group = largest(groups) / 2};
    }
    /// What rounding loses of the energy, both in bytes.
    float lost(float rows, float energy, float reciprocal) const noexcept {
        if (rows / 4 <= int8_largest_loss * energy) return rows / 12;
        four_floats squares = {};
        for (std::size_t row = 0; row < weights_.size(); row += 4) {
            const four_floats in_bytes = load_four(weights_.data() + row) * reciprocal, shifted = in_bytes + shift,
                              error = in_bytes - (shifted - shift);
            squares += error * error;
        }
        return total(squares);
    }
    static four_floats pair_sums(const four_floats &x, const four_floats &y) noexcept {
        return __builtin_shufflevector(x, y, 0, 2, 4, 6) + __builtin_shufflevector(x, y, 1, 3, 5, 7);
    }
    static four_floats absolute(const four_floats &x) noexcept {
        return std::bit_cast<four_floats>(std::bit_cast<four_ints>(x) & 0x7fffffff);
    }
    static float largest(const four_floats &x) noexcept { // not by std::max(), which belongs to the flags of the unit
        const float a = x[0] < x[1] ? x[1] : x[0], b = x[2] < x[3] ? x[3] : x[2];
        return a < b ? b : a;
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
