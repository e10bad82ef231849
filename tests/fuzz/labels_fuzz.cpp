// SPDX-License-Identifier: MIT
// The bytes are a file of labels.
#include "fastvit/labels.hpp"

#include "fuzz_target.hpp"

#include <string_view>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    // A label takes 32 bytes or more, and a line one: short files only, so that the bound says something.
    fuzz::bounded(size, 70, [&] {
        fuzz::accepts([&] {
            const auto labels = fastvit::parse_labels(std::string_view(reinterpret_cast<const char *>(data), size));
            fuzz::require(!labels.empty(), "there is a label");
        });
    });
    return 0;
}
