// SPDX-License-Identifier: MIT
// Matrices for the tests of kernels.
#pragma once

#include "fastvit/kernels/gemm/pack.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

/// Of a column's bytes, those that a kernel may add up in 16 bits with that of `row`: the sum of those that have its sign,
/// without the sign. See packed_matrix_view.
inline int sum_of_group(std::span<const std::int8_t> bytes, std::size_t row) {
    int sum = 0;
    for (std::size_t other = row / 8 * 8; other < std::min(bytes.size(), row / 8 * 8 + 8); ++other)
        if (other / 2 % 2 == row / 2 % 2 && (bytes[other] < 0) == (bytes[row] < 0)) sum += std::abs(int{bytes[other]});
    return sum;
}

/// Whether the bytes of one sign in that group sum up to the limit: then steps of one may have followed rounding.
inline bool at_group_limit(std::span<const std::int8_t> bytes, std::size_t row) {
    for (const std::size_t other : {row, row ^ 1, row ^ 4, row ^ 5})
        if (other < bytes.size() && sum_of_group(bytes, other) == fastvit::kernels::int8_group_limit) return true;
    return false;
}

/// Packs the matrix of weight(row, column) and bias(column).
template <class Weight, class Bias>
fastvit::kernels::packed_matrix pack_matrix(const fastvit::kernels::weight_target &target, fastvit::index_type rows,
                                            fastvit::index_type columns, Weight &&weight, Bias &&bias) {
    std::vector<float> weights, biases;
    for (fastvit::index_type column = 0; column < columns; ++column) {
        for (fastvit::index_type row = 0; row < rows; ++row) weights.push_back(weight(row, column));
        biases.push_back(bias(column));
    }
    return fastvit::kernels::pack_gemm(
        target,
        {.rows = rows, .columns = columns, .weights = weights.data(), .row_step = 1, .column_step = rows, .bias = biases.data()});
}
