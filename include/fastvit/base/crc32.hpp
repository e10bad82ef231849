// SPDX-License-Identifier: MIT
// The checksum of zip files: CRC-32 with the reflected polynomial 0xEDB88320.
//
// Every byte of a checkpoint goes through it, so its speed decides how long opening a zip file takes: 8 bytes a step with tables,
// 64 where the machine has carry-less multiplication.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

namespace detail {

// The register after one more bit. Bit 31 of a register is the coefficient of x^0, bit 0 that of x^31: a shift to the right
// multiplies by x, and the polynomial is subtracted from what gets an x^32.
constexpr std::uint32_t crc32_shift(std::uint32_t crc) noexcept { return (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u); }

// tables[k][b] is the effect of byte b followed by k zero bytes.
consteval std::array<std::array<std::uint32_t, 256>, 8> make_crc32_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t b = 0; b < 256; ++b) {
        std::uint32_t crc = b;
        for (int bit = 0; bit < 8; ++bit) crc = crc32_shift(crc);
        tables[0][b] = crc;
    }
    for (std::size_t k = 1; k < tables.size(); ++k)
        for (std::size_t b = 0; b < 256; ++b) tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xff];
    return tables;
}
inline constexpr auto crc32_tables = make_crc32_tables();

/// The register `crc` after these bytes, eight a step ("slicing by 8").
inline std::uint32_t crc32_by_tables(std::span<const std::byte> bytes, std::uint32_t crc) noexcept {
    const auto &t = crc32_tables;
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        const std::uint32_t low = crc ^ load<std::uint32_t>(bytes.data());
        const auto high = load<std::uint32_t>(bytes.data() + 4);
        crc = t[7][low & 0xff] ^ t[6][(low >> 8) & 0xff] ^ t[5][(low >> 16) & 0xff] ^ t[4][low >> 24] ^ t[3][high & 0xff] ^
              t[2][(high >> 8) & 0xff] ^ t[1][(high >> 16) & 0xff] ^ t[0][high >> 24];
    }
    for (const std::byte b : bytes) crc = (crc >> 8) ^ t[0][(crc ^ std::to_integer<std::uint32_t>(b)) & 0xff];
    return crc;
}

#if defined(__x86_64__)

inline bool can_multiply_carry_less() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2");
}

// x^power modulo the polynomial, as a factor: the product of two reflected polynomials is one bit too low, so this is one too
// high.
constexpr long long crc32_power(int power) noexcept {
    std::uint32_t crc = 1u << 31;
    for (int i = 0; i < power; ++i) crc = crc32_shift(crc);
    return static_cast<long long>(crc) << 1;
}

// What 16 bytes contribute to those that follow `Bits` later: both halves times their distance. 32 more or less, because a
// product of 64 and 33 bits has its end elsewhere than that of 64 and 64.
template <int Bits> __attribute__((target("pclmul,sse2"))) inline __m128i crc32_advance(__m128i x) noexcept {
    constexpr long long first = crc32_power(Bits + 32), second = crc32_power(Bits - 32);
    const __m128i powers = _mm_set_epi64x(second, first);
    return _mm_xor_si128(_mm_clmulepi64_si128(x, powers, 0x00), _mm_clmulepi64_si128(x, powers, 0x11));
}

/// As crc32_by_tables(). Four times 16 bytes are kept, each multiplied by the distance to the next 64 bytes and added to them
/// (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009); where the paper ends
/// with a reduction, the tables do for the last 16 bytes, which leave the same remainder as all that went into them.
__attribute__((target("pclmul,sse2"))) inline std::uint32_t crc32_by_multiplying(std::span<const std::byte> bytes,
                                                                                 std::uint32_t crc) noexcept {
    if (bytes.size() < 64) return crc32_by_tables(bytes, crc);
    const auto *p = reinterpret_cast<const __m128i *>(bytes.data());
    __m128i a = _mm_xor_si128(_mm_loadu_si128(p), _mm_cvtsi32_si128(static_cast<int>(crc)));
    __m128i b = _mm_loadu_si128(p + 1), c = _mm_loadu_si128(p + 2), d = _mm_loadu_si128(p + 3);
    const __m128i *const end = p + bytes.size() / 64 * 4;
    for (p += 4; p != end; p += 4) {
        a = _mm_xor_si128(crc32_advance<512>(a), _mm_loadu_si128(p));
        b = _mm_xor_si128(crc32_advance<512>(b), _mm_loadu_si128(p + 1));
        c = _mm_xor_si128(crc32_advance<512>(c), _mm_loadu_si128(p + 2));
        d = _mm_xor_si128(crc32_advance<512>(d), _mm_loadu_si128(p + 3));
    }
    b = _mm_xor_si128(crc32_advance<128>(a), b);
    c = _mm_xor_si128(crc32_advance<128>(b), c);
    d = _mm_xor_si128(crc32_advance<128>(c), d);
    std::array<std::byte, 16> last;
    _mm_storeu_si128(reinterpret_cast<__m128i *>(last.data()), d);
    return crc32_by_tables(bytes.subspan(bytes.size() / 64 * 64), crc32_by_tables(last, 0));
}

#endif

} // namespace detail

/// The checksum of these bytes.
inline std::uint32_t crc32(std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
    if (detail::can_multiply_carry_less()) return ~detail::crc32_by_multiplying(bytes, ~0u);
#endif
    return ~detail::crc32_by_tables(bytes, ~0u);
}

}}} // namespace fastvit::FASTVIT_ABI::io
