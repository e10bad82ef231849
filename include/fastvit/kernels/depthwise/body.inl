// SPDX-License-Identifier: MIT
// Depthwise convolution with an optional depth multiplier. Contract: depthwise_args.

/// Rows x Columns outputs for one block of input channels, held in registers over the whole window. The weights of Taps taps of a
/// window row are in registers, and each input read serves all of them that it lies under.
template <int Rows, int Columns, int Kernel, int Stride, int Multiplier>
FASTVIT_ALWAYS_INLINE void depthwise_tile(const depthwise_args &d, const float *in, float *out, const float *weights,
                                          bool store_second) {
    constexpr int taps = std::min(std::max(depthwise_taps / Multiplier, 1), Kernel);
    vec acc[Rows][Columns][Multiplier];
    FASTVIT_UNROLL for (int m = 0; m < Multiplier; ++m) {
        const vec bias = vec::load(weights + m * vec::lanes);
        FASTVIT_UNROLL for (int r = 0; r < Rows; ++r) FASTVIT_UNROLL for (int c = 0; c < Columns; ++c) acc[r][c][m] = bias;
    }
    weights += Multiplier * vec::lanes;
    for (int i = 0; i < Kernel; ++i) {
        FASTVIT_UNROLL for (int first = 0; first < Kernel; first += taps) {
            vec w[taps][Multiplier];
            FASTVIT_UNROLL for (int t = 0; t < taps; ++t)
                FASTVIT_UNROLL for (int m = 0; m < Multiplier; ++m) if (first + t < Kernel) w[t][m] =
                    vec::load(weights + ((first + t) * Multiplier + m) * vec::lanes);
            FASTVIT_UNROLL for (int r = 0; r < Rows; ++r) {
                const float *const row = in + r * Stride * d.in_row + first * d.in_pixel;
                FASTVIT_UNROLL for (int x = 0; x < (Columns - 1) * Stride + taps; ++x) {
                    if (x >= (Columns - 1) * Stride + std::min(taps, Kernel - first)) continue;
                    const vec value = vec::load(row + x * d.in_pixel);
                    FASTVIT_UNROLL for (int t = 0; t < taps; ++t) {
                        const int c = (x - t) / Stride;
                        if (first + t >= Kernel || x < t || (x - t) % Stride != 0 || c >= Columns) continue;
                        FASTVIT_UNROLL for (int m = 0; m < Multiplier; ++m) acc[r][c][m] = fma(value, w[t][m], acc[r][c][m]);
                    }
                }
            }
        }
        in += d.in_row;
        weights += Kernel * Multiplier * vec::lanes;
    }
    FASTVIT_UNROLL for (int r = 0; r < Rows; ++r) {
        FASTVIT_UNROLL for (int c = 0; c < Columns; ++c) {
            float *const pixel = out + r * d.out_row + c * d.out_pixel;
            if constexpr (Multiplier == 1) {
                acc[r][c][0].store(pixel);
            } else {
                vec low, high;
                interleave(acc[r][c][0], acc[r][c][1], low, high);
                low.store(pixel);
                if (store_second) high.store(pixel + vec::lanes);
            }
        }
    }
}

/// A band of Rows rows, by tiles of Columns columns and then of halves of it.
template <int Rows, int Columns, int Kernel, int Stride, int Multiplier>
void depthwise_band(const depthwise_args &d, const float *in, float *out, index_type columns, const float *weights,
                    bool store_second) {
    for (; columns >= Columns; columns -= Columns) {
        depthwise_tile<Rows, Columns, Kernel, Stride, Multiplier>(d, in, out, weights, store_second);
        in += Columns * Stride * d.in_pixel;
        out += Columns * d.out_pixel;
    }
    if constexpr (Columns > 1) {
        if (columns > 0)
            depthwise_band<Rows, Columns / 2, Kernel, Stride, Multiplier>(d, in, out, columns, weights, store_second);
    }
}

template <int Kernel, int Stride, int Multiplier> void depthwise_of(const depthwise_args &d) {
    // A row that is left over has tiles of as many outputs as a band: fewer chains of multiply-adds would wait for each other.
    constexpr int outputs = depthwise_rows * depthwise_columns / Multiplier;
    constexpr int band = Stride == 1 && Multiplier == 1 ? depthwise_rows : 1;
    constexpr index_type block = (Kernel * Kernel + 1) * Multiplier * vec::lanes;
    // All rows of a block of channels before the next block: the rows shared by two bands are still in the cache.
    const packed_depthwise_view &w = d.window;
    for (index_type channel = 0; channel < w.in_channels && channel * Multiplier < w.out_channels; channel += vec::lanes) {
        const float *const weights = reinterpret_cast<const float *>(w.weights) + channel / vec::lanes * block;
        const bool store_second = channel * Multiplier + vec::lanes < w.out_channels;
        const float *in = d.in + channel;
        float *out = d.out + channel * Multiplier;
        index_type rows = d.rows;
        for (; rows >= band; rows -= band) {
            depthwise_band<band, outputs / band, Kernel, Stride, Multiplier>(d, in, out, d.columns, weights, store_second);
            in += band * Stride * d.in_row;
            out += band * d.out_row;
        }
        for (; rows > 0; --rows) {
            depthwise_band<1, outputs, Kernel, Stride, Multiplier>(d, in, out, d.columns, weights, store_second);
            in += Stride * d.in_row;
            out += d.out_row;
        }
    }
}

/// Any kernel, stride and multiplier, one output at a time: for architectures other than the published ones.
inline void depthwise_any(const depthwise_args &d) {
    const packed_depthwise_view &w = d.window;
    const index_type cell = w.multiplier * vec::lanes, block = (w.kernel * w.kernel + 1) * cell;
    for (index_type channel = 0; channel < w.in_channels; channel += vec::lanes) {
        for (index_type m = 0; m < w.multiplier; ++m) {
            const float *const bias = reinterpret_cast<const float *>(w.weights) + channel / vec::lanes * block + m * vec::lanes;
            for (index_type y = 0; y < d.rows; ++y) {
                for (index_type x = 0; x < d.columns; ++x) {
                    vec acc = vec::load(bias);
                    const float *weight = bias;
                    for (index_type i = 0; i < w.kernel; ++i) {
                        for (index_type j = 0; j < w.kernel; ++j) {
                            weight += cell;
                            const float *const p =
                                d.in + (y * w.stride + i) * d.in_row + (x * w.stride + j) * d.in_pixel + channel;
                            acc = fma(vec::load(p), vec::load(weight), acc);
                        }
                    }
                    float value[vec::lanes];
                    acc.store(value);
                    float *const out = d.out + y * d.out_row + x * d.out_pixel;
                    for (index_type l = 0; l < vec::lanes; ++l) {
                        const index_type o = (channel + l) * w.multiplier + m;
                        if (o < w.out_channels) out[o] = value[l];
                    }
                }
            }
        }
    }
}

/// The windows with tiles of their own; all others are computed by depthwise_any().
inline void depthwise(const depthwise_args &d) {
    const packed_depthwise_view &w = d.window;
    FASTVIT_ASSERT(w.weights && w.lanes == vec::lanes && w.kernel >= 1 && w.stride >= 1 && w.multiplier >= 1);
    FASTVIT_ASSERT(w.in_channels % channel_padding == 0 && w.out_channels % channel_padding == 0);
    FASTVIT_ASSERT(w.out_channels <= w.in_channels * w.multiplier);
    FASTVIT_ASSERT(d.in && d.out && d.rows >= 0 && d.columns >= 0);
    const auto is = [&](index_type kernel, index_type stride, index_type multiplier) {
        return w.kernel == kernel && w.stride == stride && w.multiplier == multiplier;
    };
    if (is(3, 1, 1)) return depthwise_of<3, 1, 1>(d); // RepMixer
    if (is(3, 1, 2)) return depthwise_of<3, 1, 2>(d); // head
    if (is(3, 2, 1)) return depthwise_of<3, 2, 1>(d); // stem
    if (is(7, 1, 1)) return depthwise_of<7, 1, 1>(d); // ConvFFN, RepCPE
    if (is(7, 2, 1)) return depthwise_of<7, 2, 1>(d); // patch embedding
    if (is(7, 2, 2)) return depthwise_of<7, 2, 2>(d);
    if (is(3, 2, 2)) return depthwise_of<3, 2, 2>(d); // the same without its large kernel, which the paper compares
    depthwise_any(d);
}
