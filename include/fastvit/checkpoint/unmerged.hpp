// SPDX-License-Identifier: MIT
// Weights that cannot be computed from what the file has: the errors say what to do.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

namespace detail {

/// Whether a component of the name begins like that: `lora_A`, `lora_embedding_B`, ...
inline bool has_component(std::string_view name, std::string_view start) {
    for (std::size_t at = name.find(start); at != name.npos; at = name.find(start, at + 1))
        if (at == 0 || name[at - 1] == '.') return true;
    return false;
}

} // namespace detail

/// Whether the tensor is of an adapter, or of a module that an adapter has wrapped, as peft and loralib name them: low-rank
/// factors whose scale the file does not have.
inline bool is_of_an_adapter(std::string_view name) {
    constexpr std::array<std::string_view, 7> starts{
        "lora_", "hada_w", "lokr_w", "ia3_l", "modules_to_save.", "original_module.", "base_layer."};
    return std::any_of(starts.begin(), starts.end(), [&](std::string_view s) { return detail::has_component(name, s); });
}

/// Says that `name`, one of `count`, is of an adapter.
inline error unmerged_adapter(std::string_view name, std::size_t count) {
    return {error_kind::unsupported,
            {.problem =
                 "adapters (LoRA) that are not merged into the weights; merge them (peft: model.merge_and_unload()) and save "
                 "the state dict again",
             .found = std::to_string(count) + (count == 1 ? " tensor of adapters" : " tensors of adapters"),
             .tensor = std::string(name)}};
}

/// Says that `name` is what spectral_norm or another parametrisation leaves of a parameter.
inline error unmerged_parametrization(std::string_view name) {
    return {error_kind::unsupported,
            {.problem =
                 "a weight that is computed from others by a parametrization; remove it (torch.nn.utils.remove_spectral_norm, "
                 "torch.nn.utils.parametrize.remove_parametrizations) and save the state dict again",
             .tensor = std::string(name)}};
}

}}} // namespace fastvit::FASTVIT_ABI::loading
