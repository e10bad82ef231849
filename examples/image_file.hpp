// SPDX-License-Identifier: MIT
// Decodes picture files for the examples and the tests. The library itself reads no pictures: any decoder will do.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/preprocess.hpp"

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

    /// What fastvit::preprocess() takes. Valid for as long as `pixels` stays as it is.
    fastvit::picture_view view() const noexcept {
        return {.pixels = pixels.data(), .height = height, .width = width, .channels = channels};
    }
};

/// The most pixels that are decoded, 2^28. A larger picture is refused before memory is allocated for it.
inline constexpr fastvit::index_type most_pixels = fastvit::index_type{1} << 28;

/// Decodes a PNG, JPEG, PPM (P6) or PGM (P5) file, told apart by their first bytes.
///
/// Grey and palette pictures become RGB; alpha is dropped, not blended, as Pillow's convert("RGB") does. Nothing else is changed:
/// no gamma or colour profile is applied, and the orientation that a camera noted is ignored. Pixels of a PNG, PPM or PGM are
/// exact; those of a JPEG are libjpeg-turbo's.
///
/// Throws fastvit::error with the reason: unsupported for what is well-formed but not read here (16 bits per channel, CMYK, other
/// kinds of file, too large), bad_format for what is broken or truncated.
picture decode_picture(std::span<const std::uint8_t> bytes);

/// The same for a file. Errors name it; io is for one that cannot be read.
picture read_picture(const std::string &path);

} // namespace examples
