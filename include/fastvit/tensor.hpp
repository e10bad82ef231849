// SPDX-License-Identifier: MIT
// Dense row-major tensors: shape, non-owning view, owning tensor.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/platform/memory.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The dimensions of a tensor, outermost first. Rank 0 is a scalar.
class shape {
  public:
    /// Enough for every tensor of the network (4) with room for what else a checkpoint may hold.
    static constexpr std::size_t max_rank = 8;

    shape() = default;
    /// Throws invalid_argument for more than max_rank dimensions, a negative one, or a product that overflows.
    shape(std::initializer_list<index_type> dims) : shape(std::span(dims.begin(), dims.size())) {}
    explicit shape(std::span<const index_type> dims) {
        if (dims.size() > max_rank)
            throw error(error_kind::invalid_argument, {.problem = "too many dimensions",
                                                       .expected = "at most " + std::to_string(max_rank),
                                                       .found = std::to_string(dims.size())});
        std::copy(dims.begin(), dims.end(), dims_.begin());
        rank_ = dims.size();
        // Room for elements of up to 16 bytes, so that a size in bytes cannot overflow either.
        index_type room = std::numeric_limits<index_type>::max() / 16;
        for (const index_type d : dims) {
            if (d < 0) throw error(error_kind::invalid_argument, "negative dimension " + std::to_string(d));
            if (d > 0) room /= d;
            if (room == 0)
                throw error(error_kind::invalid_argument, "the product of the dimensions " + to_string() + " overflows");
        }
    }

    std::size_t rank() const noexcept { return rank_; }
    index_type operator[](std::size_t i) const noexcept { return dims_[i]; }
    const index_type *begin() const noexcept { return dims_.data(); }
    const index_type *end() const noexcept { return dims_.data() + rank_; }

    /// The number of elements: the product of the dimensions.
    index_type count() const noexcept {
        index_type n = 1;
        for (const index_type d : *this) n *= d;
        return n;
    }

    /// `[64, 3, 3, 3]`
    std::string to_string() const {
        std::string text = "[";
        for (std::size_t i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
        return text + "]";
    }

    friend bool operator==(const shape &a, const shape &b) noexcept { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

  private:
    std::array<index_type, max_rank> dims_{};
    std::size_t rank_ = 0;
};

/// A contiguous row-major tensor that somebody else owns.
template <class T> class tensor_view {
  public:
    tensor_view() = default;
    /// `data` must hold dims.count() elements for as long as the view is used.
    tensor_view(T *data, shape dims) : data_(data), dims_(dims) {}
    /// A view of mutable elements is also one of constant elements.
    template <std::same_as<std::remove_const_t<T>> U>
    requires std::is_const_v<T> tensor_view(const tensor_view<U> &other) : data_(other.data()), dims_(other.dims()) {}

    T *data() const noexcept { return data_; }
    const shape &dims() const noexcept { return dims_; }
    index_type dim(std::size_t i) const noexcept { return dims_[i]; }
    index_type count() const noexcept { return dims_.count(); }
    std::span<T> span() const noexcept { return {data_, static_cast<std::size_t>(count())}; }
    bool empty() const noexcept { return data_ == nullptr; }

    /// Element at one index per dimension. Unchecked.
    template <std::convertible_to<index_type>... I> T &operator()(I... i) const noexcept {
        index_type offset = 0;
        std::size_t d = 0;
        ((offset = offset * dims_[d++] + static_cast<index_type>(i)), ...);
        return data_[offset];
    }

  private:
    T *data_ = nullptr;
    shape dims_{0};
};

/// A cache line, and the width of the widest vector register.
inline constexpr std::size_t alignment = 64;

/// Frees what aligned_buffer() allocated, if it is ours.
struct aligned_delete {
    bool owned = true;
    std::size_t mapped = 0; ///< bytes, if it is of map_pages()
    template <class T> void operator()(T *p) const noexcept {
        if (mapped > 0)
            ::munmap(p, mapped);
        else if (owned)
            ::operator delete (p, std::align_val_t{alignment});
    }
};

/// Uninitialised memory for `count` elements, aligned to a cache line. Throws std::bad_alloc.
template <class T>
requires std::is_trivially_destructible_v<T> std::unique_ptr<T[], aligned_delete> aligned_buffer(index_type count) {
    void *p = ::operator new (static_cast<std::size_t>(count) * sizeof(T), std::align_val_t{alignment});
    return std::unique_ptr<T[], aligned_delete>(static_cast<T *>(p));
}

/// A contiguous row-major tensor that owns its elements, aligned to a cache line.
template <class T> class tensor {
  public:
    tensor() = default;
    /// All elements zero.
    explicit tensor(shape dims) : data_(aligned_buffer<T>(dims.count())), dims_(dims) {
        std::fill_n(data_.get(), dims.count(), T{});
    }
    explicit tensor(tensor_view<const T> source) : data_(aligned_buffer<T>(source.count())), dims_(source.dims()) {
        std::copy_n(source.data(), source.count(), data_.get());
    }
    /// Not yet written.
    static tensor uninitialised(shape dims) {
        tensor t;
        t.data_ = aligned_buffer<T>(dims.count());
        t.dims_ = dims;
        return t;
    }
    /// Not yet written, and if it is large, in memory straight from the system, which goes back there at once: an allocator may
    /// keep what was freed, tens of megabytes while a network is loaded. Fresh pages cost time, so this is for what is many.
    static tensor in_pages(shape dims) {
        constexpr std::size_t large = std::size_t{1} << 20;
        const std::size_t bytes = static_cast<std::size_t>(dims.count()) * sizeof(T);
        if (bytes < large) return uninitialised(dims);
        tensor t;
        t.data_ = {reinterpret_cast<T *>(map_pages(bytes)), aligned_delete{.mapped = bytes}};
        t.dims_ = dims;
        return t;
    }
    /// Takes the place of a tensor without a copy: the elements belong to somebody else, who keeps them alive, are perhaps not
    /// aligned, and must not be written. A copy of it owns its elements as any other.
    static tensor borrow(tensor_view<const T> elements) {
        tensor t;
        t.data_ = {const_cast<T *>(elements.data()), aligned_delete{.owned = false}};
        t.dims_ = elements.dims();
        return t;
    }
    tensor(const tensor &other) : tensor(other.view()) {}
    tensor(tensor &&other) noexcept : data_(std::move(other.data_)), dims_(std::exchange(other.dims_, shape{0})) {}
    tensor &operator=(tensor other) noexcept {
        std::swap(data_, other.data_);
        std::swap(dims_, other.dims_);
        return *this;
    }

    T *data() noexcept { return data_.get(); }
    const T *data() const noexcept { return data_.get(); }
    const shape &dims() const noexcept { return dims_; }
    index_type dim(std::size_t i) const noexcept { return dims_[i]; }
    index_type count() const noexcept { return dims_.count(); }
    tensor_view<T> view() noexcept { return {data_.get(), dims_}; }
    tensor_view<const T> view() const noexcept { return {data_.get(), dims_}; }
    operator tensor_view<T>() noexcept { return view(); }
    operator tensor_view<const T>() const noexcept { return view(); }
    std::span<T> span() noexcept { return view().span(); }
    std::span<const T> span() const noexcept { return view().span(); }

    template <std::convertible_to<index_type>... I> T &operator()(I... i) noexcept { return view()(i...); }
    template <std::convertible_to<index_type>... I> const T &operator()(I... i) const noexcept { return view()(i...); }

  private:
    std::unique_ptr<T[], aligned_delete> data_;
    shape dims_{0};
};

}} // namespace fastvit::FASTVIT_ABI
