// SPDX-License-Identifier: MIT
// BatchNorm and layer scale, sums for pooling, LayerNorm.
#pragma once

#include "fastvit/kernels/channels.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// y[p][c] = act(x[p][c] * scale[c] + shift[c] + (accumulate ? y[p][c] : 0)).
struct affine_args {
    const float *x;
    index_type x_pixel; ///< floats between pixels
    float *y;           ///< may equal x
    index_type y_pixel;
    index_type pixels;
    index_type channels; ///< padded
    const float *scale;
    const float *shift;
    bool accumulate = false;
    activation act = activation::none;
};

/// sums[c] += sum over p of x[p][c], in the order of p.
struct sum_args {
    const float *x;
    index_type x_pixel;
    index_type pixels;
    index_type channels; ///< padded
    float *sums;
};

/// y[p][c] = (x[p][c] - mean of the pixel) / sqrt(variance of the pixel + epsilon) * gamma[c] + beta[c].
struct layer_norm_args {
    const float *x;
    index_type x_pixel;
    float *y;
    index_type y_pixel;
    index_type pixels;
    index_type channels; ///< not padded: the padding takes no part in mean and variance
    const float *gamma;  ///< padded with zeros
    const float *beta;   ///< padded with zeros
    float epsilon;
};

}}} // namespace fastvit::FASTVIT_ABI::kernels
