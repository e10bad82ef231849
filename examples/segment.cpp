// SPDX-License-Identifier: MIT
// What each pixel of a picture shows: a mask of the background and the 16 shapes, from the feature pyramid of the bundled model
// and a head that was trained on it. Such a head for a network and classes of your own is trained in the same way, with the
// network frozen.
//
//     segment examples/pictures/star.png mask.png overlay.png
//
// The mask is a PNG whose pixels are the numbers of the classes: 0 is the background, 1 + i the shape of the label i. Its palette
// shows them in colours.
#include "fastvit/fastvit.hpp"

#include "image_file.hpp"
#include "segmentation_head.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <numbers>
#include <span>
#include <string>
#include <vector>

namespace {

using fastvit::index_type;

// All of the picture, in its proportions: the network takes any size, and the shorter side is that of its training.
fastvit::preprocessing preprocessing_for(const examples::picture &picture) {
    fastvit::preprocessing how = fastvit::bundled_preprocessing();
    const auto side = static_cast<double>(how.height), shorter = static_cast<double>(std::min(picture.height, picture.width));
    const auto scaled = [&](index_type length) {
        return static_cast<index_type>(std::lround(side * static_cast<double>(length) / shorter));
    };
    how.height = scaled(picture.height);
    how.width = scaled(picture.width);
    how.rule = fastvit::resize_rule::squash; // by the same factor on both sides, but for the rounding
    return how;
}

// Black for the background, and hues around the circle, each far from its neighbours' in number.
std::vector<examples::rgb_colour> palette_of(std::size_t classes) {
    std::vector<examples::rgb_colour> all{{0, 0, 0}};
    for (std::size_t i = 1; i < classes; ++i) {
        const double hue = 7.0 * static_cast<double>(i) / static_cast<double>(classes - 1);
        examples::rgb_colour colour{};
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const double turn = hue - static_cast<double>(channel) / 3;
            colour[channel] = static_cast<std::uint8_t>(std::lround(140 + 110 * std::cos(2 * std::numbers::pi * turn)));
        }
        all.push_back(colour);
    }
    return all;
}

// The picture with the background darkened and each shape tinted.
examples::picture tinted(examples::picture picture, std::span<const std::uint8_t> mask,
                         const std::vector<examples::rgb_colour> &palette) {
    for (std::size_t i = 0; i < mask.size(); ++i)
        for (std::size_t c = 0; c < 3; ++c) {
            std::uint8_t &value = picture.pixels[3 * i + c];
            value = static_cast<std::uint8_t>(mask[i] == 0 ? value / 3 : (value + palette[mask[i]][c]) / 2);
        }
    return picture;
}

} // namespace

int main(int argc, char **argv) try {
    if (argc != 3 && argc != 4) {
        std::cerr << "usage: segment PICTURE MASK.png [OVERLAY.png]\n";
        return 2;
    }
    const examples::picture picture = examples::read_picture(argv[1]);
    const auto net = fastvit::model::open(fastvit::bundled_model_path());
    const auto head_path = fastvit::bundled_model_path().replace_filename("segmentation.safetensors");
    const examples::segmentation_head head(fastvit::checkpoint::open(head_path));
    std::vector<std::string> names = fastvit::bundled_labels();
    names.insert(names.begin(), "background");
    if (head.classes() != std::ssize(names)) throw fastvit::error(fastvit::error_kind::shape_mismatch, "each class needs a name");

    fastvit::workspace space;
    const auto &out = net.forward(picture.view(), preprocessing_for(picture), space, fastvit::output_kind::stages);
    const auto mask = head.mask(out.stages, picture.height, picture.width);

    for (std::size_t i = 0; i < names.size(); ++i)
        if (const auto pixels = std::ranges::count(mask.span(), i); pixels > 0)
            std::cout << names[i] << ": " << pixels << " pixels\n";

    const auto palette = palette_of(names.size());
    examples::write_png(argv[2], {.pixels = mask.data(), .height = picture.height, .width = picture.width, .channels = 1},
                        palette);
    if (argc == 4) examples::write_png(argv[3], tinted(picture, mask.span(), palette).view());
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
