// SPDX-License-Identifier: MIT
// The bytes are a zip archive.
#include "fastvit/io/zip.hpp"

#include "fuzz_target.hpp"

#include <span>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit::io;
    const auto file = std::as_bytes(std::span(data, size));
    fuzz::bounded(size, 2, [&] {
        fuzz::accepts([&] {
            const zip_archive archive(file);
            std::size_t covered = 0;
            for (const zip_entry &entry : archive.entries()) {
                fuzz::require(fuzz::inside(entry.bytes, file), "an entry is inside the file");
                fuzz::require(archive.find(entry.name) == &entry, "an entry is found by its name");
                covered += entry.bytes.size();
                fuzz::accepts([&] { zip_archive::read(entry); });
            }
            fuzz::require(covered <= size, "entries do not share bytes");
        });
    });
    return 0;
}
