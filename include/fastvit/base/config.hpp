// SPDX-License-Identifier: MIT
// What every header needs: the language check, the two forms of the library, and the inline namespace that everything lives in.
#pragma once

#include "fastvit/version.hpp"

#include <cstddef>

#if __cplusplus < 202002L
#error "fastvit needs C++20: compile with -std=c++20 or newer"
#endif
#if !defined(__GNUC__)
#error "fastvit needs GCC 12 or newer, or Clang 14 or newer"
#endif
#if defined(_LIBCPP_VERSION)
#error "fastvit needs libstdc++: compile without -stdlib=libc++"
#endif

// The two forms. Header-only, the default: every function is inline. Compiled, with FASTVIT_COMPILED defined in all of a
// program's units: the public headers only declare, and one unit, fastvit/source.cpp, defines (CMake's target fastvit::compiled
// does both).
#if defined(FASTVIT_COMPILED)
#define FASTVIT_FUNCTION
#else
#define FASTVIT_FUNCTION inline
#endif

// Units compiled with different flags emit different machine code for the same inline function, and the linker keeps either one.
// So in the header-only form the inline namespace is named after the version and the flags that change the code: each unit has
// its own functions, and passing a type between two of them is a link error instead of a crash. In the compiled form types
// pass between units of any flags, and whatever computes has one definition; the little that is inline in the headers that only
// declare belongs to its callers' flags. In both forms a unit with the standard library's debug mode, whose containers have
// another layout, has a name of its own.
//
// Flags decide about instructions only, not about results: see base/regions.hpp. Inline functions of the standard library have
// one name in all units. A program for machines that lack the instructions of one of its units links that unit last.
#if defined(_GLIBCXX_DEBUG)
#define FASTVIT_ABI_CONTAINERS _debug
#else
#define FASTVIT_ABI_CONTAINERS
#endif
#define FASTVIT_PASTE_ABI_FLAGS_(a, b) a##b
#define FASTVIT_PASTE_ABI_FLAGS(...) FASTVIT_PASTE_ABI_FLAGS_(__VA_ARGS__)
#if defined(FASTVIT_COMPILED)
#define FASTVIT_ABI_FLAGS FASTVIT_PASTE_ABI_FLAGS(_compiled, FASTVIT_ABI_CONTAINERS)
#else
// The instructions that compilers use of themselves. Of the first ones each implies those after it.
#if defined(__AVX512F__)
#define FASTVIT_ABI_VECTORS _avx512f
#elif defined(__AVX2__)
#define FASTVIT_ABI_VECTORS _avx2
#elif defined(__AVX__)
#define FASTVIT_ABI_VECTORS _avx
#elif defined(__SSE4_2__)
#define FASTVIT_ABI_VECTORS _sse42
#elif defined(__SSE4_1__)
#define FASTVIT_ABI_VECTORS _sse41
#elif defined(__SSSE3__)
#define FASTVIT_ABI_VECTORS _ssse3
#elif defined(__SSE3__)
#define FASTVIT_ABI_VECTORS _sse3
#else
#define FASTVIT_ABI_VECTORS
#endif
#if defined(__POPCNT__)
#define FASTVIT_ABI_POPCNT _popcnt
#else
#define FASTVIT_ABI_POPCNT
#endif
#if defined(__BMI__)
#define FASTVIT_ABI_BMI _bmi
#else
#define FASTVIT_ABI_BMI
#endif
#if defined(__BMI2__)
#define FASTVIT_ABI_BMI2 _bmi2
#else
#define FASTVIT_ABI_BMI2
#endif
#if defined(__LZCNT__)
#define FASTVIT_ABI_LZCNT _lzcnt
#else
#define FASTVIT_ABI_LZCNT
#endif
#if defined(__MOVBE__)
#define FASTVIT_ABI_MOVBE _movbe
#else
#define FASTVIT_ABI_MOVBE
#endif
#if defined(__F16C__)
#define FASTVIT_ABI_F16C _f16c
#else
#define FASTVIT_ABI_F16C
#endif
#if defined(__FMA__)
#define FASTVIT_ABI_FMA _fma
#else
#define FASTVIT_ABI_FMA
#endif
#if defined(__FMA4__)
#define FASTVIT_ABI_FMA4 _fma4
#else
#define FASTVIT_ABI_FMA4
#endif
#if defined(__XOP__)
#define FASTVIT_ABI_XOP _xop
#else
#define FASTVIT_ABI_XOP
#endif
#if defined(__TBM__)
#define FASTVIT_ABI_TBM _tbm
#else
#define FASTVIT_ABI_TBM
#endif
#if defined(__AVXVNNI__)
#define FASTVIT_ABI_AVXVNNI _avxvnni
#else
#define FASTVIT_ABI_AVXVNNI
#endif
#if defined(__AVX512CD__)
#define FASTVIT_ABI_AVX512CD _cd
#else
#define FASTVIT_ABI_AVX512CD
#endif
#if defined(__AVX512BW__)
#define FASTVIT_ABI_AVX512BW _bw
#else
#define FASTVIT_ABI_AVX512BW
#endif
#if defined(__AVX512DQ__)
#define FASTVIT_ABI_AVX512DQ _dq
#else
#define FASTVIT_ABI_AVX512DQ
#endif
#if defined(__AVX512VL__)
#define FASTVIT_ABI_AVX512VL _vl
#else
#define FASTVIT_ABI_AVX512VL
#endif
#if defined(__AVX512IFMA__)
#define FASTVIT_ABI_AVX512IFMA _ifma
#else
#define FASTVIT_ABI_AVX512IFMA
#endif
#if defined(__AVX512VBMI__)
#define FASTVIT_ABI_AVX512VBMI _vbmi
#else
#define FASTVIT_ABI_AVX512VBMI
#endif
#if defined(__AVX512VBMI2__)
#define FASTVIT_ABI_AVX512VBMI2 _vbmi2
#else
#define FASTVIT_ABI_AVX512VBMI2
#endif
#if defined(__AVX512VNNI__)
#define FASTVIT_ABI_AVX512VNNI _vnni
#else
#define FASTVIT_ABI_AVX512VNNI
#endif
#if defined(__AVX512BITALG__)
#define FASTVIT_ABI_AVX512BITALG _bitalg
#else
#define FASTVIT_ABI_AVX512BITALG
#endif
#if defined(__AVX512VPOPCNTDQ__)
#define FASTVIT_ABI_AVX512VPOPCNTDQ _vpopcntdq
#else
#define FASTVIT_ABI_AVX512VPOPCNTDQ
#endif
#if defined(__AVX512BF16__)
#define FASTVIT_ABI_AVX512BF16 _bf16
#else
#define FASTVIT_ABI_AVX512BF16
#endif
#if defined(__AVX512FP16__)
#define FASTVIT_ABI_AVX512FP16 _fp16
#else
#define FASTVIT_ABI_AVX512FP16
#endif
#if defined(__ARM_FEATURE_ATOMICS)
#define FASTVIT_ABI_ARM_ATOMICS _atomics
#else
#define FASTVIT_ABI_ARM_ATOMICS
#endif
#if defined(__ARM_FEATURE_RCPC)
#define FASTVIT_ABI_ARM_RCPC _rcpc
#else
#define FASTVIT_ABI_ARM_RCPC
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#define FASTVIT_ABI_ARM_DOTPROD _dotprod
#else
#define FASTVIT_ABI_ARM_DOTPROD
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define FASTVIT_ABI_ARM_FP16_VECTOR_ARITHMETIC _fp16
#else
#define FASTVIT_ABI_ARM_FP16_VECTOR_ARITHMETIC
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
#define FASTVIT_ABI_ARM_MATMUL_INT8 _i8mm
#else
#define FASTVIT_ABI_ARM_MATMUL_INT8
#endif
#if defined(__ARM_FEATURE_SVE)
#define FASTVIT_ABI_ARM_SVE _sve
#else
#define FASTVIT_ABI_ARM_SVE
#endif
#if defined(__ARM_FEATURE_SVE2)
#define FASTVIT_ABI_ARM_SVE2 _sve2
#else
#define FASTVIT_ABI_ARM_SVE2
#endif
#if defined(__ARM_FEATURE_MOPS)
#define FASTVIT_ABI_ARM_MOPS _mops
#else
#define FASTVIT_ABI_ARM_MOPS
#endif
#if defined(__FAST_MATH__)
#define FASTVIT_ABI_FAST_MATH _fast
#else
#define FASTVIT_ABI_FAST_MATH
#endif
// Pasted, not listed: a name is one token.
#define FASTVIT_PASTE_FLAGS_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) a##b##c##d##e##f##g##h##i##j##k##l##m##n##o##p##q
#define FASTVIT_PASTE_FLAGS(...) FASTVIT_PASTE_FLAGS_(__VA_ARGS__)
#define FASTVIT_ABI_FLAGS                                                                                                        \
    FASTVIT_PASTE_ABI_FLAGS(                                                                                                     \
        FASTVIT_PASTE_FLAGS(FASTVIT_ABI_VECTORS, FASTVIT_ABI_POPCNT, FASTVIT_ABI_BMI, FASTVIT_ABI_BMI2, FASTVIT_ABI_LZCNT,       \
                            FASTVIT_ABI_MOVBE, FASTVIT_ABI_F16C, FASTVIT_ABI_FMA, FASTVIT_ABI_FMA4, FASTVIT_ABI_XOP,             \
                            FASTVIT_ABI_TBM, FASTVIT_ABI_AVXVNNI, FASTVIT_ABI_AVX512CD, FASTVIT_ABI_AVX512BW,                    \
                            FASTVIT_ABI_AVX512DQ, FASTVIT_ABI_AVX512VL, FASTVIT_ABI_AVX512IFMA),                                 \
        FASTVIT_PASTE_FLAGS(FASTVIT_ABI_AVX512VBMI, FASTVIT_ABI_AVX512VBMI2, FASTVIT_ABI_AVX512VNNI, FASTVIT_ABI_AVX512BITALG,   \
                            FASTVIT_ABI_AVX512VPOPCNTDQ, FASTVIT_ABI_AVX512BF16, FASTVIT_ABI_AVX512FP16,                         \
                            FASTVIT_ABI_ARM_ATOMICS, FASTVIT_ABI_ARM_RCPC, FASTVIT_ABI_ARM_DOTPROD,                              \
                            FASTVIT_ABI_ARM_FP16_VECTOR_ARITHMETIC, FASTVIT_ABI_ARM_MATMUL_INT8, FASTVIT_ABI_ARM_SVE,            \
                            FASTVIT_ABI_ARM_SVE2, FASTVIT_ABI_ARM_MOPS, FASTVIT_ABI_FAST_MATH, FASTVIT_ABI_CONTAINERS))
#endif

#define FASTVIT_PASTE_ABI_(major, minor, flags) v##major##_##minor##flags
#define FASTVIT_PASTE_ABI(major, minor, flags) FASTVIT_PASTE_ABI_(major, minor, flags)
#define FASTVIT_ABI FASTVIT_PASTE_ABI(FASTVIT_VERSION_MAJOR, FASTVIT_VERSION_MINOR, FASTVIT_ABI_FLAGS)

namespace fastvit { inline namespace FASTVIT_ABI {

/// Sizes, counts and strides, always in elements. Signed, so that differences and downward loops are safe.
using index_type = std::ptrdiff_t;

}} // namespace fastvit::FASTVIT_ABI
