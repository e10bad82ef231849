// SPDX-License-Identifier: MIT
// What the decoders of the kinds of picture share. Each gives the pixels that Pillow's convert("RGB") gives, and throws
// fastvit::error for what is broken, truncated, or of a kind that it does not read; nothing is allocated before the size is known
// to be allowed.
#pragma once

#include "fastvit/error.hpp"

#include "image_file.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace examples {

using byte_span = std::span<const std::uint8_t>;

struct decoded_picture {
    picture pixels;
    int orientation = 1; ///< EXIF's, 1 to 8; 1 where the file has none
};

decoded_picture decode_png(byte_span bytes);
decoded_picture decode_jpeg(byte_span bytes);
decoded_picture decode_webp(byte_span bytes);
decoded_picture decode_gif(byte_span bytes);  ///< the first frame
decoded_picture decode_tiff(byte_span bytes); ///< the first page, upright: its orientation is part of the format, as in Pillow
decoded_picture decode_bmp(byte_span bytes);
decoded_picture decode_pnm(byte_span bytes); ///< PBM, PGM and PPM

/// Throws for a picture without pixels or with more than most_pixels.
void require_size(fastvit::index_type height, fastvit::index_type width);
/// A black picture. Throws as require_size().
picture allocate(fastvit::index_type height, fastvit::index_type width);

/// The orientation in an EXIF block, which begins with TIFF's header, with or without "Exif\0\0" before it; 1 if there is none.
int exif_orientation(byte_span exif) noexcept;
/// The picture as it is to be looked at.
picture upright(picture p, int orientation);

inline fastvit::error broken(const char *kind, const std::string &problem) {
    return {fastvit::error_kind::bad_format, std::string("broken ") + kind + ": " + problem};
}

/// Numbers from 0 to 255 for a palette's entries that a file leaves out, as Pillow has them.
using palette = std::array<rgb_colour, 256>;
palette grey_ramp() noexcept;

/// Ink to light, as Pillow's convert("RGB") of CMYK: without a colour profile.
inline void cmyk_to_rgb(const std::uint8_t *cmyk, std::uint8_t *rgb) noexcept {
    const int light = 255 - cmyk[3];
    for (int c = 0; c < 3; ++c) {
        const int product = cmyk[c] * light + 128;
        rgb[c] = static_cast<std::uint8_t>(light - (((product >> 8) + product) >> 8));
    }
}

} // namespace examples
