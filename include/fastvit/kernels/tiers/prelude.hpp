// SPDX-License-Identifier: MIT
// What the kernel bodies need around them: the bodies themselves include nothing, because each tier includes them again inside
// its own namespace and target region.
//
// A tier is a header of kernels/tiers that opens a namespace, says in supported() whether the machine has the instructions, and
// opens a region for them (base/regions.hpp); that defines there tier_name, tile_bytes (how much of the second-level cache the
// maps of a tile should take), gemm_rows, gemm_panel(), the shape of the depthwise tile, and `vec` with its operations; and that
// then includes kernels/tiers/bodies.inl, which ends with its table. A tier that differs from another in some kernels needs none
// of this: it copies the other's table and replaces the name and those entries.
//
// The operations:
//
//     vec::lanes  vec::load(p)  vec::broadcast(x)  v.store(p)      any alignment
//     a + b  a - b  a * b  a / b  min(a, b)  max(a, b)             element by element
//     square_root(a)           rounded correctly
//     fma(a, b, c)             a * b + c, rounded once where the tier has the instruction
//     accumulate(c, a, b)      c = fma(a, b, c), in c's own register
//     negative_absolute(a)     -|a|
//     round_to_even(a)         the nearest integer, halves to even
//     exp2_of_integer(a)       2^a for integral a in [-126, 127]
//     load_bfloat16(p)         from 16 bits
//     round_to_bfloat16(a)     to nearest, ties to even; a NaN, which that might make an infinity, becomes a quiet one
//     interleave(a, b, f, s)   f = a0 b0 a1 b1 ..., s = the rest
//     vec::lookup(t, i)        t[i & 31] of 32 floats, i the bits of a lane: where the tier has an instruction, GELU uses it
//
// and, for products below float32, int8_product and bfloat16_product:
//
//     type, group              of the matrices that it multiplies; int8's group divides 16, bfloat16's is 1 or 2
//     element_bytes            of an encoded activation
//     rows                     pixels of a tile, at least 2
//     sums, weights            registers of accumulators; of `group` weights of each of vec::lanes columns
//     zero()  load(p)          of those; any alignment
//     broadcast(p)             `group` encoded activations, for every column
//     add(c, x, w)             c += the products of the group
//     adds_two_groups          int8, optional: whether there is add_two(c, x, y, p, q), which does the same for two groups of
//                              activations, x and y, whose weights are at p and q; their limits (packed_matrix_view) let it add
//                              up four products in 16 bits
//     to_float(c, zero, sums)  int8 only: c - zero * sums
//     store(p, x, zero)        encodes channel_padding values, already scaled
//     store_four(p, x, zero)   optional: encodes four times as many
//
// An instruction that multiplies two pixels with two columns has, instead of broadcast(),
//
//     pixel_pair               registers of two pixels' `group` activations; `weights` are of two columns, and sums are blocks of
//                              two pixels and two columns
//     load_pair(p, q)  add(block, pair, w)
//     split(left, right, f, s) the first and the second pixel's sums of two blocks beside each other
//
// What a unit that multiplies tiles defines is said in encoded/tiles.inl.
//
// A sum of a product is written as fma(): the compiler forms none by itself, so that the bits do not depend on its flags.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/kernels/table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#if defined(__has_feature)
#define FASTVIT_HAS_FEATURE(x) __has_feature(x)
#else
#define FASTVIT_HAS_FEATURE(x) 0
#endif
// FASTVIT_UNROLL: GCC leaves loops over accumulators rolled at -O2, which puts them into memory. Under a sanitizer each access is
// many instructions, and unrolled they take the compiler minutes, for a program that is not meant to be fast.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || FASTVIT_HAS_FEATURE(address_sanitizer) ||                   \
    FASTVIT_HAS_FEATURE(thread_sanitizer)
#define FASTVIT_UNROLL
#elif defined(__clang__)
#define FASTVIT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FASTVIT_UNROLL _Pragma("GCC unroll 64")
#endif
#define FASTVIT_INLINE_LAMBDA __attribute__((always_inline))
#define FASTVIT_ALWAYS_INLINE inline __attribute__((always_inline))
// Reads memory again instead of keeping the value in a register that others need more.
#define FASTVIT_FORGET_MEMORY __asm__ volatile("" ::: "memory")
// Whether the compiler keeps accumulators in their registers where the steps of their chains are written as intrinsics; else
// those of x86-64 are assembly.
#if defined(__clang__)
#define FASTVIT_INTRINSIC_STEPS 1
#else
#define FASTVIT_INTRINSIC_STEPS 0
#endif
// Ends such a step. Clang 14 would otherwise begin several at once, and spill.
#define FASTVIT_END_STEP(constraint, accumulator) __asm__ volatile("" : "+" constraint(accumulator))

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Four bytes of any alignment.
FASTVIT_ALWAYS_INLINE std::int32_t load_int32(const std::byte *p) {
    std::int32_t value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}
FASTVIT_ALWAYS_INLINE float load_float(const std::byte *p) {
    float value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
