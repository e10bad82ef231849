// SPDX-License-Identifier: MIT
// Weights that a file holds in two parts: what torch's weight_norm and pruning leave of a parameter.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/regions.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/tensor.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// How the parameter is computed from its two parts, of which the first has its shape.
enum class composition : unsigned char {
    weight_norm, ///< a magnitude: w = v * g / ||v||, with the norm over each dimension that g does not have
    mask         ///< pruning: w = original * mask
};

/// The two names of a parameter that is stored in parts, without the parameter's own.
struct composed_name {
    composition how;
    std::string_view first, second;
    bool in_parametrizations = false; ///< `parametrizations.weight.original1` for `weight_v`
};
inline constexpr std::array<composed_name, 3> composed_names{{
    {composition::weight_norm, "_v", "_g"},
    {composition::mask, "_orig", "_mask"},
    {composition::weight_norm, ".original1", ".original0", true},
}};

/// What stands after a quantised weight's name in that of its scales: `fc1.weight_scale` beside `fc1.weight`.
inline constexpr std::string_view scale_suffix = "_scale", scales_of_weight = ".weight_scale";

/// The parameter's own name, from that of its first part, which ends with c.first; nullopt if the part stands elsewhere.
inline std::optional<std::string> whole_name(std::string_view first, const composed_name &c) {
    std::string own(first.substr(0, first.size() - c.first.size()));
    if (!c.in_parametrizations) return own;
    constexpr std::string_view list = "parametrizations.";
    const std::size_t leaf = own.rfind('.') + 1;
    if (leaf < list.size() || own.compare(leaf - list.size(), list.size(), list) != 0) return std::nullopt;
    own.erase(leaf - list.size(), list.size());
    return own;
}

FASTVIT_STRICT_MATH_BEGIN

/// The parameter, as float32: the arithmetic is done in double. Throws `shape_mismatch` where the parts do not fit each other,
/// `unsupported` for elements that are no floating-point numbers.
inline tensor<float> compose(composition how, const io::stored_tensor &first, const io::stored_tensor &second) {
    tensor<float> values = io::read_float(first);
    const tensor<float> factor = io::read_float(second);
    const auto wrong = [&](const char *expected) {
        return error(error_kind::shape_mismatch, {.problem = "wrong shape beside " + first.name,
                                                  .expected = expected + (" " + first.dims.to_string()),
                                                  .found = second.dims.to_string(),
                                                  .tensor = second.name});
    };
    const std::span<float> w = values.span();
    if (how == composition::mask) {
        if (!(first.dims == second.dims)) throw wrong("that of");
        for (std::size_t i = 0; i < w.size(); ++i) w[i] *= factor.span()[i];
        return values;
    }
    // A magnitude for each index of one dimension, or one for all.
    std::size_t kept = first.dims.rank();
    if (second.dims.count() != 1 || second.dims.rank() != 0) {
        if (second.dims.rank() != first.dims.rank()) throw wrong("one magnitude for each index of a dimension of");
        for (std::size_t d = 0; d < first.dims.rank(); ++d) {
            if (second.dims[d] == 1) continue;
            if (second.dims[d] != first.dims[d] || kept != first.dims.rank())
                throw wrong("one magnitude for each index of a dimension of");
            kept = d;
        }
        // A single magnitude belongs to a dimension of size 1, preferably the first, as torch has it by default.
        if (kept == first.dims.rank() && first.dims.rank() > 0 && first.dims[0] == 1) kept = 0;
    }
    std::size_t inner = 1;
    for (std::size_t d = kept + 1; d < first.dims.rank(); ++d) inner *= static_cast<std::size_t>(first.dims[d]);
    const auto magnitudes = static_cast<std::size_t>(second.dims.count());
    const auto index = [&](std::size_t i) { return kept == first.dims.rank() ? 0 : i / inner % magnitudes; };
    std::vector<double> squares(magnitudes);
    for (std::size_t i = 0; i < w.size(); ++i) squares[index(i)] += double{w[i]} * w[i];
    for (std::size_t i = 0; i < w.size(); ++i)
        w[i] = static_cast<float>(w[i] * (factor.span()[index(i)] / __builtin_sqrt(squares[index(i)])));
    return values;
}

FASTVIT_STRICT_MATH_END

}}} // namespace fastvit::FASTVIT_ABI::loading
