// SPDX-License-Identifier: MIT
// softmax(q k^T) v for one head, with base 2. Contract: attention_args.
//
// For attention_queries queries at a time, the scores of attention_keys keys are made, exponentiated and multiplied with v, with
// a running maximum and sum per query, so that no tokens x tokens matrix ever exists (Milakov and Gimelshein 2018; Rabe and
// Staats 2021). Both products are gemm(): k is packed transposed, as the matrix of q k^T, and v as that of the second.

/// scores[i] = 2^(scores[i] - the largest so far), with the running maximum and sum of the query brought up to date. Returns
/// what the query's earlier sums have to be multiplied by.
inline float softmax_step(float *scores, index count, float &maximum, float &total) {
    vec most = vec::broadcast(maximum);
    for (index i = 0; i < count; i += vec::lanes) most = max(most, vec::load(scores + i));
    const float now = max_of_lanes(most);
    float rescale[vec::lanes];
    exp2(vec::broadcast(maximum - now)).store(rescale);
    vec sum = vec::broadcast(0.0F);
    for (index i = 0; i < count; i += vec::lanes) {
        const vec e = exp2(vec::load(scores + i) - vec::broadcast(now));
        e.store(scores + i);
        sum = sum + e;
    }
    maximum = now;
    total = total * rescale[0] + sum_of_lanes(sum);
    return rescale[0];
}

inline void attention(const attention_args &t) {
    // Far below any score, and what a key beyond the last one gets: its weight is then 2^-126 of the largest, which float32
    // sums do not see, and its value is zero.
    constexpr float lowest = -1e30F;
    const index padded = padded_channels(t.tokens);
    const index score_panel = gemm_panel(attention_keys), value_panel = gemm_panel(head_channels);
    static_assert(attention_keys % channel_padding == 0 && attention_queries <= gemm_max_pixels);
    float *const keys = t.scratch;
    float *const values = keys + padded * head_channels;
    float *const scores = values + padded * head_channels;
    float *const sums = scores + attention_queries * attention_keys;
    float *const no_bias = sums + attention_queries * head_channels;
    std::fill_n(no_bias, attention_keys, 0.0F);

    // Each block of keys is one packed matrix for each product, as pack_gemm would lay it out.
    for (index block = 0; block < padded; block += attention_keys) {
        const index count = std::min(attention_keys, padded - block);
        float *const k_matrix = keys + block * head_channels;
        float *const v_matrix = values + block * head_channels;
        for (index j = 0; j < count; ++j) {
            const bool real = block + j < t.tokens;
            const float *const k = t.k + (block + j) * t.token, *const v = t.v + (block + j) * t.token;
            const index first = j / score_panel * score_panel, width = std::min(score_panel, count - first);
            for (index c = 0; c < head_channels; ++c) {
                k_matrix[first * head_channels + c * width + (j - first)] = real ? k[c] : 0.0F;
                const index value_first = c / value_panel * value_panel;
                v_matrix[value_first * count + j * std::min(value_panel, head_channels - value_first) + (c - value_first)] =
                    real ? v[c] : 0.0F;
            }
        }
    }

    for (index first = 0; first < t.tokens; first += attention_queries) {
        const index queries = std::min(attention_queries, t.tokens - first);
        const float *q_rows[attention_queries], *score_rows[attention_queries], *sum_rows[attention_queries];
        float *score_out[attention_queries], *sum_out[attention_queries];
        float maximum[attention_queries], total[attention_queries];
        for (index i = 0; i < queries; ++i) {
            q_rows[i] = t.q + (first + i) * t.token;
            score_rows[i] = score_out[i] = scores + i * attention_keys;
            sum_rows[i] = sum_out[i] = sums + i * head_channels;
            std::fill_n(sum_out[i], head_channels, 0.0F);
            maximum[i] = lowest;
            total[i] = 0;
        }
        for (index block = 0; block < padded; block += attention_keys) {
            const index count = std::min(attention_keys, padded - block);
            gemm({.a = q_rows,
                  .pixels = queries,
                  .segment = head_channels,
                  .weights = keys + block * head_channels,
                  .panel = score_panel,
                  .bias = no_bias,
                  .c = score_out,
                  .columns = count,
                  .column_end = count});
            for (index i = 0; i < queries; ++i) {
                for (index j = t.tokens - block; j < count; ++j) score_out[i][j] = lowest;
                const vec rescale = vec::broadcast(softmax_step(score_out[i], count, maximum[i], total[i]));
                for (index c = 0; c < head_channels; c += vec::lanes) (vec::load(sum_out[i] + c) * rescale).store(sum_out[i] + c);
            }
            gemm({.a = score_rows,
                  .pixels = queries,
                  .segment = count,
                  .weights = values + block * head_channels,
                  .panel = value_panel,
                  .bias = no_bias,
                  .c = sum_out,
                  .residual = sum_rows,
                  .columns = head_channels,
                  .column_end = head_channels});
        }
        for (index i = 0; i < queries; ++i) {
            const vec inverse = vec::broadcast(1.0F / total[i]);
            float *const out = t.out + (first + i) * t.out_token;
            for (index c = 0; c < head_channels; c += vec::lanes) (vec::load(sum_out[i] + c) * inverse).store(out + c);
        }
    }
}
