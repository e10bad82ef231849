// SPDX-License-Identifier: MIT
// Weights of matrix products, in the order in which a tier's kernel reads them. Packed once, when a model is made.
#pragma once

#include "fastvit/kernels/weights.hpp"

#include <algorithm>
#include <cstring>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// A packed matrix and its memory. Move-only.
struct packed_matrix : packed_matrix_view {
    buffer<std::byte> weight_memory;
    float_buffer bias_memory;
};

/// `weight(row, column)` gives the matrix, `bias(column)` the bias, for row < rows and column < columns; the padding becomes
/// zero.
template <class Weight, class Bias>
packed_matrix pack_gemm(const weight_target &target, index_type rows, index_type columns, Weight &&weight, Bias &&bias) {
    packed_matrix packed;
    packed.rows = rows;
    packed.columns = padded_channels(columns);
    packed.format = target.tier.gemm_format(packed.columns);
    packed.weight_memory = target.take<std::byte>(packed.bytes());
    packed.bias_memory = target.take<float>(packed.columns);
    packed.weights = packed.weight_memory.data();
    packed.bias = packed.bias_memory.data();
    const index_type panel = packed.format.panel, size = size_of(packed.format.type), step = packed.format.group * size;
    for (index_type first = 0; first < columns; first += panel) {
        const index_type last = std::min(first + panel, columns);
        for (index_type row = 0; row < rows; ++row) {
            std::byte *out = packed.weight_memory.data() + packed.at(row, first);
            for (index_type column = first; column < last; ++column, out += step) {
                const float value = weight(row, column);
                std::memcpy(out, &value, sizeof value);
            }
        }
    }
    for (index_type column = 0; column < columns; ++column) packed.bias_memory.data()[column] = bias(column);
    return packed;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
