// SPDX-License-Identifier: MIT
// The tiers of x86-64, as they are written, over intrinsics that SIMDe computes lane by lane, and this file where SIMDe 0.7.4
// computes none or not what the instruction does. So a tier's text runs on machines without its instructions. Slow.
#include "kernels/emulated_tiers.hpp"

// The real ones first: SIMDe takes their types. From there on, their names are macros.
#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES

#include "fastvit/base/float16.hpp"
#include "fastvit/kernels/tiers/prelude.hpp"

#include <cpuid.h>
#include <gtest/gtest.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#include <sys/syscall.h> // as the others, before __asm__ is a macro
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace emulated {

template <class T, int Count> struct lanes {
    T of[Count];

    lanes() = default;
    template <class Register> explicit lanes(const Register &r) {
        static_assert(sizeof r == sizeof of);
        std::memcpy(of, &r, sizeof of);
    }
    template <class Register> operator Register() const {
        Register r;
        static_assert(sizeof r == sizeof of);
        std::memcpy(&r, of, sizeof r);
        return r;
    }
};

/// f(lane) of the lanes in the mask, zero in the others.
template <class To, class From, class Register, class F> lanes<To, 16> each(__mmask16 mask, const Register &a, F &&f) {
    const lanes<From, 16> from(a);
    lanes<To, 16> to;
    for (int i = 0; i < 16; ++i) to.of[i] = (mask >> i & 1) != 0 ? static_cast<To>(f(from.of[i])) : To{};
    return to;
}

inline __m512 maskz_cvtepi32_ps(__mmask16 mask, __m512i a) {
    return each<float, std::int32_t>(mask, a, [](std::int32_t x) { return static_cast<float>(x); });
}
inline std::int32_t to_int32(float x) {
    const float whole = std::nearbyint(x);
    return whole >= -0x1p31F && whole < 0x1p31F ? static_cast<std::int32_t>(whole) : std::numeric_limits<std::int32_t>::min();
}
inline __m512i maskz_cvtps_epi32(__mmask16 mask, __m512 a) { return each<std::int32_t, float>(mask, a, to_int32); }
inline __m256i cvtps_epi32(__m256 a) {
    const lanes<float, 8> from(a);
    lanes<std::int32_t, 8> to;
    for (int i = 0; i < 8; ++i) to.of[i] = to_int32(from.of[i]);
    return to;
}
inline __m128i maskz_cvtusepi32_epi8(__mmask16 mask, __m512i a) {
    return each<std::uint8_t, std::uint32_t>(mask, a, [](std::uint32_t x) { return std::min<std::uint32_t>(x, 255); });
}
inline __m512i maskz_cvtepu16_epi32(__mmask16 mask, __m256i a) {
    return each<std::uint32_t, std::uint16_t>(mask, a, [](std::uint16_t x) { return x; });
}
inline __m512i maskz_slli_epi32(__mmask16 mask, __m512i a, unsigned int count) {
    return each<std::uint32_t, std::uint32_t>(mask, a, [&](std::uint32_t x) { return count < 32 ? x << count : 0; });
}
inline __m512i maskz_srli_epi32(__mmask16 mask, __m512i a, unsigned int count) {
    return each<std::uint32_t, std::uint32_t>(mask, a, [&](std::uint32_t x) { return count < 32 ? x >> count : 0; });
}
/// Subnormal numbers count as zero.
inline __m256bh cvtneps_pbh(__m512 a) {
    return each<std::uint16_t, float>(0xFFFF, a, [](float x) {
        return fastvit::io::float_to_bfloat16(std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0F, x) : x);
    });
}

/// SIMDe's rounds twice.
template <int Count, class Register> lanes<float, Count> fmadd(const Register &a, const Register &b, const Register &c) {
    const lanes<float, Count> x(a), y(b), z(c);
    lanes<float, Count> r;
    for (int i = 0; i < Count; ++i) r.of[i] = std::fma(x.of[i], y.of[i], z.of[i]);
    return r;
}
inline __m256 fmadd256(__m256 a, __m256 b, __m256 c) { return fmadd<8>(a, b, c); }
inline __m512 fmadd512(__m512 a, __m512 b, __m512 c) { return fmadd<16>(a, b, c); }

struct tile {
    fastvit::index_type rows = 0, row_bytes = 0;
    std::byte bytes[16][64];
};

/// AMX's registers and what it does with them.
struct tile_unit {
    static inline thread_local tile tiles[8];

    struct region {
        /// Of the bytes that `ldtilecfg` would read, and which it refuses where they are not like this.
        template <class Shapes> explicit region(const Shapes &shapes) {
            static_assert(sizeof shapes == 64);
            std::uint8_t bytes[64];
            std::memcpy(bytes, &shapes, sizeof bytes);
            EXPECT_EQ(bytes[0], 1);
            for (int i = 1; i < 16; ++i) EXPECT_EQ(bytes[i], 0);
            for (int i = 0; i < 16; ++i) {
                std::uint16_t row_bytes;
                std::memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof row_bytes);
                const int rows = bytes[48 + i];
                EXPECT_TRUE(rows <= 16 && row_bytes <= 64 && (rows == 0) == (row_bytes == 0) && (i < 8 || rows == 0)) << i;
                if (i >= 8) continue;
                tiles[i].rows = rows;
                tiles[i].row_bytes = row_bytes;
                std::memset(tiles[i].bytes, 0, sizeof tiles[i].bytes);
            }
        }
        ~region() {
            for (tile &t : tiles) t.rows = t.row_bytes = 0;
        }
        region(const region &) = delete;
        region &operator=(const region &) = delete;
    };

    template <int Tile> static void clear() { std::memset(tiles[Tile].bytes, 0, sizeof tiles[Tile].bytes); }
    template <int Tile> static void load(const void *p, fastvit::index_type step) {
        tile &t = tiles[Tile];
        for (fastvit::index_type row = 0; row < t.rows; ++row)
            std::memcpy(t.bytes[row], static_cast<const std::byte *>(p) + row * step, static_cast<std::size_t>(t.row_bytes));
    }
    template <int Tile> static void store(void *p, fastvit::index_type step) {
        const tile &t = tiles[Tile];
        for (fastvit::index_type row = 0; row < t.rows; ++row)
            std::memcpy(static_cast<std::byte *>(p) + row * step, t.bytes[row], static_cast<std::size_t>(t.row_bytes));
    }
    template <class Product, int Sums, int Left, int Right> static void add() {
        const tile &a = tiles[Left], &b = tiles[Right];
        tile &c = tiles[Sums];
        EXPECT_TRUE(a.rows == c.rows && a.row_bytes == 4 * b.rows && b.row_bytes == c.row_bytes && c.rows > 0 && b.rows > 0);
        for (fastvit::index_type row = 0; row < c.rows; ++row)
            for (fastvit::index_type column = 0; column < 16; ++column)
                if constexpr (Product::type == fastvit::precision::int8) {
                    std::int32_t sum = of<std::int32_t>(c, row, column);
                    for (fastvit::index_type k = 0; k < 4 * b.rows; ++k)
                        sum += of<std::uint8_t>(a, row, k) * of<std::int8_t>(b, k / 4, 4 * column + k % 4);
                    set(c, row, column, sum);
                } else { // even and odd products each in a chain of their own
                    float sums[2] = {};
                    for (fastvit::index_type k = 0; k < 2 * b.rows; ++k)
                        sums[k % 2] = std::fma(number(of<std::uint16_t>(a, row, k)),
                                               number(of<std::uint16_t>(b, k / 2, 2 * column + k % 2)), sums[k % 2]);
                    set(c, row, column, of<float>(c, row, column) + (sums[0] + sums[1]));
                }
    }

  private:
    template <class T> static T of(const tile &t, fastvit::index_type row, fastvit::index_type i) {
        T value;
        std::memcpy(&value, t.bytes[row] + i * static_cast<fastvit::index_type>(sizeof value), sizeof value);
        return value;
    }
    template <class T> static void set(tile &t, fastvit::index_type row, fastvit::index_type i, T value) {
        std::memcpy(t.bytes[row] + i * static_cast<fastvit::index_type>(sizeof value), &value, sizeof value);
    }
    /// Subnormal numbers count as zero.
    static float number(std::uint16_t bits) {
        const float value = fastvit::io::bfloat16_to_float(bits);
        return std::fpclassify(value) == FP_SUBNORMAL ? 0.0F : value;
    }
};

} // namespace emulated

#define FASTVIT_TILE_UNIT emulated::tile_unit

#undef _mm512_maskz_cvtepi32_ps
#undef _mm512_maskz_cvtps_epi32
#undef _mm256_cvtps_epi32
#undef _mm512_maskz_cvtusepi32_epi8
#undef _mm512_maskz_cvtepu16_epi32
#undef _mm512_maskz_slli_epi32
#undef _mm512_maskz_srli_epi32
#undef _mm512_madd_epi16
#undef _mm512_cvtneps_pbh
#undef _mm256_fmadd_ps
#undef _mm512_fmadd_ps
#undef _mm256_dpbusd_avx_epi32
#define _mm512_maskz_cvtepi32_ps emulated::maskz_cvtepi32_ps
#define _mm512_maskz_cvtps_epi32 emulated::maskz_cvtps_epi32
#define _mm256_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_maskz_cvtusepi32_epi8 emulated::maskz_cvtusepi32_epi8
#define _mm512_maskz_cvtepu16_epi32 emulated::maskz_cvtepu16_epi32
#define _mm512_maskz_slli_epi32 emulated::maskz_slli_epi32
#define _mm512_maskz_srli_epi32 emulated::maskz_srli_epi32
#define _mm512_madd_epi16 simde_mm512_madd_epi16 // SIMDe gives this name to the form with a mask
#define _mm512_cvtneps_pbh emulated::cvtneps_pbh
#define _mm256_fmadd_ps emulated::fmadd256
#define _mm512_fmadd_ps emulated::fmadd512
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32 // the same under the name that AVX-512 gave it

// Intrinsics only, for the instructions that any machine has. What still is assembly (square_root) is not for these tests.
#undef FASTVIT_TARGET_BEGIN
#undef FASTVIT_TARGET_END
#undef FASTVIT_ROUNDED
#undef FASTVIT_INTRINSIC_STEPS
#undef FASTVIT_END_STEP
#define FASTVIT_TARGET_BEGIN(features) FASTVIT_KERNELS_BEGIN
#define FASTVIT_TARGET_END FASTVIT_KERNELS_END
#define FASTVIT_ROUNDED(constraint, product)
#define FASTVIT_INTRINSIC_STEPS 1
#define FASTVIT_END_STEP(constraint, accumulator)
#define __asm__(...) std::abort()
#pragma GCC diagnostic ignored "-Wunused-parameter"
// Left rolled: unrolled loops over emulated registers compile for minutes.
#undef FASTVIT_UNROLL
#define FASTVIT_UNROLL

// Not under the names of the tiers, of which the linker would keep one copy.
#define avx2 emulated_avx2
#define avx_vnni emulated_avx_vnni
#define avx512 emulated_avx512
#define avx512_vnni emulated_avx512_vnni
#define avx512_bf16 emulated_avx512_bf16
#define avx512_amx emulated_avx512_amx
#include "fastvit/kernels/tiers/avx2.hpp"
#include "fastvit/kernels/tiers/avx512.hpp"
#include "fastvit/kernels/tiers/avx512_amx.hpp"
#include "fastvit/kernels/tiers/avx512_bf16.hpp"
#include "fastvit/kernels/tiers/avx512_vnni.hpp"
#include "fastvit/kernels/tiers/avx_vnni.hpp"

namespace emulated {

std::vector<const fastvit::kernels::kernel_table *> tables() {
    using namespace fastvit::kernels;
    return {&avx2::table, &avx_vnni::table, &avx512::table, &avx512_vnni::table, &avx512_bf16::table, &avx512_amx::table};
}

} // namespace emulated
