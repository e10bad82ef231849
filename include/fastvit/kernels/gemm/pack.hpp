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

/// One column of a matrix, on its way to 8 bits. Sums are taken in four parts, always the same, whose additions do not wait for
/// each other. (Vectors of the compiler's make it no faster.)
class int8_column {
  public:
    explicit int8_column(index_type rows)
        : rows_(static_cast<std::size_t>(rows)), weights_((rows_ + parts - 1) / parts * parts), bytes_(weights_.size()) {}

    template <class Weight> void read(Weight &&weight) {
        for (std::size_t row = 0; row < rows_; ++row) weights_[row] = weight(static_cast<index_type>(row));
    }
    /// The sum of the squares, and the largest weight without its sign.
    double energy(float &largest) const noexcept {
        double part[parts] = {};
        float most = 0;
        for (std::size_t row = 0; row < weights_.size(); row += parts) {
#pragma GCC unroll 4
            for (std::size_t i = 0; i < parts; ++i) {
                const float w = weights_[row + i], size = w < 0 ? -w : w;
                most = most < size ? size : most;
                part[i] += static_cast<double>(w) * static_cast<double>(w);
            }
        }
        largest = most;
        return (part[0] + part[1]) + (part[2] + part[3]);
    }
    /// Quantises, and returns the sum of the squares of what that loses.
    double quantise(float scale, std::int32_t &sum) noexcept {
        const double reciprocal = int8_reciprocal(scale), unit = static_cast<double>(scale);
        double part[parts] = {};
        std::int32_t added = 0;
        for (std::size_t row = 0; row < weights_.size(); row += parts) {
            std::int32_t byte[parts];
#pragma GCC unroll 4
            for (std::size_t i = 0; i < parts; ++i) {
                const double w = static_cast<double>(weights_[row + i]), q = quantised(w, reciprocal), d = w - unit * q;
                byte[i] = static_cast<std::int32_t>(q);
                part[i] += d * d;
            }
#pragma GCC unroll 4
            for (std::size_t i = 0; i < parts; ++i) {
                added += byte[i];
                bytes_[row + i] = static_cast<std::int8_t>(byte[i]);
            }
        }
        sum = added;
        return (part[0] + part[1]) + (part[2] + part[3]);
    }
    void write(std::int8_t *to) const noexcept { std::copy_n(bytes_.data(), rows_, to); }

  private:
    static constexpr std::size_t parts = 4;
    std::size_t rows_;
    std::vector<float> weights_; ///< and zeros, as many as make the parts equal
    std::vector<std::int8_t> bytes_;
};

/// The matrix in 8 bits, or none where they would lose too much.
template <class Weight>
std::optional<int8_matrix> quantise(const packing_threads &threads, index_type rows, index_type columns, Weight &&weight) {
    int8_matrix m;
    m.bytes.resize(static_cast<std::size_t>(rows * columns));
    m.scales.resize(static_cast<std::size_t>(columns));
    m.sums.resize(m.scales.size());
    std::vector<double> lost(m.scales.size()); // the share of a column's energy
    std::vector<int8_column> columns_of(static_cast<std::size_t>(threads.workers()), int8_column(rows));
    threads.run(columns, [&](index_type number, int worker) {
        const auto column = static_cast<std::size_t>(number);
        int8_column &one = columns_of[static_cast<std::size_t>(worker)];
        one.read([&](index_type row) { return weight(row, number); });
        float largest = 0;
        const double energy = one.energy(largest);
        // Not finite, or too large for the scales: lost altogether.
        if (!(energy <= std::numeric_limits<float>::max())) return void(lost[column] = std::numeric_limits<double>::max());
        m.scales[column] = int8_scale(largest);
        const double error = one.quantise(m.scales[column], m.sums[column]);
        lost[column] = energy > 0 ? error / energy : 0;
        one.write(m.bytes.data() + number * rows);
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
        if (rows <= int8_max_rows) bytes = quantise(target.threads, rows, columns, weight);
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
    // column's weights belong `step` bytes behind.
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
    // What is written as bytes could, to the compiler, be what the next weight is found by: weights are gathered first.
    const auto gather = [&](float *values, index_type row, index_type column, index_type count) {
        for (index_type i = 0; i < count; ++i) values[i] = weight(row, column + i);
    };
    if (bytes) {
        put_all([&](std::byte *out, index_type row, index_type height, index_type column, index_type count) {
            const std::int8_t *const from = bytes->bytes.data() + column * rows + row;
            if (height == 4) // a constant: one load and one store
                for (index_type i = 0; i < count; ++i) std::memcpy(out + i * step, from + i * rows, 4);
            else
                for (index_type i = 0; i < count; ++i)
                    std::memcpy(out + i * step, from + i * rows, static_cast<std::size_t>(height));
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
