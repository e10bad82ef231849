// SPDX-License-Identifier: MIT
// The multiply-adds that a core can start in a tier's instructions for bfloat16 and int8, measured as fma_peak.hpp measures
// float32's: chains on registers, and weights from the nearest cache where a step reads them from memory.
#pragma once

#include "fastvit/kernels/tiers/avx2.hpp"
#include "fastvit/kernels/tiers/avx512.hpp"
#include "fastvit/kernels/tiers/avx512_amx.hpp"
#include "fastvit/kernels/tiers/avx512_bf16.hpp"
#include "fastvit/kernels/tiers/avx512_vnni.hpp"
#include "fastvit/kernels/tiers/avx_vnni.hpp"
#include "fastvit/precision.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

namespace bench {

namespace peak_detail {

#if defined(__x86_64__)
#define FASTVIT_BENCH_REGISTER(r) "+v"(r)

FASTVIT_TARGET_BEGIN("avx2,fma")
namespace avx2 {
using namespace fastvit::kernels::avx2;
#include "product_chain.inl"
inline double int8() { return run_chains<int8_product>(); }
} // namespace avx2
FASTVIT_TARGET_END
FASTVIT_TARGET_BEGIN("avx2,fma,avxvnni")
namespace avx_vnni {
using namespace fastvit::kernels::avx2;
#include "product_chain.inl"
inline double int8() { return run_chains<fastvit::kernels::avx_vnni::int8_product>(); }
} // namespace avx_vnni
FASTVIT_TARGET_END
FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,avx512bf16,avx2,fma")
namespace avx512 {
using namespace fastvit::kernels::avx512;
#include "product_chain.inl"
inline double int8() { return run_chains<int8_product>(); }
inline double int8_vnni() { return run_chains<fastvit::kernels::avx512_vnni::int8_product>(); }
inline double bfloat16() { return run_chains<fastvit::kernels::avx512_bf16::bfloat16_product>(); }
} // namespace avx512
FASTVIT_TARGET_END
FASTVIT_TARGET_BEGIN("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")
namespace amx {
using fastvit::kernels::avx512_amx::tile_unit;
/// Multiply-adds of one call.
template <class Product> double run_tiles() {
    if (!fastvit::kernels::avx512_amx::permitted()) return 0;
    constexpr std::int64_t steps = 5'000;
    alignas(64) std::uint16_t operands[16 * 32];
    std::fill(std::begin(operands), std::end(operands), std::uint16_t{0x3f00}); // as those of run_chains()
    const tile_unit::region region(fastvit::kernels::avx512_amx::shapes_of(16, 0));
    tile_unit::load<4>(operands, 64);
    tile_unit::load<5>(operands, 64);
    for (std::int64_t i = 0; i < steps; ++i) {
        tile_unit::add<Product, 0, 4, 5>();
        tile_unit::add<Product, 1, 4, 5>();
        tile_unit::add<Product, 2, 4, 5>();
        tile_unit::add<Product, 3, 4, 5>();
    }
    return static_cast<double>(4 * 16 * 16 * 16 * Product::group * steps);
}
inline double int8() { return run_tiles<fastvit::kernels::avx512_vnni::int8_product>(); }
inline double bfloat16() { return run_tiles<fastvit::kernels::avx512_bf16::bfloat16_product>(); }
} // namespace amx
FASTVIT_TARGET_END
#endif

} // namespace peak_detail

/// In multiply-adds a second, in about `seconds`. 0 where the tier has no instruction of its own for the type or may not use it,
/// and where this header has no chain for it: on AArch64.
inline double product_peak([[maybe_unused]] std::string_view tier, [[maybe_unused]] fastvit::precision type,
                           double seconds = 0.02) {
    double (*run)() = nullptr;
#if defined(__x86_64__)
    if (type == fastvit::precision::int8) {
        if (tier == "avx512_amx") run = peak_detail::amx::int8;
        if (tier == "avx2") run = peak_detail::avx2::int8;
        if (tier == "avx_vnni") run = peak_detail::avx_vnni::int8;
        if (tier == "avx512") run = peak_detail::avx512::int8;
        if (tier == "avx512_vnni" || tier == "avx512_bf16") run = peak_detail::avx512::int8_vnni;
    } else {
        if (tier == "avx512_amx") run = peak_detail::amx::bfloat16;
        if (tier == "avx512_bf16") run = peak_detail::avx512::bfloat16;
    }
#endif
    if (!run) return 0;
    using clock = std::chrono::steady_clock;
    double fastest = 0;
    const auto end = clock::now() + std::chrono::duration<double>(seconds);
    for (auto before = clock::now(); before < end;) {
        const double operations = run();
        const auto after = clock::now();
        fastest = std::max(fastest, operations / std::chrono::duration<double>(after - before).count());
        before = after;
    }
    return fastest;
}

} // namespace bench
