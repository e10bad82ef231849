// SPDX-License-Identifier: MIT
// Included in a namespace and a target region of its own for each tier: see product_peak.hpp.

/// Multiply-adds of one call.
template <class Product> double run_chains() {
    constexpr bool two_groups = requires { requires Product::adds_two_groups; };
    constexpr int chains = two_groups ? 10 : 12; // with what else a step needs they fit the 16 registers of AVX2
    constexpr std::int64_t steps = 25'000;
    // What the instructions make of bytes of any value costs them the same, but subnormal numbers would not.
    alignas(64) std::byte operands[256];
    for (int i = 0; i < 128; ++i) {
        const std::uint16_t half = 0x3f00; // 0.5 as a bfloat16, 0 and 63 as bytes
        std::memcpy(operands + 2 * i, &half, sizeof half);
    }
    typename Product::sums sum[chains];
    for (auto &s : sum) s = Product::zero();
    auto x = Product::load(operands + 64), other = x; // of the other group, or the weights
    for (std::int64_t i = 0; i < steps; ++i) {
        __asm__ volatile("" : FASTVIT_BENCH_REGISTER(x), FASTVIT_BENCH_REGISTER(other));
        FASTVIT_UNROLL for (int j = 0; j < chains; ++j) {
            if constexpr (two_groups)
                Product::add_two(sum[j], x, other, operands, operands + 64);
            else
                Product::add(sum[j], x, other);
        }
    }
    for (auto &s : sum) __asm__ volatile("" : FASTVIT_BENCH_REGISTER(s));
    return static_cast<double>((two_groups ? 2 : 1) * Product::group * vec::lanes * chains * steps);
}
