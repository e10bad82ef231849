// SPDX-License-Identifier: MIT
// BatchNorm in evaluation form as the affine map it is.
#pragma once

#include "fastvit/parts/weights.hpp"

#include <Eigen/Core>
#include <cmath>

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

/// Everything here is in double: where weight / sqrt(variance) is large, a fold in float32 would lose the digits that count.
using vector = Eigen::ArrayXd;
using matrix = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline vector to_double(const tensor<float> &t) { return Eigen::Map<const Eigen::ArrayXf>(t.data(), t.count()).cast<double>(); }

using float_matrix = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The tensor as a matrix whose rows are its first dimension: an expression over the tensor's memory, evaluated where it is used.
inline auto rows_to_double(const tensor<float> &t) {
    const index_type rows = t.dim(0);
    return Eigen::Map<const float_matrix>(t.data(), rows, rows > 0 ? t.count() / rows : 0).cast<double>();
}

/// Rounded to float32, once, at the end of a fold. `values` is an array of dims.count() elements, its rows the first dimension.
template <class Values> tensor<float> to_float(const Values &values, const shape &dims) {
    auto t = tensor<float>::uninitialised(dims);
    if constexpr (Values::ColsAtCompileTime == 1)
        Eigen::Map<Eigen::ArrayXf>(t.data(), t.count()) = values.template cast<float>();
    else
        Eigen::Map<float_matrix>(t.data(), values.rows(), values.cols()) = values.template cast<float>();
    return t;
}

/// y = x * scale + shift, channel by channel.
struct affine {
    vector scale, shift;
};

/// scale = weight / sqrt(running_var + epsilon), shift = bias - running_mean * scale.
inline affine to_affine(const weights::batch_norm &bn) {
    affine a;
    a.scale = to_double(bn.weight) / (to_double(bn.running_var) + weights::batch_norm::epsilon).sqrt();
    a.shift = to_double(bn.bias) - to_double(bn.running_mean) * a.scale;
    return a;
}

}}} // namespace fastvit::FASTVIT_ABI::reparam
