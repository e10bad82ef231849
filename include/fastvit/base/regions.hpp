// SPDX-License-Identifier: MIT
// Regions of a header whose machine code does not follow the flags of the unit that includes it: floating point that stays exact,
// and instructions beyond the baseline. Both may be opened at file or namespace scope only, outside extern "C".
//
// FASTVIT_STRICT_MATH_BEGIN ... FASTVIT_STRICT_MATH_END
//     Each operation is rounded by itself, in the order written: no contraction to fused multiply-adds, no reassociation, no
//     reciprocals for divisions, NaN and infinity as IEEE 754 has them, also under -ffast-math. Where a fused multiply-add is
//     wanted, it is written.
//
//     Holds for what is written inside, templates and lambdas too, wherever they are instantiated. It does not hold for what is
//     called: std::max, std::sqrt, std::abs and std::accumulate of floating-point numbers belong to the flags. Inside a region
//     write the comparison or the loop, or call __builtin_sqrt and __builtin_fabs.
//
// FASTVIT_KERNELS_BEGIN ... FASTVIT_KERNELS_END
// FASTVIT_TARGET_BEGIN("avx2,fma") ... FASTVIT_TARGET_END
//     The same for kernels, with the baseline's instructions and with these instruction sets. Clang may still fuse a product with
//     a sum that follows under -ffast-math and -ffp-contract=fast: kernels keep products apart themselves (FASTVIT_ROUNDED), and
//     stay fast.
#pragma once

#define FASTVIT_PRAGMA(...) _Pragma(#__VA_ARGS__)

#if !defined(__clang__)

// GCC inlines no function of a region into code outside, so the flags outside cannot reach it.
#define FASTVIT_STRICT_MATH_BEGIN FASTVIT_PRAGMA(GCC push_options) FASTVIT_PRAGMA(GCC optimize("no-fast-math,fp-contract=off"))
#define FASTVIT_STRICT_MATH_END FASTVIT_PRAGMA(GCC pop_options)
#define FASTVIT_KERNELS_BEGIN FASTVIT_STRICT_MATH_BEGIN
#define FASTVIT_KERNELS_END FASTVIT_STRICT_MATH_END
#define FASTVIT_TARGET_BEGIN(features) FASTVIT_STRICT_MATH_BEGIN FASTVIT_PRAGMA(GCC target(features))
#define FASTVIT_TARGET_END FASTVIT_STRICT_MATH_END
#define FASTVIT_ROUNDED(constraint, product)

#else

// Before 15, Clang has float_control on x86 only.
#if defined(__x86_64__) || __clang_major__ >= 15
#define FASTVIT_KERNELS_BEGIN FASTVIT_PRAGMA(float_control(precise, on, push)) FASTVIT_PRAGMA(clang fp contract(off))
#define FASTVIT_KERNELS_END FASTVIT_PRAGMA(float_control(pop))
#else
#define FASTVIT_KERNELS_BEGIN
#define FASTVIT_KERNELS_END
#endif
// Under -ffast-math and -ffp-contract=fast, of which no macro tells, Clang's code generator fuses every product with the sum that
// follows, whatever the function says; only operations that may trap are left alone.
#if defined(__FAST_MATH__) || defined(__FMA__)
#define FASTVIT_STRICT_MATH_BEGIN FASTVIT_KERNELS_BEGIN FASTVIT_PRAGMA(STDC FENV_ACCESS ON)
#else
#define FASTVIT_STRICT_MATH_BEGIN FASTVIT_KERNELS_BEGIN
#endif
#define FASTVIT_STRICT_MATH_END FASTVIT_KERNELS_END
#define FASTVIT_TARGET_BEGIN(features)                                                                                           \
    FASTVIT_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function)) FASTVIT_KERNELS_BEGIN
#define FASTVIT_TARGET_END FASTVIT_KERNELS_END FASTVIT_PRAGMA(clang attribute pop)
// A product in a register, which passes unchanged, but is no longer known to be one.
#define FASTVIT_ROUNDED(constraint, product) __asm__("" : "+" constraint(product))

#endif
