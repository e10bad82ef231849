// SPDX-License-Identifier: MIT
// The bytes are a safetensors file.
#include "fastvit/io/safetensors.hpp"

#include "fuzz_target.hpp"

#include <span>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit::io;
    const auto file = std::as_bytes(std::span(data, size));
    fuzz::bounded(size, 2, [&] {
        fuzz::accepts([&] {
            const file_contents contents = parse_safetensors(file);
            std::size_t covered = sizeof(std::uint64_t) + static_cast<std::size_t>(load<std::uint64_t>(file.data()));
            for (const stored_tensor &t : contents.tensors) {
                fuzz::require(fuzz::inside(t.bytes, file), "a tensor is inside the file");
                covered += t.bytes.size();
                if (is_floating(t.type)) fuzz::require(read_float(t).count() == t.dims.count(), "a tensor is read");
            }
            fuzz::require(covered == size, "header and tensors are the file");
        });
    });
    return 0;
}
