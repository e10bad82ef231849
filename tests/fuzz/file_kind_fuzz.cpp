// SPDX-License-Identifier: MIT
// The bytes are a file that may be anything: what it is said to be.
#include "fastvit/io/file_kind.hpp"

#include "fuzz_target.hpp"

#include <span>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const auto file = std::as_bytes(std::span(data, size));
    fuzz::bounded(size, 2, [&] {
        const char *const kind = fastvit::io::foreign_kind(file);
        fuzz::require(kind == nullptr || *kind != '\0', "a kind has a name");
    });
    return 0;
}
