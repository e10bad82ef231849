// SPDX-License-Identifier: MIT
// Self-attention.
#pragma once

#include "fastvit/kernels/channels.hpp"

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

/// Channels of one attention head (official `Attention.head_dim`).
inline constexpr index_type head_channels = 32;

/// One head of self-attention over the tokens of one image, its softmax with base 2: out_i = the mean of v_j with the weights
/// 2^(q_i . k_j). The factor log2(e) / sqrt(32) that makes it the official one is already in q.
struct attention_args {
    const float *q, *k, *v; ///< head_channels floats of the first token
    index_type token;       ///< floats between tokens, in q, k and v
    float *out;             ///< head_channels floats of the first token
    index_type out_token;
    index_type tokens;
    float *scratch; ///< attention_scratch(tokens) floats
};

/// Keys that one step of the running softmax takes: 24 queries' scores for them are 24 KB, in the first-level cache with room to
/// spare.
inline constexpr index_type attention_keys = 256;
/// Queries that one step takes: a multiple of every tier's rows of accumulators.
inline constexpr index_type attention_queries = 24;

constexpr index_type attention_scratch(index_type tokens) noexcept {
    const index_type padded = padded_channels(tokens);
    return 2 * padded * head_channels + attention_queries * (attention_keys + head_channels) + attention_keys;
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
