// SPDX-License-Identifier: MIT
// The feature maps of a picture, as detection and segmentation heads take them: their shapes, and where they are strong.
//
//     pyramid examples/pictures/star.png
#include "fastvit/fastvit.hpp"

#include "image_file.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <string_view>

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: pyramid PICTURE\n";
        return 2;
    }
    const examples::picture picture = examples::read_picture(argv[1]);
    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    fastvit::workspace space;
    // Any size will do: here twice that of the bundled model's training.
    const auto how = fastvit::preprocessing::imagenet(192, 1.0);
    const auto &out = net.forward(picture.view(), how, space, fastvit::output_kind::stages);

    for (const auto &stage : out.stages) { // of shape [1, channels, height, width]
        const auto maps = stage[0];
        const auto channels = maps.dim(0), height = maps.dim(1), width = maps.dim(2);
        std::cout << channels << " channels, " << height << " x " << width << '\n';

        // How strong each pixel is: the length of its vector of channels.
        fastvit::tensor<float> strength({height, width});
        for (fastvit::index_type y = 0; y < height; ++y)
            for (fastvit::index_type x = 0; x < width; ++x) {
                float squares = 0;
                for (fastvit::index_type c = 0; c < channels; ++c) squares += maps(c, y, x) * maps(c, y, x);
                strength(y, x) = std::sqrt(squares);
            }
        const auto all = strength.span();
        const auto [least, most] = std::minmax_element(all.begin(), all.end());
        constexpr std::string_view shades = " .:-=+*#%@";
        for (fastvit::index_type y = 0; y < height; ++y) {
            for (const float s : strength[y].span())
                std::cout << shades[static_cast<std::size_t>(9 * (s - *least) / (*most - *least + 1e-9F))];
            std::cout << '\n';
        }
    }
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
