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
// declare belongs to its callers' flags.
#if defined(FASTVIT_COMPILED)
#define FASTVIT_ABI_FLAGS _compiled
#else
#if defined(__SSE3__)
#define FASTVIT_ABI_SSE3 _sse3
#else
#define FASTVIT_ABI_SSE3
#endif
#if defined(__SSSE3__)
#define FASTVIT_ABI_SSSE3 _ssse3
#else
#define FASTVIT_ABI_SSSE3
#endif
#if defined(__SSE4_1__)
#define FASTVIT_ABI_SSE4_1 _sse41
#else
#define FASTVIT_ABI_SSE4_1
#endif
#if defined(__SSE4_2__)
#define FASTVIT_ABI_SSE4_2 _sse42
#else
#define FASTVIT_ABI_SSE4_2
#endif
#if defined(__AVX__)
#define FASTVIT_ABI_AVX _avx
#else
#define FASTVIT_ABI_AVX
#endif
#if defined(__AVX2__)
#define FASTVIT_ABI_AVX2 _avx2
#else
#define FASTVIT_ABI_AVX2
#endif
#if defined(__FMA__)
#define FASTVIT_ABI_FMA _fma
#else
#define FASTVIT_ABI_FMA
#endif
#if defined(__F16C__)
#define FASTVIT_ABI_F16C _f16c
#else
#define FASTVIT_ABI_F16C
#endif
#if defined(__BMI2__)
#define FASTVIT_ABI_BMI2 _bmi2
#else
#define FASTVIT_ABI_BMI2
#endif
#if defined(__AVX512F__)
#define FASTVIT_ABI_AVX512F _avx512f
#else
#define FASTVIT_ABI_AVX512F
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
#if defined(__AVX512VNNI__)
#define FASTVIT_ABI_AVX512VNNI _vnni
#else
#define FASTVIT_ABI_AVX512VNNI
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
#if defined(__FAST_MATH__)
#define FASTVIT_ABI_FAST_MATH _fast
#else
#define FASTVIT_ABI_FAST_MATH
#endif
// Pasted, not listed: a name is one token.
#define FASTVIT_PASTE_FLAGS_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q) a##b##c##d##e##f##g##h##i##j##k##l##m##n##o##p##q
#define FASTVIT_PASTE_FLAGS(...) FASTVIT_PASTE_FLAGS_(__VA_ARGS__)
#define FASTVIT_ABI_FLAGS                                                                                                        \
    FASTVIT_PASTE_FLAGS(FASTVIT_ABI_SSE3, FASTVIT_ABI_SSSE3, FASTVIT_ABI_SSE4_1, FASTVIT_ABI_SSE4_2, FASTVIT_ABI_AVX,            \
                        FASTVIT_ABI_AVX2, FASTVIT_ABI_FMA, FASTVIT_ABI_F16C, FASTVIT_ABI_BMI2, FASTVIT_ABI_AVX512F,              \
                        FASTVIT_ABI_AVX512BW, FASTVIT_ABI_AVX512DQ, FASTVIT_ABI_AVX512VL, FASTVIT_ABI_AVX512VNNI,                \
                        FASTVIT_ABI_AVX512BF16, FASTVIT_ABI_AVX512FP16, FASTVIT_ABI_FAST_MATH)
#endif

#define FASTVIT_PASTE_ABI_(major, minor, flags) v##major##_##minor##flags
#define FASTVIT_PASTE_ABI(major, minor, flags) FASTVIT_PASTE_ABI_(major, minor, flags)
#define FASTVIT_ABI FASTVIT_PASTE_ABI(FASTVIT_VERSION_MAJOR, FASTVIT_VERSION_MINOR, FASTVIT_ABI_FLAGS)

namespace fastvit { inline namespace FASTVIT_ABI {

/// Sizes, counts and strides, always in elements. Signed, so that differences and downward loops are safe.
using index_type = std::ptrdiff_t;

}} // namespace fastvit::FASTVIT_ABI
