// SPDX-License-Identifier: MIT
// Every kernel of every tier against reference.hpp. Tiers that the machine cannot run are tested by their shapes.
// Labels: portable
#include "fastvit/isa.hpp"
#include "fastvit/kernels/depthwise/pack.hpp"
#include "fastvit/kernels/table.hpp"

#include "kernels/activate.hpp"
#include "support/packed_matrix.hpp"
#include "support/portable_tiers.hpp"
#include "support/reference.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>

namespace {

using namespace fastvit::kernels;
using fastvit::error_kind;
using fastvit::index_type;
using fastvit::isa_tier;
using fastvit::isa_tiers;
using fastvit::select_isa;
using reference::comparison;
using reference::maps;
using reference::norm_of;
using reference::random_source;
using reference::rounding;
using reference::unit;

using floats = std::vector<float>;
using doubles = std::vector<double>;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<const kernel_table *> tables_to_test() {
    std::vector<const kernel_table *> tables;
    for (const isa_tier &tier : isa_tiers())
        if (tier.supported) tables.push_back(tier.kernels);
    tables.push_back(&avx512_shape::table);
    tables.push_back(&neon_shape::table);
    return tables;
}

class kernels : public testing::TestWithParam<const kernel_table *> {
  protected:
    const kernel_table &tier() const { return *GetParam(); }
    random_source random;
};

INSTANTIATE_TEST_SUITE_P(tiers, kernels, testing::ValuesIn(tables_to_test()),
                         [](const auto &tier) { return std::string(tier.param->name); });

doubles to_double(const floats &values) { return doubles(values.begin(), values.end()); }

constexpr activation all_activations[] = {activation::none, activation::relu, activation::gelu, activation::sigmoid};

double activated(activation act, double x) {
    switch (act) {
    case activation::none: return x;
    case activation::relu: return reference::relu(x);
    case activation::gelu: return reference::gelu(x);
    case activation::sigmoid: return reference::sigmoid(x);
    }
    return x;
}

/// What the activation adds to an error of its argument: GELU's and the sigmoid's own, and their steepest slopes.
double activated_tolerance(activation act, double x, double tolerance) {
    switch (act) {
    case activation::gelu: return 1.13 * tolerance + 5e-7 * std::max(1.0, std::abs(x));
    case activation::sigmoid: return 0.25 * tolerance + 8 * unit;
    default: return tolerance;
    }
}

/// Memory for a kernel's output: every float is a canary until written, and again after it is taken.
class canvas {
  public:
    explicit canvas(index_type count) : memory_(count, canary) {}

    float *at(index_type i) { return memory_.data() + i; }
    /// A result that nobody wrote is NaN.
    float take(const float *p) {
        float &cell = memory_[p - memory_.data()];
        return cell == canary ? nan : std::exchange(cell, canary);
    }
    /// True if all that was written was taken.
    bool clean() const {
        return std::all_of(memory_.begin(), memory_.end(), [](float f) { return f == canary; });
    }

  private:
    static constexpr float canary = -7.0625e20F;
    floats memory_;
};

/// Places of `count` pieces of `length` floats: in random order, with gaps of 1 to 6, so most are not aligned. The last number is
/// that of all floats.
std::vector<index_type> scatter(random_source &random, index_type count, index_type length) {
    std::vector<index_type> order(count), places(count + 1);
    std::iota(order.begin(), order.end(), index_type{0});
    for (index_type i = count - 1; i > 0; --i) std::swap(order[i], order[random.integer(0, i)]);
    index_type at = random.integer(1, 6);
    for (const index_type i : order) {
        places[i] = at;
        at += length + random.integer(1, 6);
    }
    places[count] = at;
    return places;
}

// --- gemm -----------------------------------------------------------------------------------------------------------------

enum class residual_kind { none, separate, in_place };

struct gemm_case {
    index_type pixels, segments, segment, columns;
    activation act = activation::none;
    residual_kind residual = residual_kind::none;

    index_type depth() const { return segments * segment; }
    friend std::ostream &operator<<(std::ostream &out, const gemm_case &g) {
        return out << g.pixels << " pixels, " << g.segments << " x " << g.segment << " deep, " << g.columns << " columns, act "
                   << static_cast<int>(g.act) << ", residual " << static_cast<int>(g.residual);
    }
};

/// A part of a matrix product.
struct gemm_part {
    index_type pixel_begin, pixel_end, column_begin, column_end;
};

/// Random operands, with NaN between the rows and the segments.
class gemm_problem {
  public:
    gemm_problem(random_source &random, const kernel_table &tier, const gemm_case &g)
        : case_(g), tier_(&tier), weight_(random.values(g.columns * g.depth())), bias_(random.values(g.columns)),
          stride_(g.segment + (g.segments > 1 ? random.integer(0, 5) : 0)) {
        packed_ = pack_matrix(
            tier, g.depth(), g.columns, [&](index_type row, index_type column) { return weight_[column * g.depth() + row]; },
            [&](index_type column) { return bias_[column]; });
        const index_type row_floats = (g.segments - 1) * stride_ + g.segment;
        a_places_ = scatter(random, g.pixels, row_floats);
        a_.assign(a_places_.back(), nan);
        for (index_type p = 0; p < g.pixels; ++p)
            for (index_type k = 0; k < g.depth(); ++k) a_[a_place(p, k)] = random();
        c_places_ = scatter(random, g.pixels, packed_.columns);
        residual_places_ = scatter(random, g.pixels, packed_.columns);
        residual_.assign(residual_places_.back(), nan);
        for (index_type p = 0; p < g.pixels; ++p)
            for (index_type n = 0; n < packed_.columns; ++n) residual_[residual_places_[p] + n] = n < g.columns ? random() : 0;
    }

    index_type columns() const { return packed_.columns; }
    index_type panel() const { return packed_.format.panel; }
    gemm_part whole() const { return {0, case_.pixels, 0, columns()}; }

    /// The results of the parts, [pixels][columns]; NaN where no part was. Fails if anything else was written.
    floats run(const std::vector<gemm_part> &parts) const {
        canvas out(c_places_.back());
        for (const gemm_part &part : parts) run_part(part, out);
        floats results;
        for (index_type p = 0; p < case_.pixels; ++p)
            for (index_type n = 0; n < columns(); ++n) results.push_back(out.take(out.at(c_places_[p] + n)));
        EXPECT_TRUE(out.clean()) << "written outside the output";
        return results;
    }

    void expect_right(const floats &got) const {
        comparison all;
        const doubles weight = to_double(weight_), bias = to_double(bias_);
        doubles weight_norms(columns());
        for (index_type n = 0; n < case_.columns; ++n)
            weight_norms[n] = norm_of(case_.depth(), [&](index_type k) { return weight[n * case_.depth() + k]; }) + 1;
        for (index_type p = 0; p < case_.pixels; ++p) {
            doubles row(case_.depth());
            for (index_type k = 0; k < case_.depth(); ++k) row[k] = a_[a_place(p, k)];
            const doubles sums = reference::linear(row, weight, bias);
            const double row_norm = norm(row);
            for (index_type n = 0; n < columns(); ++n)
                add_element(all, p, n, n < case_.columns ? sums[n] : 0, row_norm, weight_norms[n], got[p * columns() + n]);
        }
        EXPECT_TRUE(all.result());
    }

  private:
    static double norm(const doubles &v) {
        return norm_of(static_cast<index_type>(v.size()), [&](index_type i) { return v[i]; });
    }

    index_type a_place(index_type p, index_type k) const {
        return a_places_[p] + k / case_.segment * stride_ + k % case_.segment;
    }
    float residual(index_type p, index_type n) const {
        return case_.residual == residual_kind::none ? 0 : residual_[residual_places_[p] + n];
    }

    void add_element(comparison &all, index_type p, index_type n, double sum, double row_norm, double weight_norm,
                     float got) const {
        const double expected = activated(case_.act, sum) + residual(p, n);
        const double chain = rounding(case_.depth(), (row_norm + 1) * weight_norm);
        all.add(expected, got, activated_tolerance(case_.act, sum, chain) + unit * std::abs(expected), {p, n});
    }

    void run_part(const gemm_part &part, canvas &out) const {
        std::vector<const float *> a, r;
        std::vector<float *> c;
        for (index_type p = part.pixel_begin; p < part.pixel_end; ++p) {
            a.push_back(a_.data() + a_places_[p]);
            c.push_back(out.at(c_places_[p]));
            r.push_back(case_.residual == residual_kind::in_place ? c.back() : residual_.data() + residual_places_[p]);
            if (case_.residual == residual_kind::in_place)
                for (index_type n = part.column_begin; n < part.column_end; ++n) c.back()[n] = residual(p, n);
        }
        tier_->gemm({.a = a.data(),
                     .pixels = part.pixel_end - part.pixel_begin,
                     .segments = case_.segments,
                     .segment = case_.segment,
                     .segment_stride = stride_,
                     .matrix = packed_,
                     .c = c.data(),
                     .residual = case_.residual == residual_kind::none ? nullptr : r.data(),
                     .column_begin = part.column_begin,
                     .column_end = part.column_end,
                     .act = case_.act});
    }

    gemm_case case_;
    const kernel_table *tier_;
    floats weight_, bias_; ///< [columns][depth]
    packed_matrix packed_;
    index_type stride_;
    std::vector<index_type> a_places_, c_places_, residual_places_;
    floats a_, residual_;
};

bool same_bits(const floats &a, const floats &b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_gemm_right(random_source &random, const kernel_table &tier, const gemm_case &g) {
    SCOPED_TRACE(testing::Message() << g);
    const gemm_problem problem(random, tier, g);
    problem.expect_right(problem.run({problem.whole()}));
}

// All the widths of padded columns from one register to a few panels, some with channels that need padding.
const std::vector<index_type> widths{16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 8, 24, 76, 100, 152};

TEST_P(kernels, gemm_of_every_number_of_pixels_and_columns) {
    std::vector<index_type> pixels(27);
    std::iota(pixels.begin(), pixels.end(), index_type{1});
    for (const index_type p : pixels)
        for (const index_type n : widths) expect_gemm_right(random, tier(), {p, 1, random.integer(1, 40), n});
    for (const index_type p : {index_type{96}, gemm_max_pixels}) {
        expect_gemm_right(random, tier(), {p, 1, 33, 48});
        expect_gemm_right(random, tier(), {p, 1, 20, 80, activation::none, residual_kind::separate});
    }
}

TEST_P(kernels, gemm_of_every_depth) {
    for (index_type depth = 1; depth <= 70; ++depth)
        expect_gemm_right(random, tier(), {random.integer(1, 27), 1, depth, random.one_of(widths)});
    for (const index_type n : {48, 80, 144}) expect_gemm_right(random, tier(), {13, 1, 513, n});
}

void expect_gemms_right(random_source &random, const kernel_table &tier, activation act, residual_kind residual) {
    for (int repeat = 0; repeat < 12; ++repeat)
        expect_gemm_right(
            random, tier,
            {random.integer(1, 27), random.integer(1, 3), random.integer(1, 30), random.one_of(widths), act, residual});
}

TEST_P(kernels, gemm_with_every_activation) {
    for (const activation act : all_activations) expect_gemms_right(random, tier(), act, residual_kind::none);
}

TEST_P(kernels, gemm_with_a_residual) {
    for (const residual_kind r : {residual_kind::separate, residual_kind::in_place})
        expect_gemms_right(random, tier(), activation::none, r);
}

TEST_P(kernels, gemm_over_segments) {
    for (index_type segments = 1; segments <= 7; ++segments)
        for (const index_type segment : {1, 2, 9, 21})
            expect_gemm_right(random, tier(), {11, segments, segment, random.one_of(widths)});
}

/// A matrix product in parts: panels, runs of pixels, or both.
std::vector<gemm_part> cut(const gemm_part &whole, index_type pixels, index_type columns) {
    std::vector<gemm_part> parts;
    for (index_type n = whole.column_begin; n < whole.column_end; n += columns)
        for (index_type p = whole.pixel_begin; p < whole.pixel_end; p += pixels)
            parts.push_back({p, std::min(p + pixels, whole.pixel_end), n, std::min(n + columns, whole.column_end)});
    return parts;
}

TEST_P(kernels, gemm_has_the_same_bits_however_it_is_cut) {
    for (const index_type n : widths) {
        gemm_case g{23, 2, 17, n, random.one_of<activation>({activation::none, activation::gelu, activation::sigmoid})};
        if (g.act == activation::none)
            g.residual = random.one_of<residual_kind>({residual_kind::none, residual_kind::separate, residual_kind::in_place});
        SCOPED_TRACE(testing::Message() << g);
        const gemm_problem problem(random, tier(), g);
        const gemm_part whole = problem.whole();
        const floats at_once = problem.run({whole});
        for (index_type pixels = 1; pixels <= g.pixels; ++pixels)
            EXPECT_TRUE(same_bits(at_once, problem.run(cut(whole, pixels, problem.columns())))) << pixels << " pixels at a time";
        for (index_type panels = 1; panels * problem.panel() < problem.columns(); ++panels)
            EXPECT_TRUE(same_bits(at_once, problem.run(cut(whole, 5, panels * problem.panel()))))
                << panels << " panels at a time";
    }
}

// Two tiles of 4, 6 or 8 pixels, as tiers have them, and panels of more than 256 KB, whatever their width in the tier. Cut by 3
// pixels, none takes turns; nor do several segments.
TEST_P(kernels, gemm_of_large_panels_whose_tiles_take_turns) {
    for (const index_type pixels : {8, 12, 16})
        for (const index_type n : {16, 48, 112})
            for (const index_type segments : {1, 3})
                for (const residual_kind residual : {residual_kind::none, residual_kind::in_place}) {
                    const index_type panel = std::min(n, tier().gemm_format(n).panel);
                    const index_type depth = ((index_type{256} << 10) / 4 / panel + 75) / segments;
                    const gemm_case g{
                        pixels,  segments, depth, n, residual == residual_kind::none ? activation::gelu : activation::none,
                        residual};
                    SCOPED_TRACE(testing::Message() << g);
                    const gemm_problem problem(random, tier(), g);
                    const floats at_once = problem.run({problem.whole()});
                    problem.expect_right(at_once);
                    EXPECT_TRUE(same_bits(at_once, problem.run(cut(problem.whole(), 3, problem.columns()))));
                }
}

// A range of columns is written and nothing else: run() checks the rest.
TEST_P(kernels, gemm_of_a_range_of_columns_leaves_the_others) {
    const gemm_problem problem(random, tier(), {7, 1, 10, 208});
    for (index_type begin = 0; begin < problem.columns(); begin += problem.panel()) {
        const index_type end = std::min(problem.columns(), begin + problem.panel());
        const floats got = problem.run({{0, 7, begin, end}});
        for (index_type n = 0; n < problem.columns(); ++n) EXPECT_EQ(std::isnan(got[n]), n < begin || n >= end) << "column " << n;
    }
    EXPECT_TRUE(std::isnan(problem.run({{0, 7, 0, 0}})[0])) << "an empty range";
    EXPECT_TRUE(std::isnan(problem.run({{3, 3, 0, 208}})[0])) << "no pixels";
}

// --- packing --------------------------------------------------------------------------------------------------------------

/// Places that a packed layout uses: each once, and all inside.
class used_places {
  public:
    explicit used_places(index_type count) : count_(count) {}
    /// A float at that byte.
    bool use(index_type place) {
        const index_type size = sizeof(float);
        return place >= 0 && place % size == 0 && place + size <= count_ && used_.insert(place).second;
    }

  private:
    index_type count_;
    std::set<index_type> used_;
};

bool aligned(const void *p) { return reinterpret_cast<std::uintptr_t>(p) % fastvit::alignment == 0; }

/// The float at that byte of a packed weight.
float float_at(const std::byte *weights, index_type at) {
    float value;
    std::memcpy(&value, weights + at, sizeof value);
    return value;
}

void expect_packed_matrix(const kernel_table &tier, index_type rows, index_type columns, bool by_column, bool row_scaled,
                          bool column_scaled) {
    SCOPED_TRACE(testing::Message() << rows << " x " << columns << ", " << by_column << row_scaled << column_scaled);
    // Small integers, so that products are exact.
    const auto weight = [](index_type row, index_type column) { return static_cast<float>(1000 * row + column + 1); };
    floats weights(rows * columns), bias, row_scale, column_scale;
    for (index_type row = 0; row < rows; ++row) row_scale.push_back(static_cast<float>(row % 5 + 2));
    for (index_type column = 0; column < columns; ++column) {
        for (index_type row = 0; row < rows; ++row)
            weights[by_column ? column * rows + row : row * columns + column] = weight(row, column);
        bias.push_back(static_cast<float>(-column - 1));
        column_scale.push_back(static_cast<float>(column % 7 + 2));
    }
    const packed_matrix packed = pack_gemm(tier, {.rows = rows,
                                                  .columns = columns,
                                                  .weights = weights.data(),
                                                  .row_step = by_column ? 1 : columns,
                                                  .column_step = by_column ? rows : 1,
                                                  .bias = bias.data(),
                                                  .row_scale = row_scaled ? row_scale.data() : nullptr,
                                                  .column_scale = column_scaled ? column_scale.data() : nullptr});
    ASSERT_EQ(packed.columns, padded_channels(columns));
    ASSERT_EQ(packed.format.panel % tier.lanes, 0);
    ASSERT_EQ(packed.format.group, 1);
    ASSERT_TRUE(aligned(packed.weights) && aligned(packed.bias));
    used_places places(packed.weight_memory.count());
    for (index_type column = 0; column < packed.columns; ++column) {
        const bool real = column < columns;
        const float scale = real && column_scaled ? column_scale[column] : 1;
        ASSERT_EQ(packed.bias[column], real ? scale * bias[column] : 0);
        for (index_type row = 0; row < rows; ++row) {
            ASSERT_TRUE(places.use(packed.at(row, column))) << row << ", " << column;
            const float expected = real ? scale * (row_scaled ? row_scale[row] : 1) * weight(row, column) : 0;
            ASSERT_EQ(float_at(packed.weights, packed.at(row, column)), expected) << row << ", " << column;
        }
    }
}

TEST_P(kernels, pack_gemm_puts_every_weight_where_at_says) {
    for (const index_type rows : {1, 3, 4, 7, 50})
        for (const index_type columns : widths)
            for (const bool by_column : {false, true}) // side by side in memory
                for (const bool row_scaled : {false, true})
                    for (const bool column_scaled : {false, true})
                        expect_packed_matrix(tier(), rows, columns, by_column, row_scaled, column_scaled);
}

// The types to come take several rows in one instruction.
TEST(packed_matrix, at_has_a_place_for_every_weight_of_a_group) {
    for (const index_type group : {1, 2, 4})
        for (const index_type rows : {1, 3, 8, 21})
            for (const index_type columns : {16, 48, 80}) {
                const packed_matrix_view m{.format = {.group = group, .panel = 32}, .rows = rows, .columns = columns};
                used_places places(m.bytes());
                for (index_type column = 0; column < columns; ++column)
                    for (index_type row = 0; row < rows; ++row) {
                        ASSERT_TRUE(places.use(m.at(row, column))) << row << ", " << column;
                        ASSERT_EQ(m.at(row, column), m.at(row / group * group, column) + row % group * size_of(m.format.type));
                    }
            }
}

void expect_packed_depthwise(const kernel_table &tier, index_type channels, index_type multiplier, index_type kernel) {
    SCOPED_TRACE(testing::Message() << channels << " channels, multiplier " << multiplier << ", kernel " << kernel);
    const auto value = [](index_type o, index_type tap) { return static_cast<float>(100 * o + tap + 2); };
    const packed_depthwise packed =
        pack_depthwise(tier, channels, multiplier, kernel, 1, value, [&](index_type o) { return value(o, -1); });
    ASSERT_EQ(packed.in_channels, padded_channels(channels));
    ASSERT_EQ(packed.out_channels, padded_channels(channels * multiplier));
    used_places places(packed.weight_memory.count());
    for (index_type o = 0; o < packed.in_channels * multiplier; ++o) {
        for (index_type tap = -1; tap < kernel * kernel; ++tap) {
            ASSERT_TRUE(places.use(packed.at(o, tap))) << o << ", " << tap;
            ASSERT_EQ(float_at(packed.weights, packed.at(o, tap)), o < channels * multiplier ? value(o, tap) : 0);
        }
    }
}

TEST_P(kernels, pack_depthwise_puts_every_weight_where_at_says) {
    for (const index_type channels : {1, 8, 20, 48, 76})
        for (const index_type multiplier : {1, 2, 3})
            for (const index_type kernel : {1, 3, 7}) expect_packed_depthwise(tier(), channels, multiplier, kernel);
}

// --- depthwise ------------------------------------------------------------------------------------------------------------

struct depthwise_case {
    index_type kernel, stride, multiplier, rows, columns, channels;
    friend std::ostream &operator<<(std::ostream &out, const depthwise_case &d) {
        return out << "kernel " << d.kernel << ", stride " << d.stride << ", multiplier " << d.multiplier << ", " << d.rows
                   << " x " << d.columns << ", " << d.channels << " channels";
    }
    index_type outputs() const { return channels * multiplier; }
    index_type in_rows() const { return (rows - 1) * stride + kernel; }
    index_type in_columns() const { return (columns - 1) * stride + kernel; }
};

/// The floats that depthwise_args addresses, NHWC with gaps of NaN between pixels and rows; padding channels are zero.
struct nhwc_input {
    index_type pixel, row;
    floats memory;

    nhwc_input(random_source &random, const maps<double> &in)
        : pixel(padded_channels(in.channels) + random.integer(0, 3)), row(in.width * pixel + random.integer(0, 3)) {
        memory.assign((in.height - 1) * row + (in.width - 1) * pixel + padded_channels(in.channels), nan);
        for (index_type y = 0; y < in.height; ++y)
            for (index_type x = 0; x < in.width; ++x)
                for (index_type c = 0; c < padded_channels(in.channels); ++c)
                    memory[y * row + x * pixel + c] = c < in.channels ? static_cast<float>(in(0, c, y, x)) : 0;
    }
};

/// Runs the kernel between canaries and compares; tolerance from the 1-norm of the taps, as inputs are at most 1.
void expect_depthwise_right(random_source &random, const kernel_table &tier, const depthwise_case &d) {
    SCOPED_TRACE(testing::Message() << d);
    const index_type taps = d.kernel * d.kernel;
    const maps<double> in = random.batch(1, d.channels, d.in_rows(), d.in_columns());
    const doubles weight = random.values<double>(d.outputs() * taps), bias = random.values<double>(d.outputs());
    const maps<double> expected = reference::conv(
        in, weight, bias, {.out = d.outputs(), .kernel = d.kernel, .stride = d.stride, .groups = d.channels, .padding = 0});

    const packed_depthwise packed = pack_depthwise(
        tier, d.channels, d.multiplier, d.kernel, d.stride,
        [&](index_type o, index_type tap) { return static_cast<float>(weight[o * taps + tap]); },
        [&](index_type o) { return static_cast<float>(bias[o]); });
    const nhwc_input source(random, in);
    const index_type pixel = packed.out_channels + random.integer(0, 3), row = d.columns * pixel + random.integer(0, 3);
    const index_type front = random.integer(1, 20);
    canvas out(front + d.rows * row + 64);
    tier.depthwise({.in = source.memory.data(),
                    .in_pixel = source.pixel,
                    .in_row = source.row,
                    .out = out.at(front),
                    .out_pixel = pixel,
                    .out_row = row,
                    .rows = d.rows,
                    .columns = d.columns,
                    .window = packed});
    comparison all;
    for (index_type o = 0; o < packed.out_channels; ++o) {
        const bool real = o < d.outputs();
        double norm = 1;
        for (index_type tap = 0; real && tap < taps; ++tap) norm += std::abs(weight[o * taps + tap]);
        for (index_type y = 0; y < d.rows; ++y)
            for (index_type x = 0; x < d.columns; ++x)
                all.add(real ? expected(0, o, y, x) : 0, out.take(out.at(front + y * row + x * pixel + o)),
                        real ? rounding(taps, norm) : 0, {o, y, x});
    }
    EXPECT_TRUE(all.result());
    EXPECT_TRUE(out.clean()) << "written outside the output";
}

/// f(kernel, stride, multiplier) for all of them.
template <class F> void for_each_window(F &&f) {
    for (const index_type kernel : {1, 3, 5, 7})
        for (const index_type stride : {1, 2})
            for (const index_type multiplier : {1, 2, 3}) f(kernel, stride, multiplier);
}

TEST_P(kernels, depthwise_of_every_extent) {
    for_each_window([&](index_type kernel, index_type stride, index_type multiplier) {
        const bool own_code = kernel % 4 == 3 && multiplier < 3; // the others have no tiles
        for (index_type rows = 1; rows <= (own_code ? 9 : 3); ++rows)
            for (index_type columns = 1; columns <= (own_code ? 19 : 5); ++columns)
                expect_depthwise_right(random, tier(),
                                       {kernel, stride, multiplier, rows, columns, random.one_of<index_type>({1, 8, 16, 20})});
    });
}

TEST_P(kernels, depthwise_of_every_number_of_channels) {
    for_each_window([&](index_type kernel, index_type stride, index_type multiplier) {
        for (const index_type channels : {1, 7, 8, 9, 16, 20, 24, 33, 48, 76, 128})
            expect_depthwise_right(random, tier(),
                                   {kernel, stride, multiplier, random.integer(1, 3), random.integer(1, 9), channels});
    });
}

// A file decides the widths of the stages and of the head, and their ratios are multipliers.
TEST_P(kernels, depthwise_of_every_window_and_multiplier) {
    for (const index_type kernel : {1, 3, 7})
        for (const index_type stride : {1, 2})
            for (index_type multiplier = 1; multiplier <= 64; ++multiplier)
                for (const index_type channels : {random.integer(1, 15), 2 * random.integer(8, 12) + 1})
                    expect_depthwise_right(random, tier(),
                                           {kernel, stride, multiplier, random.integer(1, 3), random.integer(1, 9), channels});
}

// --- affine, sum, layer_norm ----------------------------------------------------------------------------------------------

/// Pixels of padded channels with gaps of NaN; `channels` random numbers each, the padding zero.
struct pixel_run {
    index_type channels, stride, pixels;
    floats memory;

    pixel_run(random_source &random, index_type count, index_type real, float low = -2, float high = 2)
        : channels(padded_channels(real)), stride(channels + random.integer(0, 5)), pixels(count), memory(count * stride, nan) {
        for (index_type p = 0; p < count; ++p)
            for (index_type c = 0; c < channels; ++c) memory[p * stride + c] = c < real ? random(low, high) : 0;
    }
    double operator()(index_type p, index_type c) const { return memory[p * stride + c]; }
};

void expect_affine_right(random_source &random, const kernel_table &tier, index_type channels, activation act, bool accumulate,
                         bool in_place) {
    SCOPED_TRACE(testing::Message() << channels << " channels, act " << static_cast<int>(act) << ", accumulate " << accumulate
                                    << ", in place " << in_place);
    const pixel_run x(random, random.integer(1, 5), channels), before(random, x.pixels, channels);
    floats scale = random.values(x.channels, -3, 3), shift = random.values(x.channels, -3, 3);
    const index_type stride = in_place ? x.stride : x.channels + random.integer(0, 5);
    canvas y(x.pixels * stride + 40);
    const auto initial = [&](index_type p, index_type c) { return in_place ? x(p, c) : before(p, c); };
    if (in_place || accumulate)
        for (index_type p = 0; p < x.pixels; ++p)
            for (index_type c = 0; c < x.channels; ++c) *y.at(p * stride + c) = static_cast<float>(initial(p, c));
    tier.affine({.x = in_place ? y.at(0) : x.memory.data(),
                 .x_pixel = x.stride,
                 .y = y.at(0),
                 .y_pixel = stride,
                 .pixels = x.pixels,
                 .channels = x.channels,
                 .scale = scale.data(),
                 .shift = shift.data(),
                 .accumulate = accumulate,
                 .act = act});
    comparison all;
    for (index_type p = 0; p < x.pixels; ++p)
        for (index_type c = 0; c < x.channels; ++c) {
            const double linear = x(p, c) * scale[c] + shift[c];
            const double expected = activated(act, linear + (accumulate ? initial(p, c) : 0));
            const double tolerance = activated_tolerance(act, linear, rounding(1, std::abs(x(p, c) * scale[c]) + 3));
            all.add(expected, y.take(y.at(p * stride + c)), tolerance + unit * std::abs(expected), {p, c});
        }
    EXPECT_TRUE(all.result());
    EXPECT_TRUE(y.clean()) << "written outside the output";
}

TEST_P(kernels, affine) {
    for (const index_type channels : {1, 16, 20, 48, 64, 76, 80, 112, 128})
        for (const activation act : all_activations)
            for (const bool accumulate : {false, true})
                for (const bool in_place : {false, true})
                    expect_affine_right(random, tier(), channels, act, accumulate, in_place);
}

// The contract gives the order of the additions, so the bits are known.
TEST_P(kernels, sum_adds_in_the_order_of_the_pixels) {
    for (const index_type channels : {1, 16, 20, 64, 76, 128}) {
        for (const index_type pixels : {0, 1, 2, 7, 100}) {
            const pixel_run x(random, pixels, channels);
            floats expected = random.values(x.channels);
            canvas sums(x.channels + 20);
            std::copy(expected.begin(), expected.end(), sums.at(3));
            for (index_type p = 0; p < pixels; ++p)
                for (index_type c = 0; c < x.channels; ++c) expected[c] += static_cast<float>(x(p, c));
            tier().sum({.x = x.memory.data(), .x_pixel = x.stride, .pixels = pixels, .channels = x.channels, .sums = sums.at(3)});
            for (index_type c = 0; c < x.channels; ++c) EXPECT_EQ(sums.take(sums.at(3 + c)), expected[c]) << "channel " << c;
            EXPECT_TRUE(sums.clean());
        }
    }
}

/// The mean of n values of size m is within n units of m, and the result is the distance from the mean over the deviation, up to
/// sqrt(n) of them, times gamma, up to 2.
template <class F> double layer_norm_tolerance(index_type channels, double epsilon, F &&x) {
    const double count = static_cast<double>(channels), size = norm_of(channels, x) / std::sqrt(count);
    double mean = 0;
    for (index_type c = 0; c < channels; ++c) mean += x(c) / count;
    const double squares = norm_of(channels, [&](index_type c) { return x(c) - mean; });
    const double deviation = std::sqrt(squares * squares / count + epsilon);
    return rounding(channels, 2 * (std::sqrt(count) + size / deviation));
}

/// Inputs in [low, high].
void expect_layer_norm_right(random_source &random, const kernel_table &tier, index_type channels, float low, float high) {
    SCOPED_TRACE(testing::Message() << channels << " channels in [" << low << ", " << high << "]");
    constexpr float epsilon = 1e-5F;
    const pixel_run x(random, random.integer(1, 5), channels, low, high);
    floats gamma(x.channels), beta(x.channels);
    for (index_type c = 0; c < channels; ++c) gamma[c] = random(0.5F, 2), beta[c] = random();
    const index_type stride = x.channels + random.integer(0, 5);
    canvas y(x.pixels * stride + 20);
    tier.layer_norm({.x = x.memory.data(),
                     .x_pixel = x.stride,
                     .y = y.at(0),
                     .y_pixel = stride,
                     .pixels = x.pixels,
                     .channels = channels,
                     .gamma = gamma.data(),
                     .beta = beta.data(),
                     .epsilon = epsilon});
    maps<double> in(1, channels, 1, x.pixels);
    for (index_type p = 0; p < x.pixels; ++p)
        for (index_type c = 0; c < channels; ++c) in(0, c, 0, p) = x(p, c);
    const maps<double> expected = reference::layer_norm(in, to_double(gamma), to_double(beta), double{epsilon});
    comparison all;
    for (index_type p = 0; p < x.pixels; ++p) {
        const double tolerance = layer_norm_tolerance(channels, epsilon, [&](index_type c) { return x(p, c); });
        for (index_type c = 0; c < x.channels; ++c)
            all.add(c < channels ? expected(0, c, 0, p) : 0, y.take(y.at(p * stride + c)), c < channels ? tolerance : 0, {p, c});
    }
    EXPECT_TRUE(all.result());
    EXPECT_TRUE(y.clean()) << "written outside the output";
}

TEST_P(kernels, layer_norm) {
    for (const index_type channels : {2, 8, 16, 20, 33, 48, 76, 100, 128, 513, 1536}) {
        expect_layer_norm_right(random, tier(), channels, -1, 1);
        expect_layer_norm_right(random, tier(), channels, 2, 6);          // a mean that the zeros of the padding do not have
        expect_layer_norm_right(random, tier(), channels, -1e-4F, 1e-4F); // epsilon counts
    }
}

// The zeros of the padding differ from the mean by a hundred deviations.
TEST_P(kernels, layer_norm_of_values_far_from_zero) {
    for (const index_type channels : {17, 32, 76, 100}) expect_layer_norm_right(random, tier(), channels, 99, 101);
}

TEST_P(kernels, layer_norm_of_equal_values_is_beta) {
    for (const float value : {0.0F, 3.0F}) {
        const floats x(80, value), gamma(80, 2), beta(80, 0.5F);
        floats y(80);
        tier().layer_norm({.x = x.data(),
                           .x_pixel = 80,
                           .y = y.data(),
                           .y_pixel = 80,
                           .pixels = 1,
                           .channels = 80,
                           .gamma = gamma.data(),
                           .beta = beta.data(),
                           .epsilon = 1e-5F});
        for (const float f : y) EXPECT_NEAR(f, 0.5F, 1e-3F); // the mean's rounding error over sqrt(epsilon)
    }
}

// --- attention ------------------------------------------------------------------------------------------------------------

/// Tokens as the qkv layer leaves them: q, k and v of several heads side by side. NaN is what the head does not own.
struct token_run {
    index_type tokens, stride;
    floats memory;

    token_run(random_source &random, index_type count) : tokens(count), stride(3 * 48 + random.integer(0, 5)) {
        memory.assign(count * stride, nan);
    }
    float *q(index_type t) { return memory.data() + t * stride + 1; }
    float *k(index_type t) { return q(t) + 48; }
    float *v(index_type t) { return q(t) + 96; }
    doubles row(const float *p) const { return doubles(p, p + head_channels); }
};

attention_args attention_over(token_run &in, float *out, index_type out_token, float *scratch) {
    return {.q = in.q(0),
            .k = in.k(0),
            .v = in.v(0),
            .token = in.stride,
            .out = out,
            .out_token = out_token,
            .tokens = in.tokens,
            .scratch = scratch};
}

/// [tokens][head_channels].
floats attend(const kernel_table &tier, token_run &in) {
    floats out(in.tokens * head_channels), scratch(attention_scratch(in.tokens));
    tier.attention(attention_over(in, out.data(), head_channels, scratch.data()));
    return out;
}

/// Between canaries. `largest_score`: a bound on |q . k|.
void expect_attention_right(random_source &random, const kernel_table &tier, token_run in, double largest_score) {
    const index_type out_stride = head_channels + random.integer(0, 5);
    canvas out(in.tokens * out_stride + 40);
    canvas scratch(attention_scratch(in.tokens) + 64);
    tier.attention(attention_over(in, out.at(3), out_stride, scratch.at(32)));
    doubles k, v;
    for (index_type t = 0; t < in.tokens; ++t) {
        k.insert(k.end(), in.k(t), in.k(t) + head_channels);
        v.insert(v.end(), in.v(t), in.v(t) + head_channels);
    }
    // An error in a score is one in its weight, relatively; the weights' sum and the product with v are two chains over the keys.
    const double tolerance =
        (2 * rounding(head_channels, largest_score) + 2 * rounding(in.tokens + 8, 1)) * reference::largest(v);
    comparison all;
    for (index_type t = 0; t < in.tokens; ++t) {
        doubles q = in.row(in.q(t));
        for (double &x : q) x *= std::numbers::ln2; // the kernel's softmax has base 2
        const doubles expected = reference::attend(q, k, v);
        for (index_type c = 0; c < head_channels; ++c)
            all.add(expected[c], out.take(out.at(3 + t * out_stride + c)), tolerance, {t, c});
    }
    EXPECT_TRUE(all.result());
    EXPECT_TRUE(out.clean()) << "written outside the output";
    for (index_type i = 0; i < 32; ++i) {
        EXPECT_TRUE(std::isnan(scratch.take(scratch.at(i)))) << "written before the scratch memory";
        EXPECT_TRUE(std::isnan(scratch.take(scratch.at(32 + attention_scratch(in.tokens) + i)))) << "written behind it";
    }
}

/// Tokens whose q, k and v are value(which, token, channel), which = 0, 1, 2.
template <class F> token_run tokens_of(random_source &random, index_type count, F &&value) {
    token_run run(random, count);
    for (index_type t = 0; t < count; ++t)
        for (index_type c = 0; c < head_channels; ++c) {
            run.q(t)[c] = value(0, t, c);
            run.k(t)[c] = value(1, t, c);
            run.v(t)[c] = value(2, t, c);
        }
    return run;
}

const std::vector<index_type> token_counts{1, 2, 3, 4, 5, 15, 16, 17, 23, 24, 25, 63, 64, 255, 256, 257, 300, 529};

TEST_P(kernels, attention_of_random_tokens) {
    for (const index_type tokens : token_counts) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens");
        token_run run = tokens_of(random, tokens, [&](int, index_type, index_type) { return random(); });
        expect_attention_right(random, tier(), run, 16);
    }
}

// q . k is 80 for some pairs and -80 for others: 2^80 and 2^-80 are in float32, but not their ratio.
TEST_P(kernels, attention_of_large_scores) {
    for (const index_type tokens : token_counts) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens");
        token_run run = tokens_of(random, tokens, [&](int which, index_type, index_type c) {
            if (which == 2) return random();
            return c == 0 ? random.one_of<float>({-1, 1}) * (which == 0 ? 8.0F : 10.0F) : 0.0F;
        });
        expect_attention_right(random, tier(), run, 80);
    }
}

// The largest score comes later and later, so that the running maximum has to rescale what was summed before.
TEST_P(kernels, attention_of_scores_that_rise) {
    for (const index_type tokens : token_counts) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens");
        for (const float rise : {0.02F, 0.3F, -0.3F}) {
            token_run run = tokens_of(random, tokens, [&](int which, index_type t, index_type c) {
                if (which == 2) return random();
                return c != 7 ? 0.0F : which == 0 ? 1.0F : rise * static_cast<float>(t);
            });
            expect_attention_right(random, tier(), run, std::abs(rise) * static_cast<double>(tokens));
        }
    }
}

TEST_P(kernels, attention_of_equal_scores_is_the_mean) {
    for (const index_type tokens : token_counts) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens");
        for (const float score : {0.0F, 80.0F, -80.0F}) {
            token_run run = tokens_of(random, tokens, [&](int which, index_type, index_type c) {
                if (which == 2) return random();
                return c != 0 ? 0.0F : which == 0 ? score : 1.0F;
            });
            expect_attention_right(random, tier(), run, 80);
        }
    }
}

// A broken input must not come out as a plausible number.
TEST_P(kernels, attention_passes_nan_on) {
    for (const index_type tokens : {2, 40, 300}) {
        for (int which = 0; which < 3; ++which) {
            token_run run = tokens_of(random, tokens, [&](int, index_type, index_type) { return random(); });
            const index_type broken = tokens / 2;
            (which == 0 ? run.q(broken) : which == 1 ? run.k(broken) : run.v(broken))[5] = nan;
            const floats out = attend(tier(), run);
            for (index_type t = 0; t < tokens; ++t)
                EXPECT_EQ(std::isnan(out[t * head_channels + 5]), which != 0 || t == broken)
                    << tokens << " tokens, NaN in q, k or v (" << which << ") of token " << broken << ", output " << t;
        }
    }
}

// --- elementary functions -------------------------------------------------------------------------------------------------

/// Steps of 2^-10 over [-100, 100], and magnitudes from the smallest denormal to the largest float.
floats sweep() {
    floats x;
    for (index_type i = -100 * 1024; i <= 100 * 1024; ++i) x.push_back(static_cast<float>(i) / 1024);
    for (float magnitude = std::numeric_limits<float>::denorm_min(); magnitude < infinity;
         magnitude *= 1.5F + magnitude / 1e30F) {
        x.push_back(magnitude);
        x.push_back(-magnitude);
        if (magnitude < 1e-44F) magnitude *= 2; // 1.5 times the smallest rounds to itself
    }
    x.push_back(std::numeric_limits<float>::max());
    x.push_back(std::numeric_limits<float>::lowest());
    return x;
}

template <class Tolerance> void expect_activation(const kernel_table &tier, activation act, Tolerance &&tolerance) {
    const floats x = sweep(), y = activate(tier, act, x);
    comparison all;
    for (std::size_t i = 0; i < x.size(); ++i)
        all.add(activated(act, double{x[i]}), y[i], tolerance(double{x[i]}), {static_cast<index_type>(i)});
    EXPECT_TRUE(all.result());
}

TEST_P(kernels, gelu_is_accurate) {
    expect_activation(tier(), activation::gelu, [](double x) { return 5e-7 * std::max(1.0, std::abs(x)); });
    EXPECT_EQ(activate(tier(), activation::gelu, {0.0F, -0.0F, infinity}), (floats{0, 0, infinity}));
}

// Below -88 e^-x is held, and beyond it the result a denormal.
TEST_P(kernels, sigmoid_and_its_exp_are_accurate) {
    expect_activation(tier(), activation::sigmoid, [](double x) { return x < -87 ? 2e-38 : 8 * unit * reference::sigmoid(x); });
    const floats y = activate(tier(), activation::sigmoid, {0.0F, -0.0F, infinity, -infinity});
    EXPECT_EQ(y[0], 0.5F);
    EXPECT_EQ(y[1], 0.5F);
    EXPECT_EQ(y[2], 1.0F);
    EXPECT_NEAR(y[3], 0.0F, 2e-38F);
}

TEST_P(kernels, relu_is_exact) {
    expect_activation(tier(), activation::relu, [](double) { return 0; });
    EXPECT_EQ(activate(tier(), activation::relu, {0.0F, -0.0F, infinity, -infinity}), (floats{0, 0, infinity, 0}));
}

TEST_P(kernels, activations_pass_nan_on) {
    for (const activation act : all_activations) {
        floats x(16);
        x[5] = nan;
        const floats y = activate(tier(), act, x);
        for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i == 5) << "act " << static_cast<int>(act);
    }
}

// Two keys with scores 0 and -t: the second has the weight 2^-t / (1 + 2^-t), down to where it is nothing.
TEST_P(kernels, attentions_exp2_is_accurate) {
    comparison all;
    for (float t = 0; t < 126; t += 0.37F) {
        token_run run = tokens_of(random, 2, [&](int which, index_type token, index_type c) {
            if (which == 2) return token == c ? 1.0F : 0.0F;
            return c != 0 ? 0.0F : which == 0 ? 1.0F : token == 0 ? 0.0F : -t;
        });
        const double e = std::exp2(-double{t}), expected = e / (1 + e);
        all.add(expected, attend(tier(), run)[1], 10 * unit * expected + 1e-36, {static_cast<index_type>(t)});
    }
    EXPECT_TRUE(all.result());
}

// --- selection ------------------------------------------------------------------------------------------------------------

/// FASTVIT_ISA for the length of a scope.
class forced_isa {
  public:
    explicit forced_isa(const char *value) {
        if (const char *const old = std::getenv(name)) old_ = old;
        if (value)
            setenv(name, value, 1);
        else
            unsetenv(name);
    }
    ~forced_isa() {
        if (old_)
            setenv(name, old_->c_str(), 1);
        else
            unsetenv(name);
    }
    forced_isa(const forced_isa &) = delete;
    forced_isa &operator=(const forced_isa &) = delete;

  private:
    static constexpr const char *name = "FASTVIT_ISA";
    std::optional<std::string> old_;
};

/// select_isa(argument) has to refuse and to list what there is.
void expect_refused(std::string_view argument, const std::string &name) {
    try {
        (void)select_isa(argument);
        FAIL() << name << " was accepted";
    } catch (const fastvit::error &e) {
        EXPECT_EQ(e.code(), error_kind::invalid_argument);
        EXPECT_EQ(e.details().found, name);
        for (const isa_tier &tier : isa_tiers())
            EXPECT_EQ(e.details().expected.find(tier.name) != std::string::npos, tier.supported)
                << tier.name << " in: " << e.what();
    }
}

TEST(select_isa, gives_the_named_tier) {
    const forced_isa unset(nullptr);
    for (const isa_tier &tier : isa_tiers()) {
        const std::string name(tier.name);
        if (tier.supported)
            EXPECT_EQ(select_isa(name).kernels, tier.kernels);
        else
            expect_refused(name, name);
    }
    EXPECT_EQ(select_isa("scalar").kernels, isa_tiers().back().kernels);
}

TEST(select_isa, obeys_the_environment) {
    for (const isa_tier &tier : isa_tiers()) {
        const std::string name(tier.name);
        const forced_isa set(name.c_str());
        if (tier.supported)
            EXPECT_EQ(select_isa().kernels, tier.kernels);
        else
            expect_refused("", name);
        EXPECT_EQ(select_isa("scalar").name, "scalar") << "the argument goes before";
    }
}

TEST(select_isa, takes_the_first_supported_tier_by_default) {
    const auto tiers = isa_tiers();
    const auto first = std::find_if(tiers.begin(), tiers.end(), [](const isa_tier &t) { return t.supported; });
    ASSERT_NE(first, tiers.end());
    for (const char *const value : {static_cast<const char *>(nullptr), ""}) {
        const forced_isa set(value);
        EXPECT_EQ(select_isa().kernels, first->kernels);
    }
}

// As Linux may refuse the registers of AMX.
TEST(select_isa, asks_for_permission_below_float32_only) {
    static int asked = 0;
    const auto refused = []() noexcept {
        ++asked;
        return false;
    };
    const kernel_table table{};
    const isa_tier list[] = {{"missing", false, &table, refused}, {"first", true, &table, refused}, {"second", true, &table}};
    using fastvit::precision, fastvit::kernels::select_tier_of;
    for (const std::string_view name : {"", "first"}) EXPECT_EQ(&select_tier_of(list, name, precision::float32), &list[1]);
    EXPECT_EQ(&select_tier_of(list, "second", precision::int8), &list[2]);
    EXPECT_EQ(asked, 0);
    EXPECT_EQ(&select_tier_of(list, "", precision::int8), &list[2]);
    EXPECT_EQ(asked, 1);
    try {
        (void)select_tier_of(list, "first", precision::bfloat16);
        FAIL() << "was accepted";
    } catch (const fastvit::error &e) {
        EXPECT_EQ(e.details().found, "first, which the operating system does not permit for bfloat16");
        EXPECT_TRUE(e.details().expected.ends_with(": second")) << e.what();
    }
}

TEST(select_isa, refuses_unknown_names) {
    const forced_isa unset(nullptr);
    for (const std::string name : {"sse9", "AVX2", "avx", "scalar ", "avx2,scalar"}) {
        expect_refused(name, name);
        const forced_isa set(name.c_str());
        expect_refused("", name);
    }
}

TEST(isa_tiers, are_those_of_the_architecture) {
#if defined(__x86_64__)
    std::vector<std::string_view> expected = {"avx512_amx", "avx512_bf16", "avx512_vnni", "avx512", "avx_vnni", "avx2", "scalar"};
    if (__builtin_cpu_is("intel") != 0) std::swap(expected[1], expected[2]); // avx512_bf16 is slower than float32
#elif defined(__aarch64__)
    const std::vector<std::string_view> expected = {"neon_i8mm_bf16", "neon_dotprod", "neon", "scalar"};
    EXPECT_TRUE(isa_tiers()[2].supported) << "NEON is part of AArch64";
#else
    const std::vector<std::string_view> expected = {"scalar"};
#endif
    std::vector<std::string_view> names;
    for (const isa_tier &tier : isa_tiers()) names.push_back(tier.name);
    EXPECT_EQ(names, expected);
}

// A tier has a name of its own, and code of its own for at least one type.
TEST(select_isa, tiers_differ) {
    std::set<std::string_view> names;
    using encoded_gemm = void (*)(const encoded_gemm_args &);
    std::set<std::tuple<void (*)(const gemm_args &), encoded_gemm, encoded_gemm>> codes;
    for (const isa_tier &tier : isa_tiers()) {
        names.insert(tier.name);
        codes.emplace(tier.kernels->gemm, tier.kernels->bfloat16.gemm, tier.kernels->int8.gemm);
        EXPECT_EQ(channel_padding % tier.kernels->lanes, 0);
    }
    EXPECT_EQ(names.size(), isa_tiers().size());
    EXPECT_EQ(codes.size(), isa_tiers().size());
    for (const isa_tier &tier : isa_tiers())
        EXPECT_EQ(tier.kernels->lanes, tier.name.starts_with("avx512") ? 16 : tier.name.starts_with("avx") ? 8 : 4) << tier.name;
}

} // namespace
