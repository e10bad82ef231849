// SPDX-License-Identifier: MIT
// What the network asks of an instruction set: a table of functions, the same for every tier. Kernels know pointers, sizes and
// strides, not blocks.
#pragma once

#include "fastvit/kernels/attention/contract.hpp"
#include "fastvit/kernels/depthwise/contract.hpp"
#include "fastvit/kernels/elementwise/contract.hpp"
#include "fastvit/kernels/encoded/contract.hpp"
#include "fastvit/kernels/gemm/contract.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// The kernels of one instruction set.
struct kernel_table {
    std::string_view name;
    index_type lanes;                                 ///< floats per register: the channel block of pack_depthwise
    index_type tile_bytes;                            ///< of a tile's maps, to stay in the caches: runtime/tiling.hpp
    matrix_format (*gemm_format)(index_type columns); ///< how to pack a matrix of that many (padded) columns
    void (*gemm)(const gemm_args &);
    void (*depthwise)(const depthwise_args &);
    void (*affine)(const affine_args &);
    void (*sum)(const sum_args &);
    void (*layer_norm)(const layer_norm_args &);
    void (*attention)(const attention_args &);
    encoded_kernels bfloat16, int8;

    /// For a type below float32.
    const encoded_kernels &encoded(precision type) const noexcept { return type == precision::int8 ? int8 : bfloat16; }
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
