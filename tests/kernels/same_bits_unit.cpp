// SPDX-License-Identifier: MIT
// Runs every kernel of every tier, what is made of their outputs, and some arithmetic in a strict region. Compiled several times,
// with flags that must not matter, under a name of its own each (FASTVIT_TEST_UNIT): without it the linker would keep one copy of
// each inline function. In the compiled form it runs the library's kernels.
//
// Nothing outside the kernels computes with floating-point numbers.
#if !defined(FASTVIT_COMPILED)
#include "fastvit/version.hpp"
#undef FASTVIT_VERSION_MINOR
#define FASTVIT_VERSION_MINOR FASTVIT_TEST_UNIT
#endif

#include "fastvit/kernels/depthwise/pack.hpp"
#include "fastvit/kernels/registry.hpp"
#include "fastvit/postprocess.hpp"
#include "fastvit/reparam/half_precision.hpp"

#include "kernels/same_bits_unit.hpp"
#include "support/packed_matrix.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace {

using namespace fastvit::kernels;
using fastvit::index_type;
using same_bits::result;

/// The input's numbers, round and round.
class source {
  public:
    explicit source(std::span<const float> input) : input_(input) {}
    float operator()() { return input_[std::exchange(at_, (at_ + 1) % input_.size())]; }
    std::vector<float> floats(index_type count) {
        std::vector<float> taken(static_cast<std::size_t>(count));
        for (float &f : taken) f = (*this)();
        return taken;
    }
    /// Pixels of padded channels.
    std::vector<float> pixels(index_type count, index_type channels) {
        std::vector<float> taken = floats(count * padded_channels(channels));
        for (std::size_t i = 0; i < taken.size(); ++i)
            if (static_cast<index_type>(i) % padded_channels(channels) >= channels) taken[i] = 0;
        return taken;
    }

  private:
    std::span<const float> input_;
    std::size_t at_ = 0;
};

constexpr activation activations[] = {activation::none, activation::relu, activation::gelu, activation::sigmoid};

std::vector<float> run_gemm(const kernel_table &tier, source in, index_type pixels, index_type columns, activation act,
                            bool residual) {
    constexpr index_type rows = 37;
    const packed_matrix w = pack_matrix(
        tier, rows, columns, [&](index_type, index_type) { return in(); }, [&](index_type) { return in(); });
    const std::vector<float> a = in.floats(pixels * rows), r = in.pixels(pixels, columns);
    std::vector<float> c(r.size());
    std::vector<const float *> a_rows, r_rows;
    std::vector<float *> c_rows;
    for (index_type p = 0; p < pixels; ++p) {
        a_rows.push_back(a.data() + p * rows);
        r_rows.push_back(r.data() + p * w.columns);
        c_rows.push_back(c.data() + p * w.columns);
    }
    tier.gemm({.a = a_rows.data(),
               .pixels = pixels,
               .segment = rows,
               .matrix = w,
               .c = c_rows.data(),
               .residual = residual ? r_rows.data() : nullptr,
               .column_end = w.columns,
               .act = act});
    return c;
}

std::vector<float> run_depthwise(const kernel_table &tier, source in, index_type kernel, index_type stride,
                                 index_type multiplier) {
    constexpr index_type channels = 20, rows = 3, columns = 13;
    const packed_depthwise w = pack_depthwise(
        tier, channels, multiplier, kernel, stride, [&](index_type, index_type) { return in(); },
        [&](index_type) { return in(); });
    const index_type in_row = ((columns - 1) * stride + kernel) * w.in_channels, in_rows = (rows - 1) * stride + kernel;
    const std::vector<float> x = in.pixels(in_rows * in_row / w.in_channels, channels);
    std::vector<float> y(static_cast<std::size_t>(rows * columns * w.out_channels));
    tier.depthwise({.in = x.data(),
                    .in_pixel = w.in_channels,
                    .in_row = in_row,
                    .out = y.data(),
                    .out_pixel = w.out_channels,
                    .out_row = columns * w.out_channels,
                    .rows = rows,
                    .columns = columns,
                    .window = w});
    return y;
}

std::vector<float> run_affine(const kernel_table &tier, source in, activation act, bool accumulate) {
    constexpr index_type channels = 80, pixels = 50;
    const std::vector<float> x = in.floats(pixels * channels), scale = in.floats(channels), shift = in.floats(channels);
    std::vector<float> y = in.floats(pixels * channels);
    tier.affine({.x = x.data(),
                 .x_pixel = channels,
                 .y = y.data(),
                 .y_pixel = channels,
                 .pixels = pixels,
                 .channels = channels,
                 .scale = scale.data(),
                 .shift = shift.data(),
                 .accumulate = accumulate,
                 .act = act});
    return y;
}

std::vector<float> run_sum(const kernel_table &tier, source in) {
    constexpr index_type channels = 48, pixels = 77;
    const std::vector<float> x = in.floats(pixels * channels);
    std::vector<float> sums = in.floats(channels);
    tier.sum({.x = x.data(), .x_pixel = channels, .pixels = pixels, .channels = channels, .sums = sums.data()});
    return sums;
}

std::vector<float> run_layer_norm(const kernel_table &tier, source in, index_type channels, float epsilon) {
    constexpr index_type pixels = 9;
    const index_type padded = padded_channels(channels);
    const std::vector<float> x = in.pixels(pixels, channels), gamma = in.pixels(1, channels), beta = in.pixels(1, channels);
    std::vector<float> y(x.size());
    tier.layer_norm({.x = x.data(),
                     .x_pixel = padded,
                     .y = y.data(),
                     .y_pixel = padded,
                     .pixels = pixels,
                     .channels = channels,
                     .gamma = gamma.data(),
                     .beta = beta.data(),
                     .epsilon = epsilon});
    return y;
}

std::vector<float> run_attention(const kernel_table &tier, source in, index_type tokens) {
    const std::vector<float> qkv = in.floats(tokens * 3 * head_channels);
    std::vector<float> out(static_cast<std::size_t>(tokens * head_channels)),
        scratch(static_cast<std::size_t>(attention_scratch(tokens)));
    tier.attention({.q = qkv.data(),
                    .k = qkv.data() + head_channels,
                    .v = qkv.data() + 2 * head_channels,
                    .token = 3 * head_channels,
                    .out = out.data(),
                    .out_token = head_channels,
                    .tokens = tokens,
                    .scratch = scratch.data()});
    return out;
}

/// The scales and bytes of a matrix in 8 bits, or nothing where they would lose too much.
std::vector<float> run_quantise(source in) {
    constexpr index_type rows = 70, columns = 48;
    const std::vector<float> weights = in.floats(rows * columns);
    const auto matrix =
        quantise_matrix({.rows = rows, .columns = columns, .weights = weights.data(), .row_step = 1, .column_step = rows});
    if (!matrix) return {};
    std::vector<float> all = matrix->scales;
    for (const std::int8_t byte : matrix->bytes) all.push_back(byte);
    std::vector<float> zeros(static_cast<std::size_t>(column_quantiser::padded(rows * columns)));
    std::vector<std::int8_t> bytes(zeros.size());
    const int8_column column = column_quantiser(zeros)({.rows = rows * columns,
                                                        .columns = 1,
                                                        .weights = weights.data(),
                                                        .row_step = 1,
                                                        .column_step = 0,
                                                        .row_scale = weights.data(),
                                                        .column_scale = weights.data()},
                                                       0, bytes.data());
    all.push_back(column.loss);
    return all;
}

/// Encoded pixels, their ranges, packed weights and a product of both.
std::vector<float> run_encoded(const kernel_table &tier, source in, fastvit::precision type, activation before,
                               activation after) {
    constexpr index_type rows = 70, columns = 48, pixels = 23;
    const encoded_kernels &kernel = tier.encoded(type);
    weight_target target(tier);
    target.type = type;
    const packed_matrix w = pack_matrix(
        target, rows, columns,
        [&](index_type row, index_type column) { return static_cast<float>((row * 7 + column) % 31 - 15); },
        [&](index_type) { return in(); });
    const std::vector<float> x = in.pixels(pixels, rows);
    const index_type padded = padded_channels(rows), pixel = padded * kernel.element_bytes;
    std::vector<std::byte> bytes(static_cast<std::size_t>(pixels * pixel));
    std::vector<pixel_range> ranges(pixels), rest_ranges(pixels);
    const bool in_two_parts = type == fastvit::precision::int8 && before == activation::none;
    std::vector<std::byte> rest(bytes.size());
    std::vector<float> c(static_cast<std::size_t>(pixels * w.columns)), all;
    std::vector<const float *> x_rows;
    std::vector<float *> c_rows;
    for (index_type p = 0; p < pixels; ++p) {
        x_rows.push_back(x.data() + p * padded);
        c_rows.push_back(c.data() + p * w.columns);
    }
    kernel.encode({.x = x_rows.data(),
                   .pixels = pixels,
                   .channels = padded,
                   .act = before,
                   .out = bytes.data(),
                   .out_pixel = pixel,
                   .ranges = ranges.data(),
                   .rest = in_two_parts ? rest.data() : nullptr,
                   .rest_ranges = in_two_parts ? rest_ranges.data() : nullptr});
    kernel.gemm({.a = bytes.data(),
                 .a_pixel = pixel,
                 .ranges = ranges.data(),
                 .pixels = pixels,
                 .matrix = w,
                 .c = c_rows.data(),
                 .column_end = w.columns,
                 .act = after});
    all = c;
    if (type == fastvit::precision::int8)
        for (const pixel_range &r : ranges) all.push_back(r.scale);
    if (in_two_parts)
        for (const std::byte b : rest) all.push_back(static_cast<float>(b));
    if (type != fastvit::precision::int8)
        for (std::size_t i = 0; i + 4 <= bytes.size(); i += 4) {
            float value;
            __builtin_memcpy(&value, &bytes[i], sizeof value); // a float, or two bfloat16
            all.push_back(value);
        }
    return all;
}

FASTVIT_STRICT_MATH_BEGIN

/// What a compiler would fuse, reorder, or turn into a product with the reciprocal.
template <class T> std::vector<float> run_strictly(source in) {
    std::vector<float> all;
    T sum = 0;
    for (int i = 0; i < 1000; ++i) {
        const T a = in(), b = in(), c = in();
        sum += a * b + c;
        all.push_back(static_cast<float>((sum + a) - sum));
        all.push_back(static_cast<float>(a / c - b / c));
        all.push_back(static_cast<float>(a * b - c));
        all.push_back(static_cast<float>(a != a ? T(1) : a < c ? a - b * T(0) : -c));
    }
    all.push_back(static_cast<float>(sum));
    return all;
}

FASTVIT_STRICT_MATH_END

/// softmax, l2_normalized and top_k of many short rows, lest one NaN be in all of them.
std::vector<result> run_postprocess(std::span<const float> input) {
    constexpr index_type length = 7;
    fastvit::tensor<float> rows({static_cast<index_type>(input.size()) / length, length});
    std::copy_n(input.begin(), rows.count(), rows.data());
    const fastvit::tensor<float> probabilities = fastvit::softmax(rows), unit = fastvit::l2_normalized(rows);
    std::vector<float> ranking;
    for (index_type i = 0; i < rows.dim(0); ++i)
        for (const auto &[index, value] : fastvit::top_k(rows[i], length)) {
            ranking.push_back(static_cast<float>(index));
            ranking.push_back(value);
        }
    return {{"softmax", {probabilities.span().begin(), probabilities.span().end()}},
            {"l2_normalized", {unit.span().begin(), unit.span().end()}},
            {"top_k", std::move(ranking)}};
}

/// Eight weights at a time, from far below the smallest float16 to the largest.
std::vector<float> run_half_rounding(source in) {
    constexpr index_type count = 8;
    std::vector<float> all;
    for (int exponent = -32; exponent < 16; ++exponent)
        for (int i = 0; i < 20; ++i) {
            fastvit::tensor<float> weights({1, count});
            for (float &w : weights.span()) w = std::ldexp(in(), exponent); // exact
            weights(0, 0) = 1;
            const fastvit::tensor<float> rounded = fastvit::reparam::half_rounding::of(weights);
            all.insert(all.end(), rounded.span().begin(), rounded.span().end());
        }
    return all;
}

std::vector<result> run(std::span<const float> input) {
    std::vector<result> results = run_postprocess(input);
    results.push_back({"a strict region, float", run_strictly<float>(source(input))});
    results.push_back({"a strict region, double", run_strictly<double>(source(input))});
    results.push_back({"a matrix in 8 bits", run_quantise(source(input))});
    results.push_back({"weights in float16", run_half_rounding(source(input))});
    for (const tier &t : tiers()) {
        if (!t.runs(fastvit::precision::int8)) continue;
        const kernel_table &kernels = *t.kernels;
        const auto add = [&](const std::string &what, std::vector<float> values) {
            results.push_back({std::string(t.name) + ", " + what, std::move(values)});
        };
        for (const activation act : activations) {
            const std::string name = ", activation " + std::to_string(static_cast<int>(act));
            add("gemm" + name, run_gemm(kernels, source(input), 23, 80, act, false));
            add("affine" + name, run_affine(kernels, source(input), act, false));
            add("affine, accumulating" + name, run_affine(kernels, source(input), act, true));
        }
        for (const fastvit::precision type : {fastvit::precision::bfloat16, fastvit::precision::int8})
            for (const activation before : {activation::none, activation::gelu})
                for (const activation after : {activation::none, activation::gelu})
                    add(std::string(to_string(type)) + ", activations " + std::to_string(static_cast<int>(before)) + ", " +
                            std::to_string(static_cast<int>(after)),
                        run_encoded(kernels, source(input), type, before, after));
        add("gemm with a residual", run_gemm(kernels, source(input), 13, 48, activation::none, true));
        for (const index_type kernel : {1, 3, 7})
            for (const index_type stride : {1, 2})
                for (const index_type multiplier : {1, 2, 3})
                    add("depthwise " + std::to_string(kernel) + ", " + std::to_string(stride) + ", " + std::to_string(multiplier),
                        run_depthwise(kernels, source(input), kernel, stride, multiplier));
        add("sum", run_sum(kernels, source(input)));
        for (const index_type channels : {1, 37, 768})
            for (const float epsilon : {1e-5F, 3.0F})
                add("layer_norm of " + std::to_string(channels), run_layer_norm(kernels, source(input), channels, epsilon));
        for (const index_type tokens : {1, 30, 529})
            add("attention over " + std::to_string(tokens), run_attention(kernels, source(input), tokens));
    }
    return results;
}

#define FASTVIT_TEST_TEXT_(x) #x
#define FASTVIT_TEST_TEXT(x) FASTVIT_TEST_TEXT_(x)
#if defined(__AVX2__)
constexpr bool avx2 = true;
#else
constexpr bool avx2 = false;
#endif
[[maybe_unused]] const auto &registered =
    same_bits::units().emplace_back(same_bits::unit{FASTVIT_TEST_TEXT(FASTVIT_TEST_UNIT), avx2, run});

} // namespace
