// SPDX-License-Identifier: MIT
// A dense convolution over an image, in bfloat16: rows of the image in that type, and the windows on them as left operands.
#pragma once

#include "fastvit/base/assert.hpp"
#include "fastvit/parts/pointwise.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// Memory for some rows of one image and for the windows of some outputs. A row of the image begins with the columns that the
/// convolution pads, and its pixels lie side by side, so that a row of a window is one piece.
class encoded_windows {
  public:
    /// For `rows` rows of `width` pixels and `outputs` outputs at a time, at most kernels::gemm_max_pixels.
    encoded_windows(const context &c, const kernels::packed_matrix &w, const reparam::conv_shape &dims, index_type rows,
                    index_type width, index_type outputs)
        : dims_(dims), operand_(c, w, outputs), element_(c.kernels.encoded(w.format.type).element_bytes),
          row_channels_(kernels::padded_channels((width + dims.kernel - 1) * dims.in)),
          picture_floats_(kernels::padded_channels((rows * row_channels_ * element_ + slack + 3) / 4)),
          floats_(picture_floats_ + operand_.floats) {
        FASTVIT_ASSERT(w.format.type == precision::bfloat16 && w.rows == dims.fan_in());
        FASTVIT_ASSERT((w.padded_rows() - w.rows) * element_ <= end_bytes);
    }

    /// Floats of the memory.
    index_type floats() const noexcept { return floats_; }
    /// Floats of a row before it is encoded.
    index_type row_floats() const noexcept { return row_channels_; }

    /// Encodes row `r`: its padding, its pixels, its padding, and anything up to row_floats().
    void encode_row(const context &c, float *memory, index_type r, const float *row) const {
        c.kernels.encoded(precision::bfloat16)
            .encode({.x = &row,
                     .pixels = 1,
                     .channels = row_channels_,
                     .out = row_at(memory, r),
                     .out_pixel = row_channels_ * element_});
    }

    /// Gathers the windows that begin in row `r`, of `count` outputs from number `first` on, and multiplies them.
    void multiply(const context &c, const kernels::packed_matrix &w, float *memory, index_type r, index_type first,
                  index_type count, float *const *to, activation after) const {
        float *const windows = memory + picture_floats_;
        const std::byte *const from = row_at(memory, r) + first * dims_.stride * pixel_bytes();
        // Three channels of two bytes, three pixels: two loads and two stores, without a loop.
        if (piece_bytes() > block && piece_bytes() <= 2 * block)
            gather<2>(from, count, operand_.bytes_of(windows, 0));
        else
            gather<0>(from, count, operand_.bytes_of(windows, 0));
        parts::multiply(c, w, {nullptr, count, operand_, windows}, all_columns(w), to, {.after = after});
    }

  private:
    // Bytes that are copied at once. The last block of a piece reaches beyond it: into what is written next, or into what lies
    // behind the last piece, the slack of the rows and the ranges of the operand, which bfloat16 has no use for.
    static constexpr index_type block = 16;
    static constexpr index_type end_bytes = 8;
    static constexpr index_type slack = 64;

    index_type pixel_bytes() const noexcept { return dims_.in * element_; }
    index_type piece_bytes() const noexcept { return dims_.kernel * pixel_bytes(); } // a row of a window

    std::byte *row_at(float *memory, index_type r) const noexcept {
        return reinterpret_cast<std::byte *>(memory) + r * row_channels_ * element_;
    }

    // Blocks of each piece; 0 for any number.
    template <index_type Blocks> void gather(const std::byte *from, index_type count, std::byte *out) const noexcept {
        const index_type row = row_channels_ * element_, piece = piece_bytes(), step = dims_.stride * pixel_bytes();
        const index_type blocks = Blocks > 0 ? Blocks : (piece + block - 1) / block;
        for (index_type i = 0; i < count; ++i, from += step, out += operand_.pixel) {
            const std::byte *x = from;
            std::byte *to = out;
            for (index_type y = 0; y < dims_.kernel; ++y, x += row, to += piece)
                for (index_type b = 0; b < blocks; ++b) std::memcpy(to + b * block, x + b * block, block);
            // The matrix pads its rows with weights of zero; what the last block put there may be no number.
            std::memset(to, 0, end_bytes);
        }
    }

    reparam::conv_shape dims_;
    operand_layout operand_;
    index_type element_, row_channels_, picture_floats_, floats_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
