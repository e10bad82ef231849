// SPDX-License-Identifier: MIT
// Reads and writes picture files for the examples and the tests. The library itself does not: any decoder will do.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/picture.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace examples {

/// A decoded picture: rows from the top, red green blue interleaved, nothing between the rows.
struct picture {
    std::vector<std::uint8_t> pixels;
    fastvit::index_type height = 0, width = 0, channels = 3;

    /// What the library takes. Valid for as long as `pixels` stays as it is.
    fastvit::picture_view view() const noexcept {
        return {.pixels = pixels.data(), .height = height, .width = width, .channels = channels};
    }
};

/// The most pixels that are decoded, 2^28. A larger picture is refused before memory is allocated for it.
inline constexpr fastvit::index_type most_pixels = fastvit::index_type{1} << 28;

/// What to do with EXIF's orientation, the way a camera was held.
enum class camera_orientation {
    ignored, ///< the pixels as they are stored: what Python's pipelines give the network
    applied, ///< turned upright, as Pillow's ImageOps.exif_transpose does
};

/// Decodes a PNG, JPEG, WebP, GIF, TIFF, BMP, PBM, PGM or PPM file, told apart by their first bytes.
///
/// The pixels are those of Pillow's convert("RGB"): grey and palette pictures become RGB; alpha is dropped, not blended; 16 bits
/// per channel keep the upper 8, but grey is clamped to 255; CMYK becomes RGB without a colour profile. No gamma or profile is
/// applied. The first frame of an animation and the first page of several are decoded. What a decoder only warns about is no
/// error; missing data is.
///
/// Throws fastvit::error with the reason: unsupported for what is well-formed but not read here (other kinds of file, rare
/// layouts, too large), bad_format for what is broken or truncated.
picture decode_picture(std::span<const std::uint8_t> bytes, camera_orientation orientation = camera_orientation::ignored);

/// The same for a file, which errors name. Throws io if it cannot be read.
picture read_picture(const std::string &path, camera_orientation orientation = camera_orientation::ignored);

/// Red, green, blue.
using rgb_colour = std::array<std::uint8_t, 3>;

/// Writes a picture of 1 or 3 channels as a PNG file: grey or RGB, or, with a palette of up to 256 colours, which a picture of
/// one channel has the numbers of. Throws io, naming the file, and invalid_argument.
void write_png(const std::string &path, const fastvit::picture_view &picture, std::span<const rgb_colour> colours = {});

/// Whether a file that begins with these bytes is of a kind that decode_picture() reads. `kind_bytes` of them are enough.
bool begins_like_a_picture(std::span<const std::uint8_t> bytes) noexcept;
inline constexpr std::size_t kind_bytes = 32;

/// All of a file, or of the standard input for `-`; at most 1 GiB. Throws io, naming no file.
std::vector<std::uint8_t> read_bytes(const std::string &path);

} // namespace examples
