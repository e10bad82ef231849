// SPDX-License-Identifier: MIT
// What every header needs: the language check and the inline namespace that everything lives in.
#pragma once

#include "fastvit/version.hpp"

#include <cstddef>

#if __cplusplus < 202002L
#error "fastvit needs C++20: compile with -std=c++20 or newer"
#endif
#if !defined(__GNUC__)
#error "fastvit needs GCC 12 or newer, or Clang 14 or newer"
#endif

// Two translation units compiled with different -m flags emit different machine code for the same inline function, and the linker
// keeps either one. An inline namespace named after the version and the baseline gives each its own symbols, so that mixing them
// is safe, and passing a type between them is a link error instead of a crash.
#if defined(__AVX512F__)
#define FASTVIT_BASELINE avx512
#elif defined(__AVX2__)
#define FASTVIT_BASELINE avx2
#elif defined(__AVX__)
#define FASTVIT_BASELINE avx
#elif defined(__SSE4_1__)
#define FASTVIT_BASELINE sse4
#else
#define FASTVIT_BASELINE base
#endif

#define FASTVIT_JOIN_(major, minor, baseline) v##major##_##minor##_##baseline
#define FASTVIT_JOIN(major, minor, baseline) FASTVIT_JOIN_(major, minor, baseline)
#define FASTVIT_ABI FASTVIT_JOIN(FASTVIT_VERSION_MAJOR, FASTVIT_VERSION_MINOR, FASTVIT_BASELINE)

namespace fastvit { inline namespace FASTVIT_ABI {

/// Sizes, counts and strides, always in elements. Signed, so that differences and downward loops are safe.
using index_type = std::ptrdiff_t;

}} // namespace fastvit::FASTVIT_ABI
