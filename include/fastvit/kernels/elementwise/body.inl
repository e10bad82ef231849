// SPDX-License-Identifier: MIT
// BatchNorm and layer scale, sums for pooling, LayerNorm. Contracts: affine_args, sum_args, layer_norm_args.

/// Count registers of one pixel.
template <int Count> FASTVIT_ALWAYS_INLINE void affine_run(const affine_args &f, const float *x, float *y, index_type c) {
    float *to[Count];
    FASTVIT_UNROLL for (int i = 0; i < Count; ++i) {
        const index_type at = c + i * vec::lanes;
        to[i] = y + at;
        vec value = fma(vec::load(x + at), vec::load(f.scale + at), vec::load(f.shift + at));
        if (f.accumulate) value = value + vec::load(to[i]);
        value.store(to[i]);
    }
    activate(f.act, to);
}

inline void affine(const affine_args &f) {
    FASTVIT_ASSERT((f.pixels == 0 || (f.x && f.y)) && f.scale && f.shift && f.pixels >= 0 && f.channels % channel_padding == 0);
    for (index_type p = 0; p < f.pixels; ++p) {
        const float *const x = f.x + p * f.x_pixel;
        float *const y = f.y + p * f.y_pixel;
        index_type c = 0;
        for (; c + 4 * vec::lanes <= f.channels; c += 4 * vec::lanes) affine_run<4>(f, x, y, c);
        for (; c < f.channels; c += vec::lanes) affine_run<1>(f, x, y, c);
    }
}

inline void sum(const sum_args &s) {
    FASTVIT_ASSERT((s.pixels == 0 || s.x) && s.sums && s.pixels >= 0 && s.channels % channel_padding == 0);
    for (index_type c = 0; c < s.channels; c += vec::lanes) {
        vec total = vec::load(s.sums + c);
        for (index_type p = 0; p < s.pixels; ++p) total = total + vec::load(s.x + p * s.x_pixel + c);
        total.store(s.sums + c);
    }
}

/// x in the first `count` lanes, zero in the others.
inline vec first_lanes(vec x, index_type count) {
    float lane[vec::lanes];
    x.store(lane);
    std::fill(lane + count, lane + vec::lanes, 0.0F);
    return vec::load(lane);
}

inline void layer_norm(const layer_norm_args &n) {
    FASTVIT_ASSERT((n.pixels == 0 || (n.x && n.y)) && n.gamma && n.beta && n.pixels >= 0 && n.channels >= 1 && n.epsilon > 0);
    const index_type padded = padded_channels(n.channels);
    const float count = static_cast<float>(n.channels);
    for (index_type p = 0; p < n.pixels; ++p) {
        const float *const x = n.x + p * n.x_pixel;
        float *const y = n.y + p * n.y_pixel;
        vec total = vec::broadcast(0.0F);
        for (index_type c = 0; c < padded; c += vec::lanes) total = total + vec::load(x + c);
        const float mean = sum_of_lanes(total) / count;
        vec squares = vec::broadcast(0.0F);
        for (index_type c = 0; c < n.channels; c += vec::lanes) {
            vec d = vec::load(x + c) - vec::broadcast(mean);
            // The padding's mean^2 is left out from the start: subtracted later, it would leave rounding errors.
            if (c + vec::lanes > n.channels) d = first_lanes(d, n.channels - c);
            squares = fma(d, d, squares);
        }
        const float variance = sum_of_lanes(squares) / count;
        const vec scale = vec::broadcast(1.0F) / square_root(vec::broadcast(variance + n.epsilon));
        for (index_type c = 0; c < padded; c += vec::lanes) {
            const vec d = (vec::load(x + c) - vec::broadcast(mean)) * scale;
            fma(d, vec::load(n.gamma + c), vec::load(n.beta + c)).store(y + c);
        }
    }
}
