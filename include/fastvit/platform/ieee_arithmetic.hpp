// SPDX-License-Identifier: MIT
// The calling thread's floating point, as the results' bits ask for it.
#pragma once

#include "fastvit/base/config.hpp"

#include <cfenv>
#include <cstdint>

namespace fastvit { inline namespace FASTVIT_ABI { namespace platform {

/// While an object lives, its thread rounds to nearest, keeps subnormal numbers and traps nothing, as every thread does where a
/// program changes nothing. Before and after, the thread has its own settings. Programs and libraries that GCC links with
/// -ffast-math flush subnormal numbers to zero, in threads started later too, and std::fesetround() changes the rounding.
///
/// Costs some cycles where nothing has to be changed. On processors other than x86-64 and 64-bit ARM it is the rounding alone.
class ieee_arithmetic {
  public:
    ieee_arithmetic() noexcept : found_(read()) {
        if ((found_ & settings) != usual) write((found_ & ~settings) | usual);
    }
    ~ieee_arithmetic() {
        // The flags that operations raise stay.
        if ((found_ & settings) != usual) write((read() & ~settings) | (found_ & settings));
    }
    ieee_arithmetic(const ieee_arithmetic &) = delete;
    ieee_arithmetic &operator=(const ieee_arithmetic &) = delete;

  private:
    // Operations are kept between the two by what they read and write: memory, which each access here pretends to change.
#if defined(__x86_64__)
    using control_word = std::uint32_t; // MXCSR; no result comes from the x87
    // Below bit 6 are flags; then denormals-are-zero, a mask for each exception, two bits of rounding, flush-to-zero.
    static constexpr control_word settings = 0xFFC0, usual = 0x1F80;
    static control_word read() noexcept {
        control_word now;
        __asm__ volatile("stmxcsr %0" : "=m"(now) : : "memory");
        return now;
    }
    static void write(control_word next) noexcept { __asm__ volatile("ldmxcsr %0" : : "m"(next) : "memory"); }
#elif defined(__aarch64__)
    using control_word = std::uint64_t; // FPCR, which has no flags
    static constexpr control_word settings = ~control_word{0}, usual = 0;
    static control_word read() noexcept {
        control_word now;
        __asm__ volatile("mrs %0, fpcr" : "=r"(now) : : "memory");
        return now;
    }
    static void write(control_word next) noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(next) : "memory"); }
#else
    using control_word = int; // rounding alone
    static constexpr control_word settings = ~0, usual = FE_TONEAREST;
    static control_word read() noexcept { return std::fegetround(); }
    static void write(control_word next) noexcept { std::fesetround(next); }
#endif

    control_word found_;
};

}}} // namespace fastvit::FASTVIT_ABI::platform
