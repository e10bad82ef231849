// SPDX-License-Identifier: MIT
// What training frameworks add to a network's tensors: words in their names, and counters, which are no parameters.
#pragma once

#include "fastvit/base/config.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Whether a framework puts this component into a name wherever it wraps a module: DataParallel and AveragedModel (`module`),
/// torch.compile, FSDP and activation checkpointing. No module of a FastViT has such a name.
constexpr bool is_wrapper(std::string_view component) noexcept {
    constexpr std::array<std::string_view, 4> wrappers{"module", "_orig_mod", "_fsdp_wrapped_module",
                                                       "_checkpoint_wrapped_module"};
    return std::find(wrappers.begin(), wrappers.end(), component) != wrappers.end();
}

/// The name, or a prefix that ends with a dot, without the components that are wrappers.
inline std::string without_wrappers(std::string_view name) {
    std::string out;
    out.reserve(name.size());
    while (!name.empty()) {
        const std::size_t end = std::min(name.find('.'), name.size());
        const std::string_view with_dot = name.substr(0, std::min(end + 1, name.size()));
        if (!is_wrapper(name.substr(0, end))) out += with_dot;
        name.remove_prefix(with_dot.size());
    }
    return out;
}

/// Whether the tensor counts what training or a profiler has done: AveragedModel's `n_averaged`, an optimizer's `steps`, and what
/// thop leaves in every module. BatchNorm's num_batches_tracked is not among them, because official files have it.
constexpr bool is_foreign_counter(std::string_view name) noexcept {
    const std::size_t dot = name.rfind('.');
    const std::string_view leaf = dot == name.npos ? name : name.substr(dot + 1);
    constexpr std::array<std::string_view, 4> counters{"n_averaged", "total_ops", "total_params", "steps"};
    return std::find(counters.begin(), counters.end(), leaf) != counters.end();
}

}}} // namespace fastvit::FASTVIT_ABI::io
