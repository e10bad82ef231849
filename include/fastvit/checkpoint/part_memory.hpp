// SPDX-License-Identifier: MIT
// Memory for the tensors of one part of a network after another.
#pragma once

#include "fastvit/platform/memory.hpp"
#include "fastvit/tensor.hpp"

#include <cstddef>
#include <optional>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Float32 tensors that are needed together, and then others in the same memory: pages fresh from the system for each would take
/// longer than converting a tensor of 16 bits into them.
class part_memory {
  public:
    /// For tensors with so many floats together, each counted as padded(). Only what is used takes memory.
    explicit part_memory(index_type floats)
        : pages_(static_cast<std::size_t>(floats) * sizeof(float)), next_(reinterpret_cast<float *>(pages_.data())),
          left_(floats), floats_(floats) {}
    part_memory(const part_memory &) = delete;
    part_memory &operator=(const part_memory &) = delete;

    /// What a tensor of so many elements takes: whole cache lines.
    static constexpr index_type padded(index_type count) noexcept { return (count + line - 1) / line * line; }

    /// Not yet written, and valid until clear(); nothing where there is no room.
    std::optional<tensor<float>> take(const shape &dims) {
        const index_type count = padded(dims.count());
        if (count > left_) return std::nullopt;
        float *const elements = next_;
        next_ += count;
        left_ -= count;
        return tensor<float>::adopt(elements, dims, {});
    }
    void clear() noexcept {
        next_ -= floats_ - left_;
        left_ = floats_;
    }

  private:
    static constexpr index_type line = static_cast<index_type>(alignment / sizeof(float));

    platform::pages pages_;
    float *next_ = nullptr;
    index_type left_ = 0, floats_ = 0;
};

}}} // namespace fastvit::FASTVIT_ABI::loading
