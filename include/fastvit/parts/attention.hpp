// SPDX-License-Identifier: MIT
// Self-attention over the pixels of a map, and the block around it (official `MHSA`, `AttentionBlock`).
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/parts/conv_ffn.hpp"
#include "fastvit/parts/layer_norm.hpp"
#include "fastvit/parts/map_pair.hpp"
#include "fastvit/parts/part_cost.hpp"
#include "fastvit/parts/pooled.hpp"

#include <algorithm>
#include <cstddef>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// t = x + layer_scale_1 * attention(norm(x)); t + layer_scale_2 * ConvFFN(t).
class attention_block {
  public:
    using config = stage_architecture;
    struct weights {
        std::optional<reparam::batch_norm> batch_norm; ///< none where it is folded
        std::optional<reparam::layer_norm> layer_norm; ///< instead of it (MCi3, MCi4)
        reparam::conv qkv;                             ///< [3 * channels, channels]; the bias is empty unless a norm is folded in
        reparam::conv proj;                            ///< [channels, channels]
        conv_ffn::weights ffn;
        std::optional<tensor<float>> layer_scale_1, layer_scale_2; ///< [channels, 1, 1]; none where they are folded
        std::optional<tensor<float>> proj_scale;                   ///< the folded layer_scale_1, until proj is packed
    };
    /// The norm is folded into a copy of qkv, and for a quantised checkpoint each matrix is scaled into a copy.
    static constexpr std::size_t fold_bytes = sizeof(float);
    static constexpr token_mixer kind = token_mixer::attention;

    /// Whether the tensors of such a block are there, and which norm it has; has(name): whether a name begins so.
    template <class Has> static bool recognise(const Has &has, config &c) {
        if (!has("token_mixer.qkv.") && !has("token_mixer.proj.")) return false;
        // In a quantised checkpoint a BatchNorm is folded, and a LayerNorm is there.
        const bool folded = has("mlp.conv.reparam_conv.") && !has("norm.");
        if (!has("norm.running_") && !folded) c.norm = attention_norm::layer_norm;
        return true;
    }
    static void describe(archive &ar, weights &w, const config &c) {
        const index_type n = c.channels;
        const bool quantised_form = conv_ffn::in_quantised_form(ar, w.ffn), batch_norm = c.norm == attention_norm::batch_norm;
        describe_if(ar, batch_norm && !quantised_form, "norm", w.batch_norm, n);
        describe_if(ar, c.norm == attention_norm::layer_norm, "norm", w.layer_norm, n);
        ar.matrix("token_mixer.qkv.weight", w.qkv.kernel, {3 * n, n});
        if (batch_norm && quantised_form) ar.tensor("token_mixer.qkv.bias", w.qkv.bias, {3 * n});
        ar.matrix("token_mixer.proj.weight", w.proj.kernel, {n, n});
        ar.tensor("token_mixer.proj.bias", w.proj.bias, {n});
        if (!quantised_form) describe_layer_scale(ar, "layer_scale_1.gamma", w.layer_scale_1, n);
        conv_ffn::describe(ar.in("mlp"), w.ffn, c);
        if (!quantised_form) describe_layer_scale(ar, "layer_scale_2.gamma", w.layer_scale_2, n);
    }
    static void reparameterize(weights &) {} // the official code leaves the block as it is
    static void fold(weights &w) {
        if (w.batch_norm) {
            w.qkv = reparam::fold_input_affine(w.qkv.kernel, reparam::to_affine(*w.batch_norm));
            w.batch_norm.reset();
        }
        if (w.layer_scale_1) w.proj_scale = std::exchange(w.layer_scale_1, std::nullopt);
        conv_ffn::fold(w.ffn, w.layer_scale_2);
    }
    static void fold_for_int8(weights &w) {
        fold(w);
        reparam::fold_layer_scale(w.proj, w.proj_scale);
        conv_ffn::fold_for_int8(w.ffn, w.layer_scale_2);
    }
    static extent output(const config &, const extent &in) noexcept { return in; }
    static std::vector<part_cost> costs(const config &c, const extent &in) {
        const double n = static_cast<double>(c.channels), all = static_cast<double>(in.pixels());
        const double tokens = static_cast<double>(in.height * in.width);
        return {{"token_mixer", all * 4 * n * n + 2 * all * tokens * n}, {"mlp", conv_ffn::multiply_adds(c, in)}};
    }

    attention_block(const kernels::weight_target &target, const weights &w, const config &c)
        : channels_(c.channels), qkv_(target.in("token_mixer.qkv"), w.qkv, c.channels),
          proj_(pack_pointwise(target.in("token_mixer.proj"), w.proj, w.proj_scale)),
          ffn_(target.in("mlp"), w.ffn, w.layer_scale_2) {
        if (w.batch_norm) batch_norm_.emplace(*w.batch_norm);
        if (w.layer_norm) layer_norm_.emplace(*w.layer_norm);
        if (w.layer_scale_1) layer_scale_.emplace(*w.layer_scale_1);
    }

    void run(const context &c, map_pair &maps) const {
        const map &x = maps.x, &other = maps.other;
        {
            const watched w(c, "token_mixer");
            const scope s(c.memory);
            map normed = x;
            if (batch_norm_ || layer_norm_) normed = c.take_map(x.size, 0);
            if (batch_norm_) batch_norm_->run(c, x, normed);
            if (layer_norm_) layer_norm_->run(c, x, normed);
            const map qkv = c.take_map(x.size.with_channels(3 * channels_), 0);
            qkv_.run(c, normed, qkv);
            const map mixed = c.take_map(x.size, 0);
            run_heads(c, qkv, mixed);
            if (layer_scale_) {
                const map projected = c.take_map(x.size, 0);
                run_pointwise(c, proj_, mixed, projected);
                // x + layer_scale * projected, in x, and from there to where the ConvFFN reads.
                layer_scale_->run(c, projected, x, true);
                copy_pixels(c, x, other);
            } else {
                run_pointwise(c, proj_, mixed, other, {.residual = &x});
            }
        }
        ffn_.run(c, other, x);
    }

  private:
    /// Gives q, k and v side by side.
    //
    // In bfloat16 each is a product of its own, and k's is of the input less its mean over the tokens. Without the mean, all
    // scores of a query change by the same amount, which softmax does not see. But as tokens have much in common, what is left
    // is small, and so are its rounding errors: 1 - cosine of SA36's embedding, the worst official input, is 7e-5, where k of the
    // input itself makes it 2e-4.
    class qkv_layer {
      public:
        qkv_layer(const kernels::weight_target &target, const reparam::conv &w, index_type channels) {
            // q's columns take up the 1 / sqrt(32) of the scores and the change of the softmax's base: powers of 2 are cheaper
            // than powers of e.
            const auto scale =
                static_cast<float>(std::numbers::log2e / __builtin_sqrt(static_cast<double>(kernels::head_channels)));
            std::vector<float> scales(static_cast<std::size_t>(3 * channels), 1.0F);
            std::fill_n(scales.begin(), channels, scale);
            kernels::unpacked_matrix m = unpacked(w.kernel, w.bias);
            if (target.type != precision::bfloat16) {
                // Sensitive, as softmax is exponential in the scores: of six inputs that differ by thousandths, the cosine
                // between SA36's embeddings in int8 and float32 is 0.9962 to 0.9994 with activations of 7 bits, 0.9997 to 0.9998
                // with 14 or in float32.
                products_.push_back({pack_sensitive(target, m, scales.data()), 0, false});
                return;
            }
            m.column_scale = scales.data();
            kernels::weight_target unnoted = target;
            unnoted.notes = nullptr;
            for (const index_type first : {index_type{0}, channels, 2 * channels})
                products_.push_back(
                    {pack_gemm(first == 0 ? target : unnoted, m.some_columns(first, channels)), first, first == channels});
        }

        void run(const context &c, const map &x, const map &qkv) const {
            for (const product &p : products_) {
                const scope s(c.memory);
                map in = x, out = qkv;
                out.origin += p.first;
                if (p.of_centred) {
                    in = c.take_map(x.size, 0);
                    run_centred(c, x, in);
                }
                run_pointwise(c, p.matrix, in, out);
            }
        }

      private:
        struct product {
            kernels::packed_matrix matrix;
            index_type first; ///< where its outputs begin
            bool of_centred;
        };
        std::vector<product> products_;
    };

    // One task for each head of each image. The maps have no halo, so an image's tokens lie one after the other.
    void run_heads(const context &c, const map &qkv, const map &out) const {
        const scope s(c.memory);
        const index_type heads = channels_ / kernels::head_channels, tokens = out.size.height * out.size.width;
        const worker_scratch scratch = c.memory.take_scratch(kernels::attention_scratch(tokens));
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
                                 .scratch = scratch.of(worker)});
        });
    }

    index_type channels_;
    std::optional<channel_affine> batch_norm_; ///< where it is not folded, as layer_scale_
    std::optional<parts::layer_norm> layer_norm_;
    qkv_layer qkv_;
    kernels::packed_matrix proj_;
    std::optional<channel_affine> layer_scale_;
    conv_ffn ffn_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
