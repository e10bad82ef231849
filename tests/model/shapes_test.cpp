// SPDX-License-Identifier: MIT
// The bundled model on 300 held-out pictures, beside PyTorch's answers to the same pictures.
// Labels: slow
#include "fastvit/bundled.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/model.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/save.hpp"

#include "support/held_out_pictures.hpp"
#include "support/io_test_files.hpp"
#include "support/sanitized.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace fastvit;
using fastvit::index_type;

// The pictures as the network takes them, what was drawn, and PyTorch's logits.
struct held_out_pictures {
    tensor<float> images, logits;
    std::vector<std::int64_t> labels;

    index_type count() const { return images.dim(0); }
};

const held_out_pictures &held_out() {
    static const held_out_pictures pictures = [] {
        const fastvit_test::held_out_pictures file;
        held_out_pictures all{.images = {}, .logits = file.logits(), .labels = file.labels()};
        const preprocessing how = bundled_preprocessing();
        const index_type count = SANITIZED ? 50 : file.count(); // a sanitizer learns nothing from more of them
        all.images = tensor<float>({count, 3, how.height, how.width});
        for (index_type i = 0; i < count; ++i) {
            const examples::picture picture = file.picture(i);
            const tensor<float> image = preprocess(picture.view(), how);
            std::copy(image.span().begin(), image.span().end(), all.images.data() + i * image.span().size());
        }
        return all;
    }();
    return pictures;
}

// Logits of all pictures, in batches of 50.
tensor<float> predict(const model &net, const held_out_pictures &pictures) {
    thread_pool threads;
    workspace space(threads);
    constexpr index_type batch = 50;
    const index_type classes = net.architecture().classes, floats = pictures.images.count() / pictures.count();
    tensor<float> logits({pictures.count(), classes}), some({batch, 3, pictures.images.dim(2), pictures.images.dim(3)});
    for (index_type first = 0; first < pictures.count(); first += batch) {
        std::copy_n(pictures.images.data() + first * floats, batch * floats, some.data());
        const auto out = net.forward(some, space).logits.span();
        std::copy(out.begin(), out.end(), logits.data() + first * classes);
    }
    return logits;
}

index_type answer(const tensor<float> &logits, index_type picture) {
    const index_type classes = logits.dim(1);
    const float *const row = logits.data() + picture * classes;
    return std::max_element(row, row + classes) - row;
}

double accuracy(const tensor<float> &logits, const held_out_pictures &pictures) {
    index_type right = 0;
    for (index_type i = 0; i < pictures.count(); ++i) right += answer(logits, i) == pictures.labels[i];
    return static_cast<double>(right) / static_cast<double>(pictures.count());
}

struct way {
    graph form;
    std::string isa;
};

std::vector<way> all_ways() {
    std::vector<way> ways;
    for (const isa_tier &tier : isa_tiers())
        if (tier.supported)
            for (const graph form : {graph::train_time, graph::folded}) ways.push_back({form, std::string(tier.name)});
    return ways;
}

TEST(bundled_model, answers_as_well_in_lower_precisions) {
    const held_out_pictures &pictures = held_out();
    const tensor<float> exact = predict(model::open(bundled_model_path()), pictures);
    for (const isa_tier &tier : isa_tiers())
        if (tier.runs(precision::int8))
            for (const precision type : {precision::bfloat16, precision::int8}) {
                const model net = model::open(bundled_model_path(), {.precision = type, .isa = tier.name});
                const tensor<float> logits = predict(net, pictures);
                index_type same = 0;
                for (index_type i = 0; i < pictures.count(); ++i) same += answer(logits, i) == answer(exact, i);
                const double one_picture = 1.01 / static_cast<double>(pictures.count());
                EXPECT_GE(accuracy(logits, pictures), accuracy(exact, pictures) - one_picture)
                    << to_string(type) << ", " << tier.name;
                EXPECT_GE(same, pictures.count() - 2) << to_string(type) << ", " << tier.name;
                for (const layer_precision &l : net.layers()) {
                    const bool beside_no_skip = l.name.starts_with("stem.") || l.name.find(".downsample.") != l.name.npos;
                    EXPECT_EQ(l.type, beside_no_skip ? precision::bfloat16 : type) << l.name;
                }
            }
}

class shapes_test : public testing::TestWithParam<way> {};
INSTANTIATE_TEST_SUITE_P(bundled, shapes_test, testing::ValuesIn(all_ways()),
                         [](const auto &i) { return (i.param.form == graph::folded ? "folded_" : "train_time_") + i.param.isa; });

TEST_P(shapes_test, answers_as_pytorch_does) {
    const held_out_pictures &pictures = held_out();
    ASSERT_EQ(pictures.count(), SANITIZED ? 50 : 300);
    const model net = model::open(bundled_model_path(), {.graph = GetParam().form, .isa = GetParam().isa});
    EXPECT_EQ(net.isa(), GetParam().isa);
    const tensor<float> logits = predict(net, pictures);
    EXPECT_GE(accuracy(logits, pictures), 0.97);
    const index_type classes = logits.dim(1);
    for (index_type i = 0; i < pictures.count(); ++i) {
        EXPECT_EQ(answer(logits, i), answer(pictures.logits, i)) << "picture " << i;
        double difference = 0, largest = 0;
        for (index_type c = 0; c < classes; ++c) {
            const double expected = pictures.logits(i, c);
            difference = std::max(difference, std::abs(logits(i, c) - expected));
            largest = std::max(largest, std::abs(expected));
        }
        EXPECT_LE(difference, 1e-4 * largest) << "picture " << i;
    }
}

class reduced_precision : public testing::TestWithParam<io::dtype> {};
INSTANTIATE_TEST_SUITE_P(bundled, reduced_precision, testing::Values(io::dtype::f16, io::dtype::bf16),
                         [](const auto &i) { return std::string(io::to_string(i.param)); });

TEST_P(reduced_precision, weights_answer_as_well) {
    const io_test::temporary_directory directory;
    const std::filesystem::path path = directory / "reduced.safetensors";
    fastvit::save_converted(checkpoint::open(bundled_model_path()), path, GetParam());
    EXPECT_LT(std::filesystem::file_size(path), 0.55 * static_cast<double>(std::filesystem::file_size(bundled_model_path())));
    const held_out_pictures &pictures = held_out();
    for (const graph form : {graph::train_time, graph::folded}) {
        const tensor<float> logits = predict(model::open(path, {.graph = form}), pictures);
        index_type same = 0;
        for (index_type i = 0; i < pictures.count(); ++i) same += answer(logits, i) == answer(pictures.logits, i);
        std::cout << io::to_string(GetParam()) << (form == graph::folded ? ", folded: " : ", train-time: ")
                  << accuracy(logits, pictures) << " right, " << same << " answers as with float32\n";
        EXPECT_GE(accuracy(logits, pictures), 0.97);
        EXPECT_GE(same, pictures.count() * 99 / 100);
    }
}

TEST(bundled, model_and_labels_belong_together) {
    const model net = model::open(bundled_model_path());
    EXPECT_EQ(static_cast<index_type>(bundled_labels().size()), net.architecture().classes);
    EXPECT_EQ(net.architecture().stages.back().mixer, token_mixer::attention);
    EXPECT_LT(std::filesystem::file_size(bundled_model_path()), 3'000'000u);
}

} // namespace
