// SPDX-License-Identifier: MIT
// Matrix products below float32. Contracts: encode_args, encoded_gemm_args. `Product` is a tier's int8_product or
// bfloat16_product: see tiers/prelude.hpp. A tier that shares all else with another includes this file again in its own
// namespace, so no function here takes a register: it would be ambiguous with the other's.

/// Registers of a cell, the unit that encode() writes.
inline constexpr int cell_registers = static_cast<int>(channel_padding / vec::lanes);

/// What zero is in a second part, which reaches from half a step below to half a step above: 126 / 2.
inline constexpr std::int32_t rest_zero = 63;

/// Activates, scales and stores cells of a pixel, and in two parts what that leaves.
template <class Product, activation Act, int Cells, bool TwoParts>
FASTVIT_ALWAYS_INLINE void encode_cells(const float *x, std::byte *out, float inverse, std::int32_t zero, std::byte *rest) {
    vec values[Cells * cell_registers];
    FASTVIT_UNROLL for (int i = 0; i < Cells * cell_registers; ++i) values[i] = vec::load(x + i * vec::lanes);
    if constexpr (Act == activation::gelu) rough_gelu(values);
    if constexpr (Product::type == precision::int8) {
        FASTVIT_UNROLL for (int i = 0; i < Cells * cell_registers; ++i) values[i] = values[i] * vec::broadcast(inverse);
    }
    const auto store = [&values](std::byte *to, std::int32_t zero_byte) FASTVIT_INLINE_LAMBDA {
        constexpr index_type cell_bytes = channel_padding * Product::element_bytes;
        int i = 0;
        if constexpr (requires { &Product::store_four; }) {
            FASTVIT_UNROLL for (; i + 4 <= Cells; i += 4)
                Product::store_four(to + i * cell_bytes, values + i * cell_registers, zero_byte);
        }
        FASTVIT_UNROLL for (; i < Cells; ++i) Product::store(to + i * cell_bytes, values + i * cell_registers, zero_byte);
    };
    store(out, zero);
    if constexpr (TwoParts) {
        FASTVIT_UNROLL for (int i = 0; i < Cells * cell_registers; ++i) values[i] =
            (values[i] - round_to_even(values[i])) * vec::broadcast(126.0F);
        store(rest, rest_zero);
    }
}

/// From channel c on, Cells at a time and then halves of that.
template <class Product, activation Act, bool TwoParts, int Cells>
FASTVIT_ALWAYS_INLINE void encode_from(index_type c, const float *x, index_type channels, std::byte *out, float inverse,
                                       std::int32_t zero, std::byte *rest) {
    for (; c + Cells * channel_padding <= channels; c += Cells * channel_padding)
        encode_cells<Product, Act, Cells, TwoParts>(x + c, out + c * Product::element_bytes, inverse, zero,
                                                    TwoParts ? rest + c : nullptr);
    if constexpr (Cells > 1) encode_from<Product, Act, TwoParts, Cells / 2>(c, x, channels, out, inverse, zero, rest);
}

template <class Product, activation Act, bool TwoParts = false>
void encode_pixel(const float *x, index_type channels, std::byte *out, float inverse = 1, std::int32_t zero = 0,
                  std::byte *rest = nullptr) {
    // 8 registers, which hide each other's chains of multiply-adds.
    encode_from<Product, Act, TwoParts, 8 / cell_registers>(0, x, channels, out, inverse, zero, rest);
}

/// Of vec::lanes pixels.
struct encoding {
    float inverse[vec::lanes]; ///< what values are multiplied with
    float scale[vec::lanes], zero[vec::lanes];
};

/// The smallest and the largest of values and 0, and NaN if one is not finite: each lane of its own.
struct extremes {
    vec low, high, bad;
};

/// Two pixels' extremes side by side: lane 2 j is that of a's lanes j and j + lanes / 2, lane 2 j + 1 that of b's.
FASTVIT_ALWAYS_INLINE extremes halved(const extremes &a, const extremes &b) {
    vec first, second;
    extremes both;
    interleave(a.low, b.low, first, second);
    both.low = min(first, second);
    interleave(a.high, b.high, first, second);
    both.high = max(first, second);
    interleave(a.bad, b.bad, first, second);
    both.bad = first + second;
    return both;
}

/// The extremes of Pixels pixels, number i and those `step` = vec::lanes / Pixels apart from it, the last of `count` in place of
/// those that do not exist. Lane l is one of pixel i + l % Pixels * step's. Depth first, so that few registers are in use at
/// once.
template <index_type Pixels>
FASTVIT_ALWAYS_INLINE extremes find_extremes(const float *const *x, index_type i, index_type count, index_type channels) {
    constexpr index_type step = vec::lanes / Pixels;
    if constexpr (Pixels > 4) {
        const extremes a = find_extremes<Pixels / 2>(x, i, count, channels);
        return halved(a, find_extremes<Pixels / 2>(x, i + step, count, channels));
    } else {
        // Clang must not know that it is zero: under -ffast-math it takes the product with one for zero, whatever the factor.
        const vec zero = vec::broadcast(0.0F) * vec::broadcast(0.0F);
        const float *pixel[Pixels];
        // At once, so that their chains of multiply-adds do not wait. Not structures yet: GCC 12 copies those through the stack.
        vec low[Pixels], high[Pixels], bad[Pixels];
        FASTVIT_UNROLL for (index_type j = 0; j < Pixels; ++j) {
            pixel[j] = x[std::min(i + j * step, count - 1)];
            low[j] = high[j] = bad[j] = zero;
        }
        for (index_type c = 0; c < channels; c += vec::lanes) {
            FASTVIT_UNROLL for (index_type j = 0; j < Pixels; ++j) {
                const vec value = vec::load(pixel[j] + c);
                low[j] = min(low[j], value);
                high[j] = max(high[j], value);
                bad[j] = fma(value, zero, bad[j]); // NaN from the first value that is not finite
            }
        }
        extremes e[Pixels];
        FASTVIT_UNROLL for (index_type j = 0; j < Pixels; ++j) e[j] = {low[j], high[j], bad[j]};
        FASTVIT_UNROLL for (index_type half = Pixels / 2; half > 0; half /= 2)
            FASTVIT_UNROLL for (index_type j = 0; j < half; ++j) e[j] = halved(e[j], e[j + half]);
        return e[0];
    }
}

/// The ranges of `count` <= vec::lanes pixels.
inline void find_ranges(const encode_args &e, index_type first, index_type count, encoding &ranges) {
    const extremes found = find_extremes<vec::lanes>(e.x + first, 0, count, e.channels); // lane i is pixel i
    vec ends[2] = {found.low, found.high};
    if (e.act == activation::gelu) {
        // GELU falls to its minimum at -0.7518 and rises from there.
        ends[0] = max(vec::broadcast(-0.7518F), ends[0]);
        rough_gelu(ends);
    }
    // A pixel of zeros needs some range; below 1e-30 all else is zero too.
    const vec range = max(vec::broadcast(1e-30F), ends[1] - ends[0]), inverse = vec::broadcast(126.0F) / range;
    inverse.store(ranges.inverse);
    fma(range, vec::broadcast(1.0F / 126), found.bad).store(ranges.scale);
    (vec::broadcast(0.0F) - round_to_even(ends[0] * inverse)).store(ranges.zero);
}

template <class Product, activation Act> void encode_as(const encode_args &e) {
    if constexpr (Product::type == precision::bfloat16) {
        for (index_type p = 0; p < e.pixels; ++p) encode_pixel<Product, Act>(e.x[p], e.channels, e.out + p * e.out_pixel);
    } else {
        for (index_type first = 0; first < e.pixels; first += vec::lanes) {
            const index_type count = std::min(vec::lanes, e.pixels - first);
            encoding pixels;
            find_ranges(e, first, count, pixels);
            for (index_type i = 0; i < count; ++i) {
                // In [0, 126], unless a value was not finite.
                const float z = pixels.zero[i];
                const auto zero = static_cast<std::int32_t>(z >= 0 && z <= 126 ? z : 0);
                e.ranges[first + i] = {pixels.scale[i], zero};
                const float *const x = e.x[first + i];
                std::byte *const out = e.out + (first + i) * e.out_pixel;
                if constexpr (Act == activation::none) {
                    if (e.rest) {
                        e.rest_ranges[first + i] = {pixels.scale[i] * (1.0F / 126), rest_zero};
                        encode_pixel<Product, Act, true>(x, e.channels, out, pixels.inverse[i], zero,
                                                         e.rest + (first + i) * e.out_pixel);
                        continue;
                    }
                }
                encode_pixel<Product, Act>(x, e.channels, out, pixels.inverse[i], zero);
            }
        }
    }
}

template <class Product> void encode(const encode_args &e) {
    FASTVIT_ASSERT((e.pixels == 0 || (e.x && e.out)) && e.pixels >= 0 && e.channels % channel_padding == 0);
    FASTVIT_ASSERT(e.out_pixel >= e.channels * Product::element_bytes);
    FASTVIT_ASSERT(Product::type == precision::bfloat16 || e.pixels == 0 || e.ranges);
    FASTVIT_ASSERT(e.act == activation::none || e.act == activation::gelu);
    FASTVIT_ASSERT(!e.rest || (e.rest_ranges && Product::type == precision::int8 && e.act == activation::none));
    if (e.act == activation::gelu)
        encode_as<Product, activation::gelu>(e);
    else
        encode_as<Product, activation::none>(e);
}

/// Sums with their scales and bias, in float32.
template <class Product>
FASTVIT_ALWAYS_INLINE vec finished(typename Product::sums acc, const encoded_gemm_args &g, index_type pixel, index_type column) {
    const vec bias = vec::load(g.matrix.bias + column);
    if constexpr (Product::type == precision::int8) {
        const pixel_range &r = g.ranges[pixel];
        const vec sum = Product::to_float(acc, r.zero, g.matrix.sums + column);
        return fma(sum * vec::broadcast(r.scale), vec::load(g.matrix.scale + column), bias);
    } else {
        return vec{acc} + bias;
    }
}

/// The sums of a tile by instructions that multiply two pixels with two columns: a block of each is in one register.
template <class Product, int Rows, int Vectors>
FASTVIT_ALWAYS_INLINE void multiply_pairs(const encoded_gemm_args &g, const std::byte *(&a)[Rows], const std::byte *panel,
                                          const std::byte *ahead, typename Product::sums (&acc)[Rows][Vectors]) {
    static_assert(Rows % 2 == 0 && vec::lanes == 4 && Product::type == precision::int8);
    typename Product::sums blocks[Rows / 2][2 * Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Rows / 2; ++i) FASTVIT_UNROLL for (int j = 0; j < 2 * Vectors; ++j) blocks[i][j] =
        Product::zero();
    for (index_type k = 0; k < g.matrix.rows; k += Product::group, ahead += 16) {
        __builtin_prefetch(ahead, 0, 2);
        typename Product::pixel_pair x[Rows / 2];
        FASTVIT_UNROLL for (int i = 0; i < Rows / 2; ++i) x[i] = Product::load_pair(a[2 * i] + k, a[2 * i + 1] + k);
        FASTVIT_UNROLL for (int j = 0; j < 2 * Vectors; ++j, panel += 2 * Product::group) {
            const typename Product::weights w = Product::load(panel);
            FASTVIT_UNROLL for (int i = 0; i < Rows / 2; ++i) Product::add(blocks[i][j], x[i], w);
        }
    }
    FASTVIT_UNROLL for (int i = 0; i < Rows / 2; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j)
        Product::split(blocks[i][2 * j], blocks[i][2 * j + 1], acc[2 * i][j], acc[2 * i + 1][j]);
}

/// Rows [begin, end) of a matrix, and where the sums lie that a tile leaves if it is not the last block and begins with if it is
/// not the first.
template <class Product> struct k_block {
    index_type begin, end;
    typename Product::sums *sums;
};

/// Rows pixels x (Vectors * lanes) columns; see gemm_tile(). Where fewer pixels are left, the last one is computed and stored
/// again: two instantiations, where gemm_tile() has one for each number of rows. Only where tiles are few may a block be less
/// than the matrix.
template <class Product, int Rows, int Vectors, bool Few>
FASTVIT_ALWAYS_INLINE void encoded_tile(const encoded_gemm_args &g, index_type pixel, index_type column, const std::byte *panel,
                                        const std::byte *ahead, const k_block<Product> &block) {
    constexpr index_type step_bytes = Vectors * vec::lanes * Product::group * size_of(Product::type);
    constexpr index_type operand_bytes = Product::group * Product::element_bytes;
    constexpr index_type prefetched = 4 * prefetched_floats<Vectors>(Few);
    const packed_matrix_view &m = g.matrix;
    const index_type last = g.pixels - 1 - pixel;
    const std::byte *a[Rows];
    typename Product::sums acc[Rows][Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
        a[i] = g.a + (pixel + std::min<index_type>(i, last)) * g.a_pixel;
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j] =
            Few && block.begin > 0 ? block.sums[i * Vectors + j] : Product::zero();
    }
    if constexpr (requires { typename Product::pixel_pair; }) {
        multiply_pairs<Product>(g, a, panel, ahead, acc);
    } else {
        index_type offset = block.begin * Product::element_bytes;
        const auto step = [&](index_type more) FASTVIT_INLINE_LAMBDA {
            typename Product::weights w[Vectors];
            FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) w[j] =
                Product::load(panel + more * step_bytes + j * (step_bytes / Vectors));
            FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
                const auto x = Product::broadcast(a[i] + offset + more * operand_bytes);
                FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) Product::add(acc[i][j], x, w[j]);
            }
        };
        const auto step_twice = [&](index_type more) FASTVIT_INLINE_LAMBDA {
            if constexpr (requires { requires Product::adds_two_groups; }) {
                static_assert(Product::group == 4); // what the limits on weights are about
                const std::byte *const w = panel + more * step_bytes;
                FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
                    const auto x = Product::broadcast(a[i] + offset + more * operand_bytes),
                               y = Product::broadcast(a[i] + offset + (more + 1) * operand_bytes);
                    FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) Product::add_two(
                        acc[i][j], x, y, w + j * (step_bytes / Vectors), w + step_bytes + j * (step_bytes / Vectors));
                }
            } else {
                step(more), step(more + 1);
            }
        };
        index_type left = (block.end - block.begin + Product::group - 1) / Product::group;
        for (; left >= 4; left -= 4, panel += 4 * step_bytes, ahead += prefetched) {
            FASTVIT_UNROLL for (index_type i = 0; i < prefetched; i += 64)
                __builtin_prefetch(ahead + i, 0, prefetch_locality<Few>);
            step_twice(0), step_twice(2);
            offset += 4 * operand_bytes;
        }
        for (; left > 0; --left, panel += step_bytes) {
            step(0);
            offset += operand_bytes;
        }
    }
    if (Few && block.end < m.rows) {
        FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j)
            block.sums[i * Vectors + j] = acc[i][j];
        return;
    }
    vec value[Rows][Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) value[i][j] =
        finished<Product>(acc[i][j], g, pixel + std::min<index_type>(i, last), column + j * vec::lanes);
    if (g.residual) {
        FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
            const float *const r = g.residual[pixel + std::min<index_type>(i, last)] + column;
            FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) value[i][j] = value[i][j] + vec::load(r + j * vec::lanes);
        }
    }
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
        float *const c = g.c[pixel + std::min<index_type>(i, last)] + column;
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) value[i][j].store(c + j * vec::lanes);
    }
}

template <int Pixels, int Vectors> FASTVIT_ALWAYS_INLINE void rough_gelu_pixels(float *const *c, index_type column) {
    vec values[Pixels * Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Pixels; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) values[i * Vectors + j] =
        vec::load(c[i] + column + j * vec::lanes);
    rough_gelu(values);
    FASTVIT_UNROLL for (int i = 0; i < Pixels; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) values[i * Vectors + j]
        .store(c[i] + column + j * vec::lanes);
}

/// See activate_panel().
template <int Vectors> void rough_gelu_panel(float *const *c, index_type pixels, index_type column) {
    for (; pixels >= 2; pixels -= 2, c += 2) rough_gelu_pixels<2, Vectors>(c, column);
    if (pixels > 0) rough_gelu_pixels<1, Vectors>(c, column);
}

/// See gemm_few_rows_of().
template <class Product, int Vectors>
void encoded_few_rows_of(const encoded_gemm_args &g, index_type pixel, index_type column, const std::byte *panel,
                         const std::byte *ahead, const k_block<Product> &block) {
    encoded_tile<Product, static_cast<int>(Product::rows), Vectors, true>(g, pixel, column, panel, ahead, block);
}

/// See gemm_pair_of().
template <class Product, int Vectors>
void encoded_pair_of(const encoded_gemm_args &g, index_type column, const std::byte *panel) {
    constexpr index_type row_bytes = Vectors * vec::lanes * size_of(Product::type), rows = Product::rows;
    typename Product::sums between[2][rows * Vectors];
    const index_type last = g.matrix.padded_rows();
    for (index_type k = 0; k < last;) {
        const index_type end = std::min(k + block_steps * Product::group, last), half = (end - k) / 2 * row_bytes;
        const std::byte *const next = panel + (end - k) * row_bytes;
        encoded_few_rows_of<Product, Vectors>(g, 0, column, panel, next, {k, end, between[0]});
        encoded_few_rows_of<Product, Vectors>(g, rows, column, panel, next + half, {k, end, between[1]});
        k = end, panel = next;
    }
}

/// A panel for all pixels; see gemm_panel_of().
template <class Product, int Vectors>
void encoded_panel_of(const encoded_gemm_args &g, index_type column, const std::byte *panel) {
    const index_type panel_bytes = g.matrix.padded_rows() * Vectors * vec::lanes * size_of(Product::type);
    constexpr int rows = static_cast<int>(Product::rows);
    constexpr bool pixel_pairs = requires { typename Product::pixel_pair; };
    if constexpr (!pixel_pairs) {
        if (take_turns(g.pixels, rows, panel_bytes)) return encoded_pair_of<Product, Vectors>(g, column, panel);
    }
    const std::byte *ahead = panel + panel_bytes;
    // Most maps have a power of 2 of pixels, which high tiles alone fit if they have one of rows.
    constexpr bool one_height = (rows & (rows - 1)) == 0 || pixel_pairs;
    constexpr int fewer = rows - 1;
    // So many of the lower tiles that no pixel is computed twice: 128 are 24 times 5 and 2 times 4.
    const index_type lower = (rows - g.pixels % rows) % rows, high_end = g.pixels - lower * fewer;
    const bool tiles_are_few = !pixel_pairs && are_few<Vectors>((g.pixels + rows - 1) / rows);
    const k_block<Product> whole{0, g.matrix.rows, nullptr};
    for (index_type pixel = 0; pixel < g.pixels;) {
        bool few = false;
        if (one_height || (high_end < 0 ? g.pixels - pixel > fewer : pixel < high_end)) {
            few = tiles_are_few;
            if constexpr (!pixel_pairs) {
                if (few) encoded_few_rows_of<Product, Vectors>(g, pixel, column, panel, ahead, whole);
            }
            if (!few) encoded_tile<Product, rows, Vectors, false>(g, pixel, column, panel, ahead, whole);
            pixel += rows;
        } else if constexpr (!one_height) {
            encoded_tile<Product, fewer, Vectors, false>(g, pixel, column, panel, ahead, whole);
            pixel += fewer;
        }
        ahead += g.matrix.rows / (4 * Product::group) * 4 * prefetched_floats<Vectors>(few);
        if (ahead >= panel + 2 * panel_bytes) ahead = panel;
    }
}

template <class Product, int Vectors>
void encoded_vectors_of(const encoded_gemm_args &g, index_type vectors, index_type column, const std::byte *panel) {
    if constexpr (Vectors > cell_registers) {
        if (vectors < Vectors) return encoded_vectors_of<Product, Vectors - cell_registers>(g, vectors, column, panel);
    }
    encoded_panel_of<Product, Vectors>(g, column, panel);
    if (g.act == activation::gelu) rough_gelu_panel<Vectors>(g.c, g.pixels, column);
}

template <class Product> constexpr matrix_format encoded_format(index_type columns) {
    return {.type = Product::type, .group = Product::group, .panel = gemm_panel(columns)};
}

/// What the contract demands.
template <class Product> void check_encoded_gemm([[maybe_unused]] const encoded_gemm_args &g) {
    [[maybe_unused]] const packed_matrix_view &m = g.matrix;
    [[maybe_unused]] const index_type panel = m.format.panel;
    FASTVIT_ASSERT(m.weights && m.bias && m.format.type == Product::type && m.format.group == Product::group);
    FASTVIT_ASSERT(Product::type == precision::bfloat16 || (m.scale && m.sums && m.rows <= int8_max_rows));
    FASTVIT_ASSERT(m.columns % channel_padding == 0 && (panel == gemm_panel(48) || panel == gemm_panel(64)));
    FASTVIT_ASSERT((g.pixels == 0 || (g.a && g.c)) && g.pixels >= 0 && g.pixels <= gemm_max_pixels);
    FASTVIT_ASSERT(g.a_pixel >= m.padded_rows() * Product::element_bytes && (!g.residual || g.act == activation::none));
    FASTVIT_ASSERT(g.act == activation::none || g.act == activation::gelu);
    FASTVIT_ASSERT(g.column_begin >= 0 && g.column_end <= m.columns && g.column_begin % panel == 0);
    FASTVIT_ASSERT(g.column_end % panel == 0 || g.column_end == m.columns);
}

template <class Product> void encoded_gemm(const encoded_gemm_args &g) {
    constexpr int widest = static_cast<int>(std::max(gemm_panel(48), gemm_panel(64)) / vec::lanes);
    check_encoded_gemm<Product>(g);
    const packed_matrix_view &m = g.matrix;
    for (index_type column = g.column_begin; column < g.column_end; column += m.format.panel) {
        const index_type width = std::min(m.format.panel, m.columns - column);
        encoded_vectors_of<Product, widest>(g, width / vec::lanes, column, m.weights + m.at(0, column));
    }
}

template <class Product>
inline constexpr encoded_kernels encoded_in{.format = encoded_format<Product>,
                                            .element_bytes = Product::element_bytes,
                                            .encode = encode<Product>,
                                            .gemm = encoded_gemm<Product>};
