// SPDX-License-Identifier: MIT
// Structural reparameterisation (paper, sections 3.2 to 3.4): the linear algebra that makes branches one convolution. Which
// branches a block has, and how they add up, is in the block's file in parts/.
//
// Every fold is one of three: a BatchNorm after a convolution scales its rows; the identity and a 1 x 1 kernel are k x k kernels
// with nothing but a centre; parallel convolutions add up. A BatchNorm before a convolution folds only where that does not pad,
// because padding with zeros comes after the BatchNorm: in this network that is attention's norm, before the qkv matrix.
//
// Everything is in double: where weight / sqrt(variance) is large, a fold in float32 would lose the digits that count. In plain
// loops, without Eigen: its functions have the same name whatever a unit's flags, but allocate as the flags say, so one unit of a
// program could free what another had allocated.
#pragma once

#include "fastvit/base/regions.hpp"
#include "fastvit/reparam/layers.hpp"

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

using vector = std::vector<double>;

inline vector to_double(const tensor<float> &t) { return vector(t.data(), t.data() + t.count()); }

/// Rounded to float32, once, at the end of a fold.
inline tensor<float> to_float(const vector &values, const shape &dims) {
    auto t = tensor<float>::uninitialised(dims);
    for (index_type i = 0; i < t.count(); ++i) t.data()[i] = static_cast<float>(values[static_cast<std::size_t>(i)]);
    return t;
}

/// y = x * scale + shift, channel by channel.
struct affine {
    vector scale, shift;

    static affine identity(index_type channels) {
        const auto n = static_cast<std::size_t>(channels);
        return {vector(n, 1.0), vector(n, 0.0)};
    }
};

/// scale = weight / sqrt(running_var + epsilon), shift = bias - running_mean * scale.
inline affine to_affine(const batch_norm &bn) {
    affine a{to_double(bn.weight), to_double(bn.bias)};
    for (std::size_t c = 0; c < a.scale.size(); ++c) {
        a.scale[c] /= __builtin_sqrt(static_cast<double>(bn.running_var.data()[c]) + batch_norm::epsilon);
        a.shift[c] -= static_cast<double>(bn.running_mean.data()[c]) * a.scale[c];
    }
    return a;
}

/// A convolution with bias, in double: kernel [out][fan_in], bias [out].
struct folded_conv {
    conv_shape dims;
    vector kernel, bias;

    explicit folded_conv(const conv_shape &d)
        : dims(d), kernel(static_cast<std::size_t>(d.out * d.fan_in())), bias(static_cast<std::size_t>(d.out)) {}
    folded_conv(const conv_shape &d, const conv &c) : folded_conv(d, to_double(c.kernel), to_double(c.bias)) {}
    folded_conv(const conv_shape &d, vector k, vector b) : dims(d), kernel(std::move(k)), bias(std::move(b)) {}

    /// The weights of output o.
    double *row(index_type o) noexcept { return kernel.data() + o * dims.fan_in(); }
    const double *row(index_type o) const noexcept { return kernel.data() + o * dims.fan_in(); }

    /// The outputs times `scale`.
    void scale_outputs(const vector &scale) {
        for (index_type o = 0; o < dims.out; ++o) {
            const double s = scale[static_cast<std::size_t>(o)];
            for (index_type i = 0; i < dims.fan_in(); ++i) row(o)[i] *= s;
            bias[static_cast<std::size_t>(o)] *= s;
        }
    }

    conv rounded() const { return {to_float(kernel, dims.kernel_dims()), to_float(bias, {dims.out})}; }
};

/// A convolution followed by BatchNorm.
inline folded_conv fold(const conv_shape &dims, const conv_bn &w) {
    affine bn = to_affine(w.bn);
    folded_conv folded(dims, to_double(w.kernel), vector(bn.shift.size()));
    folded.scale_outputs(bn.scale);
    folded.bias = std::move(bn.shift);
    return folded;
}

/// Adds a convolution of the same stride and groups whose smaller odd kernel lies on the centre of the larger one.
inline void add_centred(folded_conv &sum, const folded_conv &part) {
    const index_type k = sum.dims.kernel, small = part.dims.kernel, border = (k - small) / 2;
    const index_type inputs = sum.dims.fan_in() / sum.dims.taps();
    for (index_type o = 0; o < sum.dims.out; ++o) {
        for (index_type i = 0; i < inputs; ++i) {
            double *const to = sum.row(o) + i * sum.dims.taps();
            const double *const from = part.row(o) + i * part.dims.taps();
            for (index_type y = 0; y < small; ++y)
                for (index_type x = 0; x < small; ++x) to[(y + border) * k + x + border] += from[y * small + x];
        }
        sum.bias[static_cast<std::size_t>(o)] += part.bias[static_cast<std::size_t>(o)];
    }
}

/// Adds y = sign * (x * scale + shift): a kernel with nothing but a centre, on the diagonal of a dense one.
inline void add_identity(folded_conv &sum, const affine &a, double sign = 1) {
    const index_type k = sum.dims.kernel, centre = k / 2 * k + k / 2;
    for (index_type o = 0; o < sum.dims.out; ++o) {
        sum.row(o)[(sum.dims.depthwise ? 0 : o * sum.dims.taps()) + centre] += sign * a.scale[static_cast<std::size_t>(o)];
        sum.bias[static_cast<std::size_t>(o)] += sign * a.shift[static_cast<std::size_t>(o)];
    }
}

/// Layer scale after a layer with bias: its rows and bias times the scale. In float: the product of two floats is exact in
/// double, so it is rounded once either way. Serves ConvFFN's fc2 and attention's proj in a quantised checkpoint; for a model,
/// packing multiplies them.
inline conv fold_layer_scale(const conv &w, const tensor<float> &layer_scale) {
    conv scaled{tensor<float>::uninitialised(w.kernel.dims()), tensor<float>::uninitialised(w.bias.dims())};
    const index_type rows = w.bias.count(), columns = rows > 0 ? w.kernel.count() / rows : 0;
    for (index_type o = 0; o < rows; ++o) {
        const float s = layer_scale.data()[o];
        const float *const from = w.kernel.data() + o * columns;
        float *const to = scaled.kernel.data() + o * columns;
        for (index_type i = 0; i < columns; ++i) to[i] = from[i] * s;
        scaled.bias.data()[o] = w.bias.data()[o] * s;
    }
    return scaled;
}
/// The same in place, if there is a scale: then there is none any more.
inline void fold_layer_scale(conv &w, std::optional<tensor<float>> &layer_scale) {
    if (!layer_scale) return;
    w = fold_layer_scale(w, *layer_scale);
    layer_scale.reset();
}

/// A per-channel affine map before a matrix [rows, columns] without bias, W (x * scale + shift): attention's norm into qkv. The
/// matrix gains a bias [rows].
inline conv fold_input_affine(const tensor<float> &w, const affine &norm) {
    const index_type rows = w.dim(0), columns = w.dim(1);
    conv folded{tensor<float>::uninitialised(w.dims()), tensor<float>::uninitialised({rows})};
    const auto fold_row = [&](index_type o) {
        double bias = 0;
        for (index_type i = 0; i < columns; ++i) {
            const double weight = w(o, i);
            folded.kernel(o, i) = static_cast<float>(weight * norm.scale[static_cast<std::size_t>(i)]);
            bias += weight * norm.shift[static_cast<std::size_t>(i)];
        }
        folded.bias(o) = static_cast<float>(bias);
    };
    // A bias is a chain of additions, each of which waits for the one before: four rows have four.
    const auto fold_four_rows = [&](index_type first) {
        using two_doubles = double __attribute__((vector_size(16)));
        const float *const from = w.data() + first * columns;
        float *const to = folded.kernel.data() + first * columns;
        two_doubles bias[2] = {};
        for (index_type i = 0; i < columns; ++i)
#pragma GCC unroll 2
            for (index_type pair = 0; pair < 2; ++pair) {
                const index_type at = 2 * pair * columns + i;
                const two_doubles weights{from[at], from[at + columns]};
                const two_doubles scaled = weights * norm.scale[static_cast<std::size_t>(i)];
                to[at] = static_cast<float>(scaled[0]);
                to[at + columns] = static_cast<float>(scaled[1]);
                bias[pair] += weights * norm.shift[static_cast<std::size_t>(i)];
            }
        for (index_type row = 0; row < 4; ++row) folded.bias(first + row) = static_cast<float>(bias[row / 2][row % 2]);
    };
    index_type o = 0;
    for (; o + 4 <= rows; o += 4) fold_four_rows(o);
    for (; o < rows; ++o) fold_row(o);
    return folded;
}

}}} // namespace fastvit::FASTVIT_ABI::reparam

FASTVIT_STRICT_MATH_END
