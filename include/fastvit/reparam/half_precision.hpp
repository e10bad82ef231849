// SPDX-License-Identifier: MIT
// Weights of convolutions that int8 does not compute in 8 bits, rounded to the 16 in which a quantised checkpoint holds them.
#pragma once

#include "fastvit/base/float16.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/tensor.hpp"

#include <bit>
#include <cstdint>
#include <cstring>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

/// Rounds weights to float16 and back, as io::float_to_half() and io::half_to_float() do; additions must round to nearest, as
/// they do unless a program says otherwise. Vectors of the baseline, written out because GCC 12 at -O2 leaves loops over floats
/// scalar.
class half_rounding {
  public:
    /// Whether int8 rounds these weights, [outputs, ...]. It does where each output's largest is a normal number in float16, or
    /// zero: then no error is over 2^-11 of that, where 8 bits make errors of 2^-8. (bfloat16 errs eight times as far, and would
    /// cost T12's embedding thirty times what int8 costs it otherwise.)
    [[nodiscard]] static bool fits(const tensor<float> &weights) noexcept {
        const index_type outputs = weights.dim(0), count = outputs > 0 ? weights.count() / outputs : 0;
        constexpr auto least = std::bit_cast<std::int32_t>(0x1p-14F), too_large = std::bit_cast<std::int32_t>(65520.0F);
        for (index_type o = 0; o < outputs; ++o) {
            const std::int32_t largest = largest_of(weights.data() + o * count, count);
            if (largest != 0 && (largest < least || largest >= too_large)) return false;
        }
        return true;
    }

    /// The weights as int8 computes with them: rounded if they fit. Rounding them again changes nothing.
    [[nodiscard]] static tensor<float> of(const tensor<float> &weights) {
        tensor<float> rounded = weights;
        if (!fits(weights)) return rounded;
        float *const w = rounded.data();
        index_type i = 0;
        for (; i + 4 <= rounded.count(); i += 4) {
            words bits;
            std::memcpy(&bits, w + i, sizeof bits);
            bits = round(bits);
            std::memcpy(w + i, &bits, sizeof bits);
        }
        for (; i < rounded.count(); ++i) w[i] = io::half_to_float(io::float_to_half(w[i]));
        return rounded;
    }

  private:
    using words = std::uint32_t __attribute__((vector_size(16)));
    using ints = std::int32_t __attribute__((vector_size(16)));
    using floats = float __attribute__((vector_size(16)));

    /// The largest bits without the sign, which order numbers: those of NaN are larger than all others.
    static std::int32_t largest_of(const float *weights, index_type count) noexcept {
        ints largest = {};
        index_type i = 0;
        for (; i + 4 <= count; i += 4) {
            ints bits;
            std::memcpy(&bits, weights + i, sizeof bits);
            bits &= 0x7fffffff;
            largest = largest < bits ? bits : largest;
        }
        ints rest = {};
        std::memcpy(&rest, weights + i, static_cast<std::size_t>(count - i) * sizeof(float));
        rest &= 0x7fffffff;
        largest = largest < rest ? rest : largest;
        const std::int32_t a = largest[0] < largest[1] ? largest[1] : largest[0],
                           b = largest[2] < largest[3] ? largest[3] : largest[2];
        return a < b ? b : a;
    }

    /// Numbers below 65520, to nearest, ties to even.
    static words round(const words &bits) noexcept {
        const words normal = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffU;
        // A number below 1 that is at least 0.5 has units of 2^-24, like a subnormal float16.
        const floats half_units = (std::bit_cast<floats>(bits) + 0.75F) - 0.75F;
        const words subnormal = std::bit_cast<words>(half_units) | (bits & 0x80000000);
        return std::bit_cast<ints>(bits & 0x7fffffff) < std::bit_cast<std::int32_t>(0x1p-14F) ? subnormal : normal;
    }
};

}}} // namespace fastvit::FASTVIT_ABI::reparam

FASTVIT_STRICT_MATH_END
