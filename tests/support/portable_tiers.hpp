// SPDX-License-Identifier: MIT
// The kernel bodies with the register widths and tile shapes of tiers that the machine at hand may not have, over plain arrays:
// which elements a tile reads and writes, and where its remainders are, can so be tested anywhere. Slow.
#pragma once

#include "fastvit/kernels/tiers/prelude.hpp"

#include <cmath>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

namespace portable {

/// The operations of prelude.hpp, lane by lane.
template <index_type Lanes> struct array {
    static constexpr index_type lanes = Lanes;
    float v[Lanes];

    template <class F> static array each(F &&f) {
        array r;
        for (index_type i = 0; i < Lanes; ++i) r.v[i] = f(i);
        return r;
    }
    static array load(const float *p) {
        return each([&](index_type i) { return p[i]; });
    }
    static array broadcast(float x) {
        return each([&](index_type) { return x; });
    }
    void store(float *p) const { std::copy_n(v, Lanes, p); }
};

/// f(a lane, b lane) for each lane.
template <index_type Lanes, class F> array<Lanes> lanewise(const array<Lanes> &a, const array<Lanes> &b, F &&f) {
    return array<Lanes>::each([&](index_type i) { return f(a.v[i], b.v[i]); });
}

template <index_type L> array<L> operator+(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x + y; });
}
template <index_type L> array<L> operator-(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x - y; });
}
template <index_type L> array<L> operator*(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x * y; });
}
template <index_type L> array<L> operator/(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x / y; });
}
template <index_type L> array<L> min(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x < y ? x : y; });
}
template <index_type L> array<L> max(const array<L> &a, const array<L> &b) {
    return lanewise(a, b, [](float x, float y) { return x > y ? x : y; });
}
template <index_type L> array<L> square_root(const array<L> &a) {
    return array<L>::each([&](index_type i) { return std::sqrt(a.v[i]); });
}
template <index_type L> array<L> fma(const array<L> &a, const array<L> &b, const array<L> &c) { return a * b + c; }
template <index_type L> void accumulate(array<L> &c, const array<L> &a, const array<L> &b) { c = fma(a, b, c); }
template <index_type L> array<L> negative_absolute(const array<L> &a) {
    return array<L>::each([&](index_type i) { return -std::abs(a.v[i]); });
}
template <index_type L> array<L> round_to_even(const array<L> &a) {
    return array<L>::each([&](index_type i) { return std::nearbyint(a.v[i]); });
}
template <index_type L> array<L> exp2_of_integer(const array<L> &a) {
    return array<L>::each([&](index_type i) { return std::exp2(a.v[i]); });
}
template <index_type L> void interleave(const array<L> &a, const array<L> &b, array<L> &first, array<L> &second) {
    const auto from = [&](index_type i) { return i % 2 == 0 ? a.v[i / 2] : b.v[i / 2]; };
    first = array<L>::each(from);
    second = array<L>::each([&](index_type i) { return from(L + i); });
}

} // namespace portable

// Left rolled: unrolled loops over arrays compile for minutes.
#undef FASTVIT_UNROLL
#define FASTVIT_UNROLL

namespace avx512_shape {
using vec = portable::array<16>;
inline constexpr std::string_view tier_name = "avx512_shape";
inline constexpr index_type gemm_rows = 8;
constexpr index_type gemm_panel(index_type columns) { return columns % 48 == 0 ? 48 : 32; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;
#include "fastvit/kernels/tiers/bodies.inl"
} // namespace avx512_shape

namespace neon_shape {
using vec = portable::array<4>;
inline constexpr std::string_view tier_name = "neon_shape";
inline constexpr index_type gemm_rows = 6;
constexpr index_type gemm_panel(index_type) { return 16; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;
#include "fastvit/kernels/tiers/bodies.inl"
} // namespace neon_shape

}}} // namespace fastvit::FASTVIT_ABI::kernels
