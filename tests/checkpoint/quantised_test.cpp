// SPDX-License-Identifier: MIT
// Quantised checkpoints: what is written, that int8 computes the same with them, and what is wrong with those that are wrong.
#include "fastvit/kernels/gemm/pack.hpp"
#include "fastvit/model.hpp"
#include "fastvit/reparam/half_precision.hpp"
#include "fastvit/save.hpp"

#include "support/custom_networks.hpp"
#include "support/packed_matrix.hpp"
#include "support/results.hpp"
#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io::dtype;
using io::spelling;
using io_test::bytes_of;
using io_test::expect_error;
using io_test::read_file;

const std::string ffn = "stages.0.blocks.0.mlp.", fc1 = ffn + "fc1.weight", attention = "stages.1.blocks.0.token_mixer.";

std::vector<float> floats_of(const file_tensor &t) {
    std::vector<float> values(t.bytes.size() / 4);
    std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
    return values;
}

// The bytes of an output of a quantised matrix.
std::vector<std::int8_t> bytes_of_output(const io::stored_tensor &matrix, index_type output) {
    const index_type inputs = matrix.dims.count() / matrix.dims[0];
    const auto *const first = reinterpret_cast<const std::int8_t *>(matrix.bytes.data()) + output * inputs;
    return {first, first + inputs};
}

class quantised_test : public testing::Test {
  protected:
    // Converts a checkpoint to the file `out` and opens that.
    checkpoint converted(const checkpoint &source, dtype type = dtype::i8) {
        fastvit::save_converted(source, directory / "out", type);
        return checkpoint::open(directory / "out");
    }
    checkpoint converted(const file_of_tensors &file, dtype type = dtype::i8) {
        io_test::write_file(directory / "in", file.bytes());
        return converted(checkpoint::open(directory / "in"), type);
    }
    checkpoint opened_toy() {
        io_test::write_file(directory / "in", toy_file().bytes());
        return checkpoint::open(directory / "in");
    }
    // The file of a toy network, quantised.
    file_of_tensors toy(std::uint64_t seed = 1) { return file_of_tensors(converted(toy_file(seed))); }

    // That int8 computes the same with both.
    static void expect_same_model(const checkpoint &expected, const checkpoint &actual, const shape &images,
                                  std::string_view isa = {}) {
        const model e(expected, {.precision = precision::int8, .isa = isa});
        const model a(actual, {.precision = precision::int8, .isa = isa});
        ASSERT_EQ(e.layers().size(), a.layers().size());
        for (std::size_t i = 0; i < e.layers().size(); ++i) {
            EXPECT_EQ(e.layers()[i].name, a.layers()[i].name);
            EXPECT_EQ(e.layers()[i].type, a.layers()[i].type) << e.layers()[i].name;
        }
        const tensor<float> input = seeded_input(images);
        expect_same_bits(run(e, input), run(a, input));
    }

    io_test::temporary_directory directory;
};

// The whole architecture: its tensors, and what they do not show.
std::string described(const model &m) {
    const architecture &net = m.architecture();
    return list_of(file_of(net, spelling::timm, false)).text() + net.variant + std::to_string(net.large_kernel_gelu);
}

architecture toy_of(stage_architecture second, token_mixer first = token_mixer::rep_mixer) {
    architecture net = make({plain(2, 16, 48), second}, 128, 5);
    net.stages[0].mixer = first;
    return net;
}

std::map<std::string, architecture> toys() {
    architecture headless = toy_net();
    headless.head_channels = headless.classes = 0;
    return {{"toy", toy_net()},
            {"small", small_net()},
            {"layer_norm", toy_of(attending(2, 32, 64, attention_norm::layer_norm))},
            {"attention_first", make({attending(1, 32, 64), plain(1, 64, 64)}, 64, 3)},
            {"pooling", toy_of(attending(1, 32, 64), token_mixer::pooling)},
            {"conv_mixer", toy_of(attending(1, 32, 64), token_mixer::conv_mixer)},
            {"headless", headless}};
}

TEST_F(quantised_test, computes_the_same_in_int8) {
    for (const auto &[name, net] : toys())
        for (const spelling names : {spelling::timm, spelling::apple})
            for (const std::uint64_t seed : {1, 2, 3}) {
                SCOPED_TRACE(name + " " + std::string(to_string(names)) + " " + std::to_string(seed));
                const checkpoint source = seeded_checkpoint(net, names, "", seed);
                const checkpoint quantised = converted(source);
                EXPECT_EQ(described(model(quantised)), described(model(source)));
                for (const std::string &isa : usable_tiers()) expect_same_model(source, quantised, {2, 3, 40, 56}, isa);
                // The official folded form, which rounds in between, gives the same file.
                const std::string bytes = read_file(directory / "out");
                fastvit::save_folded(source, directory / "folded");
                converted(checkpoint::open(directory / "folded"));
                EXPECT_EQ(read_file(directory / "out"), bytes);
            }
}

TEST_F(quantised_test, computes_the_same_with_published_architectures) {
    for (const char *const variant : {"fastvit_t8", "fastvit_sa12", "fastvit_mci0"}) {
        SCOPED_TRACE(variant);
        const checkpoint source = seeded_checkpoint(published_architecture(variant), spelling::timm);
        const checkpoint quantised = converted(source);
        EXPECT_EQ(model(quantised).architecture().variant, variant);
        expect_same_model(source, quantised, {1, 3, 64, 64});
    }
}

// Of the toy network, all that is not folded as the official code does.
TEST_F(quantised_test, has_the_documented_tensors) {
    const checkpoint source = opened_toy(), file = converted(source);
    file_of_tensors expected = file_of(toy_net(), spelling::timm, true);
    for (const int stage : {0, 1}) {
        const std::string block = "stages." + std::to_string(stage) + ".blocks.0.";
        for (const char *const leaf :
             {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"})
            expected.erase(block + "mlp.conv." + leaf);
        const index_type channels = stage == 0 ? 16 : 32;
        expected.tensors.push_back({block + "mlp.conv.reparam_conv.weight", "F32", {channels, 1, 7, 7}, {}});
        expected.tensors.push_back({block + "mlp.conv.reparam_conv.bias", "F32", {channels}, {}});
        expected.erase(block + "layer_scale.gamma");
        for (const char *const leaf : {"layer_scale_1.gamma", "layer_scale_2.gamma", "norm.weight", "norm.bias",
                                       "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"})
            expected.erase(block + leaf);
        const auto quantise = [&](const std::string &weight) {
            file_tensor &t = expected.at(weight);
            t.type = "I8";
            expected.tensors.push_back({weight + "_scale", "F32", {t.dims[0]}, {}});
        };
        quantise(block + "mlp.fc1.weight");
        quantise(block + "mlp.fc2.weight");
        if (stage == 0) continue;
        quantise(block + "token_mixer.qkv.weight");
        quantise(block + "token_mixer.proj.weight");
        quantise("head.fc.weight");
        expected.tensors.push_back({block + "token_mixer.qkv.bias", "F32", {96}, {}});
    }
    // The weights of the other convolutions.
    for (file_tensor &t : expected.tensors)
        if (t.name.ends_with("weight") && t.dims.rank() == 4 && t.type != "I8") t.type = "F16";
    EXPECT_EQ(list_of(file_of_tensors(file)).text(), list_of(expected).text());
    for (const file_tensor &t : expected.tensors) {
        const io::stored_tensor *const there = file.find(t.name);
        ASSERT_NE(there, nullptr) << t.name;
        EXPECT_EQ(there->type_name, t.type) << t.name;
    }
    EXPECT_EQ(file.metadata(), source.metadata());
}

TEST_F(quantised_test, has_the_nearest_bytes_and_exact_products) {
    const checkpoint file = converted(opened_toy());
    int matrices = 0;
    for (const io::stored_tensor &t : file.tensors()) {
        if (t.type != dtype::i8) continue;
        ++matrices;
        const tensor<float> scales = io::read_float(*file.find(t.name + "_scale")),
                            values = io::read_quantised(t, *file.find(t.name + "_scale"));
        const index_type rows = scales.count(), columns = values.count() / rows;
        for (index_type r = 0; r < rows; ++r) {
            int largest = 0, largest_group = 0;
            const std::vector<std::int8_t> bytes = bytes_of_output(t, r);
            for (std::size_t i = 0; i < bytes.size(); ++i) {
                largest = std::max(largest, std::abs(int{bytes[i]}));
                largest_group = std::max(largest_group, sum_of_group(bytes, i));
                ASSERT_EQ(double{values.data()[r * columns + static_cast<index_type>(i)]}, double{scales(r)} * bytes[i]);
            }
            EXPECT_TRUE(largest == 127 || largest_group == kernels::int8_group_limit) << largest << ", " << largest_group;
        }
    }
    EXPECT_EQ(matrices, 7);
    // fc2 with the layer scale, which balancing leaves alone.
    const checkpoint source = opened_toy();
    const auto values = [&](const checkpoint &c, const std::string &name) { return io_test::values(c, name); };
    const std::vector<float> fc2 = values(source, ffn + "fc2.weight"), by = values(source, "stages.0.blocks.0.layer_scale.gamma"),
                             scales = values(file, ffn + "fc2.weight_scale");
    const io::stored_tensor &stored = *file.find(ffn + "fc2.weight");
    for (std::size_t i = 0; i < fc2.size(); ++i) {
        const std::size_t row = i / 32;
        const std::vector<std::int8_t> bytes = bytes_of_output(stored, static_cast<index_type>(row));
        const int byte = bytes[i % 32];
        const double steps = at_group_limit(bytes, i % 32) ? 2.500001 : 0.500001;
        EXPECT_LE(std::abs(double{fc2[i]} * by[row] - double{scales[row]} * byte), double{scales[row]} * steps);
    }
}

TEST_F(quantised_test, runs_in_other_precisions_and_graphs) {
    for (const auto &[name, net] : toys()) {
        SCOPED_TRACE(name);
        const checkpoint source = seeded_checkpoint(net, spelling::timm);
        const checkpoint quantised = converted(source);
        fastvit::save_converted(quantised, directory / "float32");
        const checkpoint floats = checkpoint::open(directory / "float32");
        const tensor<float> input = seeded_input({1, 3, 40, 56});
        for (const precision p : precisions)
            expect_same_bits(run(model(floats, {.precision = p}), input), run(model(quantised, {.precision = p}), input));
        const std::vector<float> exact = results_of(model(source));
        EXPECT_LE(distance_between(results_of(model(quantised)), exact), 0.05);
        EXPECT_LE(distance_between(results_of(model(quantised, {.graph = graph::train_time})), results_of(model(quantised))),
                  1e-5);
    }
}

TEST_F(quantised_test, is_converted_to_floats_and_back) {
    const checkpoint quantised = converted(opened_toy());
    const std::string bytes = read_file(directory / "out");
    const auto write = [&](const checkpoint &source, dtype type, bool fold) {
        (fold ? fastvit::save_folded : fastvit::save_converted)(source, directory / "next", type, std::nullopt);
        return read_file(directory / "next");
    };
    for (const bool fold : {false, true}) {
        EXPECT_EQ(write(quantised, dtype::i8, fold), bytes);
        for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
            const std::string next = write(quantised, type, fold);
            const checkpoint floats = checkpoint::from_bytes(bytes_of(next), "next");
            for (const io::stored_tensor &t : floats.tensors()) {
                EXPECT_EQ(t.type, t.name.ends_with("num_batches_tracked") ? dtype::i64 : type) << t.name;
                EXPECT_FALSE(t.name.ends_with("_scale")) << t.name;
            }
            EXPECT_LE(distance_between(results_of(model(floats)), results_of(model(quantised))), type == dtype::f32 ? 0 : 0.05);
            if (type == dtype::f32) {
                EXPECT_EQ(write(floats, dtype::i8, fold), bytes);
            }
        }
    }
    // Of a larger model, or with the words of a framework around it.
    for (const std::string prefix : {"module.", "image_encoder.model."}) {
        file_of_tensors file = renamed(toy(), [&](auto &n) { return prefix + n; });
        EXPECT_EQ(results_of(model(converted(file))), results_of(model(quantised)));
        EXPECT_EQ(results_of(model(converted(file, dtype::f32))), results_of(model(quantised)));
    }
}

TEST_F(quantised_test, keeps_matrices_that_8_bits_would_spoil) {
    // One weight of each output beside which the others are small, and of each input, so that balancing does not help.
    file_of_tensors file(seeded_checkpoint(make({plain(1, 256, 256)}, 256, 3), spelling::timm));
    std::vector<float> values = floats_of(file.at(fc1));
    for (std::size_t i = 0; i < values.size(); i += 257) values[i] = 30 * (values[i] < 0 ? -0.1F : 0.1F);
    file.at(fc1).bytes.clear();
    for (const float v : values) file.at(fc1).bytes += io_test::number(v);

    io_test::write_file(directory / "in", file.bytes());
    const checkpoint source = checkpoint::open(directory / "in"), quantised = converted(source);
    EXPECT_EQ(quantised.find(fc1)->type, dtype::f32);
    EXPECT_EQ(quantised.find(fc1 + "_scale"), nullptr);
    EXPECT_EQ(quantised.find(ffn + "fc2.weight")->type, dtype::i8);
    expect_same_model(source, quantised, {1, 3, 40, 56});
}

TEST(half_rounding, rounds_as_the_conversions_do) {
    for (index_type count = 1; count < 14; ++count) {
        tensor<float> weights(shape{2, count});
        const auto expect_rounded = [&] {
            ASSERT_TRUE(reparam::half_rounding::fits(weights));
            const tensor<float> rounded = reparam::half_rounding::of(weights), again = reparam::half_rounding::of(rounded);
            for (index_type i = 0; i < weights.count(); ++i) {
                const float x = weights.data()[i], expected = io::half_to_float(io::float_to_half(x));
                ASSERT_EQ(std::bit_cast<std::uint32_t>(rounded.data()[i]), std::bit_cast<std::uint32_t>(expected)) << x;
                ASSERT_EQ(std::bit_cast<std::uint32_t>(again.data()[i]), std::bit_cast<std::uint32_t>(expected)) << x;
            }
        };
        // All exponents up to 2^15, ties and their neighbours, both signs; a normal number beside them.
        for (std::uint32_t exponent = 0; exponent < 143; ++exponent)
            for (const std::uint32_t fraction :
                 {0U, 1U, 0xfffU, 0x1000U, 0x1001U, 0x2fffU, 0x3000U, 0x3001U, 0x400000U, 0x7fefffU}) {
                for (index_type i = 0; i < weights.count(); ++i)
                    weights.data()[i] = std::bit_cast<float>((i % 3 == 1 ? 0x80000000U : 0U) | exponent << 23 | fraction);
                for (index_type row = 0; row < 2 && exponent < 113; ++row) weights(row, count - 1) = 0.75F;
                expect_rounded();
            }
        const auto fits = [&](float largest) {
            weights = tensor<float>(shape{2, count}); // the other row is zero
            weights(1, count / 2) = largest;
            const bool result = reparam::half_rounding::fits(weights);
            if (!result) {
                const tensor<float> same = reparam::half_rounding::of(weights);
                EXPECT_EQ(std::bit_cast<std::uint32_t>(same(1, count / 2)), std::bit_cast<std::uint32_t>(largest));
            }
            return result;
        };
        for (const float sign : {1.0F, -1.0F}) {
            for (const float size : {0.0F, 0x1p-14F, 1.0F, 65519.99F}) EXPECT_TRUE(fits(sign * size)) << size;
            for (const float size : {0x1p-149F, 0x1.fffffep-15F, 65520.0F, 1e30F, INFINITY, NAN})
                EXPECT_FALSE(fits(sign * size)) << size;
        }
    }
}

TEST_F(quantised_test, keeps_windows_that_16_bits_would_spoil) {
    for (const float factor : {1e-7F, 1e7F}) {
        // Of one output of a convolution.
        file_of_tensors file = toy_file();
        for (const std::string convolution : {"stem.0.conv_kxk.0.conv.weight", "stem.0.conv_scale.conv.weight"}) {
            std::vector<float> values = floats_of(file.at(convolution));
            const std::size_t inputs = values.size() / 16;
            for (std::size_t i = inputs; i < 2 * inputs; ++i) values[i] *= factor;
            file.at(convolution).bytes.clear();
            for (const float v : values) file.at(convolution).bytes += io_test::number(v);
        }
        io_test::write_file(directory / "in", file.bytes());
        const checkpoint source = checkpoint::open(directory / "in"), quantised = converted(source);
        EXPECT_EQ(quantised.find("stem.0.reparam_conv.weight")->type, dtype::f32);
        EXPECT_EQ(quantised.find("stem.1.reparam_conv.weight")->type, dtype::f16);
        expect_same_model(source, quantised, {1, 3, 40, 56});
    }
}

// Scales below the smallest normal number have less than 15 bits: their products would give other scales. They count as zero.
TEST_F(quantised_test, computes_the_same_with_the_smallest_of_numbers) {
    const float smallest = 0x1p-149F;
    const float unstable = 95.45F * 512 * smallest; // 95 steps of 512, which are 127 of 384 when they are quantised again
    for (const float largest : {smallest, unstable, 1e-40F, 1e-37F, 1e-36F, 1.5e-36F, 1e-30F}) {
        SCOPED_TRACE(largest);
        file_of_tensors file = toy_file();
        std::string &bytes = file.at(attention + "proj.weight").bytes;
        for (std::size_t i = 0; i < 32; ++i) bytes.replace(i * 4, 4, io_test::number(i == 0 ? largest : largest / 7));
        for (const std::string leaf : {"layer_scale_1.gamma"}) file.at("stages.1.blocks.0." + leaf).fill(1);
        io_test::write_file(directory / "in", file.bytes());
        const checkpoint source = checkpoint::open(directory / "in"), quantised = converted(source);
        expect_same_model(source, quantised, {1, 3, 40, 56});
        EXPECT_EQ(quantised.find(attention + "proj.weight")->type, dtype::i8);
        const std::vector<float> scales = io_test::values(quantised, attention + "proj.weight_scale");
        EXPECT_EQ(scales[0] == 0, largest < 127 * std::numeric_limits<float>::min()) << scales[0];
    }
    // And with no numbers at all.
    file_of_tensors file = toy_file();
    file.at(attention + "proj.weight").fill(0);
    io_test::write_file(directory / "in", file.bytes());
    const checkpoint source = checkpoint::open(directory / "in"), quantised = converted(source);
    EXPECT_EQ(quantised.find(attention + "proj.weight")->type, dtype::i8);
    expect_same_model(source, quantised, {1, 3, 40, 56});
}

TEST_F(quantised_test, is_opened_in_several_files_and_beside_another_network) {
    const file_of_tensors whole = toy();
    const std::vector<float> expected = results_of(whole.load({.precision = precision::int8}));
    // Every other tensor in another file: scales are not beside their bytes.
    file_of_tensors parts[2];
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) parts[i % 2].tensors.push_back(whole.tensors[i]);
    std::string map;
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string name = "part" + std::to_string(i);
        io_test::write_file(directory / name, parts[i].bytes());
        for (const file_tensor &t : parts[i].tensors) map += (map.empty() ? "\"" : ", \"") + t.name + "\": \"" + name + '"';
    }
    io_test::write_file(directory / "index.json", "{\"weight_map\": {" + map + "}}");
    EXPECT_EQ(results_of(model::open(directory / "index.json", {.precision = precision::int8})), expected);

    const file_of_tensors two =
        joined({renamed(whole, [](auto &n) { return "student." + n; }), renamed(toy(2), [](auto &n) { return "teacher." + n; })});
    EXPECT_EQ(results_of(two.load({.precision = precision::int8, .prefix = "student"})), expected);
    const std::string bytes = two.bytes();
    fastvit::save_converted(checkpoint::from_bytes(bytes_of(bytes), "two"), directory / "one", dtype::f32, "student");
    EXPECT_EQ(results_of(model::open(directory / "one", {.precision = precision::int8})), expected);
    // A checkpoint of which only the ConvFFN's form tells that it is one.
    const std::optional<error> e = two.failure();
    ASSERT_TRUE(e);
    EXPECT_NE(e->details().found.find("\"student\", \"teacher\""), std::string::npos) << e->what();
}

// Whatever the form of a block, a matrix may be quantised.
TEST_F(quantised_test, matrices_may_be_in_blocks_of_the_official_form) {
    file_of_tensors file = toy_file(), floats = file;
    const std::string name = attention + "proj.weight";
    file_tensor &t = file.at(name);
    std::vector<float> values = floats_of(t);
    std::string bytes, scales, products;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const float scale = 0.25F * static_cast<float>(1 + i / 32 % 3);
        const int byte = static_cast<int>(values[i] * 300) % 128;
        bytes += static_cast<char>(byte);
        products += io_test::number(scale * static_cast<float>(byte));
        if (i % 32 == 0) scales += io_test::number(scale);
    }
    floats.at(name).bytes = products;
    t.bytes = bytes;
    t.type = "I8";
    file.tensors.push_back({name + "_scale", "F32", {32}, scales});
    for (const graph form : {graph::folded, graph::train_time})
        EXPECT_EQ(results_of(file.load({.graph = form})), results_of(floats.load({.graph = form})));
    EXPECT_EQ(results_of(file.load({.precision = precision::int8})), results_of(floats.load({.precision = precision::int8})));
}

TEST_F(quantised_test, that_is_wrong_is_refused) {
    const file_of_tensors whole = toy();
    const std::string scale = fc1 + "_scale";
    const auto refused = [&](error_kind kind, std::initializer_list<std::string_view> words, auto change) {
        file_of_tensors file = whole;
        change(file);
        const std::string bytes = file.bytes();
        const checkpoint source = checkpoint::from_bytes(bytes_of(bytes), "FILE");
        expect_error(kind, words, [&] { model{source}; });
        expect_error(kind, words, [&] { fastvit::save_folded(source, directory / "no"); });
        expect_error(kind, words, [&] { fastvit::save_converted(source, directory / "no", dtype::i8); });
        EXPECT_FALSE(std::filesystem::exists(directory / "no"));
    };
    using file = file_of_tensors;
    refused(error_kind::missing_tensor, {"FILE: " + scale, "scales", "missing", "[32]"}, [&](file &f) { f.erase(scale); });
    refused(error_kind::unexpected_tensor, {"FILE: " + scale, "scales without", fc1, "I8", "no such tensor"},
            [&](file &f) { f.erase(fc1); });
    refused(error_kind::unexpected_tensor, {"FILE: " + scale, "scales without", fc1 + " of type I8", "F32"}, [&](file &f) {
        f.at(fc1).type = "F32";
        f.at(fc1).bytes.resize(32 * 16 * 4);
    });
    // A mask of pruning.
    for (const std::string &part : {fc1, scale})
        refused(error_kind::unexpected_tensor, {"FILE: " + scale, "scales without", "in parts"}, [&](file &f) {
            file_tensor mask = f.at(part);
            mask.name += "_mask";
            f.at(part).name += "_orig";
            f.tensors.push_back(mask);
        });
    for (const shape &dims : {shape{31}, shape{33}, shape{32, 1}, shape{}, shape{0}})
        refused(error_kind::shape_mismatch, {"FILE: " + scale, "wrong shape", fc1, "[32, 16, 1, 1]", "found " + dims.to_string()},
                [&](file &f) { f.at(scale).reshape(dims); });
    for (const char *const type : {"F16", "BF16", "F64", "I32"})
        refused(error_kind::unsupported, {"FILE: " + scale, "scales", "F32", type}, [&](file &f) {
            f.at(scale).type = type;
            f.at(scale).bytes.resize(32 * (type[1] == '6' ? 8 : type[1] == '3' ? 4 : 2));
        });
    for (const float wrong : {-1.0F, -0x1p-149F, INFINITY, -INFINITY, NAN})
        refused(error_kind::bad_value, {"FILE: " + scale, "a finite number, not negative", "found"},
                [&](file &f) { f.at(scale).bytes.replace(31 * 4, 4, io_test::number(wrong)); });
    refused(error_kind::bad_value, {"FILE: " + fc1, "-127 to 127", "-128"}, [&](file &f) { f.at(fc1).bytes[511] = '\x80'; });
    refused(error_kind::shape_mismatch, {"FILE: " + fc1, "[16, 16, 1, 1]", "[16, 32, 1, 1]"}, [&](file &f) {
        f.at(fc1).dims = {16, 32, 1, 1};
        f.at(ffn + "fc2.weight").dims = {16, 32, 1, 1};
        f.at(ffn + "fc1.bias").dims = {32};
    });
    for (const char *const type : {"U8", "BOOL"})
        refused(error_kind::unsupported, {"FILE: " + fc1, type}, [&](file &f) {
            f.at(fc1).type = type;
            f.erase(scale);
        });
}

TEST_F(quantised_test, bytes_are_refused_where_no_matrix_is_expected) {
    for (const std::string name : {"stem.0.reparam_conv.weight", "stages.0.blocks.0.mlp.conv.reparam_conv.weight",
                                   "stages.0.blocks.0.mlp.fc1.bias", "stages.1.downsample.proj.1.reparam_conv.weight",
                                   "stages.1.blocks.0.token_mixer.qkv.bias", "final_conv.reparam_conv.weight", "head.fc.bias"})
        for (const bool with_scales : {false, true}) {
            SCOPED_TRACE(name);
            file_of_tensors file = toy();
            file_tensor &t = file.at(name);
            t.bytes.resize(t.bytes.size() / (t.type == "F16" ? 2 : 4));
            t.type = "I8";
            const index_type outputs = t.dims[0];
            if (with_scales && name.ends_with("weight"))
                file.tensors.push_back(
                    {name + "_scale", "F32", {outputs}, std::string(static_cast<std::size_t>(outputs * 4), 0)});
            expect_error(error_kind::unsupported, {name, "floating-point", "I8"}, [&] { (void)file.load(); });
        }
}

// A block is in one form or the other.
TEST_F(quantised_test, blocks_of_two_forms_are_refused) {
    const file_of_tensors official = toy_file();
    for (const std::string name :
         {"stages.0.blocks.0.layer_scale.gamma", "stages.1.blocks.0.layer_scale_1.gamma", "stages.1.blocks.0.layer_scale_2.gamma",
          "stages.0.blocks.0.mlp.conv.conv.weight", "stages.1.blocks.0.mlp.conv.bn.weight"}) {
        file_of_tensors both = toy();
        both.tensors.push_back(file_of_tensors(official).at(name));
        expect_error(error_kind::unexpected_tensor, {name, "1 such tensor"}, [&] { (void)both.load(); });
    }
    for (const std::string name : {"stages.0.blocks.0.mlp.conv.reparam_conv.weight",
                                   "stages.1.blocks.0.mlp.conv.reparam_conv.bias", "stages.1.blocks.0.token_mixer.qkv.bias"}) {
        file_of_tensors file = toy();
        file.erase(name);
        expect_error(error_kind::missing_tensor, {name}, [&] { (void)file.load(); });
    }
    file_of_tensors norm = toy();
    for (const std::string leaf : {"weight", "bias", "running_mean", "running_var"})
        norm.tensors.push_back(file_of_tensors(official).at("stages.1.blocks.0.norm." + leaf));
    expect_error(error_kind::unexpected_tensor, {"stages.1.blocks.0.norm.", "4 such tensors"}, [&] { (void)norm.load(); });
    file_of_tensors biased = toy_file();
    biased.tensors.push_back(toy().at(attention + "qkv.bias"));
    expect_error(error_kind::unexpected_tensor, {attention + "qkv.bias"}, [&] { (void)biased.load(); });
}

TEST_F(quantised_test, needs_a_network) {
    file_of_tensors none;
    none.tensors = {{"weight", "F32", {1}, io_test::number(1.0F)}};
    expect_error(error_kind::unsupported, {"not a FastViT"}, [&] { converted(none); });
    EXPECT_FALSE(std::filesystem::exists(directory / "out"));
}

} // namespace
