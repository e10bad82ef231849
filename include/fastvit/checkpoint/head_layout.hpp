// SPDX-License-Identifier: MIT
// The linear layer of a head that users have replaced: a Sequential with one linear layer is one, and any other head is not run.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// What a head has, by canonical name.
struct head_tensor {
    std::string name;
    shape dims;
};

/// Whether the head is the network's own linear layer, `head.fc`.
inline bool is_usual_head(const std::vector<head_tensor> &head) {
    return std::any_of(head.begin(), head.end(), [](const head_tensor &t) {
        return t.name == "head.fc.weight" || t.name == "head.fc.bias" || t.name == "head.fc.proj";
    });
}

/// The name, with its last dot, of the one linear layer of a Sequential in the place of `head.fc` or of `head`; nullopt if there
/// is anything else with parameters, or the layer does not take `width` channels. Dropout, pooling and activations have no
/// parameters.
inline std::optional<std::string> only_linear_layer(const std::vector<head_tensor> &head, index_type width) {
    if (head.empty() || head.size() > 2) return std::nullopt;
    const auto weight = std::find_if(head.begin(), head.end(), [](const auto &t) { return t.name.ends_with(".weight"); });
    if (weight == head.end() || weight->dims.rank() != 2 || weight->dims[1] != width) return std::nullopt;
    std::string layer = weight->name.substr(0, weight->name.size() - std::string_view("weight").size());
    for (const head_tensor &t : head)
        if (&t != &*weight && (t.name != layer + "bias" || !(t.dims == shape{weight->dims[0]}))) return std::nullopt;
    // Of a Sequential, the modules are numbered.
    std::string_view path = layer;
    path.remove_prefix(path.starts_with("head.fc.") ? 8 : 5);
    const bool numbers = path.find_first_not_of("0123456789.") == path.npos;
    return numbers ? std::optional(std::move(layer)) : std::nullopt;
}

}}} // namespace fastvit::FASTVIT_ABI::loading
