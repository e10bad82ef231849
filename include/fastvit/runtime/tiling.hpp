// SPDX-License-Identifier: MIT
// How maps are cut into tasks. Results do not depend on it.
#pragma once

#include "fastvit/kernels/table.hpp"
#include "fastvit/runtime/map.hpp"

#include <algorithm>

namespace fastvit { inline namespace FASTVIT_ABI { namespace runtime {

/// A rectangle of pixels of one image.
struct tile {
    index_type image, y, x, rows, columns;
    index_type pixels() const noexcept { return rows * columns; }
};

/// A map cut into tiles of nearly equal size, as many as the workers can share out evenly. Results do not depend on it.
struct tiling {
    extent size;
    index_type down, across; ///< tiles
    index_type unit = 1;     ///< columns: a tile begins at a multiple of it

    /// Tiles of about `target` pixels and at most kernels::gemm_max_pixels, whole rows where they fit.
    tiling(const extent &e, index_type target, int workers) : tiling(e) { cut(target, kernels::gemm_max_pixels, workers); }
    /// The same for layers that read a window around each pixel: tiles that are rather high than wide read less of what lies
    /// around them, and the window's rows stay in the first-level cache from one column to the next. 4 divides the width of every
    /// tier's depthwise tile.
    static tiling windows(const extent &e, index_type target, int workers) {
        tiling t(e);
        t.unit = 4;
        t.cut(target, 16, workers);
        return t;
    }
    /// Bands of about that many whole rows.
    static tiling bands(const extent &e, index_type rows, int workers) {
        tiling t(e);
        t.cut_down(std::clamp<index_type>(rows, 1, e.height), workers);
        return t;
    }

    index_type count() const noexcept { return size.images * down * across; }
    index_type rows() const noexcept { return (size.height + down - 1) / down; }           ///< of the highest tile
    index_type columns() const noexcept { return (units() + across - 1) / across * unit; } ///< of the widest tile, or more
    index_type most_pixels() const noexcept { return rows() * columns(); }
    tile operator[](index_type i) const noexcept {
        const index_type row = i / across % down, column = i % across;
        const index_type y = row * size.height / down, x = column * units() / across * unit;
        const index_type right = std::min((column + 1) * units() / across * unit, size.width);
        return {i / (across * down), y, x, (row + 1) * size.height / down - y, right - x};
    }

  private:
    explicit tiling(const extent &e) : size(e), across(1) {}
    index_type units() const noexcept { return (size.width + unit - 1) / unit; }
    void cut(index_type target, index_type most_columns, int workers) noexcept {
        target = std::clamp<index_type>(target, unit, kernels::gemm_max_pixels);
        most_columns = std::min(target, most_columns) / unit * unit;
        across = (units() * unit + most_columns - 1) / most_columns;
        cut_down(std::clamp<index_type>(target / columns(), 1, size.height), workers);
    }
    void cut_down(index_type most_rows, int workers) noexcept {
        down = (size.height + most_rows - 1) / most_rows;
        while (count() % workers != 0 && down < size.height) ++down;
    }
};

/// Pixels of a tile whose maps, `floats` for each pixel, take about what the tier says: they and the weights that stream past
/// them fit the second-level cache.
constexpr index_type tile_pixels_for(const kernels::kernel_table &tier, index_type floats) noexcept {
    return std::clamp<index_type>(tier.tile_bytes / 4 / std::max<index_type>(floats, 1), 48, kernels::gemm_max_pixels);
}

/// Addresses of a tile's pixels in row order.
template <class Pointer> void tile_pixels(const map &m, const tile &t, Pointer *out) noexcept {
    for (index_type y = 0; y < t.rows; ++y)
        for (index_type x = 0; x < t.columns; ++x) *out++ = m.at(t.image, t.y + y, t.x + x);
}

/// Addresses of `count` pixels of a map from number `first`, counted over the rows of all images.
template <class Pointer> void map_pixels(const map &m, index_type first, index_type count, Pointer *out) noexcept {
    const index_type width = m.size.width, height = m.size.height;
    for (index_type i = first; i < first + count; ++i) *out++ = m.at(i / (width * height), i / width % height, i % width);
}

/// Addresses of `count` pixels that lie one after the other.
template <class Pointer> void run_pixels(float *first, index_type stride, index_type count, Pointer *out) noexcept {
    for (index_type i = 0; i < count; ++i) out[i] = first + i * stride;
}

}}} // namespace fastvit::FASTVIT_ABI::runtime
