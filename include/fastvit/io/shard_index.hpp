// SPDX-License-Identifier: MIT
// Checkpoints in several files, as Hugging Face's libraries write them: model.safetensors.index.json says which file has which
// tensor.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/json_reader.hpp"
#include "fastvit/io/safetensors.hpp"
#include "fastvit/io/stored_tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Files that one index may name; the largest published models have some hundred.
inline constexpr std::size_t max_shards = 1024;
/// Bytes of a file's name in an index, as systems have it.
inline constexpr std::size_t longest_shard_name = 255;
/// Bytes of an index. The names of max_tensors tensors and their files fit.
inline constexpr std::size_t largest_index = std::size_t{64} << 20;

/// Which tensor is in which file.
struct shard_index {
    std::vector<std::string> files;           ///< in the index's folder, sorted
    std::map<std::string, std::size_t> place; ///< of each tensor, in `files`
};

/// Which part of how many a file is, by its name, and the name that their index has.
struct part_number {
    std::size_t number, of;
    std::string index;
};

/// `model-00001-of-00002.safetensors` is part 1 of 2; nullopt for a name of another form, and for the only part.
inline std::optional<part_number> part_in_name(std::string_view path) {
    const std::string_view file = path.substr(path.find_last_of("/\\") + 1);
    constexpr std::size_t digits = 5;
    constexpr std::string_view between = "-of-";
    const std::size_t at = file.find(between);
    if (at == file.npos || at < digits + 1 || file[at - digits - 1] != '-') return std::nullopt;
    const auto number = [](std::string_view text) -> std::optional<std::size_t> {
        if (text.size() != digits || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
        std::size_t value = 0;
        for (const char c : text) value = 10 * value + static_cast<std::size_t>(c - '0');
        return value;
    };
    const auto n = number(file.substr(at - digits, digits));
    const auto of = number(file.substr(at + between.size(), digits));
    const std::string_view ending = file.substr(std::min(file.size(), at + between.size() + digits));
    if (!n || !of || *of < 2 || *n < 1 || *n > *of || !ending.starts_with('.')) return std::nullopt;
    return part_number{*n, *of, std::string(file.substr(0, at - digits - 1)) + std::string(ending) + ".index.json"};
}

namespace detail {

/// Throws `bad_format` for a file's name that is a path out of the index's folder. Below it folders are allowed.
inline void check_shard_name(const std::string &name) {
    using namespace std::string_view_literals;
    const auto wrong = [&] {
        return error(error_kind::bad_format, {.problem = "the index names a file outside its folder",
                                              .expected = "a name without \"..\", in the folder of the index",
                                              .found = name});
    };
    if (name.find_first_of("\\:\0"sv) != name.npos) throw wrong();
    for (std::string_view rest = name;;) {
        const std::size_t slash = rest.find('/');
        const std::string_view component = rest.substr(0, slash);
        if (component.empty() || component == "." || component == "..") throw wrong();
        if (slash == rest.npos) return;
        rest.remove_prefix(slash + 1);
    }
}

} // namespace detail

/// Whether the bytes are an index rather than anything else: a JSON object that speaks of a `weight_map`.
inline bool looks_like_shard_index(std::span<const std::byte> bytes) noexcept {
    if (looks_like_safetensors(bytes)) return false;
    std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    return first != text.npos && text[first] == '{' && text.find("\"weight_map\"") != text.npos;
}

/// The index, checked. Throws `bad_format` for what is not JSON or has no `weight_map`, and for a file's name that leads out of
/// the folder, and `unexpected_tensor` for a tensor that is there twice.
inline shard_index parse_shard_index(std::span<const std::byte> bytes) {
    if (bytes.size() > largest_index)
        throw error(error_kind::bad_format, {.problem = "the index is too long",
                                             .expected = "at most " + std::to_string(largest_index) + " bytes",
                                             .found = std::to_string(bytes.size())});
    std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    json_reader json(text, " in the index");
    std::map<std::string, std::size_t> numbers; // of the files, in the order in which they appear
    shard_index index;
    bool found = false;
    json.object([&](const std::string &member) {
        if (member != "weight_map") return json.skip();
        if (std::exchange(found, true)) throw error(error_kind::bad_format, "weight_map is there twice");
        json.object([&](const std::string &tensor) {
            check_name_length(tensor);
            std::string file = json.string(longest_shard_name);
            const auto known = numbers.find(file);
            if (known == numbers.end()) {
                detail::check_shard_name(file);
                if (numbers.size() == max_shards)
                    throw error(error_kind::bad_format, "the index names more than " + std::to_string(max_shards) + " files");
            }
            if (index.place.size() == max_tensors)
                throw error(error_kind::bad_format, "the index has more than " + std::to_string(max_tensors) + " tensors");
            const std::size_t number =
                known != numbers.end() ? known->second : numbers.try_emplace(std::move(file), numbers.size()).first->second;
            if (!index.place.try_emplace(tensor, number).second)
                throw error(error_kind::unexpected_tensor, {.problem = "the tensor is in the index twice", .tensor = tensor});
        });
    });
    json.end();
    if (!found) throw error(error_kind::bad_format, "the index has no weight_map");
    // Sorted, so that a checkpoint's tensors come in the order of its parts.
    std::vector<std::size_t> sorted(numbers.size());
    for (const auto &[file, number] : numbers) {
        sorted[number] = index.files.size();
        index.files.push_back(file);
    }
    for (auto &[tensor, number] : index.place) number = sorted[number];
    return index;
}

}}} // namespace fastvit::FASTVIT_ABI::io
