// SPDX-License-Identifier: MIT
// Weights in the order in which a tier's kernels read them. Packed once, when a model is made.
#pragma once

#include "fastvit/kernels/contract.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <memory>
#include <utility>

namespace fastvit::inline FASTVIT_ABI {
namespace kernels {

/// Cache-line aligned floats that start as zero.
class float_buffer {
  public:
    float_buffer() = default;
    explicit float_buffer(index count) : data_(aligned_buffer<float>(count)), count_(count) {
        std::fill_n(data_.get(), count, 0.0F);
    }
    float *data() noexcept { return data_.get(); }
    const float *data() const noexcept { return data_.get(); }
    index count() const noexcept { return count_; }

  private:
    std::unique_ptr<float[], aligned_delete> data_;
    index count_ = 0;
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
    index rows = 0;
    index columns = 0; ///< padded
    index panel = 0;

    index at(index row, index column) const noexcept {
        const index first = column / panel * panel;
        return first * rows + row * std::min(panel, columns - first) + (column - first);
    }
};

/// `weight(row, column)` gives the matrix, `bias(column)` the bias, for row < rows and column < columns; the padding becomes
/// zero.
template <class Weight, class Bias>
packed_gemm pack_gemm(const kernel_table &tier, index rows, index columns, Weight &&weight, Bias &&bias) {
    packed_gemm packed;
    packed.rows = rows;
    packed.columns = padded_channels(columns);
    packed.panel = tier.gemm_panel(packed.columns);
    packed.weights = float_buffer(packed.columns * rows);
    packed.bias = float_buffer(packed.columns);
    for (index first = 0; first < columns; first += packed.panel) {
        const index last = std::min(first + packed.panel, columns);
        for (index row = 0; row < rows; ++row) {
            float *out = packed.weights.data() + packed.at(row, first);
            for (index column = first; column < last; ++column) *out++ = weight(row, column);
        }
    }
    for (index column = 0; column < columns; ++column) packed.bias.data()[column] = bias(column);
    return packed;
}

/// Weights for depthwise_args, in blocks of `lanes` input channels:
///
///     block b:  bias  m = 0 | bias  m = 1 | ... | tap 0, m = 0 | tap 0, m = 1 | ... | tap 1, m = 0 | ...
///
/// each cell `lanes` floats, m the output's number among those of its input channel. Output o = channel * multiplier + m.
struct packed_depthwise {
    float_buffer weights;
    index in_channels = 0;  ///< padded
    index out_channels = 0; ///< padded
    index kernel = 0;
    index stride = 1;
    index multiplier = 1;
    index lanes = 0;

    /// Where the weight of tap = i * kernel + j for output channel o is; tap -1 is the bias.
    index at(index o, index tap) const noexcept {
        const index channel = o / multiplier, m = o % multiplier;
        return ((channel / lanes * (kernel * kernel + 1) + tap + 1) * multiplier + m) * lanes + channel % lanes;
    }
};

/// `weight(o, tap)` and `bias(o)` for o < channels * multiplier.
template <class Weight, class Bias>
packed_depthwise pack_depthwise(const kernel_table &tier, index channels, index multiplier, index kernel, index stride,
                                Weight &&weight, Bias &&bias) {
    packed_depthwise packed;
    packed.in_channels = padded_channels(channels);
    packed.out_channels = padded_channels(channels * multiplier);
    packed.kernel = kernel;
    packed.stride = stride;
    packed.multiplier = multiplier;
    packed.lanes = tier.lanes;
    packed.weights = float_buffer(packed.in_channels * multiplier * (kernel * kernel + 1));
    for (index o = 0; o < channels * multiplier; ++o) {
        packed.weights.data()[packed.at(o, -1)] = bias(o);
        for (index tap = 0; tap < kernel * kernel; ++tap) packed.weights.data()[packed.at(o, tap)] = weight(o, tap);
    }
    return packed;
}

} // namespace kernels
} // namespace fastvit::inline FASTVIT_ABI
