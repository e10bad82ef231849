// SPDX-License-Identifier: MIT
// Matrix products below float32 by a unit that multiplies tiles. Contract: encoded_gemm_args. Operands lie as they do for a dot
// product of `group` rows: see body.inl, whose finished(), rough_gelu_panel() and check_encoded_gemm() this needs. A tile of sums
// is 16 pixels x 16 columns, and a step of K is 16 groups, the last one fewer: 64 bytes of each pixel, 16 rows of a panel.
//
// The tier has shapes_of(), and a `Unit` with eight tile registers and
//
//     Unit::region r(shapes_of(pixels, groups))    sets their shapes: 0 to 3 are sums, pixels x 16; 4 activations, pixels x 16
//                                                  groups; 5 weights, 16 groups x 16; 6 and 7 the same of fewer groups, for the
//                                                  last step. Its destructor releases them
//     clear<Sums>()                                sums become zero
//     load<Tile>(p, step)                          the tile's rows, `step` bytes apart
//     add<Product, Sums, Left, Right>()            sums += left * right
//     store<Sums>(p, step)

inline constexpr index_type unit_tile = 16; ///< the most rows of a tile, its groups of 4 bytes, and its columns

/// The sums of 2 x 2 tiles.
struct tile_sums {
    alignas(64) std::int32_t of[2][2][unit_tile * unit_tile];
};

/// What Pixels x Columns tiles multiply: two tiles of activations, whose rows are a_row bytes apart, and two of weights beside
/// each other.
struct tile_operands {
    const std::byte *a[2];
    index_type a_row;
    const std::byte *panel;
    index_type panel_row;
};

/// A step of K. Registers are renamed: loading one that is still in use need not wait.
template <class Product, class Unit, int Left, int Right, int Pixels, int Columns>
FASTVIT_ALWAYS_INLINE void add_step(const tile_operands &from, index_type step) {
    const index_type k = step * 4 * unit_tile;
    const std::byte *const panel = from.panel + step * unit_tile * from.panel_row, *const second = panel + 4 * unit_tile;
    Unit::template load<Left>(from.a[0] + k, from.a_row);
    Unit::template load<Right>(panel, from.panel_row);
    Unit::template add<Product, 0, Left, Right>();
    if constexpr (Columns > 1) {
        Unit::template load<Right>(second, from.panel_row);
        Unit::template add<Product, 1, Left, Right>();
    }
    if constexpr (Pixels > 1) {
        Unit::template load<Left>(from.a[1] + k, from.a_row);
        if constexpr (Columns > 1) {
            Unit::template add<Product, 3, Left, Right>();
            Unit::template load<Right>(panel, from.panel_row);
        }
        Unit::template add<Product, 2, Left, Right>();
    }
}

/// Sums of Pixels x Columns tiles over so many groups of K.
template <class Product, class Unit, int Pixels, int Columns>
void add_tiles(const tile_operands &from, index_type groups, tile_sums &sums) {
    Unit::template clear<0>();
    if constexpr (Columns > 1) Unit::template clear<1>();
    if constexpr (Pixels > 1) Unit::template clear<2>();
    if constexpr (Pixels > 1 && Columns > 1) Unit::template clear<3>();
    const index_type whole = groups / unit_tile;
    for (index_type step = 0; step < whole; ++step) add_step<Product, Unit, 4, 5, Pixels, Columns>(from, step);
    if (groups % unit_tile > 0) add_step<Product, Unit, 6, 7, Pixels, Columns>(from, whole);
    constexpr index_type row = 4 * unit_tile;
    Unit::template store<0>(sums.of[0][0], row);
    if constexpr (Columns > 1) Unit::template store<1>(sums.of[0][1], row);
    if constexpr (Pixels > 1) Unit::template store<2>(sums.of[1][0], row);
    if constexpr (Pixels > 1 && Columns > 1) Unit::template store<3>(sums.of[1][1], row);
}

/// Finishes and stores Columns tiles of pixels [first, first + count), which are rows `row` and following of the sums.
template <class Product, int Columns>
FASTVIT_ALWAYS_INLINE void finish_tiles(const encoded_gemm_args &g, const std::int32_t (*sums)[unit_tile * unit_tile],
                                        index_type row, index_type first, index_type count, index_type column) {
    for (index_type i = 0; i < count; ++i) {
        const index_type pixel = first + i;
        FASTVIT_UNROLL for (int j = 0; j < Columns; ++j) {
            typename Product::sums acc;
            __builtin_memcpy(&acc, sums[j] + (row + i) * unit_tile, sizeof acc);
            vec value = finished<Product>(acc, g, pixel, column + j * unit_tile);
            if (g.residual) value = value + vec::load(g.residual[pixel] + column + j * unit_tile);
            value.store(g.c[pixel] + column + j * unit_tile);
        }
    }
}

/// Columns tiles of columns for all pixels, two tiles of pixels at a time.
template <class Product, class Unit, int Columns>
void tile_columns(const encoded_gemm_args &g, index_type column, const std::byte *panel, index_type panel_row) {
    const index_type height = std::min(unit_tile, g.pixels), groups = g.matrix.padded_rows() / Product::group;
    tile_sums sums;
    for (index_type pixel = 0; pixel < g.pixels; pixel += 2 * height) {
        // A tile that would reach beyond the last pixel begins earlier, and its first rows are those of another.
        const index_type begin[2] = {std::min(pixel, g.pixels - height), std::min(pixel + height, g.pixels - height)};
        const tile_operands from{.a = {g.a + begin[0] * g.a_pixel, g.a + begin[1] * g.a_pixel},
                                 .a_row = g.a_pixel,
                                 .panel = panel,
                                 .panel_row = panel_row};
        const bool two = pixel + height < g.pixels;
        if (two)
            add_tiles<Product, Unit, 2, Columns>(from, groups, sums);
        else
            add_tiles<Product, Unit, 1, Columns>(from, groups, sums);
        for (int i = 0; i < (two ? 2 : 1); ++i) {
            const index_type first = pixel + i * height;
            finish_tiles<Product, Columns>(g, sums.of[i], first - begin[i], first, begin[i] + height - first, column);
        }
    }
    if (g.act == activation::gelu) rough_gelu_panel<Columns>(g.c, g.pixels, column);
}

template <class Product, class Unit> void encoded_gemm_by_tiles(const encoded_gemm_args &g) {
    static_assert(vec::lanes == unit_tile && Product::group * Product::element_bytes == 4);
    check_encoded_gemm<Product>(g);
    if (g.pixels == 0) return;
    const packed_matrix_view &m = g.matrix;
    const typename Unit::region region(shapes_of(std::min(unit_tile, g.pixels), m.padded_rows() / Product::group % unit_tile));
    for (index_type column = g.column_begin; column < g.column_end; column += m.format.panel) {
        const index_type width = std::min(m.format.panel, m.columns - column), panel_row = 4 * width;
        const std::byte *const panel = m.weights + m.at(0, column);
        for (index_type c = 0; c < width; c += 2 * unit_tile) {
            if (c + unit_tile < width)
                tile_columns<Product, Unit, 2>(g, column + c, panel + 4 * c, panel_row);
            else
                tile_columns<Product, Unit, 1>(g, column + c, panel + 4 * c, panel_row);
        }
    }
}
