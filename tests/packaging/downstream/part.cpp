// SPDX-License-Identifier: MIT
// Prints the bundled model's labels, and all bits of the input that it would get of a picture without any order: a part of the
// library, for the header-only form.
#include "fastvit/bundled.hpp"
#include "fastvit/preprocess.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

int main() try {
    constexpr int side = 40;
    std::vector<std::uint8_t> pixels(side * side * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i * 37 % 251);
    const fastvit::picture_view picture{.pixels = pixels.data(), .height = side, .width = side, .channels = 3};
    for (const std::string &label : fastvit::bundled_labels()) std::cout << label << ' ';
    const fastvit::tensor<float> input = fastvit::preprocess(picture, fastvit::bundled_preprocessing());
    std::cout << std::hex;
    for (const float x : input.span()) std::cout << std::bit_cast<std::uint32_t>(x) << ' ';
    std::cout << '\n';
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
