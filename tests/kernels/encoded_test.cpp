// SPDX-License-Identifier: MIT
// Matrix products below float32: encoding, packing and the products of every tier, against their definitions.
// Labels: portable
#include "fastvit/base/float16.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/kernels/table.hpp"

#include "kernels/activate.hpp"
#include "kernels/emulated_tiers.hpp"
#include "support/packed_matrix.hpp"
#include "support/portable_tiers.hpp"
#include "support/reference.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace {

using namespace fastvit::kernels;
using fastvit::index_type;
using fastvit::precision;
using reference::random_source;

using floats = std::vector<float>;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

#if defined(FASTVIT_TEST_EMULATED_TIERS)
const std::vector<const kernel_table *> emulated_tables = emulated::tables();
#else
const std::vector<const kernel_table *> emulated_tables;
#endif

std::vector<const kernel_table *> tables_to_test() {
    std::vector<const kernel_table *> tables;
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers())
        if (tier.runs(precision::int8)) tables.push_back(tier.kernels);
    tables.push_back(&avx512_shape::table);
    tables.push_back(&neon_shape::table);
    tables.insert(tables.end(), emulated_tables.begin(), emulated_tables.end());
    return tables;
}

// Their fma() rounds twice, so that the last bit may differ.
bool rounds_twice(const kernel_table &tier) {
    return tier.name == "scalar" || &tier == &avx512_shape::table || &tier == &neon_shape::table;
}

/// A weight in bfloat16.
double weight16(const packed_matrix &w, index_type row, index_type column) {
    std::uint16_t upper;
    std::memcpy(&upper, w.weights + w.at(row, column), sizeof upper);
    return fastvit::io::bfloat16_to_float(upper);
}

class encoded : public testing::TestWithParam<const kernel_table *> {
  protected:
    const kernel_table &tier() const { return *GetParam(); }
    random_source random;
};

std::string test_name(const testing::TestParamInfo<const kernel_table *> &tier) {
    const bool emulated = std::find(emulated_tables.begin(), emulated_tables.end(), tier.param) != emulated_tables.end();
    return (emulated ? "emulated_" : "") + std::string(tier.param->name);
}

INSTANTIATE_TEST_SUITE_P(tiers, encoded, testing::ValuesIn(tables_to_test()), test_name);

/// Pixels of padded channels, as encode() left them.
struct operand {
    index_type pixel;
    std::vector<std::byte> bytes;
    std::vector<pixel_range> ranges;

    int byte(index_type p, index_type c) const { return static_cast<int>(bytes[p * pixel + c]); }
    double value(index_type p, index_type c) const {
        return static_cast<double>(ranges[p].scale) * (byte(p, c) - ranges[p].zero);
    }
    /// bfloat16, of a tier whose elements have that many bytes.
    float bfloat16(index_type p, index_type c, index_type element_bytes) const {
        const std::byte *const at = &bytes[p * pixel + c * element_bytes];
        if (element_bytes == 2) {
            std::uint16_t upper;
            std::memcpy(&upper, at, sizeof upper);
            return fastvit::io::bfloat16_to_float(upper);
        }
        float value;
        std::memcpy(&value, at, sizeof value);
        return value;
    }
};

constexpr std::byte canary{0xA5};

/// Encodes rows of padded channels. Fails if anything else is written.
operand encode_rows(const encoded_kernels &kernel, const std::vector<floats> &rows, activation act, bool ranges) {
    const auto pixels = static_cast<index_type>(rows.size()), channels = static_cast<index_type>(rows[0].size());
    const index_type used = channels * kernel.element_bytes;
    operand result{used + 3, std::vector<std::byte>(pixels * (used + 3), canary), std::vector<pixel_range>(pixels)};
    std::vector<const float *> x;
    for (const floats &row : rows) x.push_back(row.data());
    kernel.encode({.x = x.data(),
                   .pixels = pixels,
                   .channels = channels,
                   .act = act,
                   .out = result.bytes.data(),
                   .out_pixel = result.pixel,
                   .ranges = ranges ? result.ranges.data() : nullptr});
    for (index_type p = 0; p < pixels; ++p)
        for (index_type c = used; c < used + 3; ++c) EXPECT_EQ(result.bytes[p * result.pixel + c], canary);
    return result;
}

std::vector<floats> random_rows(random_source &random, index_type pixels, index_type channels, float size) {
    std::vector<floats> rows(pixels, floats(padded_channels(channels)));
    for (floats &row : rows)
        for (index_type c = 0; c < channels; ++c) row[c] = size * random();
    return rows;
}

TEST_P(encoded, int8_keeps_each_pixel_within_half_a_step) {
    for (const activation act : {activation::none, activation::gelu})
        for (const float size : {1e-12F, 0.05F, 1.0F, 30.0F, 1e20F})
            for (const index_type channels : {1, 16, 48, 70, 128, 200}) {
                const std::vector<floats> rows = random_rows(random, 19, channels, size);
                const operand got = encode_rows(tier().int8, rows, act, true);
                for (index_type p = 0; p < 19; ++p) {
                    double low = 0, high = 0;
                    std::vector<double> expected;
                    for (const float x : rows[p]) {
                        expected.push_back(act == activation::gelu ? reference::gelu(x) : x);
                        low = std::min(low, act == activation::gelu && x < -0.75F ? -0.17 : expected.back());
                        high = std::max(high, expected.back());
                    }
                    // GELU's own error; and its largest and smallest value are those of the approximation.
                    const double gelu_error = act == activation::gelu ? 8e-4 * std::min(static_cast<double>(size), 0.3) : 0;
                    const double step = got.ranges[p].scale;
                    ASSERT_NEAR(step, (high - low) / 126,
                                1e-6 * step + (gelu_error > 0 ? 2 * gelu_error + 5e-4 * high + 1e-4 : 0) / 126 + 1e-31);
                    for (std::size_t c = 0; c < expected.size(); ++c) {
                        ASSERT_LE(got.byte(p, c), 127);
                        ASSERT_NEAR(got.value(p, c), expected[c],
                                    0.5001 * step + gelu_error + 2.5e-4 * (act == activation::gelu ? std::abs(expected[c]) : 0))
                            << "size " << size << ", channel " << c;
                    }
                    for (index_type c = channels; c < padded_channels(channels); ++c)
                        ASSERT_EQ(got.byte(p, c), got.ranges[p].zero);
                }
            }
}

TEST_P(encoded, int8_range_of_one_sign_still_has_zero) {
    for (const float sign : {1.0F, -1.0F}) {
        const operand got = encode_rows(tier().int8, {floats(16, sign * 3)}, activation::none, true);
        EXPECT_NEAR(got.value(0, 5), sign * 3, 1e-6);
        EXPECT_EQ(got.ranges[0].zero, sign > 0 ? 0 : 126);
    }
    const operand zeros = encode_rows(tier().int8, {floats(32)}, activation::gelu, true);
    for (index_type c = 0; c < 32; ++c) EXPECT_EQ(zeros.value(0, c), 0);
}

// Where it comes out as NaN again, whatever the bytes.
TEST_P(encoded, int8_scale_is_nan_where_a_value_is_not_finite) {
    for (const float bad : {nan, infinity, -infinity})
        for (const activation act : {activation::none, activation::gelu})
            for (const index_type at : {0, 17, 47}) {
                std::vector<floats> rows(3, floats(48, 1.0F));
                rows[1][at] = bad;
                const operand got = encode_rows(tier().int8, rows, act, true);
                EXPECT_TRUE(std::isnan(got.ranges[1].scale));
                EXPECT_NEAR(got.value(0, 0), got.value(2, 47), 0);
                EXPECT_FALSE(std::isnan(got.ranges[0].scale) || std::isnan(got.ranges[2].scale));
            }
}

// The second part is what the first leaves.
TEST_P(encoded, int8_in_two_parts_keeps_14_bits) {
    for (const float size : {1e-12F, 1.0F, 1e20F})
        for (const index_type channels : {1, 16, 70, 208}) {
            std::vector<floats> rows = random_rows(random, 19, channels, size);
            rows[7][0] = nan;
            const operand first = encode_rows(tier().int8, rows, activation::none, true);
            operand both = first, rest = first;
            std::fill(both.bytes.begin(), both.bytes.end(), canary);
            std::fill(rest.bytes.begin(), rest.bytes.end(), canary);
            std::vector<const float *> x;
            for (const floats &row : rows) x.push_back(row.data());
            tier().int8.encode({.x = x.data(),
                                .pixels = 19,
                                .channels = padded_channels(channels),
                                .out = both.bytes.data(),
                                .out_pixel = both.pixel,
                                .ranges = both.ranges.data(),
                                .rest = rest.bytes.data(),
                                .rest_ranges = rest.ranges.data()});
            EXPECT_EQ(both.bytes, first.bytes);
            EXPECT_TRUE(std::isnan(both.ranges[7].scale) && std::isnan(rest.ranges[7].scale));
            for (index_type p = 0; p < 19; ++p) {
                for (index_type c = padded_channels(channels); c < rest.pixel; ++c)
                    ASSERT_EQ(rest.bytes[p * rest.pixel + c], canary);
                if (p == 7) continue;
                const double step = rest.ranges[p].scale;
                ASSERT_NEAR(step, static_cast<double>(both.ranges[p].scale) / 126, 1e-6 * step);
                for (index_type c = 0; c < padded_channels(channels); ++c) {
                    ASSERT_LE(rest.byte(p, c), 126);
                    ASSERT_NEAR(both.value(p, c) + rest.value(p, c), rows[p][c], 0.51 * step) << "channel " << c;
                }
            }
        }
}

TEST_P(encoded, bfloat16_rounds_to_nearest_even) {
    std::vector<floats> rows = random_rows(random, 5, 70, 8);
    // Ties, the largest number, and numbers that are none; subnormal ones are the instructions' own business.
    const float special[] = {1.00390625F, 1.01171875F, -1.00390625F, 3.4e38F, infinity, -infinity, nan, -0.0F};
    std::copy(std::begin(special), std::end(special), rows[3].begin());
    const operand got = encode_rows(tier().bfloat16, rows, activation::none, false);
    for (index_type p = 0; p < 5; ++p)
        for (index_type c = 0; c < 80; ++c) {
            const float expected = fastvit::io::bfloat16_to_float(fastvit::io::float_to_bfloat16(rows[p][c]));
            const float value = got.bfloat16(p, c, tier().bfloat16.element_bytes);
            ASSERT_TRUE(value == expected || (std::isnan(value) && std::isnan(expected))) << rows[p][c] << " gave " << value;
        }
    const operand after_gelu = encode_rows(tier().bfloat16, random_rows(random, 3, 33, 4), activation::gelu, false);
    EXPECT_EQ(after_gelu.bfloat16(1, 40, tier().bfloat16.element_bytes), 0);
}

// --- products -------------------------------------------------------------------------------------------------------------

/// A product of random operands, its results, and what they should be.
class product {
  public:
    product(random_source &random, const kernel_table &tier, precision type, index_type pixels, index_type rows,
            index_type columns, activation act, bool residual)
        : columns_(padded_channels(columns)) {
        const encoded_kernels &kernel = tier.encoded(type);
        const floats weights = random.values(rows * columns), bias = random.values(columns);
        weight_target target(tier);
        target.type = type;
        const packed_matrix w = pack_matrix(
            target, rows, columns, [&](index_type row, index_type column) { return weights[column * rows + row]; },
            [&](index_type column) { return bias[column]; });
        EXPECT_EQ(w.format.type, type);
        const operand a = encode_rows(kernel, random_rows(random, pixels, rows, 2), activation::none, type == precision::int8);
        const floats added = random.values(pixels * columns_);
        // Every other row, so that what lies between shows what is written beside.
        floats c(2 * pixels * columns_, -77.0F);
        std::vector<float *> to;
        std::vector<const float *> from;
        for (index_type p = 0; p < pixels; ++p) {
            to.push_back(c.data() + (2 * p + 1) * columns_);
            from.push_back(added.data() + p * columns_);
        }
        const auto multiply_pixels = [&](index_type first, index_type count, index_type begin, index_type end) {
            kernel.gemm({.a = a.bytes.data() + first * a.pixel,
                         .a_pixel = a.pixel,
                         .ranges = type == precision::int8 ? a.ranges.data() + first : nullptr,
                         .pixels = count,
                         .matrix = w,
                         .c = to.data() + first,
                         .residual = residual ? from.data() + first : nullptr,
                         .column_begin = begin,
                         .column_end = end,
                         .act = act});
        };
        const auto multiply = [&](index_type begin, index_type end) { multiply_pixels(0, pixels, begin, end); };
        multiply(0, columns_);
        const floats at_once = c;
        std::fill(c.begin(), c.end(), -77.0F);
        for (index_type column = columns_; column > 0;) { // the last panel first
            const index_type begin = (column - 1) / w.format.panel * w.format.panel;
            multiply(begin, column);
            column = begin;
        }
        EXPECT_EQ(std::memcmp(at_once.data(), c.data(), c.size() * sizeof(float)), 0) << "panel by panel";
        std::fill(c.begin(), c.end(), -77.0F);
        for (index_type p = 0; p < pixels; p += 3) multiply_pixels(p, std::min<index_type>(3, pixels - p), 0, columns_);
        EXPECT_EQ(std::memcmp(at_once.data(), c.data(), c.size() * sizeof(float)), 0) << "three pixels at a time";
        if (residual) { // which may be where the results go
            for (index_type p = 0; p < pixels; ++p) std::copy_n(from[p], columns_, to[p]);
            from.assign(to.begin(), to.end());
            multiply(0, columns_);
            EXPECT_EQ(std::memcmp(at_once.data(), c.data(), c.size() * sizeof(float)), 0) << "in place";
            for (index_type p = 0; p < pixels; ++p) from[p] = added.data() + p * columns_;
        }
        // Both operands as they were rounded: [pixels][rows] and [columns][rows].
        const bool int8 = type == precision::int8;
        std::vector<double> left(pixels * rows), right(columns_ * rows);
        for (index_type i = 0; i < pixels * rows; ++i)
            left[i] = int8 ? a.value(i / rows, i % rows) : a.bfloat16(i / rows, i % rows, kernel.element_bytes);
        for (index_type i = 0; i < columns_ * rows; ++i)
            right[i] = int8 ? weight8(w, i % rows, i / rows) : weight16(w, i % rows, i / rows);
        for (index_type p = 0; p < pixels; ++p) {
            got.insert(got.end(), to[p], to[p] + columns_);
            for (index_type n = 0; n < columns_; ++n) {
                EXPECT_EQ(c[2 * p * columns_ + n], -77.0F);
                double sum = 0, size = 0;
                const double *const x = left.data() + p * rows, *const y = right.data() + n * rows;
                for (index_type k = 0; k < rows; ++k) {
                    sum += x[k] * y[k];
                    size += std::abs(x[k] * y[k]);
                }
                const double with_bias = n < columns ? sum + static_cast<double>(bias[n]) : 0;
                const bool gelu = act == activation::gelu;
                const double after = gelu ? reference::gelu(with_bias) : with_bias;
                expected.push_back(after + static_cast<double>(residual ? from[p][n] : 0.0F));
                tolerance.push_back(1e-6 * (2 + std::abs(sum)) +
                                    (type == precision::bfloat16 ? 1.2e-7 * static_cast<double>(rows) * size : 0) +
                                    (gelu ? 2.5e-4 * std::max(1.0, std::abs(with_bias)) : 0));
            }
        }
    }

    void expect_right() const {
        for (std::size_t i = 0; i < got.size(); ++i)
            ASSERT_NEAR(got[i], expected[i], tolerance[i]) << "pixel " << i / columns_ << ", column " << i % columns_;
    }

    floats got;
    std::vector<double> expected, tolerance;

  private:
    static double weight8(const packed_matrix &w, index_type row, index_type column) {
        return static_cast<double>(w.scale[column]) * static_cast<std::int8_t>(w.weights[w.at(row, column)]);
    }
    index_type columns_;
};

struct product_shape {
    index_type pixels, rows, columns;
};
// The last five: two tiles of 2 to 8 pixels take turns at panels of more than 256 KB, the narrower the panels, the more rows;
// some have a panel that is narrower than the others.
constexpr product_shape product_shapes[] = {
    {1, 1, 1},     {1, 16, 16},   {2, 3, 17},     {5, 4, 32},     {6, 7, 48},      {7, 37, 80},     {8, 48, 96},
    {9, 50, 112},  {13, 76, 304}, {16, 64, 192},  {17, 76, 48},   {31, 15, 64},    {41, 152, 80},   {48, 130, 20},
    {64, 96, 384}, {256, 33, 50}, {4, 32810, 12}, {8, 16650, 20}, {10, 16650, 20}, {12, 16650, 20}, {16, 8650, 80}};

TEST_P(encoded, products_are_right_for_every_shape) {
    for (const precision type : {precision::bfloat16, precision::int8})
        for (const product_shape &s : product_shapes) {
            for (const activation act : {activation::none, activation::gelu}) {
                SCOPED_TRACE(std::to_string(s.pixels) + " x " + std::to_string(s.rows) + " x " + std::to_string(s.columns) +
                             ", " + std::string(to_string(type)));
                product(random, tier(), type, s.pixels, s.rows, s.columns, act, false).expect_right();
                if (act == activation::none) product(random, tier(), type, s.pixels, s.rows, s.columns, act, true).expect_right();
            }
        }
}

// Where 16-bit sums of four products are as large as the limits of activations and weights let them be.
TEST_P(encoded, int8_sums_of_16_bits_are_exact_at_the_extremes) {
    const int largest_groups[][4] = {{127, 127, 2, 2},       {2, 127, 2, 127},     {65, 65, 64, 64},
                                     {127, -127, 127, -127}, {-127, -127, -2, -2}, {-65, -64, -65, -64},
                                     {127, 4, 127, 0},       {0, 0, 0, -127},      {-127, 127, -127, 127}};
    constexpr index_type patterns = std::size(largest_groups);
    for (const index_type rows : {4, 8, 11, 40, 1216}) {
        weight_target target(tier());
        target.type = precision::int8;
        packed_matrix w = pack_matrix(
            target, rows, 96, [](index_type, index_type) { return 1.0F; }, [](index_type) { return 0.0F; });
        std::vector<std::byte> a(2 * padded_channels(rows), std::byte{127});
        std::vector<int> sums(96);
        for (index_type column = 0; column < 96; ++column)
            for (index_type row = 0; row < rows; ++row) {
                // Rows 0, 1, 4 and 5 of each eight have one pattern, the other rows another.
                const int *const group = largest_groups[(column + (row / 2 % 2) * (1 + column / patterns)) % patterns];
                const int byte = group[row / 4 % 2 * 2 + row % 2];
                w.weight_memory.data()[w.at(row, column)] = static_cast<std::byte>(byte);
                sums[column] += byte;
            }
        for (index_type column = 0; column < 96; ++column) {
            w.sum_memory.data()[column] = sums[column];
            w.scale_memory.data()[column] = 1;
        }
        const pixel_range ranges[] = {{1, 0}, {1, 1}};
        floats c(2 * 96);
        float *const to[] = {c.data(), c.data() + 96};
        tier().int8.gemm({.a = a.data(),
                          .a_pixel = padded_channels(rows),
                          .ranges = ranges,
                          .pixels = 2,
                          .matrix = w,
                          .c = to,
                          .column_end = 96});
        for (index_type column = 0; column < 96; ++column) {
            EXPECT_EQ(c[column], static_cast<float>(127 * sums[column])) << rows << " rows, column " << column;
            EXPECT_EQ(c[96 + column], static_cast<float>(126 * sums[column])) << rows << " rows, column " << column;
        }
    }
}

TEST_P(encoded, int8_sums_of_32_bits_are_exact_at_the_extremes) {
    for (const index_type rows : {2, 4096, 100000}) {
        weight_target target(tier());
        target.type = precision::int8;
        const packed_matrix w = pack_matrix(
            target, rows, 16, [](index_type row, index_type column) { return column == 1 && row % 2 == 1 ? -1.0F : 1.0F; },
            [](index_type) { return 0.0F; });
        std::vector<std::byte> a(padded_channels(rows), std::byte{127});
        const pixel_range ranges[] = {{1, 0}, {1, 127}};
        floats c(2 * 16);
        float *const to[] = {c.data(), c.data() + 16};
        tier().int8.gemm(
            {.a = a.data(), .a_pixel = w.padded_rows(), .ranges = ranges, .pixels = 1, .matrix = w, .c = to, .column_end = 16});
        const float one = w.scale[0];
        EXPECT_EQ(c[0], static_cast<float>(127 * (rows < 4 ? 127 : 64) * rows) * one); // in fours, 256 together
        EXPECT_EQ(c[1], 0);
        tier().int8.gemm({.a = a.data(),
                          .a_pixel = w.padded_rows(),
                          .ranges = ranges + 1,
                          .pixels = 1,
                          .matrix = w,
                          .c = to,
                          .column_end = 16});
        EXPECT_EQ(c[0], 0);
    }
}

TEST(encoded_tiers, give_the_same_bits_in_int8) {
    for (const activation act : {activation::none, activation::gelu}) {
        // Of an encoding and of every product.
        const auto results = [&](const kernel_table &tier) {
            random_source random;
            std::vector<floats> all(1);
            const operand o = encode_rows(tier.int8, random_rows(random, 21, 200, 3), act, true);
            for (index_type p = 0; p < 21; ++p) {
                all[0].push_back(o.ranges[p].scale);
                for (index_type c = 0; c < 208; ++c) all[0].push_back(static_cast<float>(o.byte(p, c)));
            }
            for (const product_shape &s : product_shapes)
                all.push_back(product(random, tier, precision::int8, s.pixels, s.rows, s.columns, act, false).got);
            return all;
        };
        const kernel_table *first = nullptr;
        std::vector<floats> expected;
        for (const kernel_table *tier : tables_to_test()) {
            if (rounds_twice(*tier)) continue;
            std::vector<floats> got = results(*tier);
            if (!first) {
                first = tier;
                expected = std::move(got);
                continue;
            }
            for (std::size_t i = 0; i < got.size(); ++i)
                EXPECT_EQ(got[i], expected[i]) << tier->name << " and " << first->name << ", result " << i;
        }
    }
}

TEST(encoded_tiers, emulated_gelu_is_accurate) {
    floats x;
    for (int i = -100 * 256; i < 100 * 256; ++i) x.push_back(static_cast<float>(i) / 1024);
    for (const float special : {0.0F, -0.0F, 1e-30F, -1e-30F, 1e30F, -1e30F, infinity, -infinity, nan}) x.push_back(special);
    for (const kernel_table *tier : emulated_tables) {
        const floats y = activate(*tier, activation::gelu, x);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double at = x[i], size = std::abs(at);
            if (std::isnan(at))
                ASSERT_TRUE(std::isnan(y[i])) << tier->name;
            else if (at == infinity)
                ASSERT_EQ(y[i], infinity) << tier->name;
            else if (at == -infinity)
                ASSERT_NEAR(y[i], 0, 3e-7) << tier->name;
            else
                ASSERT_NEAR(y[i], reference::gelu(at), std::min(3e-7 * std::max(1.0, at), 1e-5 * size) + 1e-7 * (size > 5))
                    << tier->name << " at " << at;
        }
    }
}

// --- packing --------------------------------------------------------------------------------------------------------------

TEST_P(encoded, packing_rounds_to_the_nearest_bfloat16) {
    weight_target target(tier());
    target.type = precision::bfloat16;
    const floats special{nan,
                         -nan,
                         infinity,
                         -infinity,
                         0.0F,
                         -0.0F,
                         1e-40F,
                         3.4e38F,
                         std::bit_cast<float>(0x7f800001u),
                         1.0F,
                         std::bit_cast<float>(0x3f808000u),
                         std::bit_cast<float>(0x3f818000u)}; // two ties
    for (const index_type rows : {1, 2, 7, 50})
        for (const index_type columns : {16, 47}) {
            floats weights = random.values(rows * columns);
            for (std::size_t i = 0; i < weights.size(); i += 3) weights[i] = special[i / 3 % special.size()];
            const auto weight = [&](index_type row, index_type column) { return weights[column * rows + row]; };
            const packed_matrix w = pack_matrix(target, rows, columns, weight, [](index_type) { return 0.0F; });
            for (index_type row = 0; row < rows; ++row)
                for (index_type column = 0; column < columns; ++column) {
                    std::uint16_t upper;
                    std::memcpy(&upper, w.weights + w.at(row, column), sizeof upper);
                    ASSERT_EQ(upper, fastvit::io::float_to_bfloat16(weight(row, column))) << weight(row, column);
                }
        }
}

TEST_P(encoded, packing_multiplies_with_scales_first) {
    for (const precision type : {precision::bfloat16, precision::int8}) {
        weight_target target(tier());
        target.type = type;
        for (const index_type rows : {1, 7, 50})
            for (const index_type columns : {1, 16, 47, 100}) {
                const floats weights = random.values(rows * columns), bias = random.values(columns);
                const floats row_scale = random.values(rows), column_scale = random.values(columns);
                const packed_matrix expected = pack_matrix(
                    target, rows, columns,
                    [&](index_type row, index_type column) {
                        return weights[row * columns + column] * row_scale[row] * column_scale[column];
                    },
                    [&](index_type column) { return bias[column] * column_scale[column]; });
                const packed_matrix packed = pack_gemm(target, {.rows = rows,
                                                                .columns = columns,
                                                                .weights = weights.data(),
                                                                .row_step = columns,
                                                                .column_step = 1,
                                                                .bias = bias.data(),
                                                                .row_scale = row_scale.data(),
                                                                .column_scale = column_scale.data()});
                ASSERT_EQ(packed.format.type, expected.format.type);
                ASSERT_EQ(std::memcmp(packed.weights, expected.weights, static_cast<std::size_t>(packed.bytes())), 0);
                ASSERT_TRUE(std::equal(packed.bias, packed.bias + packed.columns, expected.bias));
                if (type == precision::int8) {
                    ASSERT_TRUE(std::equal(packed.scale, packed.scale + packed.columns, expected.scale));
                    ASSERT_TRUE(std::equal(packed.sums, packed.sums + packed.columns, expected.sums));
                }
            }
    }
}

struct quantised_column : int8_column {
    std::vector<std::int8_t> bytes;
};

quantised_column quantise(const floats &weights) {
    const auto rows = static_cast<index_type>(weights.size());
    floats zeros(column_quantiser::padded(rows));
    std::vector<std::int8_t> bytes(zeros.size(), 99);
    const int8_column column = column_quantiser(zeros)(
        {.rows = rows, .columns = 1, .weights = weights.data(), .row_step = 1, .column_step = rows}, 0, bytes.data());
    for (index_type row = rows; row < column_quantiser::padded(rows); ++row) EXPECT_EQ(bytes[row], 0);
    return {column, bytes};
}

TEST_P(encoded, packing_gives_every_column_its_bytes) {
    weight_target target(tier());
    target.type = precision::int8;
    for (const index_type rows : {1, 7, 50})
        for (const index_type columns : {1, 16, 47, 100}) {
            const floats weights = random.values(rows * columns);
            const packed_matrix w = pack_matrix(
                target, rows, columns, [&](index_type row, index_type column) { return weights[column * rows + row]; },
                [](index_type) { return 2.0F; });
            ASSERT_EQ(w.format.type, precision::int8);
            for (index_type column = 0; column < w.columns; ++column) {
                const bool there = column < columns;
                const floats of_column(weights.begin() + (there ? column * rows : 0),
                                       weights.begin() + (there ? (column + 1) * rows : 0));
                const quantised_column expected = quantise(of_column);
                for (index_type row = 0; row < rows; ++row)
                    ASSERT_EQ(static_cast<std::int8_t>(w.weights[w.at(row, column)]), there ? expected.bytes[row] : 0);
                ASSERT_EQ(w.sums[column], there ? expected.sum : 0);
                ASSERT_EQ(w.scale[column], there ? expected.scale : 0);
                ASSERT_EQ(w.bias[column], there ? 2.0F : 0.0F);
            }
        }
}

// What a quantised checkpoint rests on: its weights are these products.
TEST(column_quantiser, gives_the_products_their_bytes_again) {
    random_source random;
    for (int i = 0; i < 2000; ++i) {
        const float largest = std::ldexp(1 + std::abs(random()), static_cast<int>(random.integer(-118, 100)));
        const float scale = int8_scale({.weight = largest, .group = largest});
        EXPECT_GE(scale, largest / 127);
        EXPECT_EQ(quantise({largest}).bytes[0], 127);
        floats products(255 * 4); // each in a group of its own
        for (int byte = -127; byte <= 127; ++byte) products[4 * (byte + 127)] = scale * static_cast<float>(byte);
        const quantised_column column = quantise(products);
        ASSERT_EQ(column.scale, scale) << largest;
        for (int byte = -127; byte <= 127; ++byte) ASSERT_EQ(column.bytes[4 * (byte + 127)], byte) << largest;
        EXPECT_EQ(column.sum, 0);
        const double squares = 2 * (127.0 * 128 * 255 / 6) * scale * scale;
        if (squares < 3.4e38) {
            EXPECT_LE(column.loss, 1e-4F) << largest;
        } else if (squares > 3.41e38) {
            EXPECT_TRUE(std::isnan(column.loss)) << largest;
        }
    }
}

TEST(column_quantiser, takes_the_nearest_byte_and_knows_what_it_loses) {
    random_source random;
    int estimated = 0, exact = 0;
    for (const index_type rows : {1, 7, 8, 9, 15, 16, 17, 100, 300, 1001})
        for (const float outlier : {1.0F, 30.0F, 200.0F}) {
            floats weights = random.values(rows);
            for (std::size_t row = 0; row < weights.size(); ++row) // so small that no group reaches its limit
                if (row / 4 % 2 == 1) weights[row] *= 0.005F;
            weights[0] *= outlier;
            const quantised_column column = quantise(weights);
            double energy = 0, lost = 0;
            int sum = 0;
            for (std::size_t row = 0; row < weights.size(); ++row) {
                const double w = weights[row], byte = w / column.scale, error = w - column.scale * column.bytes[row];
                EXPECT_NEAR(column.bytes[row], byte, 0.5 + 2e-5);
                energy += w * w;
                lost += error * error;
                sum += column.bytes[row];
            }
            EXPECT_EQ(column.sum, sum);
            const double step = column.scale, bound = static_cast<double>(rows) / 4 * step * step / energy;
            if (bound <= static_cast<double>(int8_largest_loss)) {
                EXPECT_NEAR(column.loss, bound / 3, 1e-5 * bound);
                ++estimated;
            } else {
                EXPECT_NEAR(column.loss, lost / energy, 1e-3 * lost / energy + 1e-11);
                ++exact;
            }
        }
    EXPECT_GE(std::min(estimated, exact), 3);
}

// Of columns of every kind: the limit of their groups, and the same bytes and scale for what they stand for.
TEST(column_quantiser, keeps_groups_of_four_within_their_limit) {
    random_source random;
    int limited = 0, all = 0;
    for (const index_type rows : {1, 3, 4, 6, 8, 13, 16, 17, 48, 76, 300})
        for (int kind = 0; kind < 7; ++kind)
            for (int i = 0; i < 300; ++i) {
                const float size = std::ldexp(1.0F, static_cast<int>(random.integer(-60, 60)));
                floats weights;
                for (index_type row = 0; row < rows; ++row) {
                    const float x = random(), y = random() * random() * random();
                    weights.push_back(size * (kind == 0   ? x
                                              : kind == 1 ? std::abs(x)
                                              : kind == 2 ? -1
                                              : kind == 3 ? y
                                              : kind == 4 ? (row % 4 == 0 ? 1 : 0.01F * x)
                                              : kind == 5 ? (x < 0 ? -0.99F : 1) + 0.01F * y
                                                          : (i % 2 == 0 ? 0.335F : -0.51F) + 0.003F * x));
                }
                if (kind == 6 && i % 3 > 0) weights[0] = size; // about as much as a group
                const quantised_column column = quantise(weights);
                int largest = 0, largest_group = 0, sum = 0;
                for (std::size_t row = 0; row < weights.size(); ++row) {
                    const int byte = column.bytes[row], group = sum_of_group(column.bytes, row);
                    ASSERT_LE(std::abs(byte), 127);
                    ASSERT_LE(group, int8_group_limit);
                    largest = std::max(largest, std::abs(byte));
                    largest_group = std::max(largest_group, group);
                    sum += byte;
                    const double error = std::abs(double{weights[row]} / double{column.scale} - byte);
                    ASSERT_LE(error, at_group_limit(column.bytes, row) ? 2.51 : 0.501) << "kind " << kind << ", row " << row;
                }
                EXPECT_EQ(column.sum, sum);
                EXPECT_TRUE(largest == 127 || largest_group == int8_group_limit);
                limited += largest < 127;
                ++all;
                for (std::size_t row = 0; row < weights.size(); ++row)
                    weights[row] = column.scale * static_cast<float>(column.bytes[row]);
                const quantised_column again = quantise(weights);
                ASSERT_EQ(again.scale, column.scale) << "kind " << kind << ", " << rows << " rows";
                ASSERT_EQ(again.bytes, column.bytes) << "kind " << kind << ", " << rows << " rows";
            }
    EXPECT_GT(limited, all / 5);
    EXPECT_LT(limited, all * 4 / 5);
}

TEST(column_quantiser, of_weights_without_a_scale) {
    for (const float tiny : {0.0F, 1e-45F, 1e-38F}) {
        const quantised_column column = quantise({0, tiny, 0});
        EXPECT_EQ(column.scale, 0);
        EXPECT_EQ(column.loss, 0);
        EXPECT_EQ(column.bytes[1], 0);
    }
    for (const float infinite : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
        for (const index_type rows : {3, 20}) { // in the remainder, or not
            floats weights(static_cast<std::size_t>(rows), 1.0F);
            weights[1] = infinite;
            EXPECT_TRUE(std::isnan(quantise(weights).loss));
        }
}

TEST_P(encoded, packing_gives_memory_back_where_8_bits_would_lose_too_much) {
    weight_memory memory;
    weight_target target(tier(), &memory);
    target.type = precision::int8;
    const std::byte *const begin = memory.take<std::byte>(1).data();
    constexpr index_type rows = 100, columns = 4;
    const packed_matrix refused = pack_matrix(
        target, rows, columns, [](index_type row, index_type) { return row == 3 ? 60.0F : 0.2F; },
        [](index_type) { return 1.0F; });
    EXPECT_EQ(refused.format.type, precision::bfloat16);
    EXPECT_EQ(refused.weights, begin + fastvit::alignment);
    // Where the bytes, scales and sums were.
    for (index_type column = columns; column < refused.columns; ++column) {
        EXPECT_EQ(refused.bias[column], 0);
        for (index_type row = 0; row < rows; ++row) ASSERT_EQ(weight16(refused, row, column), 0) << row << ", " << column;
    }
}

TEST(packed_matrix, put_groups_puts_every_byte_in_its_group) {
    for (const index_type group : {1, 2, 4, 8})
        for (const index_type rows : {1, 15, 16, 17, 33})
            for (const index_type columns : {1, 3, 4, 7, 16}) {
                const index_type padded = column_quantiser::padded(rows), groups = 16 * group + 5;
                std::vector<std::int8_t> bytes(static_cast<std::size_t>(padded * columns));
                for (index_type column = 0; column < columns; ++column)
                    for (index_type row = 0; row < rows; ++row)
                        bytes[column * padded + row] = static_cast<std::int8_t>((row * 7 + column * 31) % 127 + 1);
                std::vector<std::byte> out(static_cast<std::size_t>((rows + group - 1) / group * groups), std::byte{99}),
                    expected = out;
                for (index_type column = 0; column < columns; ++column)
                    for (index_type row = 0; row < (rows + group - 1) / group * group; ++row)
                        expected[row / group * groups + column * group + row % group] =
                            static_cast<std::byte>(bytes[column * padded + row]);
                put_groups(out.data(), groups, group, bytes.data(), rows, columns);
                ASSERT_EQ(out, expected) << group << ", " << rows << ", " << columns;
            }
}

// In int8 in 8 bits or float32.
TEST_P(encoded, sensitive_matrices) {
    const floats weights = random.values(40 * 20), scales = random.values(20);
    const unpacked_matrix m{
        .rows = 40, .columns = 20, .weights = weights.data(), .row_step = 1, .column_step = 40, .bias = weights.data() + 100};
    for (const precision type : fastvit::precisions) {
        weight_target target(tier());
        target.type = type;
        const packed_matrix plain = pack_gemm(target, m), w = pack_sensitive(target, m, scales.data()),
                            unscaled = pack_sensitive(target, m);
        const bool int8 = type == precision::int8;
        EXPECT_EQ(w.format.type, type);
        EXPECT_EQ(w.two_parts, int8);
        for (index_type column = 0; column < 20; ++column) {
            // Each of two products adds the bias.
            EXPECT_EQ(w.bias[column], m.bias[column] * (int8 ? scales[column] / 2 : scales[column]));
            EXPECT_EQ(unscaled.bias[column], int8 ? m.bias[column] / 2 : m.bias[column]);
            if (!int8) continue;
            EXPECT_EQ(w.scale[column], plain.scale[column] * scales[column]);
            EXPECT_EQ(unscaled.scale[column], plain.scale[column]);
            for (index_type row = 0; row < 40; ++row) EXPECT_EQ(w.weights[w.at(row, column)], plain.weights[w.at(row, column)]);
        }
    }
    // Where 8 bits would lose too much: float32, not bfloat16, and no memory for both.
    floats outliers(100 * 20, 0.2F);
    for (index_type column = 0; column < 20; ++column) outliers[column * 100 + 3] = 60;
    weight_memory memory;
    weight_target target(tier(), &memory);
    target.type = precision::int8;
    const std::byte *const begin = memory.take<std::byte>(1).data();
    const packed_matrix exact =
        pack_sensitive(target, {.rows = 100, .columns = 20, .weights = outliers.data(), .row_step = 1, .column_step = 100});
    EXPECT_EQ(exact.format.type, precision::float32);
    EXPECT_FALSE(exact.two_parts);
    EXPECT_EQ(exact.weights, begin + fastvit::alignment);
}

// The same with and without threads that help.
std::vector<fastvit::layer_precision> notes_of(index_type rows, const std::function<float(index_type)> &weight) {
    std::vector<fastvit::layer_precision> notes;
    weight_target target(*fastvit::select_isa("scalar").kernels);
    target.type = precision::int8;
    target.notes = &notes;
    fastvit::thread_pool pool(2);
    for (fastvit::executor *const threads :
         {static_cast<fastvit::executor *>(nullptr), static_cast<fastvit::executor *>(&pool)}) {
        target.threads = threads;
        pack_matrix(
            target.in("stage").in("fc1"), rows, 4, [&](index_type row, index_type) { return weight(row); },
            [](index_type) { return 0.0F; });
    }
    EXPECT_EQ(notes.size(), 2U);
    EXPECT_EQ(notes[0].type, notes[1].type);
    notes.pop_back();
    return notes;
}

TEST(precision_of_a_matrix, is_bfloat16_where_8_bits_would_lose_too_much) {
    const auto even = notes_of(64, [](index_type row) { return row % 2 == 0 ? 1.0F : -0.3F; });
    ASSERT_EQ(even.size(), 1U);
    EXPECT_EQ(even[0].name, "stage.fc1");
    EXPECT_EQ(even[0].type, precision::int8);
    EXPECT_EQ(even[0].reason, "");
    for (const float bad : {60.0F, nan, infinity, 3e38F}) {
        const auto outlier =
            notes_of(640, [&](index_type row) { return row == 3 ? bad : 0.1F + 0.01F * static_cast<float>(row % 9); });
        EXPECT_EQ(outlier[0].type, precision::bfloat16) << bad;
        EXPECT_NE(outlier[0].reason, "");
    }
    EXPECT_EQ(notes_of(int8_max_rows + 1, [](index_type) { return 1.0F; })[0].type, precision::bfloat16);
    EXPECT_EQ(notes_of(8, [](index_type) { return 0.0F; })[0].type, precision::int8);
}

} // namespace
