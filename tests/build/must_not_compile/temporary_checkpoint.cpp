// SPDX-License-Identifier: MIT
// What a checkpoint holds ends with it, and a checkpoint in memory does not keep the bytes that it was read from.
#include "fastvit/checkpoint.hpp"

#include <cstddef>
#include <vector>

using fastvit::checkpoint;

std::vector<std::byte> read();
void use(const fastvit::io::stored_tensor &tensor);

void tensors() {
#if defined(WRONG) // deleted
    for (const auto &tensor : checkpoint::open("file").tensors()) use(tensor);
#else
    const checkpoint file = checkpoint::open("file");
    for (const auto &tensor : file.tensors()) use(tensor);
#endif
}

void find() {
#if defined(WRONG) // deleted
    const auto *const tensor = checkpoint::open("file").find("head.fc.weight");
#else
    const checkpoint file = checkpoint::open("file");
    const auto *const tensor = file.find("head.fc.weight");
#endif
    use(*tensor);
}

void metadata() {
#if defined(WRONG) // deleted
    const auto &metadata = checkpoint::open("file").metadata();
#else
    const checkpoint file = checkpoint::open("file");
    const auto &metadata = file.metadata();
#endif
    (void)metadata;
}

void bytes() {
#if defined(WRONG) // deleted
    const checkpoint file = checkpoint::from_bytes(read(), "bytes");
#else
    const std::vector<std::byte> bytes = read();
    const checkpoint file = checkpoint::from_bytes(bytes, "bytes");
#endif
    use(*file.find("head.fc.weight"));
}
