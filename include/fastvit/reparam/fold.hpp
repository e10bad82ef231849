// SPDX-License-Identifier: MIT
// Structural reparameterisation (paper, sections 3.2 to 3.4): each train-time block as the one convolution that computes the
// same.
//
// Every fold is one of three: a BatchNorm after a convolution scales its rows; the identity and a 1 x 1 kernel are k x k kernels
// with nothing but a centre; parallel convolutions add up. A BatchNorm before a convolution folds only where that does not pad,
// because padding with zeros comes after the BatchNorm: in this network that is attention's norm, before the qkv matrix.
#pragma once

#include "fastvit/reparam/affine.hpp"

#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace reparam {

/// A convolution with bias, in double: kernel [out, (in / groups) * k * k], bias [out].
struct folded_conv {
    weights::conv_shape dims;
    matrix kernel;
    vector bias;

    explicit folded_conv(const weights::conv_shape &d)
        : dims(d), kernel(matrix::Zero(d.out, (d.depthwise ? 1 : d.in) * d.kernel * d.kernel)), bias(vector::Zero(d.out)) {}
    folded_conv(const weights::conv_shape &d, const weights::conv &c)
        : dims(d), kernel(rows_to_double(c.kernel)), bias(to_double(c.bias)) {}

    weights::conv rounded() const { return {to_float(kernel, dims.kernel_dims()), to_float(bias, {dims.out})}; }
};

/// A convolution followed by BatchNorm.
inline folded_conv fold(const weights::conv_shape &dims, const weights::conv_bn &w) {
    const affine bn = to_affine(w.bn);
    folded_conv folded(dims);
    folded.kernel = rows_to_double(w.kernel).colwise() * bn.scale;
    folded.bias = bn.shift;
    return folded;
}

/// Adds a convolution of the same stride and groups whose smaller odd kernel lies on the centre of the larger one.
inline void add_centred(folded_conv &sum, const folded_conv &part) {
    const index_type k = sum.dims.kernel, small = part.dims.kernel, border = (k - small) / 2;
    const index_type inputs = sum.kernel.cols() / (k * k);
    for (index_type i = 0; i < inputs; ++i)
        for (index_type y = 0; y < small; ++y)
            for (index_type x = 0; x < small; ++x)
                sum.kernel.col((i * k + y + border) * k + x + border) += part.kernel.col((i * small + y) * small + x);
    sum.bias += part.bias;
}

/// Adds y = x * scale + shift: a kernel with nothing but a centre, on the diagonal of a dense one.
inline void add_identity(folded_conv &sum, const affine &a) {
    const index_type k = sum.dims.kernel, centre = k / 2 * k + k / 2;
    for (index_type o = 0; o < sum.dims.out; ++o) sum.kernel(o, (sum.dims.depthwise ? 0 : o * k * k) + centre) += a.scale(o);
    sum.bias += a.shift;
}

/// MobileOne block: all branches of the sum before squeeze and excite and the activation (official
/// `MobileOneBlock.reparameterize`).
inline folded_conv fold_branches(const weights::mobile_one &w) {
    if (w.folded) return {w.dims, *w.folded};
    folded_conv sum(w.dims);
    for (const weights::conv_bn &branch : w.convs) add_centred(sum, fold(w.dims, branch));
    weights::conv_shape point = w.dims;
    point.kernel = 1;
    if (w.scale) add_centred(sum, fold(point, *w.scale));
    if (w.identity) add_identity(sum, to_affine(*w.identity));
    return sum;
}

/// Large kernel: the small convolution on the centre of the large one (official `ReparamLargeKernelConv.get_kernel_bias`).
inline folded_conv fold_branches(const weights::large_kernel &w) {
    if (w.folded) return {w.dims, *w.folded};
    folded_conv sum = fold(w.dims, w.large.value());
    weights::conv_shape three = w.dims;
    three.kernel = 3;
    add_centred(sum, fold(three, w.small.value()));
    return sum;
}

/// RepMixer: x + ls * (mixer(x) - norm(x)) (official `RepMixer.reparameterize`).
inline folded_conv fold_branches(const weights::rep_mixer &w) {
    const weights::conv_shape dims{.in = w.channels, .out = w.channels, .kernel = 3, .depthwise = true};
    if (w.folded) return {dims, *w.folded};
    folded_conv sum = fold_branches(w.mixer);
    affine norm = to_affine(w.norm);
    add_identity(sum, {-norm.scale, -norm.shift});
    const vector layer_scale = to_double(w.layer_scale);
    sum.kernel.colwise() *= layer_scale;
    sum.bias *= layer_scale;
    add_identity(sum, {vector::Ones(w.channels), vector::Zero(w.channels)});
    return sum;
}

/// RepCPE: x + conv(x) (official `RepCPE.reparameterize`).
inline folded_conv fold_branches(const weights::position &w) {
    const weights::conv_shape dims{.in = w.channels, .out = w.channels, .kernel = 7, .depthwise = true};
    if (w.folded) return {dims, *w.folded};
    folded_conv sum(dims, w.encoding.value());
    add_identity(sum, {vector::Ones(w.channels), vector::Zero(w.channels)});
    return sum;
}

/// Layer scale after a layer with bias: its rows and bias times the scale. Serves ConvFFN's fc2 and attention's proj.
inline weights::conv fold_layer_scale(const weights::conv &w, const tensor<float> &layer_scale) {
    const vector scale = to_double(layer_scale);
    return {to_float(rows_to_double(w.kernel).colwise() * scale, w.kernel.dims()),
            to_float(to_double(w.bias) * scale, w.bias.dims())};
}

/// A per-channel affine map before a matrix without bias, W (x * scale + shift): attention's norm into qkv. The matrix [rows,
/// cols] gains a bias [rows].
inline weights::conv fold_input_affine(const tensor<float> &w, const affine &norm) {
    const auto before = rows_to_double(w); // row by row: the whole in double would be the largest piece of memory of a load
    vector bias(w.dim(0));
    for (index_type row = 0; row < w.dim(0); ++row) bias(row) = (before.row(row).transpose() * norm.shift).sum();
    return {to_float(before.rowwise() * norm.scale.transpose(), w.dims()), to_float(bias, {w.dim(0)})};
}

// The folded form of a part: what the official `reparameterize_model` leaves in a checkpoint. ConvFFN's and attention's BatchNorm
// and the layer scales stay; a model folds those too when it packs its weights. A folded part comes back as it is.

inline void fold_part(weights::mobile_one &w) {
    if (w.folded) return;
    w.folded = fold_branches(w).rounded();
    w.convs.clear();
    w.scale.reset();
    w.identity.reset();
}

inline void fold_part(weights::large_kernel &w) {
    if (w.folded) return;
    w.folded = fold_branches(w).rounded();
    w.large.reset();
    w.small.reset();
}

inline void fold_part(weights::stem &w) {
    for (weights::mobile_one &conv : w.convs) fold_part(conv);
}

inline void fold_part(weights::patch_embed &w) {
    fold_part(w.spatial);
    fold_part(w.pointwise);
}

inline void fold_part(weights::rep_mixer_block &w) {
    if (w.mixer.folded) return;
    weights::rep_mixer folded;
    folded.channels = w.mixer.channels;
    folded.folded = fold_branches(w.mixer).rounded();
    w.mixer = std::move(folded);
}

inline void fold_part(weights::position &w) {
    if (w.folded) return;
    w.folded = fold_branches(w).rounded();
    w.encoding.reset();
}

inline void fold_part(weights::head_conv &w) { fold_part(w.conv); }
inline void fold_part(weights::attention_block &) {}
inline void fold_part(weights::batch_norm &) {}
inline void fold_part(weights::linear &) {}

}}} // namespace fastvit::FASTVIT_ABI::reparam
