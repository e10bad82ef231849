// SPDX-License-Identifier: MIT
#include "fastvit/base/float16.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/save.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/seeded.hpp"
#include "support/toy_networks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io::dtype;
using io_test::expect_error;
using io_test::number;

const std::filesystem::path checkpoints = data / "checkpoints";

class convert_test : public testing::Test {
  protected:
    // Converts a checkpoint to the file `out` and opens that.
    checkpoint converted(const checkpoint &source, dtype type = dtype::f32) {
        fastvit::save_converted(source, directory / "out", type);
        return checkpoint::open(directory / "out");
    }
    checkpoint converted(const char *name, dtype type = dtype::f32) {
        return converted(checkpoint::open(checkpoints / name), type);
    }
    checkpoint converted(const file_of_tensors &file, dtype type = dtype::f32) { return converted(opened(file), type); }
    // A file that was put together.
    checkpoint opened(const file_of_tensors &file) {
        io_test::write_file(directory / "in", file.bytes());
        return checkpoint::open(directory / "in");
    }

    io_test::temporary_directory directory;
};

// The same names in the same order, types, shapes and bits, but for the order of the integers, which come first.
void expect_same(const checkpoint &actual, const checkpoint &expected) {
    EXPECT_EQ(list_of(file_of_tensors(actual)).text(), list_of(file_of_tensors(expected)).text());
    for (const io::stored_tensor &e : expected.tensors()) {
        const io::stored_tensor *const a = actual.find(e.name);
        ASSERT_NE(a, nullptr) << e.name;
        EXPECT_EQ(a->type_name, e.type_name) << e.name;
        EXPECT_TRUE(std::equal(a->bytes.begin(), a->bytes.end(), e.bytes.begin(), e.bytes.end())) << e.name;
    }
}

TEST_F(convert_test, keeps_every_bit_of_what_needs_no_rounding) {
    const auto check = [&](const char *name, dtype type) {
        SCOPED_TRACE(name);
        const auto source = checkpoint::open(checkpoints / name);
        const auto result = converted(source, type);
        expect_same(result, source);
        EXPECT_EQ(result.metadata(), source.metadata());
    };
    check("tiny.safetensors", dtype::f32);
    check("tiny_reparam.safetensors", dtype::f32);
    check("tiny_fp16.safetensors", dtype::f16);
}

TEST_F(convert_test, reads_every_container) {
    file_of_tensors expected = file_of_tensors::read("tiny.safetensors");
    for (file_tensor &t : expected.tensors) // which PyTorch makes scalars
        if (t.name.ends_with("num_batches_tracked")) t.dims = {};
    const auto source = opened(expected);
    for (const char *const name : {"tiny.pth.tar", "tiny_legacy.pth.tar"}) {
        SCOPED_TRACE(name);
        expect_same(converted(name), source);
    }
}

TEST_F(convert_test, rounds_to_nearest_even) {
    const auto source = checkpoint::open(checkpoints / "tiny.safetensors");
    for (const dtype type : {dtype::f16, dtype::bf16}) {
        const auto result = converted(source, type);
        ASSERT_EQ(result.tensors().size(), source.tensors().size());
        for (const io::stored_tensor &t : result.tensors()) {
            const io::stored_tensor &original = *source.find(t.name);
            EXPECT_EQ(t.dims, original.dims) << t.name;
            if (t.name.ends_with("num_batches_tracked")) {
                EXPECT_EQ(t.type, dtype::i64) << t.name;
                continue;
            }
            EXPECT_EQ(t.type, type) << t.name;
            const tensor<float> a = io::read_float(t), b = io::read_float(original);
            for (index_type i = 0; i < a.count(); ++i) {
                const float x = b.data()[i];
                ASSERT_EQ(a.data()[i], type == dtype::f16 ? io::half_to_float(io::float_to_half(x))
                                                          : io::bfloat16_to_float(io::float_to_bfloat16(x)))
                    << t.name << " element " << i;
            }
        }
    }
    // This one was rounded by PyTorch.
    const auto official = checkpoint::open(checkpoints / "tiny_bf16.pth"), rounded = converted(source, dtype::bf16);
    for (const io::stored_tensor &t : rounded.tensors())
        if (t.type == dtype::bf16) {
            const auto bytes = official.find(t.name)->bytes;
            EXPECT_TRUE(std::equal(t.bytes.begin(), t.bytes.end(), bytes.begin(), bytes.end())) << t.name;
        }
}

// They are converted in memory that one part after another uses, and float32 is used where it lies.
TEST_F(convert_test, types_of_16_bits_give_the_bits_of_their_float32) {
    for (const dtype type : {dtype::f16, dtype::bf16}) {
        const auto halves = converted("tiny.safetensors", type);
        fastvit::save_converted(halves, directory / "float32");
        const auto floats = checkpoint::open(directory / "float32");
        for (const graph g : {graph::folded, graph::train_time})
            EXPECT_EQ(results_of(model(halves, {.graph = g})), results_of(model(floats, {.graph = g})));
    }
}

TEST_F(convert_test, unwinds_views_and_takes_what_is_no_network) {
    const auto result = converted("views.pth"), expected = checkpoint::open(checkpoints / "views_expected.safetensors");
    EXPECT_EQ(list_of(file_of_tensors(result)).text(), list_of(file_of_tensors(expected)).text());
    for (const io::stored_tensor &t : expected.tensors())
        EXPECT_EQ(io_test::values(result, t.name), io_test::values(expected, t.name)) << t.name;
}

TEST_F(convert_test, writes_integers_as_they_are_and_in_order) {
    const std::vector<std::int16_t> elements{0, 1, 2, 3, 4, 5};
    io::stored_tensor turned;
    turned.name = "turned";
    turned.type = dtype::i16;
    turned.dims = {3, 2};
    turned.strides = {1, 3};
    turned.bytes = std::as_bytes(std::span(elements));
    io::stored_tensor row = turned;
    row.dims = {2};
    row.strides = {2};
    const auto save = [&](const io::stored_tensor &t) {
        const io::named_tensor one{.name = "t", .data = {}, .stored = &t};
        io::save_safetensors(directory / "out", std::span(&one, 1));
        const auto file = checkpoint::open(directory / "out");
        const io::stored_tensor &written = file.tensors().at(0);
        EXPECT_EQ(written.dims, t.dims);
        EXPECT_EQ(written.type, dtype::i16);
        std::vector<std::int16_t> values;
        for (std::size_t i = 0; i < written.bytes.size(); i += 2)
            values.push_back(io::load<std::int16_t>(written.bytes.data() + i));
        return values;
    };
    EXPECT_EQ(save(turned), (std::vector<std::int16_t>{0, 3, 1, 4, 2, 5}));
    EXPECT_EQ(save(row), (std::vector<std::int16_t>{0, 2}));
    turned.strides = {1, 4};
    expect_error(error_kind::invalid_argument, {"turned", "strides"}, [&] { save(turned); });
    turned.strides = {-1, 3};
    expect_error(error_kind::invalid_argument, {"turned", "strides"}, [&] { save(turned); });
}

TEST_F(convert_test, says_which_types_can_be_written) {
    const auto source = checkpoint::open(checkpoints / "tiny.safetensors");
    for (const dtype type : {dtype::f64, dtype::u8, dtype::i16}) {
        const std::string found(io::to_string(type));
        expect_error(error_kind::invalid_argument, {"F32, F16, BF16 or I8", found, "out"},
                     [&] { fastvit::save_converted(source, directory / "out", type); });
        expect_error(error_kind::invalid_argument, {"F32, F16, BF16 or I8", found, "out"},
                     [&] { fastvit::save_folded(source, directory / "out", type); });
        EXPECT_FALSE(std::filesystem::exists(directory / "out"));
    }
}

TEST_F(convert_test, aligns_every_tensor) {
    file_of_tensors file;
    file.tensors = {{"byte", "U8", {1}, "b"}, {"float", "F32", {1}, number(1.0F)}, {"count", "I64", {}, number<std::int64_t>(7)}};
    for (const dtype type : {dtype::f32, dtype::f16}) {
        const auto result = converted(file, type);
        for (const io::stored_tensor &t : result.tensors())
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.bytes.data()) % io::size_of(t.type), 0U) << t.name;
        EXPECT_EQ(io::load<std::int64_t>(result.find("count")->bytes.data()), 7);
        EXPECT_EQ(result.find("byte")->type, dtype::u8);
        EXPECT_EQ(io_test::values(result, "float"), std::vector<float>{1});
    }
}

TEST_F(convert_test, refuses_numbers_that_16_bits_cannot_hold) {
    const auto file = [](float value) {
        file_of_tensors one;
        one.tensors = {{"big", "F32", {2}, number(1.0F) + number(value)}};
        return one;
    };
    io_test::write_file(directory / "out", "precious");
    for (const float sign : {1.0F, -1.0F}) {
        expect_error(error_kind::bad_value, {(directory / "in").string() + ": big", "F16", "65520"},
                     [&] { converted(file(sign * 65520), dtype::f16); });
        expect_error(error_kind::bad_value, {"big", "BF16"},
                     [&] { converted(file(sign * std::numeric_limits<float>::max()), dtype::bf16); });
    }
    EXPECT_EQ(io_test::read_file(directory / "out"), "precious");
    EXPECT_EQ(directory.names().size(), 2U); // with the input
    EXPECT_EQ(io_test::values(converted(file(65519.99F), dtype::f16), "big")[1], 65504);
    EXPECT_EQ(io_test::values(converted(file(65520), dtype::bf16), "big")[1], 65536);
    for (const dtype type : {dtype::f16, dtype::bf16}) {
        EXPECT_EQ(io_test::values(converted(file(-INFINITY), type), "big")[1], -INFINITY);
        EXPECT_TRUE(std::isnan(io_test::values(converted(file(NAN), type), "big")[1]));
    }
}

TEST_F(convert_test, refuses_elements_that_safetensors_does_not_have) {
    file_of_tensors file;
    file.tensors = {{"odd", "F8_E4M3", {2}, "ab"}};
    expect_error(error_kind::unsupported, {(directory / "in").string() + ": odd", "F8_E4M3"}, [&] { converted(file); });
    EXPECT_EQ(directory.names(), std::vector<std::string>{"in"});
}

TEST_F(convert_test, drops_what_is_wrapped_around_the_names) {
    const file_of_tensors bare = file_of_tensors::read("tiny.safetensors");
    const auto wrapped = [&](const std::string &prefix, bool timm) {
        file_of_tensors result = timm ? bare.in_timm_spelling() : bare;
        result.rename([&](const std::string &name) { return prefix + name; });
        return result;
    };
    for (const bool timm : {false, true}) {
        const std::string expected = list_of(wrapped("", timm)).text();
        for (const char *const prefix : {"", "module.", "module._orig_mod.", "image_encoder.model.", "visual.trunk."}) {
            SCOPED_TRACE(prefix);
            EXPECT_EQ(list_of(file_of_tensors(converted(wrapped(prefix, timm)))).text(), expected);
        }
    }
    // Of a larger model the names are its own.
    const file_tensor beside{"text_encoder.projection", "F32", {1}, number(2.0F)};
    file_of_tensors clip = wrapped("image_encoder.model.", false);
    clip.tensors.push_back(beside);
    const std::string whole = list_of(clip).text();
    EXPECT_EQ(list_of(file_of_tensors(converted(clip))).text(), whole);
    clip.rename([](const std::string &name) { return "module." + name; });
    EXPECT_EQ(list_of(file_of_tensors(converted(clip))).text(), whole);
    // Without a FastViT there is nothing to go by.
    file_of_tensors other;
    other.tensors = {{"module.weight", "F32", {1}, number(2.0F)}, {"module.bias", "F32", {1}, number(2.0F)}};
    EXPECT_EQ(list_of(file_of_tensors(converted(other))).text(), list_of(other).text());
}

TEST_F(convert_test, writes_the_official_names_and_shapes) {
    int compared = 0;
    for (const key_digest &d : key_digests()) {
        if (d.folded() || d.variant != "t8") continue;
        ++compared;
        file_of_tensors file = file_of(d.net(), d.spelling(), false);
        file.rename([](const std::string &name) { return "module." + name; });
        file.save_sparse(directory / "net");
        const auto result = converted(checkpoint::open(directory / "net"), dtype::bf16);
        d.expect(list_of(file_of_tensors(result)));
        for (const io::stored_tensor &t : result.tensors())
            EXPECT_EQ(t.type, t.name.ends_with("num_batches_tracked") ? dtype::i64 : dtype::bf16) << t.name;
    }
    EXPECT_EQ(compared, 2);
}

TEST_F(convert_test, writes_over_its_own_source) {
    io_test::write_file(directory / "net", io_test::read_file(checkpoints / "tiny_fp16.safetensors"));
    fastvit::save_converted(checkpoint::open(directory / "net"), directory / "net");
    expect_same(checkpoint::open(directory / "net"), converted("tiny_fp16.safetensors"));
}

TEST_F(convert_test, names_the_file_that_it_cannot_write) {
    const auto tiny = checkpoint::open(checkpoints / "tiny.safetensors");
    const auto missing = directory / "none" / "out";
    expect_error(error_kind::io, {missing.string()}, [&] { fastvit::save_converted(tiny, missing); });
    EXPECT_TRUE(directory.names().empty());
}

} // namespace
