// SPDX-License-Identifier: MIT
// From a network's outputs to what an application shows or stores: probabilities, the best classes, embeddings to compare.
//
//     const tensor<float> probabilities = softmax(out.logits[0]);
//     for (const ranked_value &best : top_k(probabilities, 5)) ... labels[best.index] ... best.value ...
//
// A row is a tensor [C], or one of the N rows of a tensor [N, C]. The logits and the embedding of a batch are N rows;
// `out.logits[i]` is the row of image i. The numbers do not depend on the compiler's flags, not even on -ffast-math. All
// functions throw invalid_argument for any other shape.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/tensor.hpp"

#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The probabilities of the classes: each row's exp(x), divided by their sum. The result has the shape of `logits`. Large logits
/// do not overflow, and those that are -infinity have probability 0. A row that has a NaN or +infinity, or nothing but
/// -infinity, has no probabilities: all of its results are NaN, as in PyTorch.
[[nodiscard]] tensor<float> softmax(tensor_view<const float> logits);
[[nodiscard]] inline tensor<float> softmax(const tensor<float> &logits) { return softmax(logits.view()); }

/// Rows of length 1: each row divided by its Euclidean length, or by 1e-12 if it is shorter than that. The dot product of two is
/// then the cosine of their angle, by which CLIP search ranks. The result has the shape of `rows`. As in PyTorch, an infinity
/// becomes NaN and the rest of its row 0, and a row with a NaN becomes all NaN.
[[nodiscard]] tensor<float> l2_normalized(tensor_view<const float> rows);
[[nodiscard]] inline tensor<float> l2_normalized(const tensor<float> &rows) { return l2_normalized(rows.view()); }

/// One value of a row, and where it is.
struct ranked_value {
    index_type index = 0;
    float value = 0;

    friend bool operator==(const ranked_value &, const ranked_value &) = default;
};

/// The `k` largest values of one row, largest first; all of them if the row has fewer. Equal values come in the order of their
/// indices, -0 equals +0, and NaN comes last. Throws invalid_argument for a negative `k` and for a tensor that is not [C].
[[nodiscard]] std::vector<ranked_value> top_k(tensor_view<const float> row, index_type k);
[[nodiscard]] inline std::vector<ranked_value> top_k(const tensor<float> &row, index_type k) { return top_k(row.view(), k); }

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/postprocess.hpp"
#endif
