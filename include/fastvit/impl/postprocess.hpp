// SPDX-License-Identifier: MIT
// The bodies of postprocess.hpp.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/postprocess.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

FASTVIT_STRICT_MATH_BEGIN
namespace fastvit { inline namespace FASTVIT_ABI {

namespace postprocessing {

inline void require_values(const tensor_view<const float> &t) {
    if (t.empty())
        throw error(error_kind::invalid_argument,
                    "no values: a view of nothing, as an output is that forward() was not asked for");
}

// A copy of the rows, each changed by `change`, which is given a span.
template <class Change> tensor<float> changed_rows(const tensor_view<const float> &rows, const Change &change) {
    require_values(rows);
    const std::size_t rank = rows.dims().rank();
    if (rank != 1 && rank != 2)
        throw error(error_kind::invalid_argument,
                    {.problem = "shape of the rows", .expected = "[C] or [N, C]", .found = rows.dims().to_string()});
    const platform::ieee_arithmetic arithmetic;
    tensor<float> result(rows);
    const index_type length = rows.dim(rank - 1);
    for (index_type begin = 0; begin < result.count(); begin += length)
        change(std::span<float>(result.data() + begin, static_cast<std::size_t>(length)));
    return result;
}

} // namespace postprocessing

FASTVIT_FUNCTION tensor<float> softmax(tensor_view<const float> logits) {
    return postprocessing::changed_rows(logits, [](std::span<float> row) {
        // The largest is subtracted so that no power overflows. Comparisons pass over a NaN, whose power then spoils the sum.
        float largest = -std::numeric_limits<float>::infinity();
        for (const float x : row) largest = x > largest ? x : largest;
        double sum = 0;
        for (const float x : row) sum += std::exp(double{x} - double{largest});
        for (float &x : row) x = static_cast<float>(std::exp(double{x} - double{largest}) / sum);
    });
}

FASTVIT_FUNCTION tensor<float> l2_normalized(tensor_view<const float> rows) {
    return postprocessing::changed_rows(rows, [](std::span<float> row) {
        constexpr double shortest = 1e-12; // torch.nn.functional.normalize
        double squares = 0;                // of floats, which cannot overflow
        for (const float x : row) squares += double{x} * double{x};
        const double root = __builtin_sqrt(squares), length = root < shortest ? shortest : root;
        for (float &x : row) x = static_cast<float>(double{x} / length);
    });
}

FASTVIT_FUNCTION std::vector<ranked_value> top_k(tensor_view<const float> row, index_type k) {
    postprocessing::require_values(row);
    if (row.dims().rank() != 1)
        throw error(error_kind::invalid_argument,
                    {.problem = "shape of the row", .expected = "[C]", .found = row.dims().to_string()});
    if (k < 0)
        throw error(error_kind::invalid_argument,
                    {.problem = "k, how many values", .expected = "0 or more", .found = std::to_string(k)});
    const platform::ieee_arithmetic arithmetic;
    std::vector<index_type> order(static_cast<std::size_t>(row.count()));
    std::iota(order.begin(), order.end(), index_type{0});
    const auto middle = order.begin() + std::min(k, row.count());
    std::partial_sort(order.begin(), middle, order.end(), [&](index_type a, index_type b) {
        const float x = row(a), y = row(b);
        const bool x_is_nan = x != x, y_is_nan = y != y;
        if (x_is_nan != y_is_nan) return y_is_nan;
        return x > y || (!(y > x) && a < b);
    });
    std::vector<ranked_value> best;
    for (auto i = order.begin(); i != middle; ++i) best.push_back({*i, row(*i)});
    return best;
}

}} // namespace fastvit::FASTVIT_ABI
FASTVIT_STRICT_MATH_END
