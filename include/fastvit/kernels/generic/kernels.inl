// SPDX-License-Identifier: MIT
// The kernel bodies of a tier and their table. See prelude.hpp for what stands around this file.

// Each uses what the ones before it define.
// clang-format off
#include "fastvit/kernels/generic/math.inl"
#include "fastvit/kernels/generic/gemm.inl"
#include "fastvit/kernels/generic/depthwise.inl"
#include "fastvit/kernels/generic/elementwise.inl"
#include "fastvit/kernels/generic/attention.inl"
// clang-format on

inline constexpr kernel_table table{
    .name = tier_name,
    .lanes = vec::lanes,
    .gemm_panel = gemm_panel,
    .gemm = gemm,
    .depthwise = depthwise,
    .affine = affine,
    .sum = sum,
    .layer_norm = layer_norm,
    .attention = attention,
};
