// SPDX-License-Identifier: MIT
// The bytes are the sizes of a picture and the parameters of a preprocessing, then pixels.
#include "fastvit/image/crop.hpp"
#include "fastvit/preprocess.hpp"

#include "fuzz_target.hpp"

#include <vector>

namespace {

// One of a picture's sides: mostly small, so that the pixels are few, and now and then any number.
fastvit::index_type take_side(fuzz::number_source &from) {
    const auto small = from.take<std::uint8_t>();
    return small == 255 ? from.take<fastvit::index_type>() : small;
}

} // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    fuzz::number_source from(data, size);
    fastvit::picture_view picture;
    picture.height = take_side(from);
    picture.width = take_side(from);
    picture.channels = from.take<std::int8_t>();
    picture.row_stride = take_side(from);
    fastvit::preprocessing how;
    how.rule = static_cast<fastvit::resize_rule>(from.take<std::uint8_t>() % 3);
    how.filter = static_cast<fastvit::interpolation>(from.take<std::uint8_t>() % 2);
    how.rounding = static_cast<fastvit::crop_rounding>(from.take<std::uint8_t>() % 2);
    how.height = take_side(from);
    how.width = take_side(from);
    how.crop_fraction = from.take<double>();
    for (float &x : how.mean) x = from.take<float>();
    for (float &x : how.stddev) x = from.take<float>();

    // The pixels end where the last row does, so that the sanitizers see a byte too many. Sizes for which there are not enough
    // have to be refused, or else are not tried.
    constexpr fastvit::index_type most_bytes = 1 << 18, most_pixels = 64 * 64;
    std::vector<std::uint8_t> pixels;
    bool possible = false;
    picture.pixels = data;
    if (!fuzz::accepts([&] {
            const auto source = fastvit::resampling::checked(picture);
            (void)fastvit::resampling::plan(picture, how);
            const fastvit::index_type row = picture.width * picture.channels;
            possible = source.stride <= most_bytes && (picture.height - 1) * source.stride + row <= most_bytes &&
                       how.height * how.width <= most_pixels;
            if (possible) pixels.resize(static_cast<std::size_t>((picture.height - 1) * source.stride + row));
        })) {
        fuzz::require(!fuzz::accepts([&] { (void)fastvit::preprocess(picture, how); }), "what cannot be is refused");
        return 0;
    }
    if (!possible) return 0;
    // As many pixels as the input has, again and again.
    const auto values = from.rest();
    for (std::size_t i = 0; i < pixels.size() && !values.empty(); ++i) pixels[i] = values[i % values.size()];
    picture.pixels = pixels.data();

    const auto bytes = fastvit::resize_crop(picture, how);
    fuzz::accepts([&] {
        const auto input = fastvit::preprocess(picture, how);
        // The same pixels, and zero minus the mean where there are none.
        for (fastvit::index_type y = 0; y < how.height; ++y)
            for (fastvit::index_type x = 0; x < how.width; ++x)
                for (fastvit::index_type c = 0; c < 3; ++c) {
                    const auto channel = static_cast<std::size_t>(c);
                    const float expected =
                        (static_cast<float>(bytes(y, x, c)) / 255.0f - how.mean[channel]) / how.stddev[channel];
                    fuzz::require(input(0, c, y, x) == expected, "the input is the normalised pixels");
                }
    });
    return 0;
}
