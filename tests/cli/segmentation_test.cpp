// SPDX-License-Identifier: MIT
// The segmentation example's head on held-out pictures, beside PyTorch's masks of the same pictures and what was drawn.
#include "fastvit/bundled.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/model.hpp"

#include "segmentation_head.hpp"
#include "support/held_out_pictures.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

namespace {

using namespace fastvit;
using fastvit::index_type;
using masks = std::vector<std::vector<std::uint8_t>>;

// The masks of the first held-out pictures, from a grey picture in which they stand one below the other.
masks read_masks(const std::string &name) {
    const examples::picture strip = examples::read_picture(FASTVIT_TEST_DATA "/segmentation/" + name);
    masks all;
    for (index_type top = 0; top < strip.height; top += strip.width) {
        all.emplace_back();
        for (index_type i = top * strip.width; i < (top + strip.width) * strip.width; ++i)
            all.back().push_back(strip.pixels[3 * i]);
    }
    return all;
}

const masks &computed() {
    static const masks all = [] {
        const model net = model::open(bundled_model_path());
        const examples::segmentation_head head(
            checkpoint::open(bundled_model_path().replace_filename("segmentation.safetensors")));
        const fastvit_test::held_out_pictures pictures;
        workspace space;
        masks result;
        for (index_type i = 0; i < std::ssize(read_masks("truth.png")); ++i) {
            const examples::picture picture = pictures.picture(i);
            const auto &out = net.forward(picture.view(), bundled_preprocessing(), space, output_kind::stages);
            const auto mask = head.mask(out.stages, picture.height, picture.width);
            result.emplace_back(mask.span().begin(), mask.span().end());
        }
        return result;
    }();
    return all;
}

// The mean over the classes of the intersection over the union.
double mean_iou(const masks &found, const masks &truth) {
    constexpr std::size_t classes = 17;
    std::array<double, classes> both{}, either{};
    for (std::size_t i = 0; i < truth.size(); ++i)
        for (std::size_t pixel = 0; pixel < truth[i].size(); ++pixel) {
            const std::uint8_t a = found[i][pixel], b = truth[i][pixel];
            ++either.at(a);
            if (a == b)
                ++both.at(a);
            else
                ++either.at(b);
        }
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c) sum += both.at(c) / either.at(c);
    return sum / classes;
}

TEST(segmentation, masks_are_pytorchs) {
    const masks expected = read_masks("pytorch.png");
    ASSERT_EQ(computed().size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(computed()[i].size(), expected[i].size());
        std::size_t different = 0;
        for (std::size_t pixel = 0; pixel < expected[i].size(); ++pixel) different += computed()[i][pixel] != expected[i][pixel];
        // Scores of two classes that are equal but for rounding.
        EXPECT_LE(different, 3U) << "picture " << i;
    }
}

TEST(segmentation, is_as_good_as_in_pytorch) {
    const masks truth = read_masks("truth.png");
    const double in_pytorch = mean_iou(read_masks("pytorch.png"), truth), here = mean_iou(computed(), truth);
    std::cout << "mIoU of " << truth.size() << " pictures: " << here << ", PyTorch " << in_pytorch << '\n';
    EXPECT_GE(here, 0.7);
    EXPECT_NEAR(here, in_pytorch, 1e-3);
}

TEST(segmentation, refuses_the_stages_of_another_network) {
    const examples::segmentation_head head(checkpoint::open(bundled_model_path().replace_filename("segmentation.safetensors")));
    const tensor<float> stage({1, 24, 24, 24});
    try {
        (void)head.scores({stage.view()});
        ADD_FAILURE() << "one stage is taken for four";
    } catch (const error &e) {
        EXPECT_EQ(e.code(), error_kind::shape_mismatch);
    }
}

TEST(segmentation, refuses_more_classes_than_a_byte_names) {
    for (const index_type classes : {0, 257}) {
        checkpoint file;
        file.add("classifier.weight", tensor<float>({classes, 8, 1, 1}));
        file.add("classifier.bias", tensor<float>({classes}));
        try {
            const examples::segmentation_head head(file);
            ADD_FAILURE() << classes << " classes are taken";
        } catch (const error &e) {
            EXPECT_EQ(e.code(), error_kind::shape_mismatch) << e.what();
        }
    }
}

TEST(segmentation, refuses_a_file_without_a_head) {
    try {
        const examples::segmentation_head head(checkpoint::open(bundled_model_path()));
        ADD_FAILURE() << "the bundled model is taken for a head";
    } catch (const error &e) {
        EXPECT_EQ(e.code(), error_kind::missing_tensor);
    }
}

} // namespace
