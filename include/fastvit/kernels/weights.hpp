// SPDX-License-Identifier: MIT
// Where packed weights live, and for which tier they are packed.
#pragma once

#include "fastvit/executor.hpp"
#include "fastvit/kernels/run_tasks.hpp"
#include "fastvit/kernels/table.hpp"
#include "fastvit/platform/memory.hpp"
#include "fastvit/precision.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Cache-line aligned memory that starts as zero. Move-only.
template <class T> class buffer {
  public:
    buffer() = default;
    explicit buffer(index_type count) : count_(count) {
        const auto zeros = std::make_shared<tensor<T>>(shape{count});
        data_ = {zeros, zeros->data()};
    }
    /// A part of a larger piece of memory, which it keeps alive.
    buffer(std::shared_ptr<T[]> part, index_type count) : data_(std::move(part)), count_(count) {}
    buffer(buffer &&) noexcept = default;
    buffer &operator=(buffer &&) noexcept = default;

    T *data() noexcept { return data_.get(); }
    const T *data() const noexcept { return data_.get(); }
    index_type count() const noexcept { return count_; }

  private:
    std::shared_ptr<T[]> data_;
    index_type count_ = 0;
};
using float_buffer = buffer<float>;

/// The packed weights of a model, one after the other in the order in which they are packed, and later read.
class weight_memory {
  public:
    template <class T> buffer<T> take(index_type count) {
        const index_type bytes = (count * static_cast<index_type>(sizeof(T)) + line - 1) / line * line;
        if (bytes > left_) {
            left_ = std::max(bytes, piece_bytes);
            piece_ = std::make_shared<platform::pages>(static_cast<std::size_t>(left_));
            next_ = piece_->data();
        }
        left_ -= bytes;
        return {std::shared_ptr<T[]>(piece_, reinterpret_cast<T *>(std::exchange(next_, next_ + bytes))), count};
    }

  private:
    static constexpr index_type line = static_cast<index_type>(alignment);
    static constexpr index_type piece_bytes = index_type{32} << 20; // only what is used of them takes memory

    std::shared_ptr<platform::pages> piece_;
    std::byte *next_ = nullptr;
    index_type left_ = 0;
};

/// Who packs weights: the calling thread, or an executor, which outlives this object.
class packing_threads {
  public:
    packing_threads() = default;
    packing_threads(executor *threads) : threads_(threads) {} // NOLINT(google-explicit-constructor): null is the calling thread

    int workers() const noexcept { return threads_ ? threads_->workers() : 1; }
    /// As executor::run().
    void run(index_type tasks, task_ref task) const {
        serial_executor alone;
        run_tasks(threads_ ? *threads_ : static_cast<executor &>(alone), tasks, task);
    }

  private:
    executor *threads_ = nullptr;
};

/// Where weights are packed to: for the kernels of one tier, into memory of their own or a model's, and in which type.
struct weight_target {
    weight_target(const kernel_table &kernels, weight_memory *shared = nullptr) // NOLINT(google-explicit-constructor)
        : tier(kernels), memory(shared) {}
    const kernel_table &tier;
    weight_memory *memory;
    precision type = precision::float32;           ///< of matrices
    precision without_skip = precision::float32;   ///< of dense convolutions that no skip connection leads past
    std::string_view without_skip_reason;          ///< why that is not `type`, or empty
    std::vector<layer_precision> *notes = nullptr; ///< null, or where each matrix says what it became
    std::string place;                             ///< the name of what is packed
    packing_threads threads;

    template <class T> buffer<T> take(index_type count) const { return memory ? memory->take<T>(count) : buffer<T>(count); }

    weight_target in(std::string_view name) const {
        weight_target inner = *this;
        inner.place = place.empty() ? std::string(name) : place + "." + std::string(name);
        return inner;
    }
    void note(precision became, std::string_view reason) const {
        if (notes) notes->push_back({place, became, reason});
    }
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
