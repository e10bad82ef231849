// SPDX-License-Identifier: MIT
// A scale and a shift for each channel: BatchNorm of the train-time graph, layer scale, activations alone.
#pragma once

#include "fastvit/parts/convolution.hpp"
#include "fastvit/reparam/fold.hpp"

#include <algorithm>
#include <cstddef>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// Scale and shift of each channel, padded with zeros: a BatchNorm of the train-time graph, or a layer scale.
class channel_affine {
  public:
    channel_affine() = default;
    explicit channel_affine(const reparam::batch_norm &bn) : channel_affine(reparam::to_affine(bn)) {}
    explicit channel_affine(const reparam::affine &a)
        : scale_(kernels::padded_channels(static_cast<index_type>(a.scale.size()))), shift_(scale_.count()) {
        for (std::size_t c = 0; c < a.scale.size(); ++c) {
            scale_.data()[c] = static_cast<float>(a.scale[c]);
            shift_.data()[c] = static_cast<float>(a.shift[c]);
        }
    }
    /// x * sign * scale.
    explicit channel_affine(const tensor<float> &scale, float sign = 1)
        : scale_(kernels::padded_channels(scale.count())), shift_(kernels::padded_channels(scale.count())) {
        for (index_type c = 0; c < scale.count(); ++c) scale_.data()[c] = sign * scale.data()[c];
    }

    /// 1 and 0: an activation alone, or a copy.
    static channel_affine identity(index_type channels) { return channel_affine(reparam::affine::identity(channels)); }

    const float *scale() const noexcept { return scale_.data(); }
    const float *shift() const noexcept { return shift_.data(); }

    /// y = act(x * scale + shift), or y += that.
    void run(const context &c, const map &x, const map &y, bool accumulate = false, activation act = activation::none) const {
        run_affine(c, x, y, scale(), 0, shift(), accumulate, act);
    }

    /// The same with a scale for each image, `image_scale` floats apart.
    static void run_affine(const context &c, const map &x, const map &y, const float *scale, index_type image_scale,
                           const float *shift, bool accumulate, activation act) {
        const index_type rows = x.size.height;
        c.parallel(x.size.images * rows, [&](index_type i, int) {
            const index_type n = i / rows;
            c.kernels.affine({.x = x.at(n, i % rows, 0),
                              .x_pixel = x.pixel_stride,
                              .y = y.at(n, i % rows, 0),
                              .y_pixel = y.pixel_stride,
                              .pixels = x.size.width,
                              .channels = x.channels(),
                              .scale = scale + n * image_scale,
                              .shift = shift,
                              .accumulate = accumulate,
                              .act = act});
        });
    }

  private:
    kernels::float_buffer scale_, shift_;
};

/// act(x) in place.
inline void run_activation(const context &c, const map &m, activation act) {
    const scope s(c.memory);
    float *const one = c.memory.take(2 * m.channels());
    if (!c.planning()) {
        std::fill_n(one, m.channels(), 1.0F);
        std::fill_n(one + m.channels(), m.channels(), 0.0F);
    }
    channel_affine::run_affine(c, m, m, one, 0, one + m.channels(), false, act);
}

}}} // namespace fastvit::FASTVIT_ABI::parts

FASTVIT_STRICT_MATH_END
