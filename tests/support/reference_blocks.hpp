// SPDX-License-Identifier: MIT
// What each part of the network computes with a checkpoint's weights, in plain loops: forward(x, weights), by the train-time
// graph where the weights are in that form and by the one convolution where they are folded. And random weights.
#pragma once

#include "fastvit/parts/list.hpp"

#include "support/reference.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace reference {

namespace parts = fastvit::parts;
namespace reparam = fastvit::reparam;

std::vector<double> values_of(const fastvit::tensor<float> &t);

maps<double> forward(const maps<double> &x, const reparam::batch_norm &w);

maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const fastvit::tensor<float> &kernel,
                     const fastvit::tensor<float> &bias = {});
maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const reparam::conv &w);
maps<double> forward(const maps<double> &x, const reparam::conv_shape &dims, const reparam::conv_bn &w);

/// A pointwise convolution with bias.
maps<double> forward(const maps<double> &x, const reparam::conv &w);

maps<double> forward(const maps<double> &x, const parts::squeeze_excite::weights &w);

maps<double> gelu_of(const maps<double> &x);

/// The sum of the branches, or the one convolution.
maps<double> forward_branches(const maps<double> &x, const parts::mobile_one::weights &w);
maps<double> forward_branches(const maps<double> &x, const parts::large_kernel::weights &w);

/// MobileOne block or large kernel: squeeze and excite of the branches' sum, before the activation.
maps<double> forward(const maps<double> &x, const parts::mobile_one::weights &w);
maps<double> forward(const maps<double> &x, const parts::large_kernel::weights &w);

maps<double> forward(maps<double> x, const parts::stem::weights &w);

maps<double> forward(const maps<double> &x, const parts::patch_embed::weights &w, bool large_kernel_gelu);

/// x + layer_scale * (mixer(x) - norm(x)).
maps<double> forward(const maps<double> &x, const parts::rep_mixer::weights &w);

/// scale * x, where there is a scale.
maps<double> scaled(const maps<double> &x, const std::optional<fastvit::tensor<float>> &scale);

/// fc2(GELU(fc1(BN(depthwise k x k)))).
maps<double> forward(const maps<double> &x, const parts::conv_ffn::weights &w);

/// x + scale * y; without a scale, which is folded then, x + y.
maps<double> add_scaled(const maps<double> &x, const std::optional<fastvit::tensor<float>> &scale, const maps<double> &y);

maps<double> forward(const maps<double> &x, const parts::rep_mixer_block::weights &w);

/// Heads of 32 channels over the pixels of each image: proj(softmax(q k^T / sqrt(32)) v).
maps<double> self_attention(const maps<double> &x, const reparam::conv &qkv_weights, const reparam::conv &proj);

maps<double> forward(const maps<double> &x, const reparam::layer_norm &w);

maps<double> forward(const maps<double> &x, const parts::attention_block::weights &w);

/// The mean of the 3 x 3 pixels around each, of those inside the map (AvgPool2d with count_include_pad=False).
maps<double> mean_of_neighbours(const maps<double> &x);

/// x + layer_scale_1 * (mean(norm(x)) - norm(x)), and the ConvFFN. Of unfolded weights.
maps<double> forward(const maps<double> &x, const parts::pooling_block::weights &w);

/// x + BN(GELU(conv(x))), and the ConvFFN. Of unfolded weights.
maps<double> forward(const maps<double> &x, const parts::conv_mixer_block::weights &w);

maps<double> forward(const maps<double> &x, const parts::position::weights &w);

/// Fills weights that are described to it: the train-time form, of a size that keeps activations near 1.
class random_archive final : public parts::archive {
  public:
    /// `branches`: of each MobileOne block.
    explicit random_archive(random_source &random, index_type branches = 1) : random_(random), branches_(branches) {}

    void tensor(std::string_view name, fastvit::tensor<float> &t, const fastvit::shape &dims) override;
    void variance(std::string_view name, fastvit::tensor<float> &t, const fastvit::shape &dims) override;
    void counter(std::string_view name) override;
    bool folded(const std::optional<reparam::conv> &held) const override;
    bool present(std::string_view name, bool held) const override;

  private:
    void fill(fastvit::tensor<float> &t, const fastvit::shape &dims, float low, float high);
    // Of variance 1 / fan-in.
    void fill_kernel(fastvit::tensor<float> &t, const fastvit::shape &dims);

    random_source &random_;
    index_type branches_;
};

/// Random weights of a layer or of what a part is made of: `extent` is what describe() takes behind them.
template <class W, class... Extent> W random_weights(random_source &random, index_type branches, const Extent &...extent) {
    W w;
    random_archive archive(random, branches);
    describe(archive, w, extent...);
    return w;
}

/// Random weights of a part.
template <class Part>
typename Part::weights random_part(random_source &random, index_type branches, const typename Part::config &config) {
    typename Part::weights w;
    random_archive archive(random, branches);
    Part::describe(archive, w, config);
    return w;
}

// The parts of list.hpp are compiled in reference_blocks.cpp.
extern template parts::stem::weights random_part<parts::stem>(random_source &, index_type, const parts::stem::config &);
extern template parts::patch_embed::weights random_part<parts::patch_embed>(random_source &, index_type,
                                                                            const parts::patch_embed::config &);
extern template parts::position::weights random_part<parts::position>(random_source &, index_type,
                                                                      const parts::position::config &);
extern template parts::rep_mixer_block::weights random_part<parts::rep_mixer_block>(random_source &, index_type,
                                                                                    const parts::rep_mixer_block::config &);
extern template parts::attention_block::weights random_part<parts::attention_block>(random_source &, index_type,
                                                                                    const parts::attention_block::config &);
extern template parts::pooling_block::weights random_part<parts::pooling_block>(random_source &, index_type,
                                                                                const parts::pooling_block::config &);
extern template parts::conv_mixer_block::weights random_part<parts::conv_mixer_block>(random_source &, index_type,
                                                                                      const parts::conv_mixer_block::config &);
extern template parts::head_conv::weights random_part<parts::head_conv>(random_source &, index_type,
                                                                        const parts::head_conv::config &);
extern template parts::linear::weights random_part<parts::linear>(random_source &, index_type, const parts::linear::config &);

} // namespace reference
