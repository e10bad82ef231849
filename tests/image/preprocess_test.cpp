// SPDX-License-Identifier: MIT
// Three oracles, all compared for equality: what Pillow 9.4 and torchvision made of real pictures and of seeded noise (as
// digests, FNV-1a 64 of the output's bytes), and a transcription of Pillow's algorithm for the sizes in between.
#include "fastvit/image/crop.hpp"
#include "fastvit/preprocess.hpp"

#include "image_file.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace {
std::atomic<int> allocations{0};
} // namespace

// Counts, so that a test can see that nothing is allocated. Not inlined: GCC would warn of a free() without its malloc().
[[gnu::noinline]] void *operator new(std::size_t size) {
    ++allocations;
    if (void *p = std::malloc(size ? size : 1)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void *p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void *p, std::size_t) noexcept { std::free(p); }

namespace {

using fastvit::crop_rounding;
using fastvit::error_kind;
using fastvit::index_type;
using fastvit::interpolation;
using fastvit::picture_view;
using fastvit::preprocessing;
using fastvit::resize_rule;
using fastvit::tensor;

using bytes = std::vector<std::uint8_t>;

std::uint64_t digest(const tensor<std::uint8_t> &pixels) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const std::uint8_t b : pixels.span()) hash = (hash ^ b) * 0x100000001b3;
    return hash;
}

/// The high bytes of Knuth's linear congruential generator, which is easily had in Python.
bytes noise(index_type count, std::uint64_t seed) {
    bytes result(static_cast<std::size_t>(count));
    for (std::uint8_t &b : result) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        b = static_cast<std::uint8_t>(seed >> 56);
    }
    return result;
}

struct owned_picture {
    owned_picture(index_type height, index_type width, index_type channels = 3)
        : pixels(noise(height * width * channels, static_cast<std::uint64_t>(height * width))), //
          view{.pixels = pixels.data(), .height = height, .width = width, .channels = channels} {}
    owned_picture(const owned_picture &) = delete;
    owned_picture &operator=(const owned_picture &) = delete;
    bytes pixels;
    picture_view view;
};

preprocessing plain(index_type height, index_type width, resize_rule rule = resize_rule::shorter_side) {
    return {.rule = rule, .height = height, .width = width};
}

// --- Pictures -----------------------------------------------------------------------------------------------------------

struct golden {
    const char *file, *name;
    preprocessing how;
    std::uint64_t expected;
    std::array<std::array<int, 3>, 3> spots; ///< first, middle and last pixel, to show what is wrong when the digest differs
};

void PrintTo(const golden &g, std::ostream *out) { *out << g.file << " " << g.name; }

const preprocessing crop256_90 = preprocessing::imagenet();
const preprocessing crop256_95 = preprocessing::imagenet(256, 0.95);
const preprocessing crop224_90 = preprocessing::imagenet(224);
const preprocessing bilinear256_100 = preprocessing::mobileclip();
const preprocessing squash192x320 = plain(192, 320, resize_rule::squash);

class preprocess_golden : public testing::TestWithParam<golden> {};

TEST_P(preprocess_golden, has_pillows_bytes) {
    const golden &g = GetParam();
    const examples::picture picture =
        examples::read_picture(std::string(FASTVIT_TEST_DATA "/preprocess/photo_") + g.file + ".png");
    const tensor<std::uint8_t> pixels = fastvit::resize_crop(picture.view(), g.how);
    const index_type h = g.how.height, w = g.how.width;
    const std::array<std::array<index_type, 2>, 3> at{{{0, 0}, {h / 2, w / 2}, {h - 1, w - 1}}};
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t c = 0; c < 3; ++c)
            EXPECT_EQ(pixels(at[i][0], at[i][1], c), g.spots[i][c])
                << "row " << at[i][0] << " column " << at[i][1] << " channel " << c;
    EXPECT_EQ(digest(pixels), g.expected);
}

INSTANTIATE_TEST_SUITE_P(
    pictures, preprocess_golden,
    testing::Values(
        golden{"31x47", "crop256_90", crop256_90, 0x91b36d96b7584cc6, {{{26, 145, 157}, {156, 126, 158}, {217, 55, 219}}}},
        golden{
            "31x47", "bilinear256_100", bilinear256_100, 0x2352e55aaf428379, {{{13, 141, 156}, {157, 125, 160}, {200, 67, 205}}}},
        golden{"31x47", "squash192x320", squash192x320, 0x68e46a8e9fbd002e, {{{11, 148, 152}, {155, 126, 158}, {186, 24, 172}}}},
        golden{"200x300", "crop256_90", crop256_90, 0xba0adc7d1bc7da3b, {{{90, 75, 191}, {28, 40, 108}, {176, 89, 63}}}},
        golden{
            "200x300", "bilinear256_100", bilinear256_100, 0x7b66d69cfe7e41a4, {{{66, 87, 207}, {26, 41, 107}, {183, 109, 55}}}},
        golden{"200x300", "squash192x320", squash192x320, 0x9749efe2374bea75, {{{81, 108, 238}, {27, 44, 105}, {214, 136, 55}}}},
        golden{"284x284", "crop256_90", crop256_90, 0xb3b51af3e6b332de, {{{0, 46, 29}, {39, 38, 40}, {23, 208, 10}}}},
        golden{"284x284", "bilinear256_100", bilinear256_100, 0x852686b251e3f7ce, {{{27, 41, 5}, {33, 40, 37}, {40, 183, 38}}}},
        golden{"284x284", "squash192x320", squash192x320, 0xd68ed7bdfe903941, {{{31, 42, 0}, {33, 40, 33}, {43, 187, 30}}}},
        golden{"257x1000", "crop256_90", crop256_90, 0x0be9f476fdaef7aa, {{{50, 142, 92}, {200, 131, 129}, {83, 226, 229}}}},
        golden{"257x1000",
               "bilinear256_100",
               bilinear256_100,
               0xbe65d9ccb3da8c31,
               {{{23, 130, 117}, {186, 135, 119}, {191, 76, 246}}}},
        golden{
            "257x1000", "squash192x320", squash192x320, 0xd7de417c0d02bb64, {{{134, 23, 156}, {175, 118, 107}, {158, 128, 186}}}},
        golden{"480x640", "crop256_90", crop256_90, 0x43d1610f83fddca3, {{{49, 195, 67}, {189, 132, 118}, {55, 173, 222}}}},
        golden{"480x640", "crop256_95", crop256_95, 0x3b792c9761ff576c, {{{60, 186, 60}, {205, 132, 115}, {49, 190, 189}}}},
        golden{"480x640", "crop224_90", crop224_90, 0x7f219764187d41c8, {{{43, 196, 63}, {189, 134, 119}, {47, 169, 219}}}},
        golden{"480x640",
               "bilinear256_100",
               bilinear256_100,
               0xd9b0ecbdcb32643f,
               {{{63, 135, 108}, {191, 137, 108}, {95, 198, 170}}}},
        golden{
            "480x640", "squash192x320", squash192x320, 0x68ba9ae988224892, {{{246, 233, 62}, {190, 136, 117}, {240, 86, 30}}}}),
    [](const auto &i) { return std::string(i.param.file) + '_' + i.param.name; });

TEST(preprocess, has_pillows_bytes_of_noise) {
    struct {
        index_type height, width, channels;
        preprocessing how;
        std::uint64_t expected;
    } const cases[] = {
        {37,
         53,
         3,
         {.rule = resize_rule::pad_to_square, .rounding = crop_rounding::down, .height = 64, .width = 64},
         0xb4286e377a7e596e},
        {53,
         37,
         4,
         {.rule = resize_rule::pad_to_square, .rounding = crop_rounding::down, .height = 49, .width = 49, .crop_fraction = 0.9},
         0x4cc8c3bab3fac4f8},
        {120, 333, 3, {.height = 96, .width = 160, .crop_fraction = 0.9}, 0xb264bb2444c6a4fd},
        {333, 120, 1, {.filter = interpolation::bilinear, .height = 96, .width = 160, .crop_fraction = 0.95}, 0xbda8c50f7741e9bb},
        {1, 500, 3, {.height = 32, .width = 32}, 0xcb9288e167661f65},
        {90, 61, 3, {.height = 65, .width = 65, .crop_fraction = 1.2}, 0x698b1908eeaa2007},
        {90, 60, 3, {.rounding = crop_rounding::down, .height = 65, .width = 65, .crop_fraction = 1.2}, 0x21aad8bd805d5d3c},
        {480, 641, 3, {.height = 224, .width = 224, .crop_fraction = 0.875}, 0x37d580d611891496},
        {7, 5, 3, {.rule = resize_rule::squash}, 0xdd07c4b6f96803c1},
    };
    for (const auto &c : cases) {
        const owned_picture picture(c.height, c.width, c.channels);
        EXPECT_EQ(digest(fastvit::resize_crop(picture.view, c.how)), c.expected) << c.height << " x " << c.width;
    }
}

// --- Pillow's algorithm -------------------------------------------------------------------------------------------------

/// A double that is rounded after every operation, whatever the compiler may contract.
struct rounded {
    rounded(double v) : value(v) {}
    volatile double value;
    friend double operator*(const rounded &a, const rounded &b) { return rounded(a.value * b.value).value; }
};

double reference_cubic(double x) {
    x = std::fabs(x);
    constexpr double a = -0.5;
    if (x < 1) return rounded(rounded(rounded(a + 2) * x - (a + 3)) * x) * x + 1;
    if (x < 2) return (rounded(rounded(x - 5) * x + 8) * x - 4) * a;
    return 0;
}

double reference_triangle(double x) { return std::fabs(x) < 1 ? 1 - std::fabs(x) : 0; }

/// What one pixel of the output is made of.
struct reference_window {
    index_type first = 0;
    std::vector<int> weights;
};

/// Resample.c: precompute_coeffs and normalize_coeffs_8bpc.
std::vector<reference_window> reference_weights(index_type in, index_type out, interpolation filter) {
    const bool cubic = filter == interpolation::bicubic;
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double stretch = std::max(scale, 1.0), support = rounded(cubic ? 2 : 1) * stretch;
    std::vector<reference_window> windows;
    for (index_type i = 0; i < out; ++i) {
        const double center = rounded(static_cast<double>(i) + 0.5) * scale;
        const auto first = static_cast<index_type>(std::max(0.0, center - support + 0.5));
        const auto last = std::min(in, static_cast<index_type>(center + support + 0.5));
        std::vector<double> weights;
        double sum = 0;
        for (index_type x = first; x < last; ++x) {
            const double at = rounded(static_cast<double>(x) - center + 0.5) * (1 / stretch);
            weights.push_back(cubic ? reference_cubic(at) : reference_triangle(at));
            sum += weights.back();
        }
        windows.push_back({.first = first, .weights = {}});
        for (const double w : weights)
            windows.back().weights.push_back(static_cast<int>(w / sum * 4194304 + (w / sum < 0 ? -0.5 : 0.5)));
    }
    return windows;
}

/// A picture of three channels, resized as PIL's Image.resize() does it: first every row, then every column.
bytes reference_resize(const bytes &picture, index_type height, index_type width, index_type out_height, index_type out_width,
                       interpolation filter) {
    // The weighted sum of the elements from `at` on, `step` apart.
    const auto blend = [](const bytes &from, index_type at, index_type step, const std::vector<int> &weights) {
        int total = 1 << 21;
        for (const int w : weights) {
            total += from[static_cast<std::size_t>(at)] * w;
            at += step;
        }
        return static_cast<std::uint8_t>(std::clamp(total >> 22, 0, 255));
    };
    const std::vector<reference_window> columns = reference_weights(width, out_width, filter);
    const std::vector<reference_window> rows = reference_weights(height, out_height, filter);
    bytes wide, result;
    for (index_type y = 0; y < height; ++y)
        for (const reference_window &w : columns)
            for (index_type c = 0; c < 3; ++c) wide.push_back(blend(picture, (y * width + w.first) * 3 + c, 3, w.weights));
    for (const reference_window &w : rows)
        for (index_type x = 0; x < out_width * 3; ++x)
            result.push_back(blend(wide, w.first * out_width * 3 + x, out_width * 3, w.weights));
    return result;
}

/// `height` x `width` pixels of the picture from (top, left) on; zeros beyond its edges.
bytes reference_crop(const bytes &picture, index_type from_height, index_type from_width, index_type top, index_type left,
                     index_type height, index_type width) {
    bytes result;
    for (index_type y = top; y < top + height; ++y)
        for (index_type x = left; x < left + width; ++x)
            for (index_type c = 0; c < 3; ++c)
                result.push_back(y < 0 || y >= from_height || x < 0 || x >= from_width
                                     ? std::uint8_t{0}
                                     : picture[static_cast<std::size_t>((y * from_width + x) * 3 + c)]);
    return result;
}

/// torchvision's and timm's steps one after the other, for square outputs without a crop fraction.
bytes reference(const picture_view &p, const preprocessing &how) {
    bytes picture;
    for (index_type i = 0; i < p.height * p.width; ++i)
        for (index_type c = 0; c < 3; ++c) picture.push_back(p.pixels[i * p.channels + (p.channels == 1 ? 0 : c)]);
    index_type height = p.height, width = p.width;
    if (how.rule == resize_rule::pad_to_square) {
        const index_type side = std::max(height, width);
        picture = reference_crop(picture, height, width, -((side - height) / 2), -((side - width) / 2), side, side);
        height = width = side;
    }
    index_type to_height = how.height, to_width = how.width;
    if (how.rule == resize_rule::shorter_side && height > width)
        to_height = static_cast<index_type>(static_cast<double>(to_width * height) / static_cast<double>(width));
    if (how.rule == resize_rule::shorter_side && width > height)
        to_width = static_cast<index_type>(static_cast<double>(to_height * width) / static_cast<double>(height));
    // open_clip's longest: one side fits, the other is rounded, and black fills the rest, the smaller half of it first.
    if (how.rule == resize_rule::longer_side) {
        const double ratio = std::max(static_cast<double>(height) / static_cast<double>(to_height),
                                      static_cast<double>(width) / static_cast<double>(to_width));
        to_height = std::max(index_type{1}, static_cast<index_type>(std::nearbyint(static_cast<double>(height) / ratio)));
        to_width = std::max(index_type{1}, static_cast<index_type>(std::nearbyint(static_cast<double>(width) / ratio)));
    }
    picture = reference_resize(picture, height, width, to_height, to_width, how.filter);
    const auto origin = [](index_type excess) {
        if (excess < 0) return -(-excess / 2);
        return static_cast<index_type>(std::nearbyint(static_cast<double>(excess) / 2));
    };
    return reference_crop(picture, to_height, to_width, origin(to_height - how.height), origin(to_width - how.width), how.height,
                          how.width);
}

void expect_reference(const picture_view &picture, const preprocessing &how) {
    const bytes expected = reference(picture, how);
    const tensor<std::uint8_t> found = fastvit::resize_crop(picture, how);
    ASSERT_EQ(found.dims(), (fastvit::shape{how.height, how.width, 3}));
    index_type wrong = 0, first = -1;
    for (index_type i = 0; i < found.count(); ++i)
        if (found.data()[i] != expected[static_cast<std::size_t>(i)]) {
            if (first < 0) first = i;
            ++wrong;
        }
    EXPECT_EQ(wrong, 0) << picture.height << " x " << picture.width << " x " << picture.channels << " to " << how.height << " x "
                        << how.width << ", rule " << static_cast<int>(how.rule) << ", filter " << static_cast<int>(how.filter)
                        << ": first at row " << first / (3 * how.width) << " column " << first / 3 % how.width;
}

TEST(preprocess, equals_the_reference_at_every_small_size) {
    for (const resize_rule rule :
         {resize_rule::shorter_side, resize_rule::squash, resize_rule::pad_to_square, resize_rule::longer_side})
        for (const interpolation filter : {interpolation::bilinear, interpolation::bicubic})
            for (index_type height = 1; height <= 9; ++height)
                for (index_type width = 1; width <= 9; ++width)
                    for (const index_type size : {1, 2, 5, 8, 17}) {
                        const owned_picture picture(height, width);
                        preprocessing how = plain(size, size, rule);
                        how.filter = filter;
                        expect_reference(picture.view, how);
                    }
}

TEST(preprocess, equals_the_reference_at_odd_sizes) {
    struct {
        index_type height, width, out_height, out_width;
    } const cases[] = {
        {1, 1, 256, 256}, {1, 257, 32, 32}, {257, 1, 32, 32},  {3, 640, 16, 16},   {640, 3, 16, 16},   {31, 33, 32, 32},
        {64, 64, 64, 64}, {65, 64, 64, 64}, {64, 127, 63, 63}, {300, 200, 7, 7},   {211, 307, 64, 96}, {96, 64, 64, 96},
        {17, 400, 40, 5}, {400, 17, 5, 40}, {100, 1001, 1, 1}, {128, 128, 64, 64}, {13, 29, 130, 290}, {50, 60, 61, 49},
    };
    for (const auto &c : cases)
        for (const index_type channels : {1, 3, 4})
            for (const interpolation filter : {interpolation::bilinear, interpolation::bicubic}) {
                const owned_picture picture(c.height, c.width, channels);
                preprocessing how = plain(c.out_height, c.out_width, resize_rule::squash);
                how.filter = filter;
                expect_reference(picture.view, how);
                if (c.out_height != c.out_width) continue;
                how.rule = resize_rule::shorter_side;
                expect_reference(picture.view, how);
                how.rule = resize_rule::pad_to_square;
                expect_reference(picture.view, how);
            }
}

TEST(preprocess, clamps_what_bicubic_overshoots) {
    owned_picture picture(40, 40);
    for (std::uint8_t &b : picture.pixels) b = b < 128 ? 0 : 255;
    for (const index_type size : {20, 39, 41, 100}) expect_reference(picture.view, plain(size, size));
}

// --- Parts --------------------------------------------------------------------------------------------------------------

// With contraction, which is GCC's default where there is FMA, two in three of these would differ.
TEST(resample, weights_are_not_contracted) {
    for (int i = -30000; i <= 30000; ++i) {
        const double x = i / 14321.0;
        ASSERT_EQ(fastvit::resampling::cubic_weight(x), reference_cubic(x)) << "at " << x;
        ASSERT_EQ(fastvit::resampling::triangle_weight(x), reference_triangle(x)) << "at " << x;
    }
}

TEST(resample, weight_pairs_add_up_to_one) {
    for (const index_type in : {1, 2, 3, 10, 97, 1000, 5000})
        for (const index_type out : {1, 2, 3, 10, 97, 1000}) {
            fastvit::resampling::weight_table table;
            table.build({.source = in, .before = 0, .padded = in, .resized = out, .origin = 0, .output = out},
                        fastvit::resampling::bicubic_filter);
            for (index_type i = 0; i < out; ++i) {
                const auto window = table[i];
                index_type sum = 0;
                for (index_type k = 0; k < window.count; ++k)
                    for (std::size_t j = 0; j < 2; ++j) {
                        EXPECT_GE(window.weights[k].low[j], 0);
                        sum += window.weights[k].high[j] * 4096 + window.weights[k].low[j];
                    }
                EXPECT_NEAR(static_cast<double>(sum), 1 << 22, static_cast<double>(window.count)) << in << " to " << out;
            }
        }
}

TEST(resample, primitives_equal_their_portable_form) {
    std::mt19937 random(1);
    std::uniform_int_distribution<int> word(-32768, 32767), sum(-70000, 70000);
    for (int round = 0; round < 2000; ++round) {
        fastvit::resampling::i16x8 pixels, weights;
        for (int i = 0; i < 8; ++i) {
            pixels[i] = static_cast<std::int16_t>(word(random) & 255);
            weights[i] = static_cast<std::int16_t>(word(random));
        }
        std::array<fastvit::resampling::i32x4, 4> sums;
        for (auto &v : sums)
            for (int i = 0; i < 4; ++i) v[i] = round % 2 ? sum(random) : sum(random) / 100;
        const auto a = fastvit::resampling::multiply_pairs(pixels, weights);
        const auto b = fastvit::resampling::multiply_pairs_portable(pixels, weights);
        const auto c = fastvit::resampling::clamp_to_bytes(sums[0], sums[1], sums[2], sums[3]);
        const auto d = fastvit::resampling::clamp_to_bytes_portable(sums[0], sums[1], sums[2], sums[3]);
        for (int i = 0; i < 4; ++i) ASSERT_EQ(a[i], b[i]);
        for (int i = 0; i < 16; ++i) ASSERT_EQ(c[i], d[i]);
    }
}

TEST(preprocess, crops_like_python) {
    using fastvit::resampling::crop_origin;
    // resized - output = 0, 1, 2, 3, 5: round(0.5) is 0, round(1.5) and round(2.5) are 2.
    const index_type even[] = {0, 0, 1, 2, 2}, down[] = {0, 0, 1, 1, 2};
    const index_type excess[] = {0, 1, 2, 3, 5};
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(crop_origin(10 + excess[i], 10, crop_rounding::half_to_even), even[i]);
        EXPECT_EQ(crop_origin(10 + excess[i], 10, crop_rounding::down), down[i]);
    }
    // Padding of 3: torchvision puts 1 before, transformers 2.
    EXPECT_EQ(crop_origin(7, 10, crop_rounding::half_to_even), -1);
    EXPECT_EQ(crop_origin(7, 10, crop_rounding::down), -2);
    // 256 / 0.9 = 284.4, 256 / 0.95 = 269.5, 224 / 0.9 = 248.9
    EXPECT_EQ(fastvit::resampling::before_crop(256, 0.90), 284);
    EXPECT_EQ(fastvit::resampling::before_crop(256, 0.95), 269);
    EXPECT_EQ(fastvit::resampling::before_crop(224, 0.90), 248);
}

// --- The picture's memory -----------------------------------------------------------------------------------------------

// Exactly as many bytes as the picture has: the address sanitizer sees a read beyond them.
TEST(preprocess, reads_no_byte_beyond_the_picture) {
    for (const index_type channels : {1, 3, 4})
        for (const index_type width : {1, 2, 3, 5, 16, 17})
            for (const index_type stride_extra : {0, 1, 7}) {
                const index_type height = 5, row = width * channels, stride = row + stride_extra;
                const owned_picture tight(height, width, channels);
                const auto loose = std::make_unique<std::uint8_t[]>(static_cast<std::size_t>((height - 1) * stride + row));
                for (index_type y = 0; y < height; ++y) std::copy_n(tight.view.pixels + y * row, row, loose.get() + y * stride);
                picture_view view = tight.view;
                view.pixels = loose.get();
                view.row_stride = stride;
                const preprocessing how = plain(4, 4);
                EXPECT_EQ(digest(fastvit::resize_crop(view, how)), digest(fastvit::resize_crop(tight.view, how)))
                    << width << " x " << channels << ", stride " << stride;
            }
}

TEST(preprocess, grey_is_equal_channels_and_alpha_is_dropped) {
    const owned_picture grey(23, 31, 1), rgba(23, 31, 4);
    bytes grey_rgb, rgb;
    for (const std::uint8_t v : grey.pixels) grey_rgb.insert(grey_rgb.end(), 3, v);
    for (std::size_t i = 0; i < rgba.pixels.size(); ++i)
        if (i % 4 != 3) rgb.push_back(rgba.pixels[i]);
    const preprocessing how = plain(20, 20);
    const auto of = [&](const bytes &b) {
        return digest(fastvit::resize_crop({.pixels = b.data(), .height = 23, .width = 31}, how));
    };
    EXPECT_EQ(digest(fastvit::resize_crop(grey.view, how)), of(grey_rgb));
    EXPECT_EQ(digest(fastvit::resize_crop(rgba.view, how)), of(rgb));
}

TEST(preprocess, takes_colours_in_either_order) {
    for (const index_type channels : {1, 3, 4})
        for (const index_type width : {1, 2, 31}) {
            const owned_picture rgb(23, width, channels);
            bytes swapped = rgb.pixels;
            for (std::size_t i = 0; channels > 1 && i < swapped.size(); i += static_cast<std::size_t>(channels))
                std::swap(swapped[i], swapped[i + 2]);
            const picture_view bgr{.pixels = swapped.data(),
                                   .height = 23,
                                   .width = width,
                                   .channels = channels,
                                   .order = fastvit::channel_order::bgr};
            const preprocessing how = plain(20, 20);
            EXPECT_EQ(digest(fastvit::resize_crop(bgr, how)), digest(fastvit::resize_crop(rgb.view, how)))
                << channels << " channels, width " << width;
        }
}

// --- Floats -------------------------------------------------------------------------------------------------------------

TEST(preprocess, normalises_each_step_in_float) {
    const owned_picture picture(50, 70);
    for (const preprocessing &how : {preprocessing::imagenet(64), preprocessing::mobileclip(64), preprocessing::openai_clip(64),
                                     preprocessing::fastvlm(64)}) {
        const tensor<std::uint8_t> pixels = fastvit::resize_crop(picture.view, how);
        const tensor<float> input = fastvit::preprocess(picture.view, how);
        ASSERT_EQ(input.dims(), (fastvit::shape{1, 3, 64, 64}));
        for (index_type y = 0; y < 64; ++y)
            for (index_type x = 0; x < 64; ++x)
                for (std::size_t c = 0; c < 3; ++c) {
                    const volatile float scaled = static_cast<float>(pixels(y, x, c)) / 255.0f;
                    const volatile float centred = scaled - how.mean[c];
                    ASSERT_EQ(input(0, c, y, x), centred / how.stddev[c]);
                }
    }
}

// transformers multiplies by 1/255 in double; torchvision divides in float.
TEST(preprocess, both_ways_to_scale_a_byte_are_one) {
    for (int v = 0; v < 256; ++v) EXPECT_EQ(static_cast<float>(v * (1 / 255.0)), static_cast<float>(v) / 255.0f);
}

TEST(preprocess, fills_a_batch_with_one_workspace) {
    const owned_picture pictures[] = {{40, 60}, {90, 20}, {7, 7}, {33, 100}};
    const preprocessing how = preprocessing::imagenet(32);
    tensor<float> batch({4, 3, 32, 32});
    fastvit::preprocess_workspace workspace;
    for (index_type i = 0; i < 4; ++i) {
        fastvit::preprocess_into(pictures[i].view, how, {batch.data() + i * 3 * 32 * 32, {3, 32, 32}}, workspace);
        const tensor<float> alone = fastvit::preprocess(pictures[i].view, how);
        EXPECT_TRUE(std::equal(alone.data(), alone.data() + alone.count(), batch.data() + i * 3 * 32 * 32)) << "image " << i;
    }
}

TEST(preprocess, allocates_nothing_after_the_first_picture) {
    const owned_picture first(200, 300), second(150, 200);
    const preprocessing how = preprocessing::imagenet(64);
    tensor<float> image({3, 64, 64});
    fastvit::preprocess_workspace workspace;
    fastvit::preprocess_into(first.view, how, image, workspace);
    const int before = allocations;
    fastvit::preprocess_into(first.view, how, image, workspace);
    fastvit::preprocess_into(second.view, how, image, workspace);
    EXPECT_EQ(allocations, before);
}

// --- Rejected -----------------------------------------------------------------------------------------------------------

void expect_rejected(const picture_view &picture, const preprocessing &how, const std::string &says) {
    for (const bool bytes_only : {false, true}) try {
            if (bytes_only)
                (void)fastvit::resize_crop(picture, how);
            else
                (void)fastvit::preprocess(picture, how);
            ADD_FAILURE() << "accepted; expected: " << says;
        } catch (const fastvit::error &e) {
            EXPECT_EQ(e.code(), error_kind::invalid_argument);
            EXPECT_EQ(e.what(), says);
        }
}

TEST(preprocess, rejects_pictures_that_cannot_be) {
    const owned_picture good(4, 6);
    const preprocessing how = plain(8, 8);
    const auto with = [&](auto change) {
        picture_view p = good.view;
        change(p);
        return p;
    };
    expect_rejected({}, how, "picture without pixels: the pointer is null");
    expect_rejected(with([](picture_view &p) { p.height = 0; }), how, "picture height: expected 1 to 1048576, found 0");
    expect_rejected(with([](picture_view &p) { p.width = -3; }), how, "picture width: expected 1 to 1048576, found -3");
    expect_rejected(with([](picture_view &p) { p.width = 1 << 21; }), how, "picture width: expected 1 to 1048576, found 2097152");
    expect_rejected(with([](picture_view &p) { p.channels = 2; }), how, "picture channels: expected 1, 3 or 4, found 2");
    expect_rejected(with([](picture_view &p) { p.row_stride = 17; }), how,
                    "picture row stride: expected at least 18 bytes, found 17");
    expect_rejected(with([](picture_view &p) { p.row_stride = -18; }), how,
                    "picture row stride: expected at least 18 bytes, found -18");
    expect_rejected(with([](picture_view &p) { p.row_stride = std::numeric_limits<index_type>::max() / 2; }), how,
                    "picture of 4 rows of 4611686018427387903 bytes: the size overflows");
}

TEST(preprocess, rejects_preprocessings_that_cannot_be) {
    const owned_picture picture(4, 6);
    const auto with = [&](auto change) {
        preprocessing how = plain(8, 8);
        change(how);
        return how;
    };
    expect_rejected(picture.view, with([](preprocessing &h) { h.height = 0; }), "output height: expected 1 to 16384, found 0");
    expect_rejected(picture.view, with([](preprocessing &h) { h.width = 1 << 15; }),
                    "output width: expected 1 to 16384, found 32768");
    for (const double fraction : {0.0, -0.9, 1e-9, 1e9, std::nan(""), std::numeric_limits<double>::infinity()})
        expect_rejected(picture.view, with([&](preprocessing &h) { h.crop_fraction = fraction; }),
                        "crop fraction: expected one that resizes the picture to 1 to 2^20 pixels, found " +
                            std::to_string(fraction));

    tensor<float> image({3, 8, 8});
    fastvit::preprocess_workspace workspace;
    const auto fails = [&](const preprocessing &how, float *out, const fastvit::shape &dims) {
        try {
            fastvit::preprocess_into(picture.view, how, {out, dims}, workspace);
        } catch (const fastvit::error &e) {
            return std::string(e.what());
        }
        return std::string("accepted");
    };
    EXPECT_EQ(fails(with([](preprocessing &h) { h.stddev[1] = 0; }), image.data(), image.dims()),
              "standard deviation: expected a positive number, found 0.000000");
    EXPECT_EQ(fails(with([](preprocessing &h) { h.stddev[2] = std::nanf(""); }), image.data(), image.dims()),
              "standard deviation: expected a positive number, found nan");
    EXPECT_EQ(
        fails(with([](preprocessing &h) { h.mean[0] = std::numeric_limits<float>::infinity(); }), image.data(), image.dims()),
        "mean: expected a finite number, found inf");
    EXPECT_EQ(fails(plain(8, 8), image.data(), {1, 3, 8, 8}), "output of preprocessing: expected [3, 8, 8], found [1, 3, 8, 8]");
    EXPECT_EQ(fails(plain(8, 8), nullptr, image.dims()), "output of preprocessing: the pointer is null");
    EXPECT_EQ(fails(plain(8, 8), image.data(), image.dims()), "accepted");
}

} // namespace
