// SPDX-License-Identifier: MIT
// The memory traffic of a graph whose operators each read their inputs and write their result: what the paper means by memory
// access cost, whatever a runtime keeps in its caches. One image, float32.
#pragma once

#include "forms.hpp"

#include <type_traits>

namespace bench {

/// Counts the floats that operators read and write.
class traffic {
  public:
    using extent = fastvit::runtime::extent;

    double floats() const noexcept { return floats_; }

    /// Counts a part's operators on the weights as they are.
    template <class Part>
    void add(const typename Part::config &c, const typename Part::weights &w, const extent &in, const extent &out) {
        namespace parts = fastvit::parts;
        if constexpr (std::is_same_v<Part, parts::stem>) {
            extent size = in;
            for (const auto &conv : w.convs) {
                size = mobile_one(conv, size);
                unary(size); // GELU
            }
        } else if constexpr (std::is_same_v<Part, parts::patch_embed>) {
            convolution(in, out);
            if (!w.spatial.folded) {
                convolution(in, out);
                unary(out), unary(out); // the BatchNorms of both
                binary(out);
            }
            if (w.spatial.gate) squeeze_excite(out);
            if (c.gelu) unary(out);
            mobile_one(w.pointwise, out);
            unary(out);
        } else if constexpr (std::is_same_v<Part, parts::position>) {
            convolution(in, out);
            if (!w.folded) binary(out);
        } else if constexpr (std::is_same_v<Part, parts::head_conv>) {
            mobile_one(w, in);
            unary(out);
        } else if constexpr (std::is_same_v<Part, parts::linear>) {
            floats_ += all(in); // the global average; the vectors after it do not count
        } else if constexpr (std::is_same_v<Part, parts::fork_norm>) {
            unary(out);
        } else {
            mixer(w, c, in);
            ffn(w, c, in);
        }
    }

  private:
    static double all(const extent &e) { return static_cast<double>(e.pixels() * e.channels); }
    void convolution(const extent &in, const extent &out) { floats_ += all(in) + all(out); }
    void unary(const extent &e) { floats_ += 2 * all(e); }  // an activation, a BatchNorm, a scale
    void binary(const extent &e) { floats_ += 3 * all(e); } // a sum or difference
    void squeeze_excite(const extent &e) { floats_ += 3 * all(e); }

    extent mobile_one(const fastvit::parts::mobile_one::weights &w, const extent &in) {
        const extent out = fastvit::parts::output_extent(w.dims, in);
        if (w.folded) {
            convolution(in, out);
        } else {
            const auto convolutions = w.convs.size() + (w.scale ? 1 : 0), branches = convolutions + (w.identity ? 1 : 0);
            for (std::size_t i = 0; i < convolutions; ++i) convolution(in, out);
            for (std::size_t i = 0; i < branches; ++i) unary(out);
            for (std::size_t i = 1; i < branches; ++i) binary(out);
        }
        if (w.gate) squeeze_excite(out);
        return out;
    }

    void mixer(const fastvit::parts::rep_mixer_block::weights &w, const fastvit::stage_architecture &, const extent &x) {
        if (w.mixer.folded) return convolution(x, x);
        mobile_one(w.mixer.mixer, x);
        unary(x), unary(x);   // norm, layer scale
        binary(x), binary(x); // the difference, the skip
    }
    void mixer(const fastvit::parts::conv_mixer_block::weights &, const fastvit::stage_architecture &, const extent &x) {
        convolution(x, x);
        unary(x), unary(x); // GELU, BatchNorm
        binary(x);
    }
    void mixer(const fastvit::parts::pooling_block::weights &w, const fastvit::stage_architecture &, const extent &x) {
        convolution(x, x);
        if (!w.norm) return;
        unary(x), unary(x);
        binary(x), binary(x);
    }
    void mixer(const fastvit::parts::attention_block::weights &w, const fastvit::stage_architecture &c, const extent &x) {
        if (w.batch_norm || w.layer_norm) unary(x);
        const extent qkv = x.with_channels(3 * c.channels);
        convolution(x, qkv);
        // Two products and a softmax between them.
        const double heads = static_cast<double>(c.channels / fastvit::kernels::head_channels);
        const double tokens = static_cast<double>(x.height * x.width);
        floats_ += all(qkv) + all(x) + 4 * heads * tokens * tokens;
        convolution(x, x);
        if (w.layer_scale_1) unary(x);
        binary(x);
    }

    template <class Weights> void ffn(const Weights &w, const fastvit::stage_architecture &c, const extent &x) {
        const extent hidden = x.with_channels(c.hidden);
        convolution(x, x);
        if (!w.ffn.folded) unary(x); // BatchNorm
        convolution(x, hidden);
        unary(hidden);
        convolution(hidden, x);
        if (!w.ffn.folded) unary(x); // layer scale
        binary(x);
    }

    double floats_ = 0;
};

/// Bytes of activations that one image of `size` x `size` moves.
inline double activation_bytes(const fastvit::checkpoint &source, const left &l, fastvit::index_type size) {
    traffic count;
    fastvit::runtime::extent in{1, size, size, 3};
    for_each_folded_part(source, l, [&]<class Part>(const auto &, const typename Part::config &c, const auto &w) {
        const fastvit::runtime::extent out = Part::output(c, in);
        count.add<Part>(c, w, in, out);
        in = out;
    });
    return sizeof(float) * count.floats();
}

} // namespace bench
