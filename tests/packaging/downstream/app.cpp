// SPDX-License-Identifier: MIT
// Names the shape in a picture that it draws, and prints all bits of the answer: every way to have the library gives the same.
#include "fastvit/fastvit.hpp"

#include <bit>
#include <cstdint>
#include <exception>
#include <iostream>
#include <vector>

int main() try {
    // A white disc on black.
    constexpr int side = 96;
    std::vector<std::uint8_t> pixels(side * side * 3);
    for (int y = 0; y < side; ++y)
        for (int x = 0; x < side; ++x)
            for (int c = 0; c < 3; ++c)
                pixels[static_cast<std::size_t>((y * side + x) * 3 + c)] =
                    (y - 48) * (y - 48) + (x - 48) * (x - 48) < 900 ? 255 : 0;
    const fastvit::picture_view picture{.pixels = pixels.data(), .height = side, .width = side, .channels = 3};

    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    fastvit::workspace space;
    const fastvit::outputs &out = net.forward(picture, fastvit::bundled_preprocessing(), space);
    std::cout << "fastvit " << FASTVIT_VERSION_MAJOR << '.' << FASTVIT_VERSION_MINOR << '.' << FASTVIT_VERSION_PATCH << ": "
              << fastvit::bundled_labels()[static_cast<std::size_t>(fastvit::top_k(out.logits[0], 1)[0].index)] << std::hex;
    for (const float logit : out.logits.span()) std::cout << ' ' << std::bit_cast<std::uint32_t>(logit);
    std::cout << '\n';
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
