// SPDX-License-Identifier: MIT
// Matrices for the tests of kernels.
#pragma once

#include "fastvit/kernels/gemm/pack.hpp"

#include <vector>

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
