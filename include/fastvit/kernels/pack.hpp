// SPDX-License-Identifier: MIT
// Weights in the order in which a tier's kernels read them. Packed once, when a model is made.
#pragma once

#include "fastvit/kernels/contract.hpp"
#include "fastvit/platform/memory.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <memory>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Cache-line aligned floats that start as zero. Move-only.
class float_buffer {
  public:
    float_buffer() = default;
    explicit float_buffer(index_type count) : count_(count) {
        const auto zeros = std::make_shared<tensor<float>>(shape{count});
        data_ = {zeros, zeros->data()};
    }
    /// A part of a larger piece of memory, which it keeps alive.
    float_buffer(std::shared_ptr<float[]> part, index_type count) : data_(std::move(part)), count_(count) {}
    float_buffer(float_buffer &&) = default;
    float_buffer &operator=(float_buffer &&) = default;

    float *data() noexcept { return data_.get(); }
    const float *data() const noexcept { return data_.get(); }
    index_type count() const noexcept { return count_; }

  private:
    std::shared_ptr<float[]> data_;
    index_type count_ = 0;
};

/// The packed weights of a model, one after the other in the order in which they are made, which is that in which they are read.
class weight_memory {
  public:
    float_buffer take(index_type count) {
        const index_type floats = (count + line - 1) / line * line;
        if (floats > left_) {
            left_ = std::max(floats, piece_floats);
            piece_ = std::make_shared<pages>(static_cast<std::size_t>(left_) * sizeof(float));
            next_ = reinterpret_cast<float *>(piece_->data());
        }
        left_ -= floats;
        return {std::shared_ptr<float[]>(piece_, std::exchange(next_, next_ + floats)), count};
    }

  private:
    static constexpr index_type line = static_cast<index_type>(alignment / sizeof(float));
    static constexpr index_type piece_floats = index_type{8} << 20; // 32 MB, of which only what is used becomes memory

    std::shared_ptr<pages> piece_;
    float *next_ = nullptr;
    index_type left_ = 0;
};

/// Where weights are packed to: for the kernels of one tier, into memory of their own or a model's.
struct weight_target {
    weight_target(const kernel_table &kernels, weight_memory *shared = nullptr) // NOLINT(google-explicit-constructor)
        : tier(kernels), memory(shared) {}
    const kernel_table &tier;
    weight_memory *memory;

    float_buffer take(index_type count) const { return memory ? memory->take(count) : float_buffer(count); }
};

/// A matrix for gemm_args: panels of `panel` columns, the last one narrower, each with its rows one after the other.
///
///     column:   0 .. panel-1      panel .. 2*panel-1    ...
///     row 0    |------------|    |------------|
///     row 1    |------------|    |------------|
///     ...       panel 0           panel 1
///
/// Element (row, column) is at  p * panel * rows + row * width(p) + column % panel  with p = column / panel and
/// width(p) = min(panel, columns - p * panel): see at().
struct packed_gemm {
    float_buffer weights;
    float_buffer bias; ///< one per padded column
    index_type rows = 0;
    index_type columns = 0; ///< padded
    index_type panel = 0;

    index_type at(index_type row, index_type column) const noexcept {
        const index_type first = column / panel * panel;
        return first * rows + row * std::min(panel, columns - first) + (column - first);
    }
};

/// `weight(row, column)` gives the matrix, `bias(column)` the bias, for row < rows and column < columns; the padding becomes
/// zero.
template <class Weight, class Bias>
packed_gemm pack_gemm(const weight_target &target, index_type rows, index_type columns, Weight &&weight, Bias &&bias) {
    packed_gemm packed;
    packed.rows = rows;
    packed.columns = padded_channels(columns);
    packed.panel = target.tier.gemm_panel(packed.columns);
    packed.weights = target.take(packed.columns * rows);
    packed.bias = target.take(packed.columns);
    for (index_type first = 0; first < columns; first += packed.panel) {
        const index_type last = std::min(first + packed.panel, columns);
        for (index_type row = 0; row < rows; ++row) {
            float *out = packed.weights.data() + packed.at(row, first);
            for (index_type column = first; column < last; ++column) *out++ = weight(row, column);
        }
    }
    for (index_type column = 0; column < columns; ++column) packed.bias.data()[column] = bias(column);
    return packed;
}

/// Weights for depthwise_args, in blocks of `lanes` input channels:
///
///     block b:  bias  m = 0 | bias  m = 1 | ... | tap 0, m = 0 | tap 0, m = 1 | ... | tap 1, m = 0 | ...
///
/// each cell `lanes` floats, m the output's number among those of its input channel. Output o = channel * multiplier + m.
struct packed_depthwise {
    float_buffer weights;
    index_type in_channels = 0;  ///< padded
    index_type out_channels = 0; ///< padded
    index_type kernel = 0;
    index_type stride = 1;
    index_type multiplier = 1;
    index_type lanes = 0;

    /// Where the weight of tap = i * kernel + j for output channel o is; tap -1 is the bias.
    index_type at(index_type o, index_type tap) const noexcept {
        const index_type channel = o / multiplier, m = o % multiplier;
        return ((channel / lanes * (kernel * kernel + 1) + tap + 1) * multiplier + m) * lanes + channel % lanes;
    }
};

/// `weight(o, tap)` and `bias(o)` for o < channels * multiplier.
template <class Weight, class Bias>
packed_depthwise pack_depthwise(const weight_target &target, index_type channels, index_type multiplier, index_type kernel,
                                index_type stride, Weight &&weight, Bias &&bias) {
    packed_depthwise packed;
    packed.in_channels = padded_channels(channels);
    packed.out_channels = padded_channels(channels * multiplier);
    packed.kernel = kernel;
    packed.stride = stride;
    packed.multiplier = multiplier;
    packed.lanes = target.tier.lanes;
    packed.weights = target.take(packed.in_channels * multiplier * (kernel * kernel + 1));
    for (index_type o = 0; o < channels * multiplier; ++o) {
        packed.weights.data()[packed.at(o, -1)] = bias(o);
        for (index_type tap = 0; tap < kernel * kernel; ++tap) packed.weights.data()[packed.at(o, tap)] = weight(o, tap);
    }
    return packed;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
