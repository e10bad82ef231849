// SPDX-License-Identifier: MIT
// A tensor as a file holds it, and its way to float32.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/tensor.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// One tensor as stored. It owns its name, not its elements.
struct stored_tensor {
    std::string name;                                  ///< as the file spells it
    dtype type = dtype::other;                         ///< of the elements
    std::string type_name;                             ///< the same in the file's words, also when `type` is other
    shape dims;                                        ///< outermost first
    std::array<index_type, shape::max_rank> strides{}; ///< in elements, none negative; dims.rank() of them count
    std::span<const std::byte> bytes;                  ///< from the first element to the last, not necessarily aligned
};

using string_map = std::map<std::string, std::string, std::less<>>;

/// What a file's parser returns. The tensors' bytes are those of the file.
struct file_contents {
    std::vector<stored_tensor> tensors; ///< in file order, names unique
    string_map metadata;
    std::string key =
        {}; ///< of a PyTorch file's dictionary that has the tensors, with dots between nested ones; empty for the whole
};

/// More tensors than that are not a checkpoint but an attack on the memory: the largest FastViT has some 2000, and a
/// stored_tensor weighs far more than the fifty bytes that a file needs to claim one.
inline constexpr std::size_t max_tensors = 65536;

/// Bytes of a tensor's name: the longest of a FastViT inside a larger model are half as long. Loading keeps names in two
/// spellings, and takes memory in proportion.
inline constexpr std::size_t longest_name = 256;

/// Throws `bad_format` for a longer one.
void check_name_length(std::string_view name);

/// The dimensions that a file claims for a tensor. Throws `bad_format`, naming the tensor, where shape itself refuses.
[[nodiscard]] shape checked_shape(std::span<const index_type> dims, const std::string &name);

/// The strides of a contiguous row-major tensor.
[[nodiscard]] std::array<index_type, shape::max_rank> contiguous_strides(const shape &dims) noexcept;

/// How many elements of storage a strided tensor spans, from its first to its last; 0 if it has none. Empty for a negative
/// stride and for a span that overflows.
[[nodiscard]] std::optional<index_type> spanned(const shape &dims, std::span<const index_type, shape::max_rank> strides) noexcept;

/// Throws `unsupported` for elements that are not floating-point numbers, and says what they are.
void check_floating(const stored_tensor &source);

/// Writes the tensor's elements to `to` as float32, in row-major order. float64, float16 and bfloat16 are converted, to nearest
/// even. Throws `unsupported` for other types, `invalid_argument` if `to` has not dims.count() elements or the bytes are too few.
void read_float_into(const stored_tensor &source, std::span<float> to);

/// The tensor's elements as float32, row-major and contiguous. Throws like read_float_into(), and std::bad_alloc.
[[nodiscard]] tensor<float> read_float(const stored_tensor &source);

/// Whether the elements lie in the file as read_float() returns them.
[[nodiscard]] bool is_float_in_place(const stored_tensor &source) noexcept;

/// The same as read_float() without a copy, for a tensor that is_float_in_place(): the elements are the file's, which must
/// outlive the result.
[[nodiscard]] tensor<float> view_float(const stored_tensor &source);

/// Writes a quantised matrix, or any tensor of bytes (I8) with a scale for each index of its first dimension, to `to` as float32:
/// scale * byte. Throws `unsupported` unless the scales are float32, `shape_mismatch` unless there is one for each index,
/// `bad_value` for a scale that is negative or not finite and for the byte -128, which no weight is quantised to; also like
/// read_float_into().
void read_quantised_into(const stored_tensor &bytes, const stored_tensor &scales, std::span<float> to);

/// The same into a tensor.
[[nodiscard]] tensor<float> read_quantised(const stored_tensor &bytes, const stored_tensor &scales);

}}} // namespace fastvit::FASTVIT_ABI::io

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/io/stored_tensor.hpp"
#endif
