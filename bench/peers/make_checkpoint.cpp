// SPDX-License-Identifier: MIT
// make_checkpoint VARIANT SIZE CHECKPOINT IMAGE: a folded checkpoint with seeded parameters, through the library's own folding,
// and an image for it, 1 x 3 x SIZE x SIZE float32 without any header.
#include "fastvit/fastvit.hpp"

#include "support/seeded.hpp"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <string>

namespace {

void make(const std::string &variant, fastvit::index_type size, const char *checkpoint, const char *image) {
    const fastvit::architecture net = fastvit::published_architecture("fastvit_" + variant);
    fastvit::checkpoint seeded = fastvit_test::seeded_checkpoint(net, fastvit::io::spelling::timm);
    seeded.set_metadata("variant", net.variant); // tells export_onnx.py of the MCi family
    fastvit::save_folded(seeded, checkpoint);
    const fastvit::tensor<float> pixels = fastvit_test::seeded_input({1, net.in_channels, size, size});
    std::ofstream file(image, std::ios::binary);
    file.write(reinterpret_cast<const char *>(pixels.data()), pixels.count() * static_cast<std::streamsize>(sizeof(float)));
    if (!file.flush()) throw fastvit::error(fastvit::error_kind::io, std::string("cannot write ") + image);
}

} // namespace

int main(int argc, char **argv) {
    fastvit::index_type size = 0;
    if (argc != 5 || std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), size).ptr[0] != 0 || size < 1) {
        std::fprintf(stderr, "usage: make_checkpoint VARIANT SIZE CHECKPOINT IMAGE\n");
        return 2;
    }
    try {
        make(argv[1], size, argv[3], argv[4]);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "make_checkpoint: %s\n", e.what());
        return 1;
    }
}
