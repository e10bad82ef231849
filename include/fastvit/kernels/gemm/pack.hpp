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

/// The scale of a column whose largest weight is that: a weight is scale * its byte, in [-127, 127]. Rounded up to 17 significant
/// bits, so that scale * byte is exact in float32, and quantising those products gives the same bytes and scale again.
inline float int8_scale(float largest) noexcept {
    return std::bit_cast<float>((std::bit_cast<std::uint32_t>(largest / 127) + 0x7fu) & ~0x7fu);
}

/// What a weight of that scale is multiplied with to become a byte.
inline double int8_reciprocal(float scale) noexcept { return scale > 0 ? 1 / static_cast<double>(scale) : 0; }

/// To nearest, ties to even. Products of a scale and a byte give that byte: the error is far below half of one.
inline double quantised(double weight, double reciprocal) noexcept {
    constexpr double shift = 6755399441055744.0; // 1.5 * 2^52: leaves no bit for a fraction
    return (weight * reciprocal + shift) - shift;
}

/// The part of a column's energy that 8 bits may lose, on average over the columns: an error of 3%. Columns like a normal
/// distribution's lose 1%, as their largest weight is three to four times the usual one; from 13 times on the limit is passed.
inline constexpr double int8_largest_loss = 0.03 * 0.03;

/// A matrix in 8 bits: the weights of column c are scales[c] * bytes[c * rows + row].
struct int8_matrix {
    std::vector<float> scales;
    std::vector<std::int32_t> sums; ///< of each column's bytes
    std::vector<std::int8_t> bytes;
};

/// Part of a column on its way to 8 bits. Sums are taken in four parts, always the same, whose additions do not wait for each
/// other. (Vectors of the compiler's make it no faster.)
class int8_block {
  public:
    static constexpr index_type most_rows = 1024;

    /// Calls visit(block, first, count) for a column of weight(row), `most_rows` at a time.
    template <class Weight, class Visitor> static void for_each(index_type rows, Weight &&weight, Visitor &&visit) {
        int8_block block;
        for (index_type first = 0; first < rows; first += most_rows) {
            const index_type count = std::min(most_rows, rows - first);
            for (index_type i = 0; i < count; ++i) block.weights_[i] = weight(first + i);
            block.rows_ = (count + parts - 1) / parts * parts;
            std::fill(block.weights_ + count, block.weights_ + block.rows_, 0.0F);
            visit(block, first, count);
        }
    }
    /// Adds the squares to a sum, and finds the largest weight without its sign.
    void add_energy(double (&sum)[4], float &largest) const noexcept {
        double part[parts] = {sum[0], sum[1], sum[2], sum[3]};
        float most = largest;
        for (index_type row = 0; row < rows_; row += parts) {
#pragma GCC unroll 4
            for (index_type i = 0; i < parts; ++i) {
                const float w = weights_[row + i], size = w < 0 ? -w : w;
                most = most < size ? size : most;
                part[i] += static_cast<double>(w) * static_cast<double>(w);
            }
        }
        std::copy_n(part, parts, sum);
        largest = most;
    }
    /// Adds the squares of what quantising loses to a sum, and the bytes to another.
    void quantise(float scale, double (&lost)[4], std::int32_t &sum) noexcept {
        const double reciprocal = int8_reciprocal(scale), unit = static_cast<double>(scale);
        double part[parts] = {lost[0], lost[1], lost[2], lost[3]};
        std::int32_t added = sum;
        for (index_type row = 0; row < rows_; row += parts) {
            std::int32_t byte[parts];
#pragma GCC unroll 4
            for (index_type i = 0; i < parts; ++i) {
                const double w = static_cast<double>(weights_[row + i]), q = quantised(w, reciprocal), d = w - unit * q;
                byte[i] = static_cast<std::int32_t>(q);
                part[i] += d * d;
            }
#pragma GCC unroll 4
            for (index_type i = 0; i < parts; ++i) {
                added += byte[i];
                bytes_[row + i] = static_cast<std::int8_t>(byte[i]);
            }
        }
        std::copy_n(part, parts, lost);
        sum = added;
    }
    const std::int8_t *bytes() const noexcept { return bytes_; }

    static double total(const double (&sum)[4]) noexcept { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }

  private:
    static constexpr index_type parts = 4; // as the pragmas say

    index_type rows_ = 0;
    float weights_[most_rows]; ///< and zeros, as many as make the parts equal
    std::int8_t bytes_[most_rows];
};

/// The matrix in 8 bits, or none where they would lose too much or 32 bits could not hold the sums of products.
template <class Weight>
std::optional<int8_matrix> quantise_matrix(const packing_threads &threads, index_type rows, index_type columns, Weight &&weight) {
    if (rows > int8_max_rows) return std::nullopt;
    int8_matrix m;
    m.bytes.resize(static_cast<std::size_t>(rows * columns));
    m.scales.resize(static_cast<std::size_t>(columns));
    m.sums.resize(m.scales.size());
    std::vector<double> lost(m.scales.size()); // the share of a column's energy
    threads.run(columns, [&](index_type number, int) {
        const auto column = static_cast<std::size_t>(number);
        const auto read = [&](index_type row) { return weight(row, number); };
        double energies[4] = {}, errors[4] = {};
        float largest = 0;
        int8_block::for_each(rows, read, [&](int8_block &b, index_type, index_type) { b.add_energy(energies, largest); });
        const double energy = int8_block::total(energies);
        if (!(energy <= std::numeric_limits<float>::max())) { // not finite, or too large for the scales
            lost[column] = std::numeric_limits<double>::max();
            return;
        }
        const float scale = int8_scale(largest);
        std::int8_t *const out = m.bytes.data() + number * rows;
        std::int32_t sum = 0;
        int8_block::for_each(rows, read, [&](int8_block &b, index_type first, index_type count) {
            b.quantise(scale, errors, sum);
            std::copy_n(b.bytes(), count, out + first);
        });
        m.scales[column] = scale;
        m.sums[column] = sum;
        lost[column] = energy > 0 ? int8_block::total(errors) / energy : 0;
    });
    double all = 0;
    index_type used = 0; // columns that are not zero
    for (std::size_t column = 0; column < lost.size(); ++column) all += lost[column], used += m.scales[column] > 0;
    if (all > int8_largest_loss * static_cast<double>(used)) return std::nullopt;
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
