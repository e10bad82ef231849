// SPDX-License-Identifier: MIT
// Matrix product over pixels: pointwise and dense convolutions, linear layers. Contract: gemm_args.

/// What four steps of K prefetch: a cache line, or two where a panel is wide. With 64 pixels, as a last stage has, 8 tiles of 8
/// would fetch the next panel only at the end of this one if it has 32 columns, and not all of it if it has 48. Where tiles are
/// few, half of what the steps take in float32: two tiles fetch the next panel.
template <int Vectors> constexpr index_type prefetched_floats(bool few) {
    constexpr index_type width = Vectors * vec::lanes;
    if (few) return 2 * width;
    return width > 16 ? 32 : 16;
}

/// Whether so many tiles would still not fetch the next panel. Two tiles are the last stage of MCi3 and MCi4, whose weights come
/// from memory.
template <int Vectors> constexpr bool are_few(index_type tiles) {
    return tiles * prefetched_floats<Vectors>(false) < 4 * Vectors * vec::lanes;
}

/// Which cache __builtin_prefetch() fetches into: the second-level one, or the first where tiles are few. Tiles that take turns
/// use at once what they fetch. Other few tiles fetch more than the first-level cache holds; the rest ends up in the second-level
/// one.
template <bool Few> inline constexpr int prefetch_locality = Few ? 3 : 2;

/// Steps of K in a block of two tiles; see gemm_pair_of(). Of a panel of 32 columns in float32 they are 8 KB.
inline constexpr index_type block_steps = 64;

/// Whether pixels are two tiles of `rows` which take turns at a panel. Of more than 256 KB, it and the next one would not stay in
/// a second-level cache of 512 KB or 1 MB, and the second tile would wait for the same weights again.
constexpr bool take_turns(index_type pixels, index_type rows, index_type panel_bytes) {
    return pixels == 2 * rows && panel_bytes > (index_type{256} << 10);
}

/// Rows x (Vectors * lanes) outputs, held in registers over the whole of K. Weights come from the panel, one register load per
/// Vectors; activations are broadcast from memory. Four steps of K an iteration: a loop of K = 48 single steps spends a
/// twentieth of its time on the mispredicted way out. Each iteration prefetches some more of what lies ahead.
/// Where tiles are few, the sums of row i may begin with sums[i] instead of the bias.
template <int Rows, int Vectors, bool Few>
FASTVIT_ALWAYS_INLINE void gemm_tile(const gemm_args &g, index_type pixel, index_type column, const float *panel,
                                     const float *ahead, [[maybe_unused]] const float *const *sums) {
    constexpr index_type width = Vectors * vec::lanes, prefetched = prefetched_floats<Vectors>(Few);
    const float *a[Rows];
    vec acc[Rows][Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
        a[i] = g.a[pixel + i];
        const float *const begin = Few && sums ? sums[i] : g.matrix.bias + column;
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j] = vec::load(begin + j * vec::lanes);
    }
    for (index_type s = 0;;) {
        index_type k = 0;
        const auto step = [&](index_type more) FASTVIT_INLINE_LAMBDA {
            vec w[Vectors];
            FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) w[j] = vec::load(panel + more * width + j * vec::lanes);
            FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
                const vec x = vec::broadcast(a[i][k + more]);
                FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) accumulate(acc[i][j], x, w[j]);
            }
        };
        for (; k + 4 <= g.segment; k += 4, panel += 4 * width, ahead += prefetched) {
            FASTVIT_UNROLL for (index_type i = 0; i < prefetched; i += channel_padding)
                __builtin_prefetch(ahead + i, 0, prefetch_locality<Few>);
            step(0), step(1), step(2), step(3);
        }
        for (; k < g.segment; ++k, panel += width) step(0);
        if (++s == g.segments) break;
        FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) a[i] += g.segment_stride;
    }
    if (g.residual) {
        FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
            const float *const r = g.residual[pixel + i] + column;
            FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j] = acc[i][j] + vec::load(r + j * vec::lanes);
        }
    }
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
        float *const c = g.c[pixel + i] + column;
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j].store(c + j * vec::lanes);
    }
}

template <int Pixels, int Vectors>
FASTVIT_ALWAYS_INLINE void activate_pixels(activation act, float *const *c, index_type column) {
    float *values[Pixels * Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Pixels; ++i) FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) values[i * Vectors + j] =
        c[i] + column + j * vec::lanes;
    activate(act, values);
}

/// The activation of a panel that gemm_tile stored, read back from the first-level cache: unrolled inside each tile shape, GELU
/// would be most of the code of this file. Three pixels at a time: with AVX2 six registers, as many as gelu_power() has room for.
template <int Vectors> void activate_panel(activation act, float *const *c, index_type pixels, index_type column) {
    for (; pixels >= 3; pixels -= 3, c += 3) activate_pixels<3, Vectors>(act, c, column);
    for (; pixels > 0; --pixels, ++c) activate_pixels<1, Vectors>(act, c, column);
}

/// The tile of `rows` <= Rows rows: one instantiation for each.
template <int Rows, int Vectors>
void gemm_rows_of(const gemm_args &g, index_type rows, index_type pixel, index_type column, const float *panel,
                  const float *ahead) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return gemm_rows_of<Rows - 1, Vectors>(g, rows, pixel, column, panel, ahead);
    }
    gemm_tile<Rows, Vectors, false>(g, pixel, column, panel, ahead, nullptr);
}

/// The tile of gemm_rows rows where tiles are few. `sums` is null, or where the rows' sums begin.
template <int Vectors>
void gemm_few_rows_of(const gemm_args &g, index_type pixel, index_type column, const float *panel, const float *ahead,
                      const float *const *sums) {
    gemm_tile<gemm_rows, Vectors, true>(g, pixel, column, panel, ahead, sums);
}

/// A panel for two tiles of gemm_rows rows, which take turns at blocks of K: the second finds the weights in the first-level
/// cache, while each fetches half of the next block. In between, the sums lie in memory.
template <int Vectors> void gemm_pair_of(const gemm_args &g, index_type column, const float *panel) {
    constexpr index_type width = Vectors * vec::lanes, pixels = 2 * gemm_rows;
    FASTVIT_ASSERT(g.segments == 1 && g.segment > block_steps);
    alignas(64) float between[pixels * width];
    const float *a[pixels];
    float *sums[pixels];
    for (index_type i = 0; i < pixels; ++i) a[i] = g.a[i], sums[i] = between + i * width;
    gemm_args block = g;
    block.a = a, block.c = sums, block.residual = nullptr;
    block.matrix.bias += column; // the first block's columns begin at 0; the others do not read it
    for (index_type k = 0, to = 0; k < g.segment; k += block.segment) {
        block.segment = std::min(block_steps, g.segment - k);
        if (k + block.segment == g.segment) block.c = g.c, block.residual = g.residual, to = column;
        const float *const next = panel + block.segment * width;
        gemm_few_rows_of<Vectors>(block, 0, to, panel, next, k > 0 ? sums : nullptr);
        gemm_few_rows_of<Vectors>(block, gemm_rows, to, panel, next + block.segment / 2 * width,
                                  k > 0 ? sums + gemm_rows : nullptr);
        panel = next;
        for (const float *&row : a) row += block.segment;
    }
}

/// A panel for all pixels: after the first tile it comes from the first-level cache. Meanwhile the next panel is fetched, a
/// part with each tile: left to the hardware, it arrives while the first tile waits, which costs a large network 4% of its time.
template <int Vectors> void gemm_panel_of(const gemm_args &g, index_type column, const float *panel) {
    const index_type panel_floats = g.segments * g.segment * Vectors * vec::lanes;
    if (g.segments == 1 && take_turns(g.pixels, gemm_rows, panel_floats * size_of(precision::float32)))
        return gemm_pair_of<Vectors>(g, column, panel);
    const float *ahead = panel + panel_floats;
    // Tiles of nearly equal height: a remainder of 8 rows keeps the multiply-add units busy as 4 + 4, but not as 6 + 2.
    index_type tiles = (g.pixels + gemm_rows - 1) / gemm_rows;
    const bool tiles_are_few = are_few<Vectors>(tiles);
    for (index_type pixel = 0; tiles > 0; --tiles) {
        const index_type rows = (g.pixels - pixel + tiles - 1) / tiles;
        const bool few = tiles_are_few && rows == gemm_rows;
        if (few)
            gemm_few_rows_of<Vectors>(g, pixel, column, panel, ahead, nullptr);
        else
            gemm_rows_of<gemm_rows, Vectors>(g, rows, pixel, column, panel, ahead);
        pixel += rows;
        ahead += g.segment / 4 * prefetched_floats<Vectors>(few);
        if (ahead >= panel + 2 * panel_floats) ahead = panel;
    }
}

/// The panel of `vectors` <= Vectors registers. Columns are padded, so a panel narrower than the others ends where a multiple of
/// channel_padding does.
template <int Vectors> void gemm_vectors_of(const gemm_args &g, index_type vectors, index_type column, const float *panel) {
    constexpr int padding = static_cast<int>(channel_padding / vec::lanes);
    if constexpr (Vectors > padding) {
        if (vectors < Vectors) return gemm_vectors_of<Vectors - padding>(g, vectors, column, panel);
    }
    gemm_panel_of<Vectors>(g, column, panel);
    if (g.act != activation::none) activate_panel<Vectors>(g.act, g.c, g.pixels, column);
}

constexpr matrix_format gemm_format(index_type columns) { return {.panel = gemm_panel(columns)}; }

inline void gemm(const gemm_args &g) {
    constexpr int widest = static_cast<int>(std::max(gemm_panel(48), gemm_panel(64)) / vec::lanes);
    const packed_matrix_view &m = g.matrix;
    const index_type panel = m.format.panel;
    FASTVIT_ASSERT(m.weights && m.bias && m.format.type == precision::float32 && m.format.group == 1);
    FASTVIT_ASSERT(m.columns % channel_padding == 0 && (panel == gemm_panel(48) || panel == gemm_panel(64)));
    FASTVIT_ASSERT((g.pixels == 0 || (g.a && g.c)) && g.pixels >= 0 && g.pixels <= gemm_max_pixels);
    FASTVIT_ASSERT(g.segments >= 1 && g.segments * g.segment == m.rows);
    FASTVIT_ASSERT(g.column_begin >= 0 && g.column_end <= m.columns && g.column_begin % panel == 0);
    FASTVIT_ASSERT(g.column_end % panel == 0 || g.column_end == m.columns);
    FASTVIT_ASSERT(!g.residual || g.act == activation::none);
    const auto *const weights = reinterpret_cast<const float *>(m.weights);
    for (index_type column = g.column_begin; column < g.column_end; column += panel) {
        const index_type width = std::min(panel, m.columns - column);
        gemm_vectors_of<widest>(g, width / vec::lanes, column, weights + column * m.rows);
    }
}
