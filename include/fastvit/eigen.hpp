// SPDX-License-Identifier: MIT
// Tensors as Eigen's matrices, without a copy. The only header that needs Eigen, 3.4; fastvit.hpp does not include it.
//
//     const auto embeddings = fastvit::as_matrix(out.embedding);                  // N x C, an image in each row
//     const Eigen::MatrixXf likeness = embeddings * embeddings.transpose();
//     const auto channel = fastvit::as_matrix(out.stages[3], 0, 17);              // H x W
//
// What the library promises of units that are compiled with different flags does not hold for Eigen: its functions have one name
// whatever the flags, and its matrices are aligned as the flags say. In such a program the units that use Eigen need the same
// flags.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/tensor.hpp"

#include <Eigen/Core>
#include <type_traits>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A matrix of Ts that a tensor owns, row after row; of constant elements if T is constant. Valid as long as the elements are.
template <class T>
using matrix_map =
    Eigen::Map<std::conditional_t<std::is_const_v<T>,
                                  const Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                                  Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>>;

/// A tensor [N, C] as a matrix of N rows. Throws invalid_argument for any other rank.
template <class T> [[nodiscard]] matrix_map<T> as_matrix(tensor_view<T> t) {
    if (t.dims().rank() != 2)
        throw error(error_kind::invalid_argument,
                    {.problem = "wrong shape for a matrix", .expected = "[rows, columns]", .found = t.dims().to_string()});
    return {t.data(), t.dim(0), t.dim(1)};
}

/// One channel of one image of a tensor [N, C, H, W], as a matrix of H rows. Throws invalid_argument for any other rank; that
/// `image` and `channel` are there is asserted.
template <class T> [[nodiscard]] matrix_map<T> as_matrix(tensor_view<T> t, index_type image, index_type channel) {
    if (t.dims().rank() != 4)
        throw error(error_kind::invalid_argument, {.problem = "wrong shape for maps of channels",
                                                   .expected = "[images, channels, height, width]",
                                                   .found = t.dims().to_string()});
    return as_matrix(t[image][channel]);
}

template <class T> [[nodiscard]] matrix_map<T> as_matrix(tensor<T> &t) { return as_matrix(t.view()); }
template <class T> [[nodiscard]] matrix_map<const T> as_matrix(const tensor<T> &t) { return as_matrix(t.view()); }
template <class T> [[nodiscard]] matrix_map<T> as_matrix(tensor<T> &t, index_type image, index_type channel) {
    return as_matrix(t.view(), image, channel);
}
template <class T> [[nodiscard]] matrix_map<const T> as_matrix(const tensor<T> &t, index_type image, index_type channel) {
    return as_matrix(t.view(), image, channel);
}
// Of a temporary, whose elements end with the expression.
template <class T> void as_matrix(const tensor<T> &&) = delete;
template <class T> void as_matrix(const tensor<T> &&, index_type, index_type) = delete;

}} // namespace fastvit::FASTVIT_ABI
