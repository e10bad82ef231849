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
inline int quantised(float weight, double reciprocal) noexcept {
    constexpr double shift = 6755399441055744.0; // 1.5 * 2^52: leaves no bit for a fraction
    return static_cast<int>((static_cast<double>(weight) * reciprocal + shift) - shift);
}

/// The part of a column's energy that 8 bits may lose, on average over the columns: an error of 3%. Columns like a normal
/// distribution's lose 1%, as their largest weight is three to four times the usual one; from 13 times on the limit is passed.
inline constexpr double int8_largest_loss = 0.03 * 0.03;

/// The scales of the columns, or none where 8 bits would lose too much.
template <class Weight> std::optional<std::vector<float>> int8_scales(index_type rows, index_type columns, Weight &&weight) {
    std::vector<float> scales;
    double lost = 0;
    index_type used = 0; // columns that are not zero
    for (index_type column = 0; column < columns; ++column) {
        float largest = 0;
        double energy = 0, error = 0;
        for (index_type row = 0; row < rows; ++row) {
            const float w = weight(row, column), size = w < 0 ? -w : w;
            largest = largest < size ? size : largest;
            energy += static_cast<double>(w) * static_cast<double>(w);
        }
        if (!(energy <= std::numeric_limits<float>::max())) return std::nullopt; // not finite, or too large for the scales
        const float scale = int8_scale(largest);
        const double reciprocal = int8_reciprocal(scale);
        for (index_type row = 0; row < rows; ++row) {
            const float w = weight(row, column);
            const double d = static_cast<double>(w) - static_cast<double>(scale) * quantised(w, reciprocal);
            error += d * d;
        }
        if (energy > 0) lost += error / energy, ++used;
        scales.push_back(scale);
    }
    if (lost > int8_largest_loss * static_cast<double>(used)) return std::nullopt;
    return scales;
}

/// `weight(row, column)` gives the matrix, `bias(column)` the bias, for row < rows and column < columns; the padding becomes
/// zero.
///
/// In the type of the target, unless that would lose too much of these weights: then bfloat16 instead of int8.
template <class Weight, class Bias>
packed_matrix pack_gemm(const weight_target &target, index_type rows, index_type columns, Weight &&weight, Bias &&bias) {
    precision type = target.type;
    std::string_view reason;
    std::optional<std::vector<float>> scales;
    if (type == precision::int8) {
        if (rows <= int8_max_rows) scales = int8_scales(rows, columns, weight);
        if (!scales) {
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
    std::int32_t *sums = nullptr;
    std::vector<double> reciprocals;
    if (scales) {
        packed.scale_memory = target.take<float>(packed.columns);
        packed.sum_memory = target.take<std::int32_t>(packed.columns);
        packed.scale = packed.scale_memory.data();
        packed.sums = sums = packed.sum_memory.data();
        std::copy(scales->begin(), scales->end(), packed.scale_memory.data());
        for (const float scale : *scales) reciprocals.push_back(int8_reciprocal(scale));
    }
    const auto put = [&](std::byte *out, index_type row, index_type column) {
        if (type == precision::int8) {
            const int q = quantised(weight(row, column), reciprocals[static_cast<std::size_t>(column)]);
            sums[column] += q;
            *out = static_cast<std::byte>(q);
        } else if (const float value = weight(row, column); type == precision::bfloat16) {
            const std::uint16_t upper = io::float_to_bfloat16(value);
            std::memcpy(out, &upper, sizeof upper);
        } else {
            std::memcpy(out, &value, sizeof value);
        }
    };
    const index_type panel = packed.format.panel, step = packed.format.group * size_of(type);
    for (index_type first = 0; first < columns; first += panel) {
        const index_type last = std::min(first + panel, columns);
        for (index_type row = 0; row < rows; ++row) {
            std::byte *out = packed.weight_memory.data() + packed.at(row, first);
            for (index_type column = first; column < last; ++column, out += step) put(out, row, column);
        }
    }
    for (index_type column = 0; column < columns; ++column) packed.bias_memory.data()[column] = bias(column);
    return packed;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels

FASTVIT_STRICT_MATH_END
