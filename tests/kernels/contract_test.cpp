// SPDX-License-Identifier: MIT
// Kernels assert what their contracts say of the arguments, and FASTVIT_ASSERT can be replaced.
// Labels: portable header_only
#include <stdexcept>

namespace contract_test {

struct violation : std::logic_error {
    using std::logic_error::logic_error;
};
inline void require(bool holds, const char *condition) {
    if (!holds) throw violation(condition);
}

} // namespace contract_test

#define FASTVIT_ASSERT(condition) contract_test::require(static_cast<bool>(condition), #condition)

#include "fastvit/impl/kernels/registry.hpp"
#include "fastvit/kernels/depthwise/pack.hpp"

#include "support/packed_matrix.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace fastvit::kernels;
using contract_test::violation;
using fastvit::index_type;

using floats = std::vector<float>;

/// f(kernels) for each tier that this machine can run.
template <class F> void for_each_tier(F &&f) {
    for (const tier &t : tiers()) {
        if (!t.runs(fastvit::precision::int8)) continue;
        SCOPED_TRACE(std::string(t.name));
        f(*t.kernels);
    }
}

/// `run` accepts `good`, and refuses it after each of the changes.
template <class Args, class... Change> void expect_asserted(void (*run)(const Args &), const Args &good, Change &&...change) {
    EXPECT_NO_THROW(run(good));
    int number = 0;
    const auto refuses = [&](auto &&changed) {
        Args bad = good;
        changed(bad);
        EXPECT_THROW(run(bad), violation) << "change " << number;
        ++number;
    };
    (refuses(change), ...);
}

TEST(contract, of_gemm) {
    for_each_tier([](const kernel_table &kernels) {
        const packed_matrix w = pack_matrix(
            kernels, 6, 90, [](index_type, index_type) { return 1.0F; }, [](index_type) { return 0.0F; });
        const floats in(8);
        floats out(96);
        const std::vector<const float *> a(257, in.data());
        const std::vector<float *> c(257, out.data());
        const gemm_args good{.a = a.data(),
                             .pixels = 3,
                             .segments = 2,
                             .segment = 3,
                             .segment_stride = 4,
                             .matrix = w,
                             .c = c.data(),
                             .column_end = 96};
        expect_asserted(
            kernels.gemm, good, [](gemm_args &g) { g.a = nullptr; }, [](gemm_args &g) { g.c = nullptr; },
            [](gemm_args &g) { g.pixels = gemm_max_pixels + 1; }, [](gemm_args &g) { g.pixels = -1; },
            [](gemm_args &g) { g.segments = 0; }, [](gemm_args &g) { g.segment = 4; },
            [](gemm_args &g) { g.matrix.weights = nullptr; }, [](gemm_args &g) { g.matrix.bias = nullptr; },
            [](gemm_args &g) { g.matrix.columns = 90; }, [](gemm_args &g) { g.matrix.format.panel = 12; },
            [](gemm_args &g) { g.matrix.format.group = 2; }, [](gemm_args &g) { g.column_begin = 1; },
            [](gemm_args &g) { g.column_begin = -g.matrix.format.panel; }, [](gemm_args &g) { g.column_end = 97; },
            [](gemm_args &g) { g.column_end = 95; }, [](gemm_args &g) { g.residual = g.c, g.act = activation::relu; });
    });
}

TEST(contract, of_encode) {
    for_each_tier([](const kernel_table &kernels) {
        for (const fastvit::precision type : {fastvit::precision::bfloat16, fastvit::precision::int8}) {
            const encoded_kernels &kernel = kernels.encoded(type);
            const bool int8 = type == fastvit::precision::int8;
            const floats in(16);
            const float *const x[] = {in.data()};
            std::vector<std::byte> out(16 * kernel.element_bytes), rest(out.size());
            pixel_range range, rest_range;
            const encode_args good{.x = x,
                                   .pixels = 1,
                                   .channels = 16,
                                   .out = out.data(),
                                   .out_pixel = 16 * kernel.element_bytes,
                                   .ranges = int8 ? &range : nullptr,
                                   .rest = int8 ? rest.data() : nullptr,
                                   .rest_ranges = int8 ? &rest_range : nullptr};
            expect_asserted(
                kernel.encode, good, [](encode_args &e) { e.x = nullptr; }, [](encode_args &e) { e.out = nullptr; },
                [](encode_args &e) { e.pixels = -1; }, [](encode_args &e) { e.channels = 15; },
                [](encode_args &e) { --e.out_pixel; }, [](encode_args &e) { e.act = activation::relu; });
            if (int8)
                expect_asserted(
                    kernel.encode, good, [](encode_args &e) { e.ranges = nullptr; },
                    [](encode_args &e) { e.rest_ranges = nullptr; }, [](encode_args &e) { e.act = activation::gelu; });
            else
                expect_asserted(kernel.encode, good, [&](encode_args &e) { e.rest = e.out, e.rest_ranges = &rest_range; });
        }
    });
}

TEST(contract, of_encoded_gemm) {
    for_each_tier([](const kernel_table &kernels) {
        for (const fastvit::precision type : {fastvit::precision::bfloat16, fastvit::precision::int8}) {
            const encoded_kernels &kernel = kernels.encoded(type);
            weight_target target(kernels);
            target.type = type;
            const packed_matrix w = pack_matrix(
                target, 6, 90, [](index_type, index_type) { return 1.0F; }, [](index_type) { return 0.0F; });
            const std::vector<std::byte> in(16 * kernel.element_bytes);
            const std::vector<pixel_range> ranges(257);
            floats out(96);
            const std::vector<float *> c(257, out.data());
            const encoded_gemm_args good{.a = in.data(),
                                         .a_pixel = 16 * kernel.element_bytes,
                                         .ranges = ranges.data(),
                                         .pixels = 1,
                                         .matrix = w,
                                         .c = c.data(),
                                         .column_end = 96};
            expect_asserted(
                kernel.gemm, good, [](encoded_gemm_args &g) { g.a = nullptr; }, [](encoded_gemm_args &g) { g.c = nullptr; },
                [](encoded_gemm_args &g) { g.a_pixel = 5; }, [](encoded_gemm_args &g) { g.pixels = gemm_max_pixels + 1; },
                [](encoded_gemm_args &g) { g.pixels = -1; }, [](encoded_gemm_args &g) { g.matrix.weights = nullptr; },
                [](encoded_gemm_args &g) { g.matrix.bias = nullptr; }, [](encoded_gemm_args &g) { g.matrix.columns = 90; },
                [](encoded_gemm_args &g) { g.matrix.format.type = fastvit::precision::float32; },
                [](encoded_gemm_args &g) { g.matrix.format.panel = 12; }, [](encoded_gemm_args &g) { g.column_begin = 1; },
                [](encoded_gemm_args &g) { g.column_begin = -g.matrix.format.panel; },
                [](encoded_gemm_args &g) { g.column_end = 97; }, [](encoded_gemm_args &g) { g.column_end = 95; },
                [](encoded_gemm_args &g) { g.residual = g.c, g.act = activation::gelu; },
                [](encoded_gemm_args &g) { g.act = activation::relu; });
        }
    });
}

TEST(contract, of_depthwise) {
    for_each_tier([](const kernel_table &kernels) {
        const packed_depthwise w = pack_depthwise(
            kernels, 16, 2, 3, 1, [](index_type, index_type) { return 1.0F; }, [](index_type) { return 0.0F; });
        const floats in(3 * 3 * 16);
        floats out(32);
        const depthwise_args good{.in = in.data(),
                                  .in_pixel = 16,
                                  .in_row = 48,
                                  .out = out.data(),
                                  .out_pixel = 32,
                                  .out_row = 32,
                                  .rows = 1,
                                  .columns = 1,
                                  .window = w};
        expect_asserted(
            kernels.depthwise, good, [](depthwise_args &d) { d.in = nullptr; }, [](depthwise_args &d) { d.out = nullptr; },
            [](depthwise_args &d) { d.rows = -1; }, [](depthwise_args &d) { d.columns = -1; },
            [](depthwise_args &d) { d.window.weights = nullptr; }, [](depthwise_args &d) { d.window.kernel = 0; },
            [](depthwise_args &d) { d.window.stride = 0; }, [](depthwise_args &d) { d.window.multiplier = 0; },
            [](depthwise_args &d) { d.window.lanes *= 2; }, [](depthwise_args &d) { d.window.in_channels = 15; },
            [](depthwise_args &d) { d.window.out_channels = 31; }, [](depthwise_args &d) { d.window.out_channels = 48; });
    });
}

TEST(contract, of_affine) {
    for_each_tier([](const kernel_table &kernels) {
        const floats x(16), scale(16), shift(16);
        floats y(16);
        const affine_args good{.x = x.data(),
                               .x_pixel = 16,
                               .y = y.data(),
                               .y_pixel = 16,
                               .pixels = 1,
                               .channels = 16,
                               .scale = scale.data(),
                               .shift = shift.data()};
        expect_asserted(
            kernels.affine, good, [](affine_args &f) { f.x = nullptr; }, [](affine_args &f) { f.y = nullptr; },
            [](affine_args &f) { f.scale = nullptr; }, [](affine_args &f) { f.shift = nullptr; },
            [](affine_args &f) { f.pixels = -1; }, [](affine_args &f) { f.channels = 8; });
    });
}

TEST(contract, of_sum) {
    for_each_tier([](const kernel_table &kernels) {
        const floats x(16);
        floats sums(16);
        const sum_args good{.x = x.data(), .x_pixel = 16, .pixels = 1, .channels = 16, .sums = sums.data()};
        expect_asserted(
            kernels.sum, good, [](sum_args &s) { s.x = nullptr; }, [](sum_args &s) { s.sums = nullptr; },
            [](sum_args &s) { s.pixels = -1; }, [](sum_args &s) { s.channels = 8; });
    });
}

TEST(contract, of_layer_norm) {
    for_each_tier([](const kernel_table &kernels) {
        const floats x(16), gamma(16), beta(16);
        floats y(16);
        const layer_norm_args good{.x = x.data(),
                                   .x_pixel = 16,
                                   .y = y.data(),
                                   .y_pixel = 16,
                                   .pixels = 1,
                                   .channels = 9,
                                   .gamma = gamma.data(),
                                   .beta = beta.data(),
                                   .epsilon = 1e-5F};
        expect_asserted(
            kernels.layer_norm, good, [](layer_norm_args &n) { n.x = nullptr; }, [](layer_norm_args &n) { n.y = nullptr; },
            [](layer_norm_args &n) { n.gamma = nullptr; }, [](layer_norm_args &n) { n.beta = nullptr; },
            [](layer_norm_args &n) { n.pixels = -1; }, [](layer_norm_args &n) { n.channels = 0; },
            [](layer_norm_args &n) { n.epsilon = 0; });
    });
}

TEST(contract, of_attention) {
    for_each_tier([](const kernel_table &kernels) {
        const floats qkv(3 * head_channels);
        floats out(head_channels), scratch(attention_scratch(1));
        const attention_args good{.q = qkv.data(),
                                  .k = qkv.data() + head_channels,
                                  .v = qkv.data() + 2 * head_channels,
                                  .token = 3 * head_channels,
                                  .out = out.data(),
                                  .out_token = head_channels,
                                  .tokens = 1,
                                  .scratch = scratch.data()};
        expect_asserted(
            kernels.attention, good, [](attention_args &t) { t.q = nullptr; }, [](attention_args &t) { t.k = nullptr; },
            [](attention_args &t) { t.v = nullptr; }, [](attention_args &t) { t.out = nullptr; },
            [](attention_args &t) { t.scratch = nullptr; }, [](attention_args &t) { t.tokens = 0; });
    });
}

} // namespace
