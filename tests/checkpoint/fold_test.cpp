// SPDX-License-Identifier: MIT
#include "fastvit/base/bytes.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;
using io_test::read_file;

const std::filesystem::path checkpoints = data / "checkpoints";

class fold_test : public testing::Test {
  protected:
    // Folds a checkpoint to the file `out` and opens that.
    checkpoint folded(const checkpoint &source) {
        fastvit::save_folded(source, directory / "out");
        return checkpoint::open(directory / "out");
    }
    checkpoint folded(const std::filesystem::path &path) { return folded(checkpoint::open(path)); }
    // A file that was put together.
    checkpoint folded(const file_of_tensors &file) {
        io_test::write_file(directory / "in", file.bytes());
        return folded(directory / "in");
    }

    // tiny_reparam with counters of rank 0, which is what PyTorch has; the numpy that wrote the file made them [1].
    checkpoint official_with_scalar_counters() {
        file_of_tensors official = file_of_tensors::read("tiny_reparam.safetensors");
        for (file_tensor &t : official.tensors)
            if (t.name.ends_with("num_batches_tracked")) t.dims = {};
        io_test::write_file(directory / "official", official.bytes());
        return checkpoint::open(directory / "official");
    }

    // The same names, types and shapes, and values no further apart than `far`.
    static void expect_equal(const checkpoint &expected, const checkpoint &actual, double far) {
        EXPECT_EQ(list_of(file_of_tensors(actual)).text(), list_of(file_of_tensors(expected)).text());
        for (const io::stored_tensor &e : expected.tensors()) {
            const io::stored_tensor *const a = actual.find(e.name);
            ASSERT_NE(a, nullptr) << e.name;
            EXPECT_EQ(a->type_name, e.type_name) << e.name;
            if (!io::is_floating(e.type) || far == 0) {
                EXPECT_TRUE(std::equal(e.bytes.begin(), e.bytes.end(), a->bytes.begin(), a->bytes.end())) << e.name;
                continue;
            }
            const tensor<float> x = io::read_float(e), y = io::read_float(*a);
            for (index_type i = 0; i < x.count(); ++i) ASSERT_NEAR(x.data()[i], y.data()[i], far) << e.name << " element " << i;
        }
    }

    io_test::temporary_directory directory;
};

TEST_F(fold_test, gives_what_the_official_reparameterisation_gives) {
    expect_equal(checkpoint::open(checkpoints / "tiny_reparam.safetensors"), folded(checkpoints / "tiny.safetensors"), 1e-6);
    for (const char *const name : {"tiny.pth.tar", "tiny_legacy.pth.tar"}) {
        SCOPED_TRACE(name);
        expect_equal(official_with_scalar_counters(), folded(checkpoints / name), 1e-6);
    }
}

TEST_F(fold_test, keeps_the_spelling_without_what_is_wrapped_around_it) {
    const file_of_tensors apple = file_of_tensors::read("tiny.safetensors"),
                          official = file_of_tensors::read("tiny_reparam.safetensors");
    for (const bool timm : {false, true}) {
        io_test::write_file(directory / "official", (timm ? official.in_timm_spelling() : official).bytes());
        for (const std::string prefix : {"", "module.", "image_encoder.model."}) {
            SCOPED_TRACE(prefix);
            file_of_tensors wrapped = timm ? apple.in_timm_spelling() : apple;
            wrapped.rename([&](const std::string &name) { return prefix + name; });
            expect_equal(checkpoint::open(directory / "official"), folded(wrapped), 1e-6);
        }
    }
}

// The official code of the larger model loads the file.
TEST_F(fold_test, keeps_what_stands_beside_the_network) {
    file_of_tensors source = file_of_tensors::read("tiny.safetensors"),
                    official = file_of_tensors::read("tiny_reparam.safetensors");
    for (file_of_tensors *const file : {&source, &official}) {
        file->rename([](const std::string &name) { return "image_encoder.model." + name; });
        file->tensors.push_back({"logit_scale", "F32", {}, io_test::number(4.6F)});
        file->tensors.push_back({"text_encoder.ids", "I32", {2}, std::string("12345678")});
    }
    source.rename([](const std::string &name) { return "module." + name; });
    io_test::write_file(directory / "official", official.bytes());
    expect_equal(checkpoint::open(directory / "official"), folded(source), 1e-6);
}

// MobileCLIP's is transposed, open_clip's stands beside the network.
TEST_F(fold_test, keeps_the_projections_of_clips) {
    file_of_tensors apple = file_of_tensors::read("tiny.safetensors");
    const file_tensor classifier = apple.at("head.weight");
    apple.erase("head.weight");
    apple.erase("head.bias");
    file_of_tensors timm = apple.in_timm_spelling();
    timm.rename([](const std::string &name) { return "visual.trunk." + name; });
    apple.rename([](const std::string &name) { return "image_encoder.model." + name; });
    const auto expect_kept = [&](file_of_tensors file, file_tensor projection, const std::string &name) {
        file.tensors.push_back(projection);
        const checkpoint out = folded(file);
        const io::stored_tensor *const kept = out.find(name);
        ASSERT_NE(kept, nullptr) << name;
        EXPECT_EQ(kept->dims, projection.dims);
        EXPECT_EQ(std::string(reinterpret_cast<const char *>(kept->bytes.data()), kept->bytes.size()), projection.bytes);
        EXPECT_EQ(out.tensors().size(), file_of_tensors::read("tiny_reparam.safetensors").tensors.size() - 1); // the bias
        EXPECT_EQ(model(out).architecture().classes, 10);
    };
    const shape &dims = classifier.dims;
    expect_kept(apple, {"image_encoder.model.head.proj", "F32", {dims[1], dims[0]}, classifier.bytes}, "head.proj");
    expect_kept(timm, {"visual.head.proj.weight", "F32", dims, classifier.bytes}, "head.proj.weight");
}

TEST_F(fold_test, keeps_the_metadata) {
    checkpoint source = seeded_checkpoint(published_architecture("fastvit_t8"), io::spelling::timm);
    source.set_metadata("format", "pt");
    source.set_metadata("note", "\xc3\xa9 \"quoted\"\n");
    const checkpoint result = folded(source);
    EXPECT_EQ(result.metadata(), source.metadata());
}

TEST_F(fold_test, writes_float32_whatever_it_reads) {
    const checkpoint half = folded(checkpoints / "tiny_fp16.safetensors");
    for (const io::stored_tensor &t : half.tensors())
        EXPECT_EQ(t.type_name, t.name.ends_with("num_batches_tracked") ? "I64" : "F32") << t.name;
    expect_equal(checkpoint::open(checkpoints / "tiny_reparam.safetensors"), half, 5e-3);
}

TEST_F(fold_test, rounds_the_folded_weights) {
    const auto whole = folded(checkpoints / "tiny.safetensors");
    fastvit::save_folded(checkpoint::open(checkpoints / "tiny.safetensors"), directory / "half", io::dtype::bf16);
    fastvit::save_converted(whole, directory / "expected", io::dtype::bf16);
    EXPECT_EQ(read_file(directory / "half"), read_file(directory / "expected"));
    const checkpoint half = checkpoint::open(directory / "half");
    EXPECT_EQ(half.find("head.weight")->type, io::dtype::bf16);
}

TEST_F(fold_test, changes_nothing_that_is_folded) {
    const auto official = checkpoint::open(checkpoints / "tiny_reparam.safetensors");
    expect_equal(official, folded(official), 0);
    const std::string once = read_file((folded(checkpoints / "tiny.safetensors"), directory / "out"));
    fastvit::save_folded(checkpoint::open(directory / "out"), directory / "again");
    EXPECT_EQ(read_file(directory / "again"), once);
}

TEST_F(fold_test, folds_the_rest_of_what_is_partly_folded) {
    const file_of_tensors official = file_of_tensors::read("tiny_reparam.safetensors");
    file_of_tensors file = file_of_tensors::read("tiny.safetensors");
    for (const std::string block : {"patch_embed.1.", "network.2.0.token_mixer.", "network.3.proj.0.", "network.6."}) {
        std::erase_if(file.tensors, [&](const file_tensor &t) { return t.name.starts_with(block); });
        for (const file_tensor &t : official.tensors)
            if (t.name.starts_with(block)) file.tensors.push_back(t);
    }
    expect_equal(checkpoint::open(checkpoints / "tiny_reparam.safetensors"), folded(file), 1e-6);
}

// Strict loading asks for the counters of the BatchNorms that stay; checkpoints from before 2018 have none.
TEST_F(fold_test, writes_counters_that_were_not_there) {
    file_of_tensors file = file_of_tensors::read("tiny.safetensors");
    std::erase_if(file.tensors, [](const file_tensor &t) { return t.name.ends_with("num_batches_tracked"); });
    expect_equal(official_with_scalar_counters(), folded(file), 1e-6);
}

TEST_F(fold_test, copies_counters_that_count) {
    const std::string name = "network.0.0.convffn.conv.bn.num_batches_tracked";
    const auto count = [&](const std::string &type, const shape &dims, const std::string &bytes) {
        file_of_tensors file = file_of_tensors::read("tiny.safetensors");
        file.at(name) = {name, type, dims, bytes};
        const checkpoint out = folded(file);
        const io::stored_tensor *const counter = out.find(name);
        EXPECT_EQ(counter->type_name, "I64");
        EXPECT_EQ(counter->bytes.size(), 8U);
        return io::load<std::int64_t>(counter->bytes.data());
    };
    EXPECT_EQ(count("I64", {}, io_test::number<std::int64_t>(375342)), 375342);
    EXPECT_EQ(count("I64", {1}, io_test::number<std::int64_t>(-1)), -1);
    // Nothing that reads such a counter could make sense of it.
    EXPECT_EQ(count("F32", {}, io_test::number(3.0F)), 0);
    EXPECT_EQ(count("F8_E4M3", {2, 3}, "sixsix"), 0);
    EXPECT_EQ(count("I64", {2}, std::string(16, '\1')), 0);
    EXPECT_EQ(count("I64", {0}, {}), 0);
}

// Few channels in each variant's blocks: a file of 50 million parameters takes the disk a while.
architecture narrow(const variant_entry &variant) {
    architecture net = published_architecture(variant.name);
    for (stage_architecture &stage : net.stages) {
        stage.channels = stage.mixer == token_mixer::attention ? 32 : 8;
        stage.hidden = 2 * stage.channels;
    }
    net.head_channels = 32;
    net.classes = 10;
    return net;
}

TEST_F(fold_test, folds_every_variant_in_either_spelling) {
    for (const variant_entry &variant : variant_table)
        for (const io::spelling spelling : {io::spelling::apple, io::spelling::timm}) {
            SCOPED_TRACE(std::string(variant.name) + " " + std::string(to_string(spelling)));
            const architecture net = narrow(variant);
            const checkpoint source = seeded_checkpoint(net, spelling);
            const checkpoint written = folded(source);
            // loading_test shows that these names are the official ones.
            EXPECT_EQ(list_of(file_of_tensors(written)).text(), list_of(file_of(net, spelling, true)).text());

            const tensor<float> images = seeded_input({1, 3, 64, 64});
            for (const bool gelu : {false, true}) {
                workspace before, after;
                const model original(source, {.graph = graph::train_time, .large_kernel_gelu = gelu});
                const model folded_before(written, {.graph = graph::train_time, .large_kernel_gelu = gelu});
                const expected_tensor logits = expected_tensor::whole(original.forward(images, before).logits);
                EXPECT_LE(logits.from(folded_before.forward(images, after).logits).relative, tolerance);
            }
        }
}

TEST_F(fold_test, writes_the_official_names_and_shapes) {
    int compared = 0;
    for (const key_digest &d : key_digests()) {
        if (!d.folded() || (d.variant != "t8" && d.name() != "apple_sa12_reparam")) continue;
        ++compared;
        file_of(d.net(), d.spelling(), false).save_sparse(directory / "net");
        d.expect(list_of(file_of_tensors(folded(directory / "net"))));
    }
    EXPECT_EQ(compared, 3);
}

TEST_F(fold_test, writes_over_its_own_source) {
    io_test::write_file(directory / "net", read_file(checkpoints / "tiny.safetensors"));
    fastvit::save_folded(checkpoint::open(directory / "net"), directory / "net");
    expect_equal(folded(checkpoints / "tiny.safetensors"), checkpoint::open(directory / "net"), 0);
}

TEST_F(fold_test, leaves_nothing_where_it_fails) {
    const auto tiny = checkpoint::open(checkpoints / "tiny.safetensors");
    const auto missing = directory / "none" / "out";
    expect_error(error_kind::io, {missing.string()}, [&] { fastvit::save_folded(tiny, missing); });
    std::filesystem::create_directory(directory / "taken");
    expect_error(error_kind::io, {(directory / "taken").string()}, [&] { fastvit::save_folded(tiny, directory / "taken"); });
    EXPECT_EQ(directory.names(), std::vector<std::string>{"taken"});
    EXPECT_TRUE(std::filesystem::is_empty(directory / "taken"));

    // What was there stays if the source turns out to be bad.
    io_test::write_file(directory / "out", "precious");
    file_of_tensors file = file_of_tensors::read("tiny.safetensors");
    file.erase("head.bias");
    io_test::write_file(directory / "in", file.bytes());
    expect_error(error_kind::missing_tensor, {(directory / "in").string() + ": head.bias"},
                 [&] { fastvit::save_folded(checkpoint::open(directory / "in"), directory / "out"); });
    file.tensors.push_back({"head.bias", "F32", {10}, {}});
    file.tensors.push_back({"extra", "F32", {1}, {}});
    io_test::write_file(directory / "in", file.bytes());
    expect_error(error_kind::unexpected_tensor, {(directory / "in").string() + ": extra"},
                 [&] { fastvit::save_folded(checkpoint::open(directory / "in"), directory / "out"); });
    EXPECT_EQ(read_file(directory / "out"), "precious");
    EXPECT_EQ(directory.names().size(), 3U);
}

} // namespace
