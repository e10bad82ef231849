// SPDX-License-Identifier: MIT
// Which pictures are most like the first one: their embeddings, compared by the cosine of their angle.
//
//     embed_and_search examples/pictures/star.png examples/pictures/*.png
#include "fastvit/fastvit.hpp"

#include "image_file.hpp"

#include <iostream>
#include <numeric>

int main(int argc, char **argv) try {
    if (argc < 3) {
        std::cerr << "usage: embed_and_search PICTURE AMONG...\n";
        return 2;
    }
    const fastvit::index_type count = argc - 1;
    const fastvit::preprocessing how = fastvit::bundled_preprocessing();

    // All pictures as one batch. For more than a few dozen, one batch after the other.
    fastvit::tensor<float> images({count, 3, how.height, how.width});
    fastvit::preprocess_workspace memory;
    for (fastvit::index_type i = 0; i < count; ++i)
        fastvit::preprocess_into(examples::read_picture(argv[i + 1]).view(), how, images[i], memory);

    const fastvit::model net = fastvit::model::open(fastvit::bundled_model_path());
    fastvit::thread_pool threads;
    fastvit::workspace space(threads);
    const auto &out = net.forward(images, space, fastvit::output_kind::embedding);

    // Of rows of length 1 the cosine is the dot product. This is what a search index would store.
    const fastvit::tensor<float> rows = fastvit::l2_normalized(out.embedding);
    const auto query = rows[0].span();
    fastvit::tensor<float> cosines({count - 1});
    for (fastvit::index_type i = 1; i < count; ++i)
        cosines(i - 1) = std::inner_product(query.begin(), query.end(), rows[i].data(), 0.0F);

    for (const auto &[index, cosine] : fastvit::top_k(cosines, 5)) std::cout << cosine << ' ' << argv[index + 2] << '\n';
} catch (const fastvit::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
