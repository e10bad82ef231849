// SPDX-License-Identifier: MIT
// What is in a picture: the three most likely classes of the bundled model, with their probabilities.
//
//     classify examples/pictures/star.png
#include "fastvit/fastvit.hpp"

#include "image_file.hpp"

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: classify PICTURE\n";
        return 2;
    }
    const examples::picture picture = examples::read_picture(argv[1]);

    // For a checkpoint of your own: its path here, a text file of its labels and preprocessing::imagenet() below.
    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    const std::vector<std::string> labels = fastvit::bundled_labels();

    fastvit::workspace space;
    const auto &out = net.forward(picture.view(), fastvit::bundled_preprocessing(), space);
    for (const auto &[index, probability] : fastvit::top_k(fastvit::softmax(out.logits[0]), 3))
        std::cout << labels[static_cast<std::size_t>(index)] << ' ' << probability << '\n';
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n'; // one line that names the file
    return 1;
}
