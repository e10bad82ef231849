// SPDX-License-Identifier: MIT
// Large pieces of memory straight from the system, in huge pages where it has them.
#pragma once

#include "fastvit/base/config.hpp"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace platform {

/// Zeroed, page-aligned memory straight from the system, to be given back with unmap_pages(). Throws std::bad_alloc.
inline std::byte *map_pages(std::size_t bytes) {
    void *const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::byte *>(address);
}

inline void unmap_pages(void *address, std::size_t bytes) noexcept { ::munmap(address, bytes); }

/// Zeroed, page-aligned memory, for what is large and lives long: packed weights and activations. It comes zeroed without being
/// touched, and what is never touched takes no memory. In huge pages (2 MB instead of 4 KB) the weights of a large network need
/// some hundred entries of the address translation's cache instead of tens of thousands, and are mapped that much faster.
/// Move-only.
class pages {
  public:
    pages() = default;
    /// Throws std::bad_alloc.
    explicit pages(std::size_t bytes) : bytes_(bytes + (bytes >= huge ? huge : 0)) {
        if (bytes == 0) return;
        mapping_ = map_pages(bytes_);
        data_ = mapping_;
#if defined(MADV_HUGEPAGE)
        if (bytes >= huge) {
            data_ += (huge - reinterpret_cast<std::uintptr_t>(mapping_) % huge) % huge;
            ::madvise(data_, bytes / huge * huge, MADV_HUGEPAGE); // a request: if it fails, the pages are small
        }
#endif
    }
    pages(pages &&other) noexcept
        : bytes_(std::exchange(other.bytes_, 0)), mapping_(std::exchange(other.mapping_, nullptr)),
          data_(std::exchange(other.data_, nullptr)) {}
    pages &operator=(pages &&other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(mapping_, other.mapping_);
        std::swap(data_, other.data_);
        return *this;
    }
    ~pages() {
        if (mapping_) unmap_pages(mapping_, bytes_);
    }

    std::byte *data() const noexcept { return data_; }

  private:
    static constexpr std::size_t huge = std::size_t{2} << 20;

    std::size_t bytes_ = 0; ///< of the mapping
    std::byte *mapping_ = nullptr;
    std::byte *data_ = nullptr;
};

}}} // namespace fastvit::FASTVIT_ABI::platform
