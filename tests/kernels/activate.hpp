// SPDX-License-Identifier: MIT
#pragma once

#include "fastvit/kernels/table.hpp"

#include <vector>

/// act(x) for each x, by the affine kernel.
inline std::vector<float> activate(const fastvit::kernels::kernel_table &tier, fastvit::kernels::activation act,
                                   const std::vector<float> &x) {
    const auto count = fastvit::kernels::padded_channels(static_cast<fastvit::index_type>(x.size()));
    std::vector<float> padded = x, y(count), ones(count, 1), zeros(count, 0);
    padded.resize(count);
    tier.affine({.x = padded.data(),
                 .x_pixel = count,
                 .y = y.data(),
                 .y_pixel = count,
                 .pixels = 1,
                 .channels = count,
                 .scale = ones.data(),
                 .shift = zeros.data(),
                 .act = act});
    y.resize(x.size());
    return y;
}
