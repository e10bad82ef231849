// SPDX-License-Identifier: MIT
// The kernel bodies of a tier and their table. See prelude.hpp for what stands around this file.

// Each uses what the ones before it define.
// clang-format off
#include "fastvit/kernels/elementwise/gelu_segments.inl"
#include "fastvit/kernels/elementwise/math.inl"
#include "fastvit/kernels/gemm/body.inl"
#include "fastvit/kernels/depthwise/body.inl"
#include "fastvit/kernels/elementwise/body.inl"
#include "fastvit/kernels/attention/body.inl"
#include "fastvit/kernels/encoded/body.inl"
// clang-format on

inline constexpr kernel_table table{
    .name = tier_name,
    .lanes = vec::lanes,
    .tile_bytes = tile_bytes,
    .gemm_format = gemm_format,
    .gemm = gemm,
    .depthwise = depthwise,
    .affine = affine,
    .sum = sum,
    .layer_norm = layer_norm,
    .attention = attention,
    .bfloat16 = encoded_in<bfloat16_product>,
    .int8 = encoded_in<int8_product>,
};
