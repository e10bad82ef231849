// SPDX-License-Identifier: MIT
// The spellings of tensor names.
#pragma once

#include "fastvit/base/config.hpp"

#include <string_view>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// How a checkpoint names the network's tensors.
enum class spelling : unsigned char {
    timm, ///< `stages.0.blocks.0.token_mixer.mixer.identity.weight`
    apple ///< `network.0.0.token_mixer.mixer.rbr_skip.weight`
};

constexpr std::string_view to_string(spelling s) noexcept { return s == spelling::timm ? "timm" : "apple"; }

}}} // namespace fastvit::FASTVIT_ABI::io
