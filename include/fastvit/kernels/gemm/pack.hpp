// SPDX-License-Identifier: MIT
// Weights of matrix products, in the type and the order in which a tier's kernel reads them. Packed once, when a model is made.
#pragma once

#include "fastvit/base/float16.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/kernels/weights.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// A packed matrix and its memory. Move-only.
struct packed_matrix : packed_matrix_view {
    buffer<std::byte> weight_memory;
    float_buffer bias_memory, scale_memory;
    buffer<std::int32_t> sum_memory;
};

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

/// A matrix in 8 bits: the weights of column c are scales[c] * bytes[c * rows + row].
struct int8_matrix {
    std::vector<float> scales;
    std::vector<std::int32_t> sums; ///< of each column's bytes
    std::vector<std::int8_t> bytes;
};

/// A column on its way to 8 bits. Sums are taken in eight parts, always the same: two vectors of four, whose additions do not
/// wait for each other.
class int8_column {
  public:
    float scale = 0;
    std::int32_t sum = 0; ///< of the bytes
    float loss = 0;       ///< the share of the column's energy that quantising loses; NaN where that is not finite

    explicit int8_column(index_type rows) : weights_(rounded_up(rows)), bytes_(weights_.size()) {}

    /// To be filled: `rows` of them.
    float *weights() noexcept { return weights_.data(); }
    const std::int8_t *quantised() const noexcept { return bytes_.data(); }

    /// Finds all of the above, and quantised().
    void quantise() noexcept {
        scale = int8_scale(largest());
        const float reciprocal = int8_reciprocal(scale);
        floats energy[2] = {}, lost[2] = {};
        ints sums[2] = {};
        std::int8_t *const to = bytes_.data();
        for (std::size_t row = 0; row < weights_.size(); row += parts) {
            bytes shifted_bytes[2];
#pragma GCC unroll 2
            for (std::size_t i = 0; i < 2; ++i) {
                // Adding 1.5 * 2^23 rounds to nearest, ties to even, and leaves the byte in the low bits.
                constexpr float shift = 12582912.0F;
                const floats in_bytes = load(row + 4 * i) * reciprocal, shifted = in_bytes + shift,
                             error = in_bytes - (shifted - shift);
                energy[i] += in_bytes * in_bytes;
                lost[i] += error * error;
                sums[i] += std::bit_cast<ints>(shifted) << 24 >> 24;
                shifted_bytes[i] = std::bit_cast<bytes>(shifted);
            }
            const bytes evens = even(shifted_bytes[0], shifted_bytes[1]), fourths = even(evens, evens);
            std::memcpy(to + row, &fourths, parts);
        }
        const ints all_bytes = sums[0] + sums[1];
        sum = all_bytes[0] + all_bytes[1] + all_bytes[2] + all_bytes[3];
        const float all = total(energy[0] + energy[1]);
        // Weights whose squares overflow are refused like infinite ones.
        const bool finite = all * scale * scale <= std::numeric_limits<float>::max();
        loss = !finite ? std::numeric_limits<float>::quiet_NaN() : all == 0 ? 0 : total(lost[0] + lost[1]) / all;
    }

  private:
    static constexpr std::size_t parts = 8;
    using floats = float __attribute__((vector_size(16)));
    using ints = std::int32_t __attribute__((vector_size(16)));
    using bytes = std::int8_t __attribute__((vector_size(16)));

    static std::size_t rounded_up(index_type rows) noexcept {
        return (static_cast<std::size_t>(rows) + parts - 1) / parts * parts;
    }

    floats load(std::size_t row) const noexcept {
        floats x;
        std::memcpy(&x, weights_.data() + row, sizeof x);
        return x;
    }
    // Without signs, and NaN left out.
    float largest() const noexcept {
        floats most[2] = {};
        for (std::size_t row = 0; row < weights_.size(); row += parts) {
#pragma GCC unroll 2
            for (std::size_t i = 0; i < 2; ++i) {
                const floats size = std::bit_cast<floats>(std::bit_cast<ints>(load(row + 4 * i)) & 0x7fffffff);
                most[i] = most[i] < size ? size : most[i];
            }
        }
        float all = 0; // not by std::max(), which belongs to the flags of the unit
        for (const floats &m : most)
            for (int i = 0; i < 4; ++i) all = all < m[i] ? m[i] : all;
        return all;
    }
    static bytes even(const bytes &a, const bytes &b) noexcept {
        return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    }
    static float total(const floats &x) noexcept { return (x[0] + x[1]) + (x[2] + x[3]); }

    std::vector<float> weights_; // and zeros
    std::vector<std::int8_t> bytes_;
};

/// The matrix in 8 bits, or none where they would lose too much or 32 bits could not hold the sums of products.
template <class Weight>
std::optional<int8_matrix> quantise_matrix(const packing_threads &threads, index_type rows, index_type columns, Weight &&weight) {
    if (rows > int8_max_rows) return std::nullopt;
    int8_matrix m;
    m.bytes.resize(static_cast<std::size_t>(rows * columns));
    m.scales.resize(static_cast<std::size_t>(columns));
    m.sums.resize(m.scales.size());
    std::vector<float> losses(m.scales.size());
    std::vector<int8_column> of_worker(static_cast<std::size_t>(threads.workers()), int8_column(rows)); // tasks do not throw
    threads.run(columns, [&](index_type number, int worker) {
        const auto column = static_cast<std::size_t>(number);
        int8_column &c = of_worker[static_cast<std::size_t>(worker)];
        float *const weights = c.weights();
#pragma GCC unroll 4
        for (index_type row = 0; row < rows; ++row) weights[row] = weight(row, number);
        c.quantise();
        std::copy_n(c.quantised(), rows, m.bytes.data() + number * rows);
        m.scales[column] = c.scale;
        m.sums[column] = c.sum;
        losses[column] = c.loss;
    });
    double all = 0;
    index_type used = 0; // columns that are not zero
    for (std::size_t column = 0; column < losses.size(); ++column) {
        all += static_cast<double>(losses[column]);
        used += m.scales[column] > 0;
    }
    if (!(all <= static_cast<double>(int8_largest_loss) * static_cast<double>(used))) return std::nullopt;
    return m;
}

/// `weight(row, column)` gives the matrix, `bias(column)` the bias, for row < rows and column < columns; the padding becomes
/// zero.
///
/// In the type of the target, unless that would lose too much of these weights: then bfloat16 instead of int8.
template <class Weight, class Bias>
packed_matrix pack_gemm(const weight_target &target, index_type rows, index_type columns, Weight &&weight, Bias &&bias) {
    precision type = target.type;
    std::string_view reason;
    std::optional<int8_matrix> bytes;
    if (type == precision::int8) {
        bytes = quantise_matrix(target.threads, rows, columns, weight);
        if (!bytes) {
            type = precision::bfloat16;
            reason = rows > int8_max_rows ? "too many inputs for 32-bit sums" : "8 bits would lose too much of these weights";
        }
    }
    target.note(type, reason);

    packed_matrix packed;
    packed.rows = rows;
    packed.columns = padded_channels(columns);
    packed.format =
        type == precision::float32 ? target.tier.gemm_format(packed.columns) : target.tier.encoded(type).format(packed.columns);
    packed.weight_memory = target.take<std::byte>(packed.bytes());
    packed.bias_memory = target.take<float>(packed.columns);
    packed.weights = packed.weight_memory.data();
    packed.bias = packed.bias_memory.data();
    if (bytes) {
        packed.scale_memory = target.take<float>(packed.columns);
        packed.sum_memory = target.take<std::int32_t>(packed.columns);
        packed.scale = packed.scale_memory.data();
        packed.sums = packed.sum_memory.data();
        std::copy(bytes->scales.begin(), bytes->scales.end(), packed.scale_memory.data());
        std::copy(bytes->sums.begin(), bytes->sums.end(), packed.sum_memory.data());
    }
    // Calls put(out, row, height, column, count) for pieces of each panel: at most a group of rows, and some columns. The next
    // column's weights lie `step` bytes further on.
    constexpr index_type piece = 16;
    const index_type panel = packed.format.panel, group = packed.format.group, size = size_of(type), step = group * size;
    const auto put_all = [&](auto &&put) {
        target.threads.run((columns + panel - 1) / panel, [&](index_type number, int) {
            const index_type first = number * panel, last = std::min(first + panel, columns);
            for (index_type row = 0; row < rows; row += group) {
                std::byte *const out = packed.weight_memory.data() + packed.at(row, first);
                for (index_type column = first; column < last; column += piece)
                    put(out + (column - first) * step, row, std::min(group, rows - row), column, std::min(piece, last - column));
            }
        });
    };
    // Gathered first: a store of bytes may alias whatever `weight` reads, which the compiler would then read again each time.
    const auto gather = [&](float *values, index_type row, index_type column, index_type count) {
        for (index_type i = 0; i < count; ++i) values[i] = weight(row, column + i);
    };
    if (bytes) {
        put_all([&](std::byte *out, index_type row, index_type height, index_type column, index_type count) {
            const std::int8_t *const from = bytes->bytes.data() + column * rows + row;
            const auto put_column = [&](auto bytes_of_column) {
                for (index_type i = 0; i < count; ++i)
                    std::memcpy(out + i * step, from + i * rows, static_cast<std::size_t>(bytes_of_column));
            };
            // Constants: one load and one store.
            if (height == 4) return put_column(std::integral_constant<int, 4>());
            if (height == 8) return put_column(std::integral_constant<int, 8>());
            put_column(height);
        });
    } else if (type == precision::bfloat16) {
        put_all([&](std::byte *out, index_type row, index_type height, index_type column, index_type count) {
            float values[piece];
            for (index_type inside = 0; inside < height; ++inside) {
                gather(values, row + inside, column, count);
                for (index_type i = 0; i < count; ++i) {
                    const std::uint16_t upper = io::float_to_bfloat16(values[i]);
                    std::memcpy(out + i * step + inside * size, &upper, sizeof upper);
                }
            }
        });
    } else {
        put_all([&](std::byte *out, index_type row, index_type, index_type column, index_type count) {
            float values[piece];
            gather(values, row, column, count);
            std::memcpy(out, values, static_cast<std::size_t>(count) * sizeof(float)); // a group is one row
        });
    }
    for (index_type column = 0; column < columns; ++column) packed.bias_memory.data()[column] = bias(column);
    return packed;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels

FASTVIT_STRICT_MATH_END
