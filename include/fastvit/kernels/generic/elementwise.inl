// SPDX-License-Identifier: MIT
// BatchNorm and layer scale, sums for pooling, LayerNorm. Contracts: affine_args, sum_args, layer_norm_args.

inline void affine(const affine_args &f) {
    for (index p = 0; p < f.pixels; ++p) {
        const float *const x = f.x + p * f.x_pixel;
        float *const y = f.y + p * f.y_pixel;
        for (index c = 0; c < f.channels; c += vec::lanes) {
            vec value = apply(f.act, fma(vec::load(x + c), vec::load(f.scale + c), vec::load(f.shift + c)));
            if (f.accumulate) value = value + vec::load(y + c);
            value.store(y + c);
        }
    }
}

inline void sum(const sum_args &s) {
    for (index c = 0; c < s.channels; c += vec::lanes) {
        vec total = vec::load(s.sums + c);
        for (index p = 0; p < s.pixels; ++p) total = total + vec::load(s.x + p * s.x_pixel + c);
        total.store(s.sums + c);
    }
}

inline void layer_norm(const layer_norm_args &n) {
    const index padded = padded_channels(n.channels);
    const float count = static_cast<float>(n.channels);
    for (index p = 0; p < n.pixels; ++p) {
        const float *const x = n.x + p * n.x_pixel;
        float *const y = n.y + p * n.y_pixel;
        vec total = vec::broadcast(0.0F);
        for (index c = 0; c < padded; c += vec::lanes) total = total + vec::load(x + c);
        const float mean = sum_of_lanes(total) / count;
        vec squares = vec::broadcast(0.0F);
        for (index c = 0; c < padded; c += vec::lanes) {
            const vec d = vec::load(x + c) - vec::broadcast(mean);
            squares = fma(d, d, squares);
        }
        // Each padding channel is zero and so has put mean^2 into the sum.
        const float variance = (sum_of_lanes(squares) - static_cast<float>(padded - n.channels) * mean * mean) / count;
        const vec scale = vec::broadcast(1.0F / std::sqrt(std::max(variance, 0.0F) + n.epsilon));
        for (index c = 0; c < padded; c += vec::lanes) {
            const vec d = (vec::load(x + c) - vec::broadcast(mean)) * scale;
            fma(d, vec::load(n.gamma + c), vec::load(n.beta + c)).store(y + c);
        }
    }
}
