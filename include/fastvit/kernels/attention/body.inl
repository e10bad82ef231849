// SPDX-License-Identifier: MIT
// softmax(q k^T) v for one head, with base 2. Contract: attention_args.
//
// For attention_queries queries at a time, the scores of attention_keys keys are made, exponentiated and multiplied with v, with
// a running maximum and sum per query, so that no tokens x tokens matrix ever exists (Milakov and Gimelshein 2018; Rabe and
// Staats 2021). Both products are gemm(): k is packed transposed, as the matrix of q k^T, and v as that of the second.

/// What a running softmax knows of each query. Padded, so that a register may take the values of several queries.
struct running_softmax {
    static constexpr index_type size = padded_channels(attention_queries);
    // Far below any score, and what a key beyond the last one gets: its weight is then 2^-126 of the largest, which float32
    // sums do not see, and its value is zero.
    static constexpr float lowest = -1e30F;

    running_softmax() {
        for (index_type i = 0; i < size; i += vec::lanes) {
            vec::broadcast(lowest).store(maximum + i);
            vec::broadcast(0.0F).store(total + i);
            vec::broadcast(0.0F).store(added + i);
        }
    }
    float maximum[size];
    float total[size];
    float rescale[size]; ///< the factor for the sums before the last step
    float added[size];   ///< what the last step adds to the totals
};

/// scores[i][j] = 2^(scores[i][j] - the largest of query i so far), with `state` brought up to date. All maxima come first: one
/// is a chain of dependent steps, which the processor can only hide behind those of other queries.
inline void softmax_step(float *const *scores, index_type queries, index_type count, running_softmax &state) {
    float before[running_softmax::size];
    std::copy_n(state.maximum, running_softmax::size, before);
    for (index_type i = 0; i < queries; ++i) {
        vec most = vec::broadcast(before[i]);
        for (index_type j = 0; j < count; j += vec::lanes) most = max(most, vec::load(scores[i] + j));
        state.maximum[i] = max_of_lanes(most);
    }
    for (index_type i = 0; i < queries; i += vec::lanes)
        exp2(vec::load(before + i) - vec::load(state.maximum + i)).store(state.rescale + i);
    for (index_type i = 0; i < queries; ++i) {
        const vec most = vec::broadcast(state.maximum[i]);
        vec sum = vec::broadcast(0.0F);
        for (index_type j = 0; j < count; j += vec::lanes) {
            const vec e = exp2(vec::load(scores[i] + j) - most);
            e.store(scores[i] + j);
            sum = sum + e;
        }
        state.added[i] = sum_of_lanes(sum);
    }
    for (index_type i = 0; i < queries; i += vec::lanes)
        fma(vec::load(state.total + i), vec::load(state.rescale + i), vec::load(state.added + i)).store(state.total + i);
}

inline void attention(const attention_args &t) {
    FASTVIT_ASSERT(t.q && t.k && t.v && t.out && t.scratch && t.tokens >= 1);
    const index_type padded = padded_channels(t.tokens);
    const index_type score_panel = gemm_panel(attention_keys), value_panel = gemm_panel(head_channels);
    static_assert(attention_keys % channel_padding == 0 && attention_queries <= gemm_max_pixels);
    float *const keys = t.scratch;
    float *const values = keys + padded * head_channels;
    float *const scores = values + padded * head_channels;
    float *const sums = scores + attention_queries * attention_keys;
    float *const no_bias = sums + attention_queries * head_channels;
    std::fill_n(no_bias, attention_keys, 0.0F);
    const auto matrix = [&](const float *weights, index_type rows, index_type columns, index_type panel) {
        return packed_matrix_view{.format = {.panel = panel},
                                  .rows = rows,
                                  .columns = columns,
                                  .weights = reinterpret_cast<const std::byte *>(weights),
                                  .bias = no_bias};
    };

    // Each block of keys is one packed matrix for each product, as pack_gemm would lay it out.
    for (index_type block = 0; block < padded; block += attention_keys) {
        const index_type count = std::min(attention_keys, padded - block), real = std::min(count, t.tokens - block);
        float *const k_matrix = keys + block * head_channels, *const v_matrix = values + block * head_channels;
        std::fill_n(v_matrix, real < count ? count * head_channels : 0, 0.0F);
        for (index_type j = 0; j < count; j += vec::lanes) {
            const index_type first = j / score_panel * score_panel, width = std::min(score_panel, count - first);
            for (index_type c = 0; c < head_channels; c += vec::lanes) {
                vec m[vec::lanes];
                for (index_type i = 0; i < vec::lanes; ++i)
                    m[i] = j + i < real ? vec::load(t.k + (block + j + i) * t.token + c) : vec::broadcast(0.0F);
                transpose(m);
                float *const to = k_matrix + first * head_channels + c * width + (j - first);
                for (index_type i = 0; i < vec::lanes; ++i) m[i].store(to + i * width);
            }
        }
        for (index_type first = 0; first < head_channels; first += value_panel) {
            const index_type width = std::min(value_panel, head_channels - first);
            const float *const v = t.v + block * t.token + first;
            for (index_type j = 0; j < real; ++j) std::copy_n(v + j * t.token, width, v_matrix + first * count + j * width);
        }
    }

    for (index_type first = 0; first < t.tokens; first += attention_queries) {
        const index_type queries = std::min(attention_queries, t.tokens - first);
        const float *q_rows[attention_queries], *score_rows[attention_queries], *sum_rows[attention_queries];
        float *score_out[attention_queries], *sum_out[attention_queries];
        running_softmax softmax;
        for (index_type i = 0; i < queries; ++i) {
            q_rows[i] = t.q + (first + i) * t.token;
            score_rows[i] = score_out[i] = scores + i * attention_keys;
            sum_rows[i] = sum_out[i] = sums + i * head_channels;
            for (index_type c = 0; c < head_channels; c += vec::lanes) vec::broadcast(0.0F).store(sum_out[i] + c);
        }
        for (index_type block = 0; block < padded; block += attention_keys) {
            const index_type count = std::min(attention_keys, padded - block);
            gemm({.a = q_rows,
                  .pixels = queries,
                  .segment = head_channels,
                  .matrix = matrix(keys + block * head_channels, head_channels, count, score_panel),
                  .c = score_out,
                  .column_end = count});
            for (index_type i = 0; i < queries; ++i)
                for (index_type j = t.tokens - block; j < count; ++j) score_out[i][j] = running_softmax::lowest;
            softmax_step(score_out, queries, count, softmax);
            for (index_type i = 0; i < queries; ++i) {
                const vec rescale = vec::broadcast(softmax.rescale[i]);
                for (index_type c = 0; c < head_channels; c += vec::lanes)
                    (vec::load(sum_out[i] + c) * rescale).store(sum_out[i] + c);
            }
            gemm({.a = score_rows,
                  .pixels = queries,
                  .segment = count,
                  .matrix = matrix(values + block * head_channels, count, head_channels, value_panel),
                  .c = sum_out,
                  .residual = sum_rows,
                  .column_end = head_channels});
        }
        for (index_type i = 0; i < queries; ++i) {
            const vec inverse = vec::broadcast(1.0F / softmax.total[i]);
            float *const out = t.out + (first + i) * t.out_token;
            for (index_type c = 0; c < head_channels; c += vec::lanes) (vec::load(sum_out[i] + c) * inverse).store(out + c);
        }
    }
}
