// SPDX-License-Identifier: MIT
// What all decoders need: room for the pixels, and turning them upright.
#include "image/decoders.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace examples {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

void require_size(index_type height, index_type width) {
    if (height < 1 || width < 1)
        throw error(error_kind::bad_format,
                    "empty picture: " + std::to_string(width) + " x " + std::to_string(height) + " pixels");
    if (width > most_pixels / height)
        throw error(error_kind::unsupported, {.problem = "the picture is too large",
                                              .expected = "at most " + std::to_string(most_pixels) + " pixels",
                                              .found = std::to_string(width) + " x " + std::to_string(height)});
}

picture allocate(index_type height, index_type width) {
    require_size(height, width);
    picture p{.pixels = {}, .height = height, .width = width};
    p.pixels.resize(static_cast<std::size_t>(height * width * p.channels));
    return p;
}

palette grey_ramp() noexcept {
    palette ramp;
    for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i].fill(static_cast<std::uint8_t>(i));
    return ramp;
}

int exif_orientation(byte_span exif) noexcept {
    using namespace std::string_view_literals;
    const auto begins = [&](std::string_view magic) {
        return exif.size() >= magic.size() && std::memcmp(exif.data(), magic.data(), magic.size()) == 0;
    };
    if (begins("Exif\0\0"sv)) exif = exif.subspan(6);
    const bool big = begins("MM\0*"sv);
    if (!big && !begins("II*\0"sv)) return 1;
    const auto number = [&](std::size_t at, std::size_t size) {
        std::size_t value = 0;
        for (std::size_t i = 0; i < size; ++i) value = value << 8 | exif[big ? at + i : at + size - 1 - i];
        return value;
    };
    constexpr std::size_t orientation_tag = 0x0112, short_type = 3, entry_size = 12;
    if (exif.size() < 8) return 1;
    std::size_t at = number(4, 4);
    if (at > exif.size() || exif.size() - at < 2) return 1;
    std::size_t entries = number(at, 2);
    for (at += 2; entries > 0 && exif.size() - at >= entry_size; --entries, at += entry_size)
        if (number(at, 2) == orientation_tag) {
            const std::size_t value = number(at + 8, 2);
            return number(at + 2, 2) == short_type && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
        }
    return 1;
}

picture upright(picture p, int orientation) {
    if (orientation == 1) return p;
    // 1 to 4 mirror rows or columns; 5 to 8 do the same after rows and columns are exchanged.
    const bool exchanged = orientation >= 5;
    const bool from_the_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    picture turned = allocate(exchanged ? p.width : p.height, exchanged ? p.height : p.width);
    for (index_type y = 0; y < turned.height; ++y)
        for (index_type x = 0; x < turned.width; ++x) {
            const index_type row = exchanged ? x : y, column = exchanged ? y : x;
            const index_type from_row = from_below ? p.height - 1 - row : row;
            const index_type from_column = from_the_right ? p.width - 1 - column : column;
            std::copy_n(p.pixels.data() + 3 * (from_row * p.width + from_column), 3,
                        turned.pixels.data() + 3 * (y * turned.width + x));
        }
    return turned;
}

} // namespace examples
