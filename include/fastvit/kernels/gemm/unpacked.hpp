// SPDX-License-Identifier: MIT
// Matrices on their way into a packed one.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"

#include <cstdint>
#include <cstring>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Vectors of the baseline, written out because GCC 12 at -O2 leaves loops over floats scalar.
using four_floats = float __attribute__((vector_size(16)));
using four_ints = std::int32_t __attribute__((vector_size(16)));
using four_words = std::uint32_t __attribute__((vector_size(16)));

inline four_floats load_four(const float *from) noexcept {
    four_floats x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

/// Transposes four vectors of four.
template <class Four> void transpose_square(Four (&x)[4]) noexcept {
    const Four low01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), high01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7),
               low23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5), high23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    x[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
    x[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
    x[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
    x[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

/// A matrix as a checkpoint or a fold leaves it, in float32, and what it is multiplied with on its way into the packed one. Owns
/// nothing.
struct unpacked_matrix {
    index_type rows, columns;            ///< inputs and outputs
    const float *weights;                ///< the first is that of row 0 and column 0
    index_type row_step, column_step;    ///< floats between neighbours
    const float *bias = nullptr;         ///< one per column; null for zeros
    const float *row_scale = nullptr;    ///< one per row; null for ones
    const float *column_scale = nullptr; ///< one per column, of the bias too; null for ones

    float weight(index_type row, index_type column) const noexcept {
        float w = weights[row * row_step + column * column_step];
        if (row_scale) w *= row_scale[row];
        if (column_scale) w *= column_scale[column];
        return w;
    }
    /// `count` columns from number `first`.
    unpacked_matrix some_columns(index_type first, index_type count) const noexcept {
        unpacked_matrix part = *this;
        part.columns = count;
        part.weights += first * column_step;
        if (bias) part.bias += first;
        if (column_scale) part.column_scale += first;
        return part;
    }

    float bias_of(index_type column) const noexcept {
        return !bias ? 0.0F : column_scale ? bias[column] * column_scale[column] : bias[column];
    }
};

}}} // namespace fastvit::FASTVIT_ABI::kernels

FASTVIT_STRICT_MATH_END
