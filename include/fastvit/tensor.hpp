// SPDX-License-Identifier: MIT
// Dense row-major tensors: shape, non-owning view, owning tensor.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
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
    /// The network's tensors have up to 4 dimensions; a checkpoint may hold others.
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

    [[nodiscard]] std::size_t rank() const noexcept { return rank_; }
    [[nodiscard]] index_type operator[](std::size_t i) const noexcept {
        FASTVIT_ASSERT(i < rank_);
        return dims_[i];
    }
    [[nodiscard]] const index_type *begin() const noexcept { return dims_.data(); }
    [[nodiscard]] const index_type *end() const noexcept { return dims_.data() + rank_; }

    /// The number of elements: the product of the dimensions.
    [[nodiscard]] index_type count() const noexcept {
        index_type n = 1;
        for (const index_type d : *this) n *= d;
        return n;
    }

    /// The dimensions without the first: those of `tensor[i]`. There must be one.
    [[nodiscard]] shape without_first() const noexcept {
        FASTVIT_ASSERT(rank_ > 0);
        shape rest;
        std::copy(begin() + 1, end(), rest.dims_.begin());
        rest.rank_ = rank_ - 1;
        return rest;
    }

    /// `[64, 3, 3, 3]`
    [[nodiscard]] std::string to_string() const {
        std::string text = "[";
        for (std::size_t i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dims_[i]);
        return text + "]";
    }

    friend bool operator==(const shape &a, const shape &b) noexcept { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

  private:
    std::array<index_type, max_rank> dims_{};
    std::size_t rank_ = 0;
};

/// A view of a contiguous row-major tensor that somebody else owns.
template <class T> class tensor_view {
  public:
    tensor_view() = default;
    /// `data` must hold dims.count() elements for as long as the view is used.
    tensor_view(T *data, shape dims) : data_(data), dims_(dims) {}
    /// A view of mutable elements is also one of constant elements.
    template <std::same_as<std::remove_const_t<T>> U>
    requires std::is_const_v<T> tensor_view(const tensor_view<U> &other) : data_(other.data()), dims_(other.dims()) {}

    [[nodiscard]] T *data() const noexcept { return data_; }
    [[nodiscard]] const shape &dims() const &noexcept { return dims_; }
    [[nodiscard]] shape dims() const &&noexcept { return dims_; } // by value: a view is often a temporary
    [[nodiscard]] index_type dim(std::size_t i) const noexcept { return dims_[i]; }
    [[nodiscard]] index_type count() const noexcept { return dims_.count(); }
    [[nodiscard]] std::span<T> span() const noexcept { return {data_, static_cast<std::size_t>(count())}; }
    [[nodiscard]] bool empty() const noexcept { return data_ == nullptr; }

    /// Element at one index per dimension, each below its dimension, which debug builds check.
    template <std::convertible_to<index_type>... Index> [[nodiscard]] T &operator()(Index... i) const noexcept {
        FASTVIT_ASSERT(sizeof...(i) == dims_.rank());
        index_type offset = 0;
        std::size_t d = 0;
        [[maybe_unused]] const auto step = [&](index_type at) {
            FASTVIT_ASSERT(0 <= at && at < dims_[d]);
            offset = offset * dims_[d++] + at;
        };
        (step(static_cast<index_type>(i)), ...);
        return data_[offset];
    }

    /// Part `i` along the first dimension, which the result lacks: one image of a batch, one row of a matrix. `i` is below
    /// dim(0), which debug builds check.
    [[nodiscard]] tensor_view operator[](index_type i) const noexcept {
        FASTVIT_ASSERT(dims_.rank() > 0 && 0 <= i && i < dims_[0]);
        const shape part = dims_.without_first();
        return {data_ + i * part.count(), part};
    }

  private:
    T *data_ = nullptr;
    shape dims_{0};
};

/// A cache line, and the width of the widest vector register.
inline constexpr std::size_t alignment = 64;

/// Frees a tensor's elements, wherever they came from.
struct element_release {
    /// Called with the address of the first element and with `bytes`; null for elements that the tensor does not own.
    void (*function)(void *elements, std::size_t bytes) noexcept = nullptr;
    std::size_t bytes = 0;

    void operator()(void *elements) const noexcept {
        if (function) function(elements, bytes);
    }
};

/// A contiguous row-major tensor that owns its elements, aligned to a cache line.
///
/// A temporary has no data(), view() or span(), because its elements end with the expression: give it a name first.
template <class T>
requires std::is_trivially_copyable_v<T>
class tensor {
  public:
    tensor() = default;
    /// All elements zero. Throws std::bad_alloc, as everything that makes elements does.
    explicit tensor(shape dims) : tensor(uninitialised(dims)) { std::fill_n(data(), count(), T{}); }
    /// A copy.
    explicit tensor(tensor_view<const T> source) : tensor(uninitialised(source.dims())) {
        std::copy_n(source.data(), source.count(), data());
    }
    /// Elements with no value yet.
    [[nodiscard]] static tensor uninitialised(shape dims) {
        void *const elements = ::operator new (static_cast<std::size_t>(dims.count()) * sizeof(T), std::align_val_t{alignment});
        return adopt(static_cast<T *>(elements), dims,
                     {[](void *p, std::size_t) noexcept { ::operator delete (p, std::align_val_t{alignment}); }});
    }
    /// Takes over dims.count() elements from elsewhere, which need not be aligned; `release` frees them.
    [[nodiscard]] static tensor adopt(T *elements, shape dims, element_release release) {
        tensor t;
        t.data_ = {elements, release};
        t.dims_ = dims;
        return t;
    }
    /// A tensor over elements that somebody else owns and keeps alive, without a copy. They need not be aligned and must not be
    /// written. A copy of it owns its elements, like any other.
    [[nodiscard]] static tensor borrow(tensor_view<const T> elements) {
        return adopt(const_cast<T *>(elements.data()), elements.dims(), {});
    }
    tensor(const tensor &other) : tensor(other.view()) {}
    tensor(tensor &&other) noexcept : data_(std::move(other.data_)), dims_(std::exchange(other.dims_, shape{0})) {}
    tensor &operator=(tensor other) noexcept {
        std::swap(data_, other.data_);
        std::swap(dims_, other.dims_);
        return *this;
    }

    [[nodiscard]] T *data() &noexcept { return data_.get(); }
    [[nodiscard]] const T *data() const &noexcept { return data_.get(); }
    [[nodiscard]] const shape &dims() const &noexcept { return dims_; }
    [[nodiscard]] shape dims() const &&noexcept { return dims_; }
    [[nodiscard]] index_type dim(std::size_t i) const noexcept { return dims_[i]; }
    [[nodiscard]] index_type count() const noexcept { return dims_.count(); }
    [[nodiscard]] tensor_view<T> view() &noexcept { return {data_.get(), dims_}; }
    [[nodiscard]] tensor_view<const T> view() const &noexcept { return {data_.get(), dims_}; }
    operator tensor_view<T>() &noexcept { return view(); }
    operator tensor_view<const T>() const &noexcept { return view(); }
    [[nodiscard]] std::span<T> span() &noexcept { return view().span(); }
    [[nodiscard]] std::span<const T> span() const &noexcept { return view().span(); }

    /// As those of tensor_view.
    template <std::convertible_to<index_type>... Index> [[nodiscard]] T &operator()(Index... i) &noexcept { return view()(i...); }
    template <std::convertible_to<index_type>... Index> [[nodiscard]] const T &operator()(Index... i) const &noexcept {
        return view()(i...);
    }
    [[nodiscard]] tensor_view<T> operator[](index_type i) &noexcept { return view()[i]; }
    [[nodiscard]] tensor_view<const T> operator[](index_type i) const &noexcept { return view()[i]; }

    // Not for a temporary.
    void data() const && = delete;
    void view() const && = delete;
    void span() const && = delete;
    void operator[](index_type) const && = delete;
    operator tensor_view<T>() const && = delete;
    operator tensor_view<const T>() const && = delete;

  private:
    std::unique_ptr<T[], element_release> data_;
    shape dims_{0};
};

}} // namespace fastvit::FASTVIT_ABI
