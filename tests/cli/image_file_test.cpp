// SPDX-License-Identifier: MIT
// The small files were written by Pillow 9.4 (interlaced.png by libpng, rgb_16bit.png by hand) and all show `shown` below, or its
// red channel in grey.
#include "fastvit/error.hpp"

#include "image_file.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using examples::picture;
using fastvit::error_kind;
using fastvit::index_type;

const std::string directory = FASTVIT_TEST_DATA "/preprocess/";
constexpr index_type height = 9, width = 13;

int shown(index_type y, index_type x, index_type channel) {
    return static_cast<int>(channel == 0 ? x * 19 : channel == 1 ? y * 28 : (x + y) * 11);
}
int shown_red(index_type, index_type x, index_type) { return static_cast<int>(x * 19); }

using bytes = std::vector<std::uint8_t>;

bytes contents(const std::string &name) {
    std::ifstream file(directory + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bytes text(std::string_view s) { return {s.begin(), s.end()}; }

/// The largest difference between the picture and what it should show.
template <class Expected> int difference(const picture &p, Expected expected) {
    EXPECT_EQ(p.height, height);
    EXPECT_EQ(p.width, width);
    EXPECT_EQ(p.channels, 3);
    if (p.pixels.size() != static_cast<std::size_t>(height * width * 3)) return 256;
    int worst = 0;
    for (index_type y = 0; y < height; ++y)
        for (index_type x = 0; x < width; ++x)
            for (index_type c = 0; c < 3; ++c)
                worst =
                    std::max(worst, std::abs(p.pixels[static_cast<std::size_t>((y * width + x) * 3 + c)] - expected(y, x, c)));
    return worst;
}

/// Fails unless the bytes are refused; returns what the message says.
std::string refusal(const bytes &b, error_kind code) {
    testing::internal::CaptureStderr();
    std::string message = "accepted";
    try {
        (void)examples::decode_picture(b);
    } catch (const fastvit::error &e) {
        EXPECT_EQ(e.code(), code) << e.what();
        message = e.what();
    }
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "the decoder printed";
    return message;
}

TEST(image_file, png_pixels_are_exact) {
    for (const char *name : {"rgb.png", "interlaced.png", "palette.png"})
        EXPECT_EQ(difference(examples::read_picture(directory + name), shown), 0) << name;
    EXPECT_EQ(difference(examples::read_picture(directory + "grey.png"), shown_red), 0);
    EXPECT_EQ(difference(examples::read_picture(directory + "grey_1bit.png"),
                         [](index_type y, index_type x, index_type) { return (x + y) % 2 ? 255 : 0; }),
              0);
}

// Blending would darken the left, where alpha is 0.
TEST(image_file, alpha_is_dropped) {
    EXPECT_EQ(difference(examples::read_picture(directory + "rgb_alpha.png"), shown), 0);
    EXPECT_EQ(difference(examples::read_picture(directory + "grey_alpha.png"), shown_red), 0);
}

TEST(image_file, jpeg_is_near) {
    EXPECT_LE(difference(examples::read_picture(directory + "rgb.jpg"), shown), 6);
    EXPECT_LE(difference(examples::read_picture(directory + "grey.jpg"), shown_red), 3);
}

TEST(image_file, reads_ppm_and_pgm) {
    bytes ppm = text("P6 # a comment\n#and another\n 13\t9\n255\n"), pgm = text("P5\r\n13 9 255 ");
    for (index_type y = 0; y < height; ++y)
        for (index_type x = 0; x < width; ++x) {
            for (index_type c = 0; c < 3; ++c) ppm.push_back(static_cast<std::uint8_t>(shown(y, x, c)));
            pgm.push_back(static_cast<std::uint8_t>(shown_red(y, x, 0)));
        }
    EXPECT_EQ(difference(examples::decode_picture(ppm), shown), 0);
    EXPECT_EQ(difference(examples::decode_picture(pgm), shown_red), 0);
    ppm.pop_back();
    EXPECT_EQ(refusal(ppm, error_kind::bad_format), "the PPM ends too early: expected 351 bytes of pixels, found 350");
}

TEST(image_file, the_view_is_the_picture) {
    const picture p = examples::read_picture(directory + "rgb.png");
    const fastvit::picture_view view = p.view();
    EXPECT_EQ(view.pixels, p.pixels.data());
    EXPECT_EQ(view.height, height);
    EXPECT_EQ(view.width, width);
    EXPECT_EQ(view.channels, 3);
    EXPECT_EQ(view.row_stride, 0);
}

TEST(image_file, refuses_other_kinds) {
    // Pillow keeps the upper byte of RGB and clips grey at 255, which leaves white.
    for (const char *name : {"grey_16bit.png", "rgb_16bit.png"})
        EXPECT_EQ(refusal(contents(name), error_kind::unsupported),
                  "PNG of 16 bits per channel: expected 8 bits or fewer, found 16")
            << name;
    EXPECT_EQ(refusal(contents("cmyk.jpg"), error_kind::unsupported), "colours of the JPEG: expected grey or RGB, found CMYK");
    EXPECT_EQ(refusal(text("GIF89a and so on"), error_kind::unsupported),
              "unknown kind of file: expected PNG, JPEG, PPM (P6) or PGM (P5), found the bytes 47 49 46 38 39 61 20 61");
    EXPECT_EQ(refusal(text("P"), error_kind::unsupported),
              "unknown kind of file: expected PNG, JPEG, PPM (P6) or PGM (P5), found the bytes 50");
    EXPECT_EQ(refusal({}, error_kind::bad_format), "the file is empty");
    EXPECT_EQ(refusal(text("P6 2 2 65535 ................"), error_kind::unsupported),
              "largest value of the PPM: expected 255, found 65535");
}

TEST(image_file, refuses_sizes_before_allocating) {
    EXPECT_EQ(refusal(text("P6 16385 16384 255 "), error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 16385 x 16384");
    EXPECT_EQ(refusal(text("P5 99999999999999999999999999 2 255 "), error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 2684354560 x 2");
    EXPECT_EQ(refusal(text("P5 0 2 255 "), error_kind::bad_format), "empty picture: 0 x 2 pixels");
    EXPECT_EQ(refusal(text("P5 2 -2 255 "), error_kind::bad_format), "broken PPM header: a number is missing");
    for (const char *header : {"P5", "P6 ", "P6 1", "P5 1 1", "P5 # 1 1 255"})
        EXPECT_EQ(refusal(text(header), error_kind::bad_format), "broken PPM header: a number is missing") << header;
    EXPECT_EQ(refusal(text("P5 1 1 255"), error_kind::bad_format), "the PPM ends too early: expected 1 bytes of pixels, found 0");
}

TEST(image_file, names_the_file) {
    const auto message = [](const std::string &path, error_kind code) {
        try {
            (void)examples::read_picture(path);
        } catch (const fastvit::error &e) {
            EXPECT_EQ(e.code(), code);
            return std::string(e.what());
        }
        return std::string("accepted");
    };
    EXPECT_EQ(message("/no/such.png", error_kind::io), "/no/such.png: cannot open: No such file or directory");
    EXPECT_EQ(message(directory, error_kind::io), directory + ": cannot read: Is a directory");
    EXPECT_EQ(message(directory + "grey_16bit.png", error_kind::unsupported),
              directory + "grey_16bit.png: PNG of 16 bits per channel: expected 8 bits or fewer, found 16");
}

TEST(image_file, refuses_every_truncation) {
    for (const char *name : {"rgb.png", "interlaced.png", "palette.png", "grey_1bit.png", "rgb.jpg", "grey.jpg"}) {
        const bytes whole = contents(name);
        // What is left of a JPEG without the end of its end marker is all there.
        const std::size_t longest = whole.size() - (std::string_view(name).ends_with("jpg") ? 2 : 1);
        for (std::size_t size = 8; size <= longest; ++size) {
            const std::string message =
                refusal({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}, error_kind::bad_format);
            EXPECT_TRUE(message.starts_with("broken ")) << name << " of " << size << " bytes: " << message;
        }
    }
}

// Any outcome will do but a crash, output, or another kind of exception.
TEST(image_file, survives_damage) {
    const std::vector<bytes> originals{contents("rgb.png"), contents("interlaced.png"), contents("palette.png"),
                                       contents("rgb.jpg"), contents("grey.jpg"),       text("P6 2 2 255 abcdefghijkl")};
    std::mt19937 random(20240607);
    testing::internal::CaptureStderr();
    int refused = 0;
    for (int round = 0; round < 6000; ++round) {
        bytes b = originals[static_cast<std::size_t>(round) % originals.size()];
        for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
            // Of a size's four bytes only the lower two: the pictures would be valid and take seconds each.
            const std::size_t at = random() % b.size();
            if (b[0] == 0x89 && (at == 16 || at == 17 || at == 20 || at == 21)) continue;
            b[at] = static_cast<std::uint8_t>(random());
        }
        try {
            (void)examples::decode_picture(b);
        } catch (const fastvit::error &) {
            ++refused;
        }
    }
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_GT(refused, 1000);
}

} // namespace
