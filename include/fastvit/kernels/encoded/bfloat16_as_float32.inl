// SPDX-License-Identifier: MIT
// bfloat16_product for tiers without instructions for it: weights are stored in 16 bits, everything is computed in float32. Needs
// load_bfloat16() and round_to_bfloat16().

struct bfloat16_product {
    static constexpr precision type = precision::bfloat16;
    static constexpr index_type group = 1, element_bytes = 4, rows = gemm_rows;
    using sums = decltype(vec::v); // GCC 12 keeps an array of vec, which it leaves alone in gemm_tile(), in memory here
    using weights = vec;

    static sums zero() { return vec::broadcast(0.0F).v; }
    static weights load(const std::byte *p) { return load_bfloat16(p); }
    static weights broadcast(const std::byte *p) { return vec::broadcast(load_float(p)); }
    static FASTVIT_ALWAYS_INLINE void add(sums &c, weights x, weights w) {
        vec sum{c};
        accumulate(sum, x, w);
        c = sum.v;
    }
    static void store(std::byte *to, const vec *x, std::int32_t) {
        for (index_type i = 0; i < channel_padding / vec::lanes; ++i)
            round_to_bfloat16(x[i]).store(reinterpret_cast<float *>(to) + i * vec::lanes);
    }
};
