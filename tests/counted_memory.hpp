// SPDX-License-Identifier: MIT
// Counts the memory of a program, to hold the loader to its promise. It replaces operator new: include it in one file of a
// program.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace counted_memory {

inline std::atomic<std::size_t> now{0};
inline std::atomic<std::size_t> peak{0};

inline void *count(void *p) noexcept {
    if (p == nullptr) return p;
    const std::size_t sum = now += ::malloc_usable_size(p);
    if (sum > peak) peak = sum;
    return p;
}
// Not inlined into the operators, where GCC would warn that malloc's memory is given to operator delete.
[[gnu::noinline]] inline void *allocate(std::size_t size) noexcept { return count(std::malloc(size == 0 ? 1 : size)); }
[[gnu::noinline]] inline void *allocate(std::size_t size, std::align_val_t alignment) noexcept {
    const auto a = static_cast<std::size_t>(alignment);
    return count(std::aligned_alloc(a, (size + a) / a * a));
}
inline void *or_throw(void *p) { return p != nullptr ? p : throw std::bad_alloc(); }
[[gnu::noinline]] inline void release(void *p) noexcept {
    if (p != nullptr) now -= ::malloc_usable_size(p);
    std::free(p);
}

/// The most bytes that were allocated at a time while f() ran, beyond those from before.
template <class F> std::size_t peak_of(F &&f) {
    const std::size_t before = now;
    peak = before;
    f();
    return peak - before;
}

} // namespace counted_memory

// All forms, because a sanitizer's own would not call the ones that are here.
void *operator new(std::size_t size) { return counted_memory::or_throw(counted_memory::allocate(size)); }
void *operator new[](std::size_t size) { return counted_memory::or_throw(counted_memory::allocate(size)); }
void *operator new(std::size_t size, const std::nothrow_t &) noexcept { return counted_memory::allocate(size); }
void *operator new[](std::size_t size, const std::nothrow_t &) noexcept { return counted_memory::allocate(size); }
void *operator new(std::size_t size, std::align_val_t a) { return counted_memory::or_throw(counted_memory::allocate(size, a)); }
void *operator new[](std::size_t size, std::align_val_t a) { return counted_memory::or_throw(counted_memory::allocate(size, a)); }
void operator delete(void *p) noexcept { counted_memory::release(p); }
void operator delete[](void *p) noexcept { counted_memory::release(p); }
void operator delete(void *p, std::size_t) noexcept { counted_memory::release(p); }
void operator delete[](void *p, std::size_t) noexcept { counted_memory::release(p); }
void operator delete(void *p, const std::nothrow_t &) noexcept { counted_memory::release(p); }
void operator delete[](void *p, const std::nothrow_t &) noexcept { counted_memory::release(p); }
void operator delete(void *p, std::align_val_t) noexcept { counted_memory::release(p); }
void operator delete[](void *p, std::align_val_t) noexcept { counted_memory::release(p); }
void operator delete(void *p, std::size_t, std::align_val_t) noexcept { counted_memory::release(p); }
void operator delete[](void *p, std::size_t, std::align_val_t) noexcept { counted_memory::release(p); }
