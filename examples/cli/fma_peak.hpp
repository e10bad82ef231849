// SPDX-License-Identifier: MIT
// The float32 fused multiply-adds that a core can start, measured: what a benchmark's speed is a fraction of.
//
// Measured beside each benchmark and not read off a data sheet, because clock rates differ between machines, hours and numbers of
// busy cores. Chains of multiply-adds on registers alone, with the widest vectors that the machine runs.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace bench {

namespace peak_detail {

// Independent chains. A multiply-add takes 4 cycles and 2 start in each, so 8 chains keep the units busy and 12 forgive a late
// start of some; with the two factors they fit the 16 registers of AVX2.
inline constexpr int chains = 12;
// Multiply-adds of each chain in one call: some 50 microseconds, much longer than reading the clock takes, much shorter than a
// scheduler's time slice.
inline constexpr std::int64_t steps = 25'000;

// A block of code: returns how many floating-point operations it did, a multiply-add being two.
using block = double (*)();

#if defined(__x86_64__)

FASTVIT_TARGET_BEGIN("avx2,fma")

inline double run_avx2() {
    __m256 sum[chains], half = _mm256_set1_ps(0.5F), one = _mm256_set1_ps(1.0F);
    for (__m256 &s : sum) s = one;
    // The factors' and the sums' values pass unchanged, but the optimiser no longer knows them: it can neither compute the result
    // nor leave it out. Every chain tends to 2, far from slow denormals and infinities.
    __asm__ volatile("" : "+x"(half), "+x"(one));
    for (std::int64_t i = 0; i < steps; ++i) {
        FASTVIT_UNROLL for (int j = 0; j < chains; ++j) sum[j] = _mm256_fmadd_ps(sum[j], half, one);
    }
    for (__m256 &s : sum) __asm__ volatile("" : "+x"(s));
    return 2.0 * 8 * chains * static_cast<double>(steps);
}

FASTVIT_TARGET_END
FASTVIT_TARGET_BEGIN("avx512f")

inline double run_avx512() {
    __m512 sum[chains], half = _mm512_set1_ps(0.5F), one = _mm512_set1_ps(1.0F);
    for (__m512 &s : sum) s = one;
    __asm__ volatile("" : "+v"(half), "+v"(one));
    for (std::int64_t i = 0; i < steps; ++i) {
        FASTVIT_UNROLL for (int j = 0; j < chains; ++j) sum[j] = _mm512_fmadd_ps(sum[j], half, one);
    }
    for (__m512 &s : sum) __asm__ volatile("" : "+v"(s));
    return 2.0 * 16 * chains * static_cast<double>(steps);
}

FASTVIT_TARGET_END

// The baseline has no fused multiply-add: one addition and one multiplication of four floats start in each cycle.
inline double run_sse() {
    __m128 sum[chains], half = _mm_set1_ps(0.5F), one = _mm_set1_ps(1.0F);
    for (__m128 &s : sum) s = one;
    __asm__ volatile("" : "+x"(half), "+x"(one));
    for (std::int64_t i = 0; i < steps; ++i) {
        FASTVIT_UNROLL for (int j = 0; j < chains; ++j) sum[j] = _mm_add_ps(_mm_mul_ps(sum[j], half), one);
    }
    for (__m128 &s : sum) __asm__ volatile("" : "+x"(s));
    return 2.0 * 4 * chains * static_cast<double>(steps);
}

#elif defined(__aarch64__)

inline double run_neon() {
    // Up to four units of latency 4: twice the chains, of the 32 registers.
    float32x4_t sum[2 * chains], half = vdupq_n_f32(0.5F), one = vdupq_n_f32(1.0F);
    for (float32x4_t &s : sum) s = one;
    __asm__ volatile("" : "+w"(half), "+w"(one));
    for (std::int64_t i = 0; i < steps; ++i) {
        // NEON's multiply-add overwrites the addend, so the chain runs through it: the sums grow, to 12501.
        FASTVIT_UNROLL for (int j = 0; j < 2 * chains; ++j) sum[j] = vfmaq_f32(sum[j], half, one);
    }
    for (float32x4_t &s : sum) __asm__ volatile("" : "+w"(s));
    return 2.0 * 4 * 2 * chains * static_cast<double>(steps);
}

#else

inline double run_scalar() {
    float sum[chains], half = 0.5F, one = 1.0F;
    for (float &s : sum) s = one;
    __asm__ volatile("" : "+m"(half), "+m"(one));
    for (std::int64_t i = 0; i < steps; ++i)
        for (int j = 0; j < chains; ++j) sum[j] = sum[j] * half + one;
    for (float &s : sum) __asm__ volatile("" : "+m"(s));
    return 2.0 * chains * static_cast<double>(steps);
}

#endif

struct candidate {
    std::string_view name;
    block run;
};

inline candidate widest() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return {"avx512", run_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {"avx2", run_avx2};
    return {"sse", run_sse};
#elif defined(__aarch64__)
    return {"neon", run_neon};
#else
    return {"scalar", run_scalar};
#endif
}

} // namespace peak_detail

/// Which vectors fma_peak() uses.
inline std::string_view fma_peak_isa() { return peak_detail::widest().name; }

/// The machine's float32 peak in GFLOP/s (a multiply-add is two operations) with `threads` threads at it at the same time, in
/// about `seconds`. Of each thread the best of many short blocks counts: what the core can do, whoever else wants it meanwhile.
inline double fma_peak(int threads = 1, double seconds = 0.1) {
    using clock = std::chrono::steady_clock;
    const peak_detail::candidate code = peak_detail::widest();
    std::vector<double> best(static_cast<std::size_t>(threads));
    std::atomic<int> missing{threads};
    const auto measure = [&](double &result) {
        // All begin together, so that they share the clock rate and the power that many busy cores leave each.
        for (missing.fetch_sub(1); missing.load() > 0;) std::this_thread::yield();
        double fastest = 0;
        const auto end = clock::now() + std::chrono::duration<double>(seconds);
        for (auto before = clock::now(); before < end;) {
            const double operations = code.run();
            const auto after = clock::now();
            fastest = std::max(fastest, operations / std::chrono::duration<double>(after - before).count());
            before = after;
        }
        result = fastest;
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < best.size(); ++i) others.emplace_back(measure, std::ref(best[i]));
    measure(best[0]);
    for (std::thread &t : others) t.join();
    return 1e-9 * std::accumulate(best.begin(), best.end(), 0.0);
}

} // namespace bench
