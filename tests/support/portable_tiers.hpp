// SPDX-License-Identifier: MIT
// The kernel bodies with the register widths and tile shapes of tiers that the machine at hand may not have, over plain arrays:
// which elements a tile reads and writes, and where its remainders are, can so be tested anywhere. Slow.
#pragma once

#include "fastvit/base/float16.hpp"
#include "fastvit/kernels/tiers/prelude.hpp"

#include <cmath>
#include <cstring>

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

/// Exact in any order, as the tiers' instructions are.
template <class Vec, index_type Rows> struct int8_product {
    static constexpr precision type = precision::int8;
    static constexpr index_type group = 4, element_bytes = 1, rows = Rows;
    struct sums {
        std::int32_t of[Vec::lanes];
    };
    struct weights {
        std::int8_t of[Vec::lanes][group];
    };
    struct activations {
        std::uint8_t of[group];
    };

    static sums zero() { return {}; }
    template <class T> static T read(const std::byte *p) {
        T value;
        std::memcpy(&value, p, sizeof value);
        return value;
    }
    static weights load(const std::byte *p) { return read<weights>(p); }
    static activations broadcast(const std::byte *p) { return read<activations>(p); }
    static void add(sums &c, const activations &x, const weights &w) {
        for (index_type l = 0; l < Vec::lanes; ++l)
            for (index_type k = 0; k < group; ++k) c.of[l] += x.of[k] * w.of[l][k];
    }
    static Vec to_float(const sums &c, std::int32_t zero, const std::int32_t *column_sums) {
        return Vec::each([&](index_type l) { return static_cast<float>(c.of[l] - zero * column_sums[l]); });
    }
    static void store(std::byte *to, const Vec *x, std::int32_t zero) {
        for (index_type i = 0; i < channel_padding; ++i) {
            const float value = std::nearbyint(x[i / Vec::lanes].v[i % Vec::lanes]) + static_cast<float>(zero);
            to[i] = static_cast<std::byte>(value >= 0 && value <= 127 ? static_cast<int>(value) : 0);
        }
    }
};

/// Pairs, as the instructions have them.
template <class Vec, index_type Rows> struct bfloat16_product {
    static constexpr precision type = precision::bfloat16;
    static constexpr index_type group = 2, element_bytes = 2, rows = Rows;
    using sums = Vec;
    struct weights {
        std::uint16_t of[Vec::lanes][group];
    };
    struct activations {
        std::uint16_t of[group];
    };

    static sums zero() { return Vec::broadcast(0); }
    static weights load(const std::byte *p) { return int8_product<Vec, Rows>::template read<weights>(p); }
    static activations broadcast(const std::byte *p) { return int8_product<Vec, Rows>::template read<activations>(p); }
    static void add(sums &c, const activations &x, const weights &w) {
        for (index_type l = 0; l < Vec::lanes; ++l)
            for (index_type k = 0; k < group; ++k) c.v[l] += io::bfloat16_to_float(x.of[k]) * io::bfloat16_to_float(w.of[l][k]);
    }
    static void store(std::byte *to, const Vec *x, std::int32_t) {
        for (index_type i = 0; i < channel_padding; ++i) {
            const std::uint16_t upper = io::float_to_bfloat16(x[i / Vec::lanes].v[i % Vec::lanes]);
            std::memcpy(to + i * element_bytes, &upper, sizeof upper);
        }
    }
};

} // namespace portable

// Left rolled: unrolled loops over arrays compile for minutes.
#undef FASTVIT_UNROLL
#define FASTVIT_UNROLL

namespace avx512_shape {
using vec = portable::array<16>;
inline constexpr std::string_view tier_name = "avx512_shape";
inline constexpr index_type tile_bytes = 768 * 1024;
inline constexpr index_type gemm_rows = 8;
constexpr index_type gemm_panel(index_type columns) { return columns % 48 == 0 ? 48 : 32; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;
using int8_product = portable::int8_product<vec, gemm_rows>;
using bfloat16_product = portable::bfloat16_product<vec, gemm_rows>;
#include "fastvit/kernels/tiers/bodies.inl"
} // namespace avx512_shape

namespace neon_shape {
using vec = portable::array<4>;
inline constexpr std::string_view tier_name = "neon_shape";
inline constexpr index_type tile_bytes = 192 * 1024;
inline constexpr index_type gemm_rows = 6;
constexpr index_type gemm_panel(index_type) { return 16; }
inline constexpr int depthwise_rows = 2, depthwise_columns = 8, depthwise_taps = 7;
using int8_product = portable::int8_product<vec, gemm_rows>;
using bfloat16_product = portable::bfloat16_product<vec, gemm_rows>;
#include "fastvit/kernels/tiers/bodies.inl"
} // namespace neon_shape

}}} // namespace fastvit::FASTVIT_ABI::kernels
