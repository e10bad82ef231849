// SPDX-License-Identifier: MIT
// The bytes are a picture of one of the kinds that the examples read themselves: a bitmap or a PNM; or a block of EXIF data.
#include "fuzz_target.hpp"
#include "image/decoders.hpp"

#include <algorithm>
#include <cstring>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const examples::byte_span bytes(data, size);
    const int orientation = examples::exif_orientation(bytes);
    fuzz::require(orientation >= 1 && orientation <= 8, "an orientation is one of eight");
    // A bitmap in runs may skip thousands of lines in four bytes: only most_pixels bounds it, which would take too long here.
    const auto side = [&](std::size_t at) {
        std::uint32_t value = 0;
        if (size >= at + 4) std::memcpy(&value, data + at, 4);
        return std::uint64_t{value};
    };
    constexpr std::uint64_t pixels = std::uint64_t{1} << 22;
    const bool pnm = size >= 2 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6';
    if (!pnm && std::min(side(22), (std::uint64_t{1} << 32) - side(22)) * side(18) > pixels) return 0;
    // Three bytes a pixel, of which bitmaps have eight in a byte, and in runs 255 in two.
    fuzz::bounded(size, 4 * 255, [&] {
        fuzz::accepts([&] {
            const examples::picture p = (pnm ? examples::decode_pnm : examples::decode_bmp)(bytes).pixels;
            fuzz::require(p.pixels.size() == static_cast<std::size_t>(3 * p.height * p.width), "all pixels are there");
        });
    });
    return 0;
}
