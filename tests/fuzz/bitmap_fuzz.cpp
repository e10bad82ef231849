// SPDX-License-Identifier: MIT
// The bytes are a picture of one of the kinds that the examples read themselves: a bitmap or a PNM; or a block of EXIF data.
#include "fuzz_target.hpp"
#include "image/decoders.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const examples::byte_span bytes(data, size);
    const int orientation = examples::exif_orientation(bytes);
    fuzz::require(orientation >= 1 && orientation <= 8, "an orientation is one of eight");
    const bool pnm = size >= 2 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6';
    // Three bytes a pixel, of which bitmaps have eight in a byte, and in runs 255 in two.
    fuzz::bounded(size, 4 * 255, [&] {
        fuzz::accepts([&] {
            const examples::picture p = (pnm ? examples::decode_pnm : examples::decode_bmp)(bytes).pixels;
            fuzz::require(p.pixels.size() == static_cast<std::size_t>(3 * p.height * p.width), "all pixels are there");
        });
    });
    return 0;
}
