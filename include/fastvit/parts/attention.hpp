// SPDX-License-Identifier: MIT
// Self-attention over the pixels of a map, and the block around it (official `MHSA`, `AttentionBlock`).
#pragma once

#include "fastvit/parts/conv_ffn.hpp"

#include <cmath>
#include <numbers>
#include <optional>

namespace fastvit { inline namespace FASTVIT_ABI { namespace nn {

/// t = x + layer_scale_1 * attention(norm(x)); t + layer_scale_2 * ConvFFN(t).
class attention_block {
  public:
    attention_block(const kernels::weight_target &target, graph form, const weights::attention_block &w)
        : channels_(w.mixer.qkv.dim(1)), ffn_(target, form, w.ffn, w.layer_scale_2) {
        weights::conv qkv{w.mixer.qkv, tensor<float>({3 * channels_})};
        weights::conv proj = w.mixer.proj;
        if (const auto *layer = std::get_if<weights::layer_norm>(&w.norm)) {
            norm_.emplace(reparam::affine{reparam::to_double(layer->weight), reparam::to_double(layer->bias)});
            layer_norm_ = true;
        } else if (form == graph::folded) {
            qkv = reparam::fold_input_affine(w.mixer.qkv, reparam::to_affine(std::get<weights::batch_norm>(w.norm)));
        } else {
            norm_.emplace(std::get<weights::batch_norm>(w.norm));
        }
        if (form == graph::folded)
            proj = reparam::fold_layer_scale(proj, w.layer_scale_1);
        else
            layer_scale_.emplace(w.layer_scale_1);

        // The 1 / sqrt(32) of the scores goes into q's rows, and the base of the softmax: powers of 2 are cheaper than those of
        // e.
        const auto scale = static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(kernels::head_channels)));
        for (index_type i = 0; i < channels_; ++i) {
            for (index_type j = 0; j < channels_; ++j) qkv.kernel(i, j) *= scale;
            qkv.bias(i) *= scale;
        }
        qkv_ = pack_pointwise(target, qkv.kernel, qkv.bias);
        proj_ = pack_pointwise(target, proj.kernel, proj.bias);
    }

    /// In place: `x` is replaced, `other` is a map of the same layout to work in. Both have a halo of conv_ffn::halo.
    void run(const context &c, const map &x, const map &other) const {
        {
            const watched w(c, "token_mixer");
            const scope s(c);
            map normed = x;
            if (norm_) {
                normed = c.take_map(x.size, 0);
                if (layer_norm_)
                    run_layer_norm(c, x, normed);
                else
                    norm_->run(c, x, normed);
            }
            const map qkv = c.take_map(x.size.with_channels(3 * channels_), 0);
            run_pointwise(c, qkv_, normed, qkv);
            const map mixed = c.take_map(x.size, 0);
            run_heads(c, qkv, mixed);
            if (layer_scale_) {
                const map projected = c.take_map(x.size, 0);
                run_pointwise(c, proj_, mixed, projected);
                // x + layer_scale * projected, in x, and from there to where the ConvFFN reads.
                layer_scale_->run(c, projected, x, true);
                copy(c, x, other);
            } else {
                run_pointwise(c, proj_, mixed, other, activation::none, &x);
            }
        }
        ffn_.run(c, other, x);
    }

  private:
    void run_layer_norm(const context &c, const map &x, const map &out) const {
        const index_type rows = x.size.height;
        c.parallel(x.size.images * rows, [&](index_type i, int) {
            c.kernels.layer_norm({.x = x.at(i / rows, i % rows, 0),
                                  .x_pixel = x.pixel_stride,
                                  .y = out.at(i / rows, i % rows, 0),
                                  .y_pixel = out.pixel_stride,
                                  .pixels = x.size.width,
                                  .channels = channels_,
                                  .gamma = norm_->scale(),
                                  .beta = norm_->shift(),
                                  .epsilon = static_cast<float>(weights::layer_norm::epsilon)});
        });
    }

    // One task for each head of each image. The maps have no halo, so an image's tokens lie one after the other.
    void run_heads(const context &c, const map &qkv, const map &out) const {
        const scope s(c);
        const index_type heads = channels_ / kernels::head_channels, tokens = out.size.height * out.size.width;
        const index_type floats = (kernels::attention_scratch(tokens) + kernels::channel_padding - 1) / kernels::channel_padding *
                                  kernels::channel_padding;
        float *const scratch = c.take_scratch(floats);
        c.parallel(out.size.images * heads, [&](index_type i, int worker) {
            const index_type n = i / heads, first = i % heads * kernels::head_channels;
            const float *const q = qkv.at(n, 0, 0) + first;
            c.kernels.attention({.q = q,
                                 .k = q + channels_,
                                 .v = q + 2 * channels_,
                                 .token = qkv.pixel_stride,
                                 .out = out.at(n, 0, 0) + first,
                                 .out_token = out.pixel_stride,
                                 .tokens = tokens,
                                 .scratch = scratch + worker * floats});
        });
    }

    static void copy(const context &c, const map &from, const map &to) {
        const index_type rows = from.size.height;
        c.parallel(from.size.images * rows, [&](index_type i, int) {
            std::copy_n(from.at(i / rows, i % rows, 0), from.size.width * from.pixel_stride, to.at(i / rows, i % rows, 0));
        });
    }

    index_type channels_;
    std::optional<channel_affine> norm_; ///< LayerNorm, or the train-time graph's BatchNorm
    bool layer_norm_ = false;
    kernels::packed_matrix qkv_, proj_;
    std::optional<channel_affine> layer_scale_; ///< train-time graph only
    conv_ffn ffn_;
};

}}} // namespace fastvit::FASTVIT_ABI::nn
