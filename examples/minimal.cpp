// SPDX-License-Identifier: MIT
// The smallest application: draws a bright circle in memory and prints what the bundled model takes it for.
#include "fastvit/fastvit.hpp"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <vector>

int main() {
    constexpr int side = 96;
    std::vector<std::uint8_t> rgb(3 * side * side, 40);
    for (int i = 0; i < side * side; ++i)
        if (const int x = i % side - 48, y = i / side - 48; x * x + y * y < 30 * 30) std::fill_n(&rgb[3 * i], 3, 220);

    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    const fastvit::tensor<float> input =
        fastvit::preprocess({.pixels = rgb.data(), .height = side, .width = side}, fastvit::bundled_preprocessing());
    fastvit::workspace space;
    const auto logits = net.forward(input, space).logits.span();
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    std::cout << fastvit::bundled_labels()[best] << '\n';
}
