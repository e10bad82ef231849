// SPDX-License-Identifier: MIT
// The small files were written by Pillow 9.4 (interlaced.png by libpng, rgb_16bit.png by hand) and all show `shown` below, or its
// red channel in grey. NAME_pixels.png is what Pillow's convert("RGB") makes of a file whose pixels are not those.
#include "fastvit/base/crc32.hpp"
#include "fastvit/error.hpp"

#include "image_file.hpp"
#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using examples::camera_orientation;
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

/// As many bytes, the lowest first or the highest.
bytes number(std::uint64_t value, int size, bool big = false) {
    bytes b;
    for (int i = 0; i < size; ++i) b.push_back(static_cast<std::uint8_t>(value >> 8 * (big ? size - 1 - i : i)));
    return b;
}

bytes operator+(bytes a, const bytes &b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
bytes operator+(bytes a, std::string_view b) { return std::move(a) + text(b); }

/// The same with `more` in it.
bytes inserted(bytes b, std::size_t at, const bytes &more) {
    b.insert(b.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
    return b;
}

std::size_t find(const bytes &b, const bytes &what) {
    const auto at = std::search(b.begin(), b.end(), what.begin(), what.end());
    EXPECT_NE(at, b.end());
    return static_cast<std::size_t>(at - b.begin());
}

std::vector<std::uint8_t> pixels_of(const std::string &name) { return examples::read_picture(directory + name).pixels; }

TEST(image_file, lossless_pixels_are_exact) {
    for (const char *name : {"rgb.png", "interlaced.png", "palette.png", "rgb_16bit.png", "rgb.webp", "palette.gif", "rgb.bmp",
                             "palette.bmp", "rgb.tif", "plain.tif", "palette.tif"})
        EXPECT_EQ(difference(examples::read_picture(directory + name), shown), 0) << name;
    for (const char *name : {"grey.png", "grey.bmp", "grey.tif"})
        EXPECT_EQ(difference(examples::read_picture(directory + name), shown_red), 0) << name;
    EXPECT_EQ(difference(examples::read_picture(directory + "grey_1bit.png"),
                         [](index_type y, index_type x, index_type) { return (x + y) % 2 ? 255 : 0; }),
              0);
}

TEST(image_file, other_pixels_are_pillows) {
    for (const char *name : {"rgb.jpg", "progressive.jpg", "cmyk.jpg", "lossy.webp", "jpeg.tif", "cmyk.tif", "grey_16bit.png"}) {
        std::string reference = name;
        if (!reference.ends_with("png")) std::replace(reference.begin(), reference.end(), '.', '_');
        EXPECT_EQ(pixels_of(name), pixels_of(reference.substr(0, reference.find(".png")) + "_pixels.png")) << name;
    }
}

// Blending would darken the left, where alpha is 0.
TEST(image_file, alpha_is_dropped) {
    EXPECT_EQ(difference(examples::read_picture(directory + "rgb_alpha.png"), shown), 0);
    EXPECT_EQ(difference(examples::read_picture(directory + "rgb_alpha.webp"), shown), 0);
    EXPECT_EQ(difference(examples::read_picture(directory + "grey_alpha.png"), shown_red), 0);
}

TEST(image_file, jpeg_is_near) {
    EXPECT_LE(difference(examples::read_picture(directory + "rgb.jpg"), shown), 6);
    EXPECT_LE(difference(examples::read_picture(directory + "grey.jpg"), shown_red), 3);
}

// What phones, webcams and careless programs write: libjpeg warns, Pillow says nothing.
TEST(image_file, warnings_are_no_errors) {
    const bytes whole = contents("rgb.jpg");
    const std::vector<std::uint8_t> expected = pixels_of("rgb.jpg");
    const std::size_t jfif = find(whole, text("JFIF")), table = find(whole, {0xff, 0xdb}), scan = find(whole, {0xff, 0xda});
    bytes later_version = whole, no_parameters = whole;
    later_version[jfif + 5] = 2;
    const std::size_t parameters = scan + 2 + whole[scan + 3] - 3; // the last three bytes of the segment: 0 63 0
    ASSERT_EQ(whole[parameters + 1], 63);
    no_parameters[parameters + 1] = 0;
    const bytes stray = inserted(whole, table, {0x12, 0x34, 0x56}), padded = inserted(whole, table, {0xff, 0xff});
    const bytes followed = whole + std::string(5000, 'x');
    for (const bytes &b : {later_version, no_parameters, stray, padded, followed})
        EXPECT_EQ(examples::decode_picture(b).pixels, expected) << "version " << int{b[jfif + 5]} << ", " << b.size() << " bytes";

    const bytes png = contents("rgb.png");
    const std::size_t pixels = find(png, text("IDAT")), end = find(png, text("IEND"));
    bytes checksum = png;
    checksum[end - 5] ^= 1; // of the pixels
    EXPECT_EQ(difference(examples::decode_picture(checksum), shown), 0);
    EXPECT_EQ(difference(examples::decode_picture({png.begin(), png.begin() + static_cast<std::ptrdiff_t>(end - 4)}), shown), 0);
    checksum = png;
    checksum[pixels + 10] ^= 1; // the pixels themselves: their compressed data has a checksum of its own
    EXPECT_TRUE(refusal(checksum, error_kind::bad_format).starts_with("broken PNG: "));
}

TEST(image_file, orientation_is_applied_only_where_asked) {
    // An EXIF block of one entry, for a picture that the camera turned so.
    const auto exif = [](int orientation, bool big) {
        return text(big ? "MM" : "II") + number(42, 2, big) + number(8, 4, big) + number(1, 2, big) + number(0x112, 2, big) +
               number(3, 2, big) + number(1, 4, big) + number(static_cast<std::uint64_t>(orientation), 2, big) + bytes{0, 0} +
               number(0, 4, big);
    };
    // How much of the stored picture's row and column there is in the upright one's: where its pixel y, x is.
    const auto stored_at = [](int orientation, index_type y, index_type x) -> std::array<index_type, 2> {
        switch (orientation) {
        case 2: return {y, width - 1 - x};
        case 3: return {height - 1 - y, width - 1 - x};
        case 4: return {height - 1 - y, x};
        case 5: return {x, y};
        case 6: return {height - 1 - x, y};
        case 7: return {height - 1 - x, width - 1 - y};
        case 8: return {x, width - 1 - y};
        default: return {y, x};
        }
    };
    const bytes jpeg = contents("rgb.jpg"), png = contents("rgb.png");
    for (int orientation = 0; orientation <= 9; ++orientation) {
        SCOPED_TRACE(orientation);
        const bytes block = exif(orientation, orientation % 2 == 0), chunk = text("eXIf") + block;
        const bytes checksum = number(fastvit::io::crc32(std::as_bytes(std::span(chunk))), 4, true);
        const bytes with_segment =
            inserted(jpeg, 2, bytes{0xff, 0xe1} + number(block.size() + 8, 2, true) + bytes{'E', 'x', 'i', 'f', 0, 0} + block);
        for (const bytes &file : {with_segment, inserted(png, 33, number(block.size(), 4, true) + chunk + checksum)}) {
            const picture stored = examples::decode_picture(file);
            const picture turned = examples::decode_picture(file, camera_orientation::applied);
            ASSERT_EQ(stored.height, height);
            ASSERT_EQ(stored.pixels, file[0] == 0x89 ? pixels_of("rgb.png") : pixels_of("rgb.jpg"));
            const bool exchanged = orientation >= 5 && orientation <= 8;
            ASSERT_EQ(turned.height, exchanged ? width : height);
            ASSERT_EQ(turned.width, exchanged ? height : width);
            for (index_type y = 0; y < turned.height; ++y)
                for (index_type x = 0; x < turned.width; ++x) {
                    const auto [row, column] = stored_at(orientation, y, x);
                    ASSERT_TRUE(std::equal(&turned.pixels[static_cast<std::size_t>(3 * (y * turned.width + x))],
                                           &turned.pixels[static_cast<std::size_t>(3 * (y * turned.width + x))] + 3,
                                           &stored.pixels[static_cast<std::size_t>(3 * (row * width + column))]));
                }
        }
    }
    EXPECT_EQ(examples::read_picture(directory + "turned.webp").height, height);
    EXPECT_EQ(examples::read_picture(directory + "turned.webp", camera_orientation::applied).height, width);
    // A TIFF's is part of the format: Pillow applies it too. The file has the columns from the right as its rows.
    for (const camera_orientation o : {camera_orientation::ignored, camera_orientation::applied})
        EXPECT_EQ(difference(examples::read_picture(directory + "turned.tif", o), shown), 0);
    // Blocks that end anywhere, or point anywhere, are none.
    for (std::size_t size = 0; size < exif(6, false).size(); ++size) {
        bytes block = exif(6, false);
        block.resize(size);
        const bytes file =
            inserted(jpeg, 2, bytes{0xff, 0xe1} + number(block.size() + 8, 2, true) + bytes{'E', 'x', 'i', 'f', 0, 0} + block);
        EXPECT_EQ(examples::decode_picture(file, camera_orientation::applied).height, size < 22 ? height : width) << size;
    }
    bytes far = exif(6, false);
    std::fill_n(far.begin() + 4, 4, std::uint8_t{0xff});
    far = inserted(jpeg, 2, bytes{0xff, 0xe1} + number(far.size() + 8, 2, true) + bytes{'E', 'x', 'i', 'f', 0, 0} + far);
    EXPECT_EQ(examples::decode_picture(far, camera_orientation::applied).height, height);
}

// --- kinds written here

TEST(image_file, reads_ppm_and_pgm) {
    bytes ppm = text("P6 # a comment\n#and another\n 13\t9\n255\n"), pgm = text("P5\r\n13 9 255 ");
    std::string ppm_digits = "P3 13 9 255", pgm_digits = "P2\n13 9\n255\n# a comment";
    for (index_type y = 0; y < height; ++y)
        for (index_type x = 0; x < width; ++x) {
            for (index_type c = 0; c < 3; ++c) {
                ppm.push_back(static_cast<std::uint8_t>(shown(y, x, c)));
                ppm_digits += (x == 3 ? "#comment\n " : "\n") + std::to_string(shown(y, x, c));
            }
            pgm.push_back(static_cast<std::uint8_t>(shown_red(y, x, 0)));
            pgm_digits += "\n" + std::to_string(shown_red(y, x, 0));
        }
    EXPECT_EQ(difference(examples::decode_picture(ppm), shown), 0);
    EXPECT_EQ(difference(examples::decode_picture(pgm), shown_red), 0);
    EXPECT_EQ(difference(examples::decode_picture(text(ppm_digits)), shown), 0);
    EXPECT_EQ(difference(examples::decode_picture(text(pgm_digits)), shown_red), 0);
    ppm.pop_back();
    EXPECT_EQ(refusal(ppm, error_kind::bad_format), "the PNM ends too early: expected 351 bytes of pixels, found 350");
}

TEST(image_file, reads_every_range_of_pnm_as_pillow_does) {
    const auto first = [](const bytes &b) {
        const picture p = examples::decode_picture(b);
        std::vector<int> values;
        for (std::size_t i = 0; i < p.pixels.size(); i += b[1] == '3' || b[1] == '6' ? 1 : 3) values.push_back(p.pixels[i]);
        return values;
    };
    EXPECT_EQ(first(text("P1\n# c\n3 2\n1 0 1\n0#\n10")), (std::vector{0, 255, 0, 255, 0, 255}));
    EXPECT_EQ(first(text("P4 9 2\n") + bytes{0xa5, 0x80, 0x00, 0x7f}),
              (std::vector{0, 255, 0, 255, 255, 0, 255, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255}));
    EXPECT_EQ(first(text("P5 6 1 15\n") + bytes{0, 1, 7, 14, 15, 20}), (std::vector{0, 17, 119, 238, 255, 255}));
    EXPECT_EQ(first(text("P2 3 1 6 1 3 6")), (std::vector{42, 128, 255})); // 42.5 and 127.5: halves to even
    EXPECT_EQ(first(text("P5 3 1 65535\n") + bytes{0, 3, 0, 255, 3, 231}), (std::vector{3, 255, 255})); // cut off at 255
    EXPECT_EQ(first(text("P6 1 1 65535\n") + bytes{0, 0, 11, 184, 255, 255}), (std::vector{0, 12, 255}));
    EXPECT_EQ(refusal(text("P2 2 1 3 1 4"), error_kind::bad_format),
              "broken PNM: a pixel is above the largest value that the header names");
    EXPECT_EQ(refusal(text("P1 3 1 1 2 0"), error_kind::bad_format), "broken PNM: a pixel is missing, or no 0 or 1");
    EXPECT_EQ(refusal(text("P2 3 1 3 1 2   "), error_kind::bad_format), "broken PNM: a number is missing in the pixels");
    for (const char *most : {"0", "65536"})
        EXPECT_EQ(refusal(text("P5 1 1 " + std::string(most) + " abcd"), error_kind::bad_format),
                  "largest value of the PNM: expected 1 to 65535, found " + std::string(most));
}

/// A bitmap of 3 x 2 pixels: `data` are the lines from below.
bytes bitmap(std::uint64_t bits, std::uint64_t compression, const bytes &tables, const bytes &data, std::uint64_t header = 40,
             std::uint64_t rows = 2, std::uint64_t colours = 0) {
    const std::uint64_t begin = 14 + 40 + tables.size();
    return text("BM") + number(begin + data.size(), 4) + number(0, 4) + number(begin, 4) + number(header, 4) + number(3, 4) +
           number(rows, 4) + number(1, 2) + number(bits, 2) + number(compression, 4) + number(data.size(), 4) + number(0, 8) +
           number(colours, 4) + number(0, 4) + tables + data;
}

TEST(image_file, reads_every_bitmap) {
    const auto expect = [](const bytes &file, const bytes &pixels) { EXPECT_EQ(examples::decode_picture(file).pixels, pixels); };
    const auto refused = [](const bytes &file, error_kind code, const std::string &message) {
        EXPECT_EQ(refusal(file, code), message);
    };
    const bytes lines{1, 2,  3,  4,  5,  6,  7,  8,  9,  0, 0,
                      0, 11, 12, 13, 14, 15, 16, 17, 18, 19}; // blue green red; the last unpadded
    const bytes upright{13, 12, 11, 16, 15, 14, 19, 18, 17, 3, 2, 1, 6, 5, 4, 9, 8, 7};
    expect(bitmap(24, 0, {}, lines), upright);
    bytes flipped(upright.begin() + 9, upright.end());
    flipped.insert(flipped.end(), upright.begin(), upright.begin() + 9);
    expect(bitmap(24, 0, {}, lines, 40, 0xfffffffe), flipped); // from the top: two rows, negative

    const bytes black(9, 0);
    const auto row = [&](const bytes &upper) { return upper + black; };
    const bytes words =
        number(0, 2) + number(0, 2) + number(0, 2) + number(0, 2) + number(0x7c1f, 2) + number(0x03e0, 2) + number(0x0421, 2);
    expect(bitmap(16, 0, {}, words), row({255, 0, 255, 0, 255, 0, 8, 8, 8}));
    const bytes masks = number(0xf800, 4) + number(0x07e0, 4) + number(0x001f, 4);
    expect(bitmap(16, 3, masks, words), row({123, 129, 255, 0, 125, 0, 0, 133, 8}));
    const bytes quads = bytes(12, 0) + bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    expect(bitmap(32, 0, {}, quads), row({3, 2, 1, 7, 6, 5, 11, 10, 9}));
    expect(bitmap(32, 3, number(0xff000000, 4) + number(0xff0000, 4) + number(0xff00, 4), quads),
           row({4, 3, 2, 8, 7, 6, 12, 11, 10}));
    refused(bitmap(32, 3, number(0x3ff00000, 4) + number(0xffc00, 4) + number(0x3ff, 4), quads), error_kind::unsupported,
            "bit mask of the BMP that is not read: found 1072693248");

    const bytes table{30, 20, 10, 0, 60, 50, 40, 0}; // two colours, blue first; the others are the grey ramp's
    const bytes ends = bytes{10, 20, 30, 40, 50, 60}, third{2, 2, 2};
    expect(bitmap(8, 0, table, bytes{0, 1, 2, 0, 1, 2, 0}, 40, 2, 2),
           bytes({40, 50, 60}) + third + bytes{10, 20, 30} + ends + third);
    bytes sixteen = table;
    sixteen.resize(64);
    expect(bitmap(4, 0, sixteen, bytes{0x01, 0x00, 0, 0, 0x10, 0x10}),
           bytes({40, 50, 60, 10, 20, 30, 40, 50, 60}) + ends + bytes{10, 20, 30});
    expect(bitmap(1, 0, table, bytes{0x40, 0, 0, 0, 0xa0}),
           bytes({40, 50, 60, 10, 20, 30, 40, 50, 60}) + ends + bytes{10, 20, 30});
    // In runs: of one index, pixels as they are with a byte that makes them even, the ends of the line and of the picture.
    bytes many = table;
    many.resize(1024);
    expect(bitmap(8, 1, many, bytes{1, 0, 2, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1}),
           bytes({40, 50, 60, 10, 20, 30, 40, 50, 60}) + bytes{10, 20, 30, 40, 50, 60, 40, 50, 60});
    expect(bitmap(4, 2, sixteen, bytes{3, 0x10, 0, 0, 0, 3, 0x01, 0x00, 0, 1}),
           bytes({10, 20, 30, 40, 50, 60, 10, 20, 30}) + bytes{40, 50, 60, 10, 20, 30, 40, 50, 60});
    // A line that ends early is filled with the first colour, and so is what a step right and up leaves behind.
    expect(bitmap(8, 1, many, bytes{2, 1, 0, 0, 3, 1}),
           bytes({40, 50, 60, 40, 50, 60, 40, 50, 60}) + bytes{40, 50, 60, 40, 50, 60, 10, 20, 30});
    expect(bitmap(8, 1, many, bytes{1, 1, 0, 2, 1, 1, 1, 1, 0, 0, 0, 1}),
           bytes({10, 20, 30, 10, 20, 30, 40, 50, 60}) + bytes{40, 50, 60, 10, 20, 30, 10, 20, 30});
    refused(bitmap(8, 1, many, bytes{3, 0, 0, 1}), error_kind::bad_format, "broken BMP: the file ends too early");
    refused(bitmap(8, 1, many, bytes{3, 0, 0}), error_kind::bad_format, "broken BMP: the file ends too early");
    refused(bitmap(24, 4, {}, lines), error_kind::unsupported, "compression of the BMP that is not read: found 4");
    refused(bitmap(2, 0, {}, lines), error_kind::unsupported, "bits per pixel of the BMP that is not read: found 2");
    refused(bitmap(24, 0, {}, bytes(20, 0)), error_kind::bad_format, "broken BMP: the file ends too early");
}

/// A GIF whose frame shows `shown`, not really compressed: every pixel is a code of its own.
struct gif {
    int canvas_height = height, canvas_width = width, top = 0, left = 0;
    bool interlaced = false;
    int transparent = -1;

    bytes file() const {
        const picture reference = examples::read_picture(directory + "rgb.png");
        bytes b = text("GIF89a") + number(static_cast<std::uint64_t>(canvas_width), 2) +
                  number(static_cast<std::uint64_t>(canvas_height), 2) + bytes{0xf6, 0, 0};
        bytes colours = reference.pixels; // 117 of them
        colours.resize(3 * 128, 200);
        b = b + colours;
        if (transparent >= 0) b = b + bytes{'!', 0xf9, 4, 1, 0, 0, static_cast<std::uint8_t>(transparent), 0};
        b = b + bytes{'!', 0xfe, 3, 'h', 'i', '!', 0, ','} + number(static_cast<std::uint64_t>(left), 2) +
            number(static_cast<std::uint64_t>(top), 2) + number(width, 2) + number(height, 2);
        b.push_back(interlaced ? 0x40 : 0);
        b.push_back(7); // codes of 8 bits, and 128 clears the table before they become longer
        bytes codes;
        for (const index_type y :
             interlaced ? std::vector<index_type>{0, 8, 4, 2, 6, 1, 3, 5, 7} : std::vector<index_type>{0, 1, 2, 3, 4, 5, 6, 7, 8})
            for (index_type x = 0; x < width; ++x) {
                if (codes.size() % 100 == 0) codes.push_back(128);
                codes.push_back(static_cast<std::uint8_t>(y * width + x));
            }
        codes.push_back(129);
        b.push_back(static_cast<std::uint8_t>(codes.size()));
        return b + codes + bytes{0, ';'};
    }
};

TEST(image_file, reads_the_first_frame_of_a_gif) {
    EXPECT_EQ(difference(examples::decode_picture(gif{}.file()), shown), 0);
    EXPECT_EQ(difference(examples::decode_picture(gif{.interlaced = true}.file()), shown), 0);
    // Smaller than the canvas: around it is the transparent colour, or the first.
    for (const int transparent : {-1, 5}) {
        const gif framed{.canvas_height = height + 5, .canvas_width = width + 4, .top = 2, .left = 3, .transparent = transparent};
        const picture p = examples::decode_picture(framed.file());
        ASSERT_EQ(p.height, height + 5);
        ASSERT_EQ(p.width, width + 4);
        for (index_type y = 0; y < p.height; ++y)
            for (index_type x = 0; x < p.width; ++x)
                for (index_type c = 0; c < 3; ++c) {
                    const bool inside = y >= 2 && y < 2 + height && x >= 3 && x < 3 + width;
                    const int expected = inside ? shown(y - 2, x - 3, c) : shown(0, std::max(transparent, 0), c);
                    ASSERT_EQ(p.pixels[static_cast<std::size_t>((y * p.width + x) * 3 + c)], expected) << y << ' ' << x;
                }
    }
    // Larger: the canvas grows.
    EXPECT_EQ(difference(examples::decode_picture(gif{.canvas_height = 2, .canvas_width = 3}.file()), shown), 0);
    bytes b = gif{}.file();
    b.resize(b.size() - 2); // nothing behind the pixels
    EXPECT_EQ(difference(examples::decode_picture(b), shown), 0);
    b.resize(b.size() - 3);
    EXPECT_EQ(refusal(b, error_kind::bad_format), "broken GIF: the file ends too early");
    EXPECT_EQ(refusal(text("GIF89a") + number(0x0001'0001, 4) + bytes{0, 0, 0, ';'}, error_kind::bad_format),
              "broken GIF: there is no picture in it");
}

/// A TIFF without compression, of `samples` bytes a pixel, in tiles or plane after plane.
bytes tiff(int samples, bool planes, int tile) {
    const picture reference = examples::read_picture(directory + "rgb.png");
    const auto sample = [&](int y, int x, int c) -> std::uint8_t {
        return y < height && x < width ? c < 3 ? reference.pixels[static_cast<std::size_t>((y * width + x) * 3 + c)] : 9 : 0;
    };
    const int side_y = tile ? tile : height, side_x = tile ? tile : width;
    std::vector<bytes> blocks;
    for (int plane = 0; plane < (planes ? samples : 1); ++plane)
        for (int top = 0; top < height; top += side_y)
            for (int left = 0; left < width; left += side_x) {
                bytes block;
                for (int y = top; y < top + side_y; ++y)
                    for (int x = left; x < left + side_x; ++x)
                        for (int c = planes ? plane : 0; c < (planes ? plane + 1 : samples); ++c)
                            block.push_back(sample(y, x, c));
                blocks.push_back(block);
            }
    bytes data;
    bytes offsets, sizes, bits;
    for (const bytes &block : blocks) {
        offsets = offsets + number(8 + data.size(), 4);
        sizes = sizes + number(block.size(), 4);
        data = data + block;
    }
    for (int c = 0; c < samples; ++c) bits = bits + number(8, 2);
    struct entry {
        std::uint64_t tag, type, count;
        bytes value;
    };
    const auto one = [](std::uint64_t tag, std::uint64_t value) { return entry{tag, 4, 1, number(value, 4)}; };
    std::vector<entry> entries{one(256, width),
                               one(257, height),
                               {258, 3, static_cast<std::uint64_t>(samples), bits},
                               one(259, 1),
                               one(262, 2),
                               one(277, static_cast<std::uint64_t>(samples)),
                               one(284, planes ? 2 : 1)};
    const std::uint64_t count = blocks.size();
    if (tile) {
        entries.insert(entries.end(), {one(322, static_cast<std::uint64_t>(tile)),
                                       one(323, static_cast<std::uint64_t>(tile)),
                                       {324, 4, count, offsets},
                                       {325, 4, count, sizes}});
    } else {
        entries.insert(entries.begin() + 5, {273, 4, count, offsets});
        entries.insert(entries.begin() + 7, {one(278, height), {279, 4, count, sizes}});
    }
    if (samples == 4) entries.push_back({338, 3, 1, number(2, 4)}); // alpha that is not multiplied
    bytes directory_bytes = number(entries.size(), 2);
    std::uint64_t after = 8 + data.size() + 2 + 12 * entries.size() + 4;
    bytes values;
    for (const entry &e : entries) {
        directory_bytes = directory_bytes + number(e.tag, 2) + number(e.type, 2) + number(e.count, 4);
        if (e.value.size() <= 4) {
            bytes value = e.value;
            value.resize(4);
            directory_bytes = directory_bytes + value;
        } else {
            directory_bytes = directory_bytes + number(after + values.size(), 4);
            values = values + e.value;
        }
    }
    return text("II*") + bytes{0} + number(8 + data.size(), 4) + data + directory_bytes + number(0, 4) + values;
}

TEST(image_file, reads_tiffs_in_tiles_and_planes) {
    for (const int samples : {3, 4})
        for (const bool planes : {false, true})
            for (const int tile : {0, 16})
                EXPECT_EQ(difference(examples::decode_picture(tiff(samples, planes, tile)), shown), 0)
                    << samples << (planes ? " planes " : " samples ") << tile;
    bytes b = tiff(3, false, 0);
    b[8 + 9 * 13 * 3 + 2 + 12 * 4 + 8] = 9; // an interpretation (CIE L*a*b*) that is not read
    EXPECT_TRUE(refusal(b, error_kind::unsupported).starts_with("layout of the TIFF that is not read: expected grey, "))
        << refusal(b, error_kind::unsupported);
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

TEST(image_file, writes_what_it_reads) {
    const io_test::temporary_directory scratch;
    const std::string path = scratch / "picture.png";
    picture written{.pixels = {}, .height = height, .width = width};
    for (index_type y = 0; y < height; ++y)
        for (index_type x = 0; x < width; ++x)
            for (index_type c = 0; c < 3; ++c) written.pixels.push_back(static_cast<std::uint8_t>(shown(y, x, c)));
    examples::write_png(path, written.view());
    EXPECT_EQ(difference(examples::read_picture(path), shown), 0);

    // One channel: grey, or numbers of colours.
    const bytes numbers = {0, 1, 2, 2, 1, 0};
    const fastvit::picture_view view{.pixels = numbers.data(), .height = 2, .width = 3, .channels = 1};
    examples::write_png(path, view);
    EXPECT_EQ(examples::read_picture(path).pixels, bytes({0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0, 0, 0}));
    examples::write_png(path, view, std::vector<examples::rgb_colour>{{10, 20, 30}, {40, 50, 60}, {70, 80, 90}});
    EXPECT_EQ(examples::read_picture(path).pixels,
              bytes({10, 20, 30, 40, 50, 60, 70, 80, 90, 70, 80, 90, 40, 50, 60, 10, 20, 30}));

    io_test::expect_error(error_kind::invalid_argument, {path, "3 channels, 1 colours"}, [&] {
        examples::write_png(path, written.view(), std::vector<examples::rgb_colour>{{1, 2, 3}});
    });
    io_test::expect_error(error_kind::io, {"no/such"}, [&] { examples::write_png(scratch / "no/such/file.png", view); });
}

TEST(image_file, refuses_other_kinds) {
    const std::string expected =
        "unknown kind of file: expected PNG, JPEG, WebP, GIF, TIFF, BMP, PBM, PGM or PPM, found the bytes ";
    EXPECT_EQ(refusal(text("GIF88a and so on"), error_kind::unsupported), expected + "47 49 46 38 38 61 20 61");
    EXPECT_EQ(refusal(text("P"), error_kind::unsupported), expected + "50");
    // Words that begin like a bitmap or a PNM.
    for (const char *words : {"BMW and Porsche are cars", "P6x", "P7\n", "PS 1 2"})
        EXPECT_TRUE(refusal(text(words), error_kind::unsupported).starts_with(expected)) << words;
    EXPECT_EQ(refusal({}, error_kind::bad_format), "the file is empty");
}

TEST(image_file, tells_kinds_by_their_first_bytes) {
    for (const char *name : {"rgb.png", "rgb.jpg", "rgb.webp", "palette.gif", "rgb.tif", "rgb.bmp"}) {
        bytes b = contents(name);
        b.resize(examples::kind_bytes);
        EXPECT_TRUE(examples::begins_like_a_picture(b)) << name;
    }
    for (const char *begin : {"P1 ", "P4\n", "P6#"}) EXPECT_TRUE(examples::begins_like_a_picture(text(begin))) << begin;
    for (const char *begin : {"", "P1", "BM", "RIFF....WAVE", "II*", "\xff\xd8", "labels"})
        EXPECT_FALSE(examples::begins_like_a_picture(text(begin))) << begin;
}

TEST(image_file, refuses_sizes_before_allocating) {
    EXPECT_EQ(refusal(text("P6 16385 16384 255 "), error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 16385 x 16384");
    EXPECT_EQ(refusal(text("P5 99999999999999999999999999 2 255 "), error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 2684354560 x 2");
    EXPECT_EQ(refusal(text("P5 0 2 255 "), error_kind::bad_format), "empty picture: 0 x 2 pixels");
    for (const char *header : {"P5 ", "P6 ", "P6 1", "P5 1 1", "P5 # 1 1 255", "P5 2 -2 255 "})
        EXPECT_EQ(refusal(text(header), error_kind::bad_format), "broken PNM: a number is missing in the header") << header;
    EXPECT_EQ(refusal(text("P5 1 1 255"), error_kind::bad_format), "the PNM ends too early: expected 1 bytes of pixels, found 0");

    const std::string too_large = "the picture is too large: expected at most 268435456 pixels, found 65535 x 65535";
    EXPECT_EQ(refusal(bitmap(24, 0, {}, {}, 40, 0x7fffffff), error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 3 x 2147483647");
    bytes b = gif{}.file();
    std::fill_n(b.begin() + 6, 4, std::uint8_t{0xff});
    EXPECT_EQ(refusal(b, error_kind::unsupported), too_large);
    b = contents("rgb.jpg");
    std::fill_n(b.begin() + static_cast<std::ptrdiff_t>(find(b, {0xff, 0xc0}) + 5), 4, std::uint8_t{0xff});
    // libjpeg's own limit is 65500.
    EXPECT_TRUE(refusal(b, error_kind::bad_format).starts_with("broken JPEG: Maximum supported image dimension"));
    const std::size_t at = find(contents("rgb.jpg"), {0xff, 0xc0}) + 5;
    b[at] = b[at + 2] = 0x7f;
    EXPECT_EQ(refusal(b, error_kind::unsupported),
              "the picture is too large: expected at most 268435456 pixels, found 32767 x 32767");
    b = tiff(3, false, 0);
    const std::size_t entries = 8 + 9 * 13 * 3 + 2;
    b[entries + 8 + 3] = b[entries + 12 + 8 + 1] = 0x7f;
    EXPECT_TRUE(refusal(b, error_kind::unsupported).starts_with("the picture is too large"))
        << refusal(b, error_kind::unsupported);
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
    EXPECT_TRUE(message(FASTVIT_TEST_DATA "/README.md", error_kind::unsupported)
                    .starts_with(FASTVIT_TEST_DATA "/README.md: unknown kind of file: "));
}

TEST(image_file, refuses_every_truncation) {
    for (const char *name :
         {"rgb.png", "interlaced.png", "palette.png", "grey_1bit.png", "rgb.jpg", "grey.jpg", "progressive.jpg", "rgb.webp",
          "lossy.webp", "palette.gif", "rgb.bmp", "palette.bmp", "rgb.tif", "jpeg.tif"}) {
        const bytes whole = contents(name);
        const std::string_view kind = std::string_view(name).substr(std::string_view(name).find('.'));
        // What is behind the last pixel may be missing: the end chunk of a PNG, the second half of a JPEG's end marker, the end
        // of a GIF. A TIFF's directory comes last.
        const std::size_t behind = kind == ".png" ? 13 : kind == ".jpg" ? 2 : kind == ".gif" ? 4 : kind == ".bmp" ? 4 : 1;
        for (std::size_t size = examples::kind_bytes; size <= whole.size() - behind; ++size) {
            const std::string message =
                refusal({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}, error_kind::bad_format);
            EXPECT_TRUE(message.starts_with("broken ")) << name << " of " << size << " bytes: " << message;
        }
    }
}

// Any outcome will do but a crash, output, or another kind of exception.
TEST(image_file, survives_damage) {
    const std::vector<bytes> originals{
        contents("rgb.png"),         contents("interlaced.png"),
        contents("palette.png"),     contents("rgb.jpg"),
        contents("progressive.jpg"), contents("lossy.webp"),
        contents("rgb.webp"),        gif{}.file(),
        contents("palette.bmp"),     bitmap(8, 1, bytes(1024, 7), {1, 0, 2, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1}),
        contents("rgb.tif"),         contents("jpeg.tif"),
        tiff(3, true, 16),           text("P6 2 2 255 abcdefghijkl")};
    std::mt19937 random(20240607);
    testing::internal::CaptureStderr();
    int refused = 0;
    for (int round = 0; round < 14000; ++round) {
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
