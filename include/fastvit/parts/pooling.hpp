// SPDX-License-Identifier: MIT
// Pooling as a token mixer (MetaFormer, arXiv 2111.11418, `Pooling`), the baseline that the paper compares RepMixer with.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/conv_ffn.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/part_cost.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// x + strength * (the mean of the 3 x 3 pixels around it - x), channel by channel; pixels outside the map do not count. The mean
/// is a depthwise 3 x 3 whose weights depend on how many pixels there are: 9 inside, 6 at a side, 4 in a corner, and 3, 2 or 1 in
/// a map of one row or column.
class pooling {
  public:
    static constexpr index_type kernel = 3;

    /// Of the packed weights.
    static index_type packed_floats(index_type channels) noexcept {
        return static_cast<index_type>(pixel_counts.size()) * kernels::padded_channels(channels) * (kernel * kernel + 1);
    }

    /// `strength`: [channels], what the difference is multiplied by.
    pooling(const kernels::weight_target &target, const reparam::vector &strength) {
        const auto channels = static_cast<index_type>(strength.size());
        const reparam::conv_shape dims = reparam::depthwise_shape(channels, kernel);
        kernels::weight_target exact = target; // no checkpoint holds these windows
        exact.type = precision::float32;
        for (const index_type pixels : pixel_counts) {
            reparam::folded_conv mean(dims);
            for (index_type o = 0; o < channels; ++o) {
                const double s = strength[static_cast<std::size_t>(o)];
                for (index_type tap = 0; tap < dims.taps(); ++tap) mean.row(o)[tap] = s / static_cast<double>(pixels);
                mean.row(o)[dims.taps() / 2] += 1 - s;
            }
            const reparam::conv rounded = mean.rounded();
            by_pixels_[static_cast<std::size_t>(pixels)] = convolution(exact, dims, rounded.kernel, rounded.bias);
        }
    }

    /// `x` has a halo of at least 1.
    void run(const context &c, const map &x, const map &out) const {
        const std::array<span, 3> rows = cut(x.size.height), columns = cut(x.size.width);
        for (const span &row : rows)
            for (const span &column : columns) {
                if (row.count == 0 || column.count == 0) continue;
                const kernels::packed_depthwise &mean =
                    by_pixels_[static_cast<std::size_t>(row.pixels * column.pixels)].depthwise();
                const index_type bands = (row.count + band - 1) / band;
                c.parallel(x.size.images * bands, [&](index_type i, int) {
                    const index_type first = i % bands * band, y = row.first + first;
                    const tile t{i / bands, y, column.first, std::min(band, row.count - first), column.count};
                    c.kernels.depthwise(depthwise_over(mean, x, t, out.at(t.image, t.y, t.x), out.pixel_stride, out.row_stride));
                });
            }
    }

  private:
    static constexpr index_type band = 8;                                      ///< rows of a task
    static constexpr std::array<index_type, 6> pixel_counts{1, 2, 3, 4, 6, 9}; ///< that a mean may be of

    /// Rows or columns, each with `pixels` of the window's 3 inside the map.
    struct span {
        index_type first = 0, count = 0, pixels = 0;
    };
    static std::array<span, 3> cut(index_type size) {
        if (size == 1) return {{{0, 1, 1}}};
        return {{{0, 1, 2}, {1, size - 2, 3}, {size - 1, 1, 2}}};
    }

    std::array<convolution, 10> by_pixels_; ///< by the pixels that a mean is of
};

/// t = x + layer_scale_1 * pooling(norm(x)), pooling(n) = mean3x3(n) - n; t + layer_scale_2 * ConvFFN(t). MetaFormer's block with
/// the BatchNorm and the ConvFFN of FastViT's attention block.
class pooling_block {
  public:
    using config = stage_architecture;
    struct weights {
        std::optional<reparam::batch_norm> norm;    ///< none where it is folded
        std::optional<tensor<float>> layer_scale_1; ///< [channels, 1, 1]; likewise
        std::optional<reparam::vector> folded;      ///< [channels]: both
        conv_ffn::weights ffn;
        std::optional<tensor<float>> layer_scale_2; ///< [channels, 1, 1]; none where it is folded
    };
    /// For a quantised checkpoint each matrix is scaled into a copy.
    static constexpr std::size_t fold_bytes = sizeof(float);
    static constexpr token_mixer kind = token_mixer::pooling;

    /// Whether the tensors of such a block are there; has(name): whether a name begins so.
    template <class Has> static bool recognise(const Has &has, config &) { return !has("token_mixer.") && has("layer_scale_1."); }
    static void describe(archive &ar, weights &w, const config &c) {
        const bool quantised_form = conv_ffn::in_quantised_form(ar, w.ffn);
        describe_if(ar, true, "norm", w.norm, c.channels);
        describe_layer_scale(ar, "layer_scale_1.gamma", w.layer_scale_1, c.channels);
        conv_ffn::describe(ar.in("mlp"), w.ffn, c);
        if (!quantised_form) describe_layer_scale(ar, "layer_scale_2.gamma", w.layer_scale_2, c.channels);
        ar.made(pooling::packed_floats(c.channels));
    }
    static void reparameterize(weights &) {}
    /// The mean of an affine map is the affine map of the mean, and its shift cancels in the difference.
    static void fold(weights &w) {
        if (w.norm && w.layer_scale_1) {
            w.folded = reparam::to_affine(*w.norm).scale;
            for (std::size_t i = 0; i < w.folded->size(); ++i) (*w.folded)[i] *= static_cast<double>(w.layer_scale_1->data()[i]);
            w.norm.reset();
            w.layer_scale_1.reset();
        }
        conv_ffn::fold(w.ffn, w.layer_scale_2);
    }
    /// The norm folds into no matrix, and stays.
    static void fold_for_int8(weights &w) { conv_ffn::fold_for_int8(w.ffn, w.layer_scale_2); }
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        return {{"token_mixer", multiply_adds(reparam::depthwise_shape(c.channels, pooling::kernel), in)},
                {"mlp", conv_ffn::multiply_adds(c, in)}};
    }

    pooling_block(const kernels::weight_target &target, const weights &w, const config &c)
        : mixer_(target, w.folded ? *w.folded : reparam::vector(static_cast<std::size_t>(c.channels), 1.0)),
          ffn_(target.in("mlp"), w.ffn, w.layer_scale_2) {
        if (w.norm) norm_.emplace(*w.norm);
        if (w.layer_scale_1) plus_.emplace(*w.layer_scale_1), minus_.emplace(*w.layer_scale_1, -1);
    }

    void run(const context &c, map_pair &maps) const {
        {
            const watched w(c, "token_mixer");
            if (norm_)
                run_branches(c, maps);
            else
                mixer_.run(c, maps.x, maps.other);
        }
        ffn_.run(c, maps.other, maps.x);
    }

  private:
    // x + layer_scale * mean(norm(x)) - layer_scale * norm(x), each step by itself.
    void run_branches(const context &c, const map_pair &maps) const {
        const scope s(c.memory);
        const map normed = c.take_map(maps.x.size, 1), mean = c.take_map(maps.x.size, 0);
        norm_->run(c, maps.x, normed);
        mixer_.run(c, normed, mean);
        copy_pixels(c, maps.x, maps.other);
        plus_->run(c, mean, maps.other, true);
        minus_->run(c, normed, maps.other, true);
    }

    pooling mixer_;
    std::optional<channel_affine> norm_, plus_, minus_; ///< where they are not folded
    conv_ffn ffn_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
