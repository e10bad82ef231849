// SPDX-License-Identifier: MIT
// Counts the allocations of a program. It replaces operator new: include it in one file of a program.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace fastvit_test {

inline std::atomic<long> allocations{0};

inline void *counted(std::size_t size, std::size_t alignment) {
    ++allocations;
    // aligned_alloc wants a multiple of the alignment.
    void *const p = std::aligned_alloc(alignment, (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment);
    if (!p) throw std::bad_alloc();
    return p;
}

} // namespace fastvit_test

// Every form of new and delete comes down to these. Not inlined, lest compilers take free() for the wrong partner of new.
[[gnu::noinline]] void *operator new(std::size_t size) { return fastvit_test::counted(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
[[gnu::noinline]] void *operator new(std::size_t size, std::align_val_t alignment) {
    return fastvit_test::counted(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t, std::align_val_t) noexcept { std::free(p); }
