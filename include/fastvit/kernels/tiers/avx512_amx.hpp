// SPDX-License-Identifier: MIT
// The AVX-512 tier with products of tiles in bfloat16 and bytes (AMX: Xeons from Sapphire Rapids on). Only on Linux, which has to
// be asked for the registers: permitted().
#pragma once

#include "fastvit/kernels/tiers/avx512_bf16.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cerrno>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels::avx512_amx {

inline constexpr unsigned long tile_data = 18; // XFEATURE_XTILEDATA

/// A call of Linux about registers that a process has to ask for: whether it succeeds.
inline bool ask_about_registers([[maybe_unused]] int code, [[maybe_unused]] unsigned long argument) noexcept {
#if defined(__linux__)
    const int before = errno;
    const bool succeeds = ::syscall(SYS_arch_prctl, code, argument) == 0;
    errno = before;
    return succeeds;
#else
    return false;
#endif
}

inline bool supported() noexcept {
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned int bf16 = 1U << 22, tile = 1U << 24, int8 = 1U << 25, all = bf16 | tile | int8;
    if (!avx512_bf16::supported() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & all) != all) return false;
    constexpr int get_supported = 0x1021; // ARCH_GET_XCOMP_SUPP, since Linux 5.16
    std::uint64_t components = 0;
    return ask_about_registers(get_supported, reinterpret_cast<unsigned long>(&components)) && (components >> tile_data & 1) != 0;
}

/// Whether the process may use the registers, which it asks for at the first call. From then on Linux demands larger alternate
/// signal stacks (getauxval(AT_MINSIGSTKSZ), 11 KB); it refuses if a thread has a smaller one.
inline bool permitted() noexcept {
    constexpr int request = 0x1023; // ARCH_REQ_XCOMP_PERM
    static const bool granted = ask_about_registers(request, tile_data);
    return granted;
}

/// What `ldtilecfg` reads.
struct tile_shapes {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
};
static_assert(sizeof(tile_shapes) == 64);

/// Those of encoded/tiles.inl for products of `pixels` with a last step of `groups`, which may be 0: then it needs no tiles.
constexpr tile_shapes shapes_of(index_type pixels, index_type groups) {
    tile_shapes shapes;
    const auto set = [&](int tile, index_type rows, index_type row_groups) {
        shapes.rows[tile] = static_cast<std::uint8_t>(rows);
        shapes.row_bytes[tile] = static_cast<std::uint16_t>(4 * row_groups);
    };
    for (int tile = 0; tile < 5; ++tile) set(tile, pixels, 16);
    set(5, 16, 16);
    if (groups > 0) set(6, pixels, groups), set(7, groups, 16);
    return shapes;
}

FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")

using namespace avx512;

#if !defined(FASTVIT_TILE_UNIT) // a test has one of its own
#define FASTVIT_TILE_UNIT tile_unit

/// The processor's; only where permitted(). Assembly, as GCC's intrinsics do not tell the compiler which memory they read.
struct tile_unit {
    class region {
      public:
        explicit region(const tile_shapes &shapes) { __asm__ volatile("ldtilecfg %0" ::"m"(shapes)); }
        ~region() { __asm__ volatile("tilerelease" ::: "memory"); }
        region(const region &) = delete;
        region &operator=(const region &) = delete;
    };

    template <int Sums> static FASTVIT_ALWAYS_INLINE void clear() { __asm__ volatile("tilezero %%tmm%c0" ::"i"(Sums)); }
    template <int Tile> static FASTVIT_ALWAYS_INLINE void load(const void *p, index_type step) {
        __asm__ volatile("tileloadd (%0,%1), %%tmm%c2" ::"r"(p), "r"(step), "i"(Tile) : "memory");
    }
    template <class Product, int Sums, int Left, int Right> static FASTVIT_ALWAYS_INLINE void add() {
        if constexpr (Product::type == precision::int8)
            __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
        else
            __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
    }
    template <int Sums> static FASTVIT_ALWAYS_INLINE void store(void *p, index_type step) {
        __asm__ volatile("tilestored %%tmm%c2, (%0,%1)" ::"r"(p), "r"(step), "i"(Sums) : "memory");
    }
};

#endif

using avx512_bf16::check_encoded_gemm;
using avx512_bf16::finished;
using avx512_bf16::rough_gelu_panel;

#include "fastvit/kernels/encoded/tiles.inl"

inline constexpr kernel_table table = [] {
    kernel_table t = avx512_bf16::table; // encoded and packed as for dot products
    t.name = "avx512_amx";
    t.bfloat16.gemm = encoded_gemm_by_tiles<avx512_bf16::bfloat16_product, FASTVIT_TILE_UNIT>;
    t.int8.gemm = encoded_gemm_by_tiles<avx512_vnni::int8_product, FASTVIT_TILE_UNIT>;
    return t;
}();

FASTVIT_TARGET_END

}}} // namespace fastvit::FASTVIT_ABI::kernels::avx512_amx

#endif
