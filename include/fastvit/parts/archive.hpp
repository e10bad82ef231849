// SPDX-License-Identifier: MIT
// How a part names its tensors: its describe() lists them once, by name and shape, to an archive. Reading, listing, counting and
// writing are archives. Names are timm's; checkpoint/names.hpp knows the other spellings.
#pragma once

#include "fastvit/reparam/layers.hpp"
#include "fastvit/tensor.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace parts {

/// Takes what describe() says about the tensors of a struct, by their names inside it.
class archive {
  public:
    archive() = default;
    archive(const archive &) = delete;
    archive &operator=(const archive &) = delete;
    virtual ~archive() = default;

    /// A tensor of parameters.
    virtual void tensor(std::string_view name, fastvit::tensor<float> &values, const shape &dims) = 0;
    /// The same, of a matrix that int8 computes with and that a checkpoint may hold quantised.
    virtual void matrix(std::string_view name, fastvit::tensor<float> &values, const shape &dims) { tensor(name, values, dims); }
    /// The same, of a convolution that int8 does not compute in 8 bits, but with weights that it rounds to 16
    /// (reparam::half_rounding), in which a quantised checkpoint holds them.
    virtual void kernel(std::string_view name, fastvit::tensor<float> &values, const shape &dims) { tensor(name, values, dims); }
    /// The same, of values that cannot be negative.
    virtual void variance(std::string_view name, fastvit::tensor<float> &values, const shape &dims) {
        tensor(name, values, dims);
    }
    /// A BatchNorm's num_batches_tracked, which inference does not use.
    virtual void counter(std::string_view name) = 0;
    /// There is a depthwise convolution of this shape. If it has several outputs for each input, packing pads the inputs.
    virtual void depthwise(const reparam::conv_shape &) {}
    /// Packing makes this many floats that are in no tensor.
    virtual void made(index_type) {}
    /// Whether the block at this place is folded; `held`: its folded convolution, if the struct holds one.
    virtual bool folded(const std::optional<reparam::conv> &held) const = 0;
    /// Whether any tensor's name begins with `name.`; `held`: whether the struct holds it.
    virtual bool present(std::string_view name, bool held) const = 0;

    /// The archive, with `name.` before all names while the result lives.
    class inside {
      public:
        inside(archive &ar, std::string_view name) : archive_(ar), outer_(ar.path_.size()) { (ar.path_ += name) += '.'; }
        inside(const inside &) = delete;
        inside &operator=(const inside &) = delete;
        ~inside() { archive_.path_.resize(outer_); }
        operator archive &() const noexcept { return archive_; }

      private:
        archive &archive_;
        std::size_t outer_;
    };
    inside in(std::string_view name) { return {*this, name}; }

  protected:
    /// A tensor's whole name.
    std::string full(std::string_view name) const { return path_ + std::string(name); }

  private:
    std::string path_;
};

inline void describe(archive &ar, reparam::batch_norm &w, index_type channels) {
    ar.tensor("weight", w.weight, {channels});
    ar.tensor("bias", w.bias, {channels});
    ar.tensor("running_mean", w.running_mean, {channels});
    ar.variance("running_var", w.running_var, {channels});
    ar.counter("num_batches_tracked");
}

inline void describe(archive &ar, reparam::layer_norm &w, index_type channels) {
    ar.tensor("weight", w.weight, {channels});
    ar.tensor("bias", w.bias, {channels});
}

inline void describe(archive &ar, reparam::conv &w, const reparam::conv_shape &dims) {
    ar.kernel("weight", w.kernel, dims.kernel_dims());
    ar.tensor("bias", w.bias, {dims.out});
    if (dims.depthwise) ar.depthwise(dims);
}

/// A 1 x 1 convolution that int8 computes.
inline void describe_matrix(archive &ar, reparam::conv &w, const reparam::conv_shape &dims) {
    ar.matrix("weight", w.kernel, dims.kernel_dims());
    ar.tensor("bias", w.bias, {dims.out});
}

inline void describe(archive &ar, reparam::conv_bn &w, const reparam::conv_shape &dims) {
    ar.kernel("conv.weight", w.kernel, dims.kernel_dims());
    describe(ar.in("bn"), w.bn, dims.out);
    if (dims.depthwise) ar.depthwise(dims);
}

/// Describes a part only if it is `wanted`. T is a layer or a part's weights, for which there is a describe().
template <class T, class... Extent>
void describe_if(archive &ar, bool wanted, const char *name, std::optional<T> &part, const Extent &...extent) {
    if (!wanted) return;
    if (!part) part.emplace();
    describe(ar.in(name), *part, extent...);
}

/// A layer scale, [channels, 1, 1].
inline void describe_layer_scale(archive &ar, std::string_view name, std::optional<tensor<float>> &scale, index_type channels) {
    if (!scale) scale.emplace();
    ar.tensor(name, *scale, {channels, 1, 1});
}

}}} // namespace fastvit::FASTVIT_ABI::parts
