// SPDX-License-Identifier: MIT
// Which pictures are most like the first one: their embeddings, compared by the cosine of their angle.
//
//     embed_and_search examples/pictures/star.png examples/pictures/*.png
#include "fastvit/fastvit.hpp"

#include "image_file.hpp"

#include <iostream>
#include <numeric>
#include <vector>

int main(int argc, char **argv) try {
    if (argc < 3) {
        std::cerr << "usage: embed_and_search PICTURE AMONG...\n";
        return 2;
    }
    // All pictures as one batch. For more than a few dozen, one batch after the other.
    std::vector<examples::picture> pictures;
    std::vector<fastvit::picture_view> views;
    for (int i = 1; i < argc; ++i) pictures.push_back(examples::read_picture(argv[i]));
    for (const examples::picture &picture : pictures) views.push_back(picture.view());

    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    fastvit::thread_pool threads;
    fastvit::workspace space(threads);
    const auto &out = net.forward(views, fastvit::bundled_preprocessing(), space, fastvit::output_kind::embedding);

    // Of rows of length 1 the cosine is the dot product. This is what a search index would store.
    const fastvit::tensor<float> rows = fastvit::l2_normalized(out.embedding);
    const auto query = rows[0].span();
    fastvit::tensor<float> cosines({argc - 2});
    for (fastvit::index_type i = 1; i < argc - 1; ++i)
        cosines(i - 1) = std::inner_product(query.begin(), query.end(), rows[i].data(), 0.0F);

    for (const auto &[index, cosine] : fastvit::top_k(cosines, 5)) std::cout << cosine << ' ' << argv[index + 2] << '\n';
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
