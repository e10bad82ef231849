// SPDX-License-Identifier: MIT
// The bytes are the index of a checkpoint in several files; and a file's name, which may say that it is a part of one.
#include "fastvit/io/shard_index.hpp"

#include "fuzz_target.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit::io;
    const auto file = std::as_bytes(std::span(data, size));
    fuzz::bounded(size, 2, [&] {
        (void)looks_like_shard_index(file);
        fuzz::accepts([&] {
            const shard_index index = parse_shard_index(file);
            for (const std::string &name : index.files) {
                const std::filesystem::path path(name);
                fuzz::require(!name.empty() && path.is_relative() && !path.has_root_path(), "a file is in the folder");
                fuzz::require(std::none_of(path.begin(), path.end(), [](const auto &part) { return part == ".."; }),
                              "a file does not leave the folder");
            }
            for (const auto &[tensor, number] : index.place) fuzz::require(number < index.files.size(), "a tensor is in a file");
            fuzz::require(std::is_sorted(index.files.begin(), index.files.end()), "the files are sorted");
        });
    });
    const std::string_view name(reinterpret_cast<const char *>(data), size);
    if (const std::optional<part_number> part = part_in_name(name))
        fuzz::require(part->number >= 1 && part->number <= part->of && part->index.ends_with(".index.json"), "a part of several");
    return 0;
}
