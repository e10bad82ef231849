// SPDX-License-Identifier: MIT
// Matrix product over pixels: pointwise and dense convolutions, linear layers. Contract: gemm_args.

/// Rows x (Vectors * lanes) outputs, held in registers over the whole of K. Weights come from the panel, one register load per
/// Vectors; activations are broadcast from memory.
template <int Rows, int Vectors>
FASTVIT_ALWAYS_INLINE void gemm_tile(const gemm_args &g, index pixel, index column, const float *panel) {
    constexpr index width = Vectors * vec::lanes;
    const float *a[Rows];
    vec acc[Rows][Vectors];
    FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
        a[i] = g.a[pixel + i];
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j] = vec::load(g.bias + column + j * vec::lanes);
    }
    for (index s = 0;;) {
        FASTVIT_UNROLL_BY_4 for (index k = 0; k < g.segment; ++k) {
            vec w[Vectors];
            FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) w[j] = vec::load(panel + j * vec::lanes);
            FASTVIT_UNROLL for (int i = 0; i < Rows; ++i) {
                const vec x = vec::broadcast(a[i][k]);
                FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) acc[i][j] = fma(x, w[j], acc[i][j]);
            }
            panel += width;
        }
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

/// The activation of a panel that gemm_tile stored, read back from the first-level cache: unrolled inside each tile shape, GELU
/// would be most of the code of this file.
template <int Vectors> void gemm_activate(const gemm_args &g, index column) {
    for (index p = 0; p < g.pixels; ++p) {
        float *const c = g.c[p] + column;
        vec y[Vectors];
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) y[j] = vec::load(c + j * vec::lanes);
        apply(g.act, y);
        FASTVIT_UNROLL for (int j = 0; j < Vectors; ++j) y[j].store(c + j * vec::lanes);
    }
}

/// The tile of `rows` <= Rows rows: one instantiation for each.
template <int Rows, int Vectors>
void gemm_rows_of(const gemm_args &g, index rows, index pixel, index column, const float *panel) {
    if constexpr (Rows > 1) {
        if (rows < Rows) return gemm_rows_of<Rows - 1, Vectors>(g, rows, pixel, column, panel);
    }
    gemm_tile<Rows, Vectors>(g, pixel, column, panel);
}

/// A panel for all pixels: it is read from the first-level cache but for the first tile.
template <int Vectors> void gemm_panel_of(const gemm_args &g, index column, const float *panel) {
    // Tiles of nearly equal height: 8 rows of remainder as 4 + 4 keep the multiply-add units busy, as 6 + 2 they would not.
    index tiles = (g.pixels + gemm_rows - 1) / gemm_rows;
    for (index pixel = 0; tiles > 0; --tiles) {
        const index rows = (g.pixels - pixel + tiles - 1) / tiles;
        gemm_rows_of<gemm_rows, Vectors>(g, rows, pixel, column, panel);
        pixel += rows;
    }
    if (g.act != activation::none) gemm_activate<Vectors>(g, column);
}

/// The panel of `vectors` <= Vectors registers.
template <int Vectors> void gemm_vectors_of(const gemm_args &g, index vectors, index column, const float *panel) {
    if constexpr (Vectors > 1) {
        if (vectors < Vectors) return gemm_vectors_of<Vectors - 1>(g, vectors, column, panel);
    }
    gemm_panel_of<Vectors>(g, column, panel);
}

inline void gemm(const gemm_args &g) {
    constexpr int widest = static_cast<int>(std::max(gemm_panel(48), gemm_panel(64)) / vec::lanes);
    const index depth = g.segments * g.segment;
    for (index column = g.column_begin; column < g.column_end; column += g.panel) {
        const index width = std::min(g.panel, g.columns - column);
        gemm_vectors_of<widest>(g, width / vec::lanes, column, g.weights + column * depth);
    }
}
