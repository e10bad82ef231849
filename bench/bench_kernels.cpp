// SPDX-License-Identifier: MIT
// The kernels one by one, on one core, in every tier that this machine runs: gemm and depthwise at the layer shapes of T8, SA12
// and MA36 at 256 x 256, attention at the tokens of 256 x 256 and 1024 x 1024, and the element-wise ones.
//
//     bench_kernels --benchmark_filter=avx2/gemm.*t8
//
// Each runs on a tile as the network cuts them, again and again, so its maps and most weights are in the first two caches.
// gmac_per_s counts multiply-adds without padding; peak_fraction is their share of what the core could do with the widest vectors
// it has, whatever the tier (see fma_peak.hpp); for gemm_int8 and gemm_bfloat16 own_peak_fraction is the share of what the tier's
// instructions for that type could do (see product_peak.hpp).
#include "fastvit/architecture.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/kernels/depthwise/pack.hpp"
#include "fastvit/kernels/gemm/pack.hpp"
#include "fastvit/runtime/map.hpp"

#include "cli/fma_peak.hpp"
#include "product_peak.hpp"
#include "support/seeded.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <compare>
#include <ctime>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace fastvit::kernels;
using fastvit::index_type;
using fastvit::runtime::spread_channels;

// About what a tile of the network has: 128 pixels, or the map if it is smaller.
constexpr index_type tile_pixels = 128;

float_buffer seeded_buffer(std::string_view name, index_type count) {
    float_buffer made(count);
    fastvit_test::fill_seeded(name, 1, {made.data(), static_cast<std::size_t>(count)});
    return made;
}

// Small weights in every place, deterministic, with a variance of 1 / fan_in.
auto seeded_weights(index_type count, index_type fan_in) {
    std::vector<float> w(static_cast<std::size_t>(count));
    fastvit_test::fill_seeded("weight", 1, w);
    const auto scale = static_cast<float>(std::sqrt(3.0 / static_cast<double>(fan_in)));
    for (float &x : w) x *= scale;
    return w;
}

// Runs a kernel as often as the library asks. Returns the processor time of one run in seconds: of one core, so that other
// programs matter less.
template <class F> double time(benchmark::State &state, F kernel) {
    const std::clock_t begin = std::clock();
    for (auto _ : state) {
        kernel();
        benchmark::ClobberMemory();
    }
    const auto ticks = static_cast<double>(std::clock() - begin);
    return ticks / CLOCKS_PER_SEC / static_cast<double>(state.iterations());
}

// Plain numbers: the library's own rates print a fraction as so much per second.
template <class F> void time_macs(benchmark::State &state, double macs, F kernel) {
    const double peak = bench::fma_peak(1, 0.02), seconds = time(state, kernel);
    state.counters["gmac_per_s"] = 1e-9 * macs / seconds;
    state.counters["peak_fraction"] = 2e-9 * macs / seconds / peak;
}

// For kernels without multiply-adds to count.
template <class F> void time_elements(benchmark::State &state, index_type elements, F kernel) {
    state.counters["elements_per_s"] = static_cast<double>(elements) / time(state, kernel);
}

struct gemm_shape {
    index_type pixels, k, n;
    index_type segments = 1; // a dense 3 x 3 convolution has 3, of k / 3 each
    friend auto operator<=>(const gemm_shape &, const gemm_shape &) = default;
};

packed_matrix pack_matrix(const weight_target &target, const gemm_shape &s, const std::vector<float> &weights) {
    const std::vector<float> bias(static_cast<std::size_t>(s.n), 0.1F);
    return pack_gemm(
        target, {.rows = s.k, .columns = s.n, .weights = weights.data(), .row_step = s.n, .column_step = 1, .bias = bias.data()});
}

void run_gemm(benchmark::State &state, const kernel_table &tier, const gemm_shape &s, activation act) {
    const std::vector<float> w = seeded_weights(s.k * s.n, s.k);
    const packed_matrix packed = pack_matrix(tier, s, w);
    // A pixel of the stem's input has 3 floats; the pointwise layers read padded pixels.
    const bool dense = s.segments > 1;
    const index_type in = dense ? s.k / s.segments : spread_channels(s.k), out = spread_channels(s.n),
                     image_row = dense ? 2 * s.pixels * in : 0;
    const float_buffer a = seeded_buffer("a", s.pixels * in + s.segments * image_row);
    float_buffer c(s.pixels * out);
    std::vector<const float *> rows;
    std::vector<float *> to;
    for (index_type p = 0; p < s.pixels; ++p) {
        rows.push_back(a.data() + p * in);
        to.push_back(c.data() + p * out);
    }
    const gemm_args arguments{.a = rows.data(),
                              .pixels = s.pixels,
                              .segments = s.segments,
                              .segment = s.k / s.segments,
                              .segment_stride = image_row,
                              .matrix = packed,
                              .c = to.data(),
                              .column_end = packed.columns,
                              .act = act};
    time_macs(state, static_cast<double>(s.pixels * s.k * s.n), [&] { tier.gemm(arguments); });
}

// The left operand of a product below float32, encoded.
struct encoded_operand {
    std::vector<const float *> rows;
    float_buffer x;
    buffer<std::byte> bytes;
    std::vector<pixel_range> ranges;
    encode_args arguments;

    encoded_operand(const encoded_kernels &kernel, const gemm_shape &s, activation act)
        : x(seeded_buffer("a", s.pixels * spread_channels(s.k))), ranges(static_cast<std::size_t>(s.pixels)) {
        const index_type channels = padded_channels(s.k), pixel = kernel.pixel_bytes(channels);
        bytes = buffer<std::byte>(s.pixels * pixel);
        for (index_type p = 0; p < s.pixels; ++p) rows.push_back(x.data() + p * spread_channels(s.k));
        arguments = {.x = rows.data(),
                     .pixels = s.pixels,
                     .channels = channels,
                     .act = act,
                     .out = bytes.data(),
                     .out_pixel = pixel,
                     .ranges = ranges.data()};
        kernel.encode(arguments);
    }
};

void run_encode(benchmark::State &state, const kernel_table &tier, fastvit::precision type, const gemm_shape &s, activation act) {
    const encoded_operand a(tier.encoded(type), s, act);
    time_elements(state, s.pixels * s.k, [&] { tier.encoded(type).encode(a.arguments); });
}

void run_encoded_gemm(benchmark::State &state, const kernel_table &tier, fastvit::precision type, const gemm_shape &s,
                      activation act) {
    const std::vector<float> w = seeded_weights(s.k * s.n, s.k);
    weight_target target(tier);
    target.type = type;
    const packed_matrix packed = pack_matrix(target, s, w);
    const encoded_operand a(tier.encoded(type), s, activation::none);
    float_buffer c(s.pixels * spread_channels(s.n));
    std::vector<float *> to;
    for (index_type p = 0; p < s.pixels; ++p) to.push_back(c.data() + p * spread_channels(s.n));
    const encoded_gemm_args arguments{.a = a.bytes.data(),
                                      .a_pixel = a.arguments.out_pixel,
                                      .ranges = a.ranges.data(),
                                      .pixels = s.pixels,
                                      .matrix = packed,
                                      .c = to.data(),
                                      .column_end = packed.columns,
                                      .act = act};
    const double own = bench::product_peak(tier.name, type), macs = static_cast<double>(s.pixels * s.k * s.n);
    time_macs(state, macs, [&] { tier.encoded(type).gemm(arguments); });
    if (own > 0) state.counters["own_peak_fraction"] = 1e9 * state.counters["gmac_per_s"] / own;
}

struct depthwise_shape {
    index_type height, width, channels; // of the output, but for the channels, which are the input's
    index_type kernel, stride = 1, multiplier = 1;
    friend auto operator<=>(const depthwise_shape &, const depthwise_shape &) = default;
};

void run_depthwise(benchmark::State &state, const kernel_table &tier, const depthwise_shape &s) {
    const index_type taps = s.kernel * s.kernel, out = s.channels * s.multiplier;
    const std::vector<float> w = seeded_weights(out * taps, taps);
    const packed_depthwise packed = pack_depthwise(
        tier, s.channels, s.multiplier, s.kernel, s.stride, [&](index_type o, index_type tap) { return w[o * taps + tap]; },
        [](index_type) { return 0.1F; });
    const index_type rows = std::clamp<index_type>(tile_pixels / s.width, 1, s.height);
    const index_type in_pixel = spread_channels(s.channels);
    const index_type in_row = ((s.width - 1) * s.stride + s.kernel) * in_pixel;
    const float_buffer in = seeded_buffer("in", ((rows - 1) * s.stride + s.kernel) * in_row);
    const index_type out_pixel = spread_channels(out);
    float_buffer result(rows * s.width * out_pixel);
    const depthwise_args arguments{.in = in.data(),
                                   .in_pixel = in_pixel,
                                   .in_row = in_row,
                                   .out = result.data(),
                                   .out_pixel = out_pixel,
                                   .out_row = s.width * out_pixel,
                                   .rows = rows,
                                   .columns = s.width,
                                   .window = packed};
    time_macs(state, static_cast<double>(rows * s.width * out * taps), [&] { tier.depthwise(arguments); });
}

// One of SA12's 16 heads.
void run_attention(benchmark::State &state, const kernel_table &tier, index_type tokens) {
    constexpr index_type channels = 512;
    const index_type token = spread_channels(3 * channels);
    const float_buffer qkv = seeded_buffer("qkv", tokens * token);
    float_buffer out(tokens * spread_channels(channels)), scratch(attention_scratch(tokens));
    const attention_args arguments{.q = qkv.data(),
                                   .k = qkv.data() + channels,
                                   .v = qkv.data() + 2 * channels,
                                   .token = token,
                                   .out = out.data(),
                                   .out_token = spread_channels(channels),
                                   .tokens = tokens,
                                   .scratch = scratch.data()};
    time_macs(state, 2.0 * static_cast<double>(tokens * tokens * head_channels), [&] { tier.attention(arguments); });
}

// GELU as affine with a scale of one has it, the way in which it stands outside a gemm.
void run_gelu(benchmark::State &state, const kernel_table &tier) {
    constexpr index_type channels = 64, pixels = 64;
    float_buffer x = seeded_buffer("x", pixels * channels), y(x.count()), scale(channels), shift(channels);
    for (index_type i = 0; i < x.count(); ++i) x.data()[i] *= 4;
    std::fill_n(scale.data(), channels, 1.0F);
    const affine_args arguments{.x = x.data(),
                                .x_pixel = channels,
                                .y = y.data(),
                                .y_pixel = channels,
                                .pixels = pixels,
                                .channels = channels,
                                .scale = scale.data(),
                                .shift = shift.data(),
                                .act = activation::gelu};
    time_elements(state, x.count(), [&] { tier.affine(arguments); });
}

void run_layer_norm(benchmark::State &state, const kernel_table &tier, index_type channels) {
    constexpr index_type pixels = 16;
    const float_buffer x = seeded_buffer("x", pixels * channels), gamma = seeded_buffer("gamma", channels),
                       beta = seeded_buffer("beta", channels);
    float_buffer y(x.count());
    const layer_norm_args arguments{.x = x.data(),
                                    .x_pixel = channels,
                                    .y = y.data(),
                                    .y_pixel = channels,
                                    .pixels = pixels,
                                    .channels = channels,
                                    .gamma = gamma.data(),
                                    .beta = beta.data(),
                                    .epsilon = 1e-5F};
    time_elements(state, x.count(), [&] { tier.layer_norm(arguments); });
}

// Registers the layers of one tier, each shape once, under the first layer that has it.
class registrar {
  public:
    explicit registrar(const kernel_table &tier) : tier_(tier), prefix_(std::string(tier.name) + "/") {}

    void gemm(const std::string &layer, const gemm_shape &s) {
        if (!gemms_.insert(s).second) return;
        for (const activation act : {activation::none, activation::gelu}) {
            const std::string name = prefix_ + "gemm/" + layer + "/pixels:" + std::to_string(s.pixels) +
                                     "/k:" + std::to_string(s.k) + "/n:" + std::to_string(s.n) +
                                     (act == activation::gelu ? "/gelu" : "/plain");
            add(name, [s, act](benchmark::State &state, const kernel_table &t) { run_gemm(state, t, s, act); });
        }
    }

    // A dense layer of a block, in every type; `before` is the activation that int8 and bfloat16 compute in front of it.
    void dense(const std::string &layer, const gemm_shape &s, activation before = activation::none) {
        encoded(layer, s, {fastvit::precision::bfloat16, fastvit::precision::int8}, before, activation::none);
        gemm(layer, s);
    }

    // A dense convolution that no skip connection leads past, in float32 and bfloat16.
    void without_skip(const std::string &layer, const gemm_shape &s, activation before = activation::none) {
        encoded(layer, s, {fastvit::precision::bfloat16}, before, activation::gelu);
        gemm(layer, s);
    }

    void encoded(const std::string &layer, const gemm_shape &s, std::initializer_list<fastvit::precision> types,
                 activation before, activation after) {
        if (!gemms_.contains(s))
            for (const fastvit::precision type : types) {
                const std::string shape = layer + "/pixels:" + std::to_string(s.pixels) + "/k:" + std::to_string(s.k);
                const std::string name(to_string(type));
                add(prefix_ + "gemm_" + name + "/" + shape + "/n:" + std::to_string(s.n) +
                        (after == activation::gelu ? "/gelu" : "/plain"),
                    [s, type, after](benchmark::State &state, const kernel_table &t) {
                        run_encoded_gemm(state, t, type, s, after);
                    });
                if (s.segments > 1) continue; // its image is encoded, not its windows
                add(prefix_ + "encode_" + name + "/" + shape + (before == activation::gelu ? "/gelu" : "/plain"),
                    [s, type, before](benchmark::State &state, const kernel_table &t) { run_encode(state, t, type, s, before); });
            }
    }

    void depthwise(const std::string &layer, const depthwise_shape &s) {
        if (!depthwises_.insert(s).second) return;
        const std::string name = prefix_ + "depthwise/" + layer + "/k:" + std::to_string(s.kernel) +
                                 "/stride:" + std::to_string(s.stride) + "/multiplier:" + std::to_string(s.multiplier) + "/" +
                                 std::to_string(s.height) + "x" + std::to_string(s.width) + "x" + std::to_string(s.channels);
        add(name, [s](benchmark::State &state, const kernel_table &t) { run_depthwise(state, t, s); });
    }

    void network(std::string_view variant, index_type size) {
        const fastvit::architecture net = fastvit::published_architecture(variant);
        const std::string prefix = std::string(variant.substr(variant.find('_') + 1)) + ".";
        index_type side = size / 4, before = net.stages[0].channels;
        without_skip(prefix + "stem.0", {tile_pixels, 9 * net.in_channels, before, 3});
        depthwise(prefix + "stem.1", {side, side, before, 3, 2});
        without_skip(prefix + "stem.2", {tile_pixels, before, before}, activation::gelu);
        for (std::size_t i = 0; i < net.stages.size(); ++i) {
            const fastvit::stage_architecture &stage = net.stages[i];
            const std::string in = prefix + "stage" + std::to_string(i) + ".";
            const index_type c = stage.channels;
            if (i > 0) side /= 2;
            const index_type pixels = std::min(tile_pixels, side * side);
            if (i > 0) {
                depthwise(in + "downsample", {side, side, before, 7, 2, c / before});
                without_skip(in + "downsample", {pixels, c, c});
            }
            if (stage.mixer == fastvit::token_mixer::rep_mixer) {
                depthwise(in + "mixer", {side, side, c, 3});
            } else {
                dense(in + "qkv", {pixels, c, 3 * c}); // in bfloat16 three products, each as large as proj's
                dense(in + "proj", {pixels, c, c});
            }
            depthwise(in + "mlp", {side, side, c, 7});
            dense(in + "fc1", {pixels, c, stage.hidden});
            dense(in + "fc2", {pixels, stage.hidden, c}, activation::gelu);
            before = c;
        }
        depthwise(prefix + "final_conv", {side, side, before, 3, 1, net.head_channels / before});
        dense(prefix + "head", {1, net.head_channels, net.classes});
    }

    void others() {
        for (const index_type tokens : {64, 1024})
            add(prefix_ + "attention/tokens:" + std::to_string(tokens),
                [tokens](benchmark::State &state, const kernel_table &t) { run_attention(state, t, tokens); });
        add(prefix_ + "gelu", run_gelu);
        for (const index_type channels : {768, 2048}) // attention stages of MCi3 and MCi4
            add(prefix_ + "layer_norm/channels:" + std::to_string(channels),
                [channels](benchmark::State &state, const kernel_table &t) { run_layer_norm(state, t, channels); });
    }

  private:
    template <class F> void add(const std::string &name, F run) {
        benchmark::RegisterBenchmark(name.c_str(), [tier = &tier_, run](benchmark::State &state) {
            run(state, *tier);
        })->Unit(benchmark::kMicrosecond);
    }

    const kernel_table &tier_;
    std::string prefix_;
    std::set<gemm_shape> gemms_;
    std::set<depthwise_shape> depthwises_;
};

} // namespace

int main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers()) {
        if (!tier.runs(fastvit::precision::int8)) continue;
        registrar layers(*tier.kernels);
        for (const std::string_view variant : {"fastvit_t8", "fastvit_sa12", "fastvit_ma36"}) layers.network(variant, 256);
        layers.others();
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
