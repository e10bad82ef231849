// SPDX-License-Identifier: MIT
// Counts the memory of a program, to hold the loader to its promise. It replaces operator new, and with the link options of the
// target counted_memory anonymous mappings too: include it in one file of a program.
#pragma once

#include <malloc.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

namespace counted_memory {

inline std::atomic<std::size_t> now{0};
inline std::atomic<std::size_t> peak{0};

inline void add(std::size_t bytes) noexcept {
    const std::size_t sum = now += bytes;
    if (sum > peak) peak = sum;
}
inline void *count(void *p) noexcept {
    if (p != nullptr) add(::malloc_usable_size(p));
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

/// The anonymous mappings that there are; files' are not counted.
struct mappings {
    std::mutex mutex;
    std::map<void *, std::size_t> bytes;
};
inline mappings &all_mappings() {
    static mappings all;
    return all;
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

extern "C" {
// The linker's --wrap gives the program's calls of mmap() these names.
void *__real_mmap(void *address, std::size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, std::size_t bytes);
inline __attribute__((used)) void *__wrap_mmap(void *address, std::size_t bytes, int protection, int flags, int file,
                                               off_t offset) {
    void *const p = __real_mmap(address, bytes, protection, flags, file, offset);
    if (p != MAP_FAILED && (flags & MAP_ANONYMOUS) != 0) {
        counted_memory::mappings &all = counted_memory::all_mappings();
        const std::lock_guard lock(all.mutex);
        all.bytes[p] = bytes;
        counted_memory::add(bytes);
    }
    return p;
}
inline __attribute__((used)) int __wrap_munmap(void *address, std::size_t bytes) {
    counted_memory::mappings &all = counted_memory::all_mappings();
    const std::lock_guard lock(all.mutex);
    if (const auto at = all.bytes.find(address); at != all.bytes.end()) {
        counted_memory::now -= at->second;
        all.bytes.erase(at);
    }
    return __real_munmap(address, bytes);
}
}
