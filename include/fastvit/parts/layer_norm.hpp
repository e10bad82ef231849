// SPDX-License-Identifier: MIT
// LayerNorm over the channels of each pixel (timm `LayerNorm2d`), which does not fold.
#pragma once

#include "fastvit/parts/channel_affine.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

class layer_norm {
  public:
    explicit layer_norm(const reparam::layer_norm &w) : affine_({reparam::to_double(w.weight), reparam::to_double(w.bias)}) {}

    void run(const context &c, const map &x, const map &out) const {
        const index_type rows = x.size.height;
        c.parallel(x.size.images * rows, [&](index_type i, int) {
            c.kernels.layer_norm({.x = x.at(i / rows, i % rows, 0),
                                  .x_pixel = x.pixel_stride,
                                  .y = out.at(i / rows, i % rows, 0),
                                  .y_pixel = out.pixel_stride,
                                  .pixels = x.size.width,
                                  .channels = x.size.channels,
                                  .gamma = affine_.scale(),
                                  .beta = affine_.shift(),
                                  .epsilon = static_cast<float>(reparam::layer_norm::epsilon)});
        });
    }

  private:
    channel_affine affine_;
};

}}} // namespace fastvit::FASTVIT_ABI::parts
