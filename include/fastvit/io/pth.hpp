// SPDX-License-Identifier: MIT
// PyTorch's files: the zip archive that torch.save writes since 1.6, and the sequence of pickles that it wrote before.
// The format is what torch/serialization.py does; no code of the file is ever run.
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/byte_reader.hpp"
#include "fastvit/io/pickle.hpp"
#include "fastvit/io/pickle_value.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/io/torch_dictionaries.hpp"
#include "fastvit/io/torch_state_dict.hpp"
#include "fastvit/io/torch_storage.hpp"
#include "fastvit/io/zip.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

namespace detail {

// The promise is that a file of n bytes takes at most 3 n + 64 MB, itself included, until its tensors are float32. The pickle
// gets these, the zip directory takes less than n, and max_tensors tensors take 15 MB.
inline memory_budget pickle_budget(std::size_t file_size) { return memory_budget(file_size / 2 + (std::size_t{16} << 20)); }

// What the tensors may take as float32, which doubles those of 16 bits.
inline std::uint64_t most_tensor_bytes(std::size_t file_size) { return 2 * std::uint64_t{file_size} + (std::uint64_t{32} << 20); }

// 0x1950a86a20f9469cfc6c, the number that the old files begin with.
inline constexpr std::array<unsigned char, 10> torch_magic{0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

inline bool is_torch_magic(std::span<const std::byte> bytes) noexcept {
    return std::equal(bytes.begin(), bytes.end(), torch_magic.begin(), torch_magic.end(),
                      [](std::byte a, unsigned char b) { return std::to_integer<unsigned char>(a) == b; });
}

/// The elements of the storage in the bytes that the file has for it.
inline std::span<const std::byte> checked_storage(const torch_storage_id &id, std::span<const std::byte> bytes) {
    if (id.count > bytes.size() / id.type.size)
        throw error(error_kind::bad_format,
                    {.problem = "the storage \"" + std::string(id.key) + "\" is larger than its data",
                     .expected = "at most " + std::to_string(bytes.size()) + " bytes",
                     .found = std::to_string(id.count) + " elements of " + std::to_string(id.type.size) + " bytes"});
    return bytes;
}

inline file_contents read_chosen(found_dictionary chosen, const torch_storage_source &find, std::size_t file_size) {
    return {.tensors = read_state_dict(*chosen.items, find, most_tensor_bytes(file_size)),
            .metadata = {},
            .key = std::move(chosen.key)};
}

} // namespace detail

/// Whether the bytes begin like a zip archive; safetensors files do not, their header would be 67 MB long.
inline bool looks_like_zip(std::span<const std::byte> file) noexcept {
    return file.size() >= 4 && (load<std::uint32_t>(file.data()) == 0x04034b50 || load<std::uint32_t>(file.data()) == 0x06054b50);
}

/// Whether the bytes begin like a file of torch.save before 1.6: a pickle of the magic number, whatever the protocol.
inline bool looks_like_legacy_pth(std::span<const std::byte> file) noexcept {
    constexpr std::size_t farthest = 16; // protocol, frame, opcode
    if (file.empty() || std::to_integer<unsigned>(file[0]) != 0x80) return false;
    for (std::size_t at = 1; at <= farthest && at + detail::torch_magic.size() <= file.size(); ++at)
        if (detail::is_torch_magic(file.subspan(at, detail::torch_magic.size()))) return true;
    return false;
}

/// The tensors of the state dict (find_state_dict) in a zip archive: ARCHIVE/data.pkl has the pickle, ARCHIVE/data/KEY the
/// storages. The checksums of the entries that are used are compared. Throws `bad_format`, `unsupported`, `unexpected_tensor`.
inline file_contents parse_zip_pth(std::span<const std::byte> file, const dictionary_choice &choice = {}) {
    const zip_archive archive(file);
    const zip_entry *pickle_entry = nullptr;
    for (const zip_entry &entry : archive.entries()) {
        // ARCHIVE is the name under which the file was saved, one directory deep.
        const std::size_t slash = entry.name.find('/');
        if (slash == std::string_view::npos || entry.name.substr(slash) != "/data.pkl") continue;
        if (pickle_entry != nullptr) throw error(error_kind::bad_format, "the archive has several data.pkl");
        pickle_entry = &entry;
    }
    if (pickle_entry == nullptr)
        throw error(error_kind::bad_format,
                    {.problem = "the archive is not a PyTorch file", .expected = "ARCHIVE/data.pkl", .found = "none"});
    const std::string prefix(pickle_entry->name.substr(0, pickle_entry->name.find('/') + 1));

    if (const zip_entry *order = archive.find(prefix + "byteorder")) {
        const auto text = zip_archive::read(*order);
        const std::string_view found(reinterpret_cast<const char *>(text.data()), text.size());
        if (found != "little")
            throw error(
                error_kind::unsupported,
                {.problem = "the byte order of the file", .expected = "little", .found = std::string(found.substr(0, 20))});
    }

    memory_budget budget = detail::pickle_budget(file.size());
    const pickle contents(zip_archive::read(*pickle_entry), budget);
    if (contents.size() != pickle_entry->bytes.size())
        throw error(error_kind::bad_format, {.problem = "the pickle ends before its entry",
                                             .expected = std::to_string(pickle_entry->bytes.size()) + " bytes",
                                             .found = std::to_string(contents.size())});
    const auto entry_of = [&](const torch_storage_id &id) -> const zip_entry & {
        const zip_entry *entry = archive.find(prefix + "data/" + std::string(id.key));
        if (entry == nullptr) throw error(error_kind::bad_format, "there is no entry ARCHIVE/data/" + std::string(id.key));
        detail::checked_storage(id, entry->bytes);
        return *entry;
    };
    // All storages, including those that only an optimizer uses.
    for (const pickle_reference &reference : contents.references()) entry_of(read_storage_id(reference.id));

    std::vector<bool> compared(archive.entries().size());
    const auto find = [&](const torch_storage_id &id) {
        const zip_entry &entry = entry_of(id);
        const auto position = static_cast<std::size_t>(&entry - archive.entries().data());
        if (!compared[position]) zip_archive::read(entry);
        compared[position] = true;
        return entry.bytes;
    };
    return detail::read_chosen(find_state_dict(contents.root(), choice), find, file.size());
}

/// The tensors of the state dict in a file from before 1.6: five pickles (magic number, protocol, system, object, storages'
/// keys), then each storage's number of elements and elements. Throws `bad_format`, `unsupported`, `unexpected_tensor`.
inline file_contents parse_legacy_pth(std::span<const std::byte> file, const dictionary_choice &choice = {}) {
    memory_budget budget = detail::pickle_budget(file.size());
    std::span<const std::byte> rest = file;
    const auto skip = [&](const pickle &p) { rest = rest.subspan(p.size()); };
    {
        const pickle magic(rest, budget);
        const auto *number = pickle_get<pickle_long>(magic.root());
        if (number == nullptr || !detail::is_torch_magic(number->digits))
            throw error(error_kind::bad_format, "the magic number is wrong");
        skip(magic);
        const pickle protocol(rest, budget);
        const auto *version = pickle_get<std::int64_t>(protocol.root());
        constexpr std::int64_t the_only_one = 1001;
        if (version == nullptr || *version != the_only_one)
            throw error(error_kind::unsupported,
                        {.problem = "the version of the format",
                         .expected = std::to_string(the_only_one),
                         .found = version != nullptr ? std::to_string(*version) : describe(protocol.root())});
        skip(protocol);
        const pickle system(rest, budget);
        const auto *properties = pickle_get<pickle_dictionary>(system.root());
        const pickle_value *little = properties != nullptr ? detail::find_item(*properties, "little_endian") : nullptr;
        const bool *is_little = little != nullptr ? pickle_get<bool>(*little) : nullptr;
        if (is_little == nullptr) throw error(error_kind::bad_format, "the byte order is missing");
        if (!*is_little)
            throw error(error_kind::unsupported, {.problem = "the byte order of the file", .expected = "little", .found = "big"});
        skip(system);
    }
    const pickle object(rest, budget);
    skip(object);
    const pickle keys(rest, budget);
    skip(keys);

    struct storage {
        torch_storage_id id;
        std::span<const std::byte> bytes;
        bool found = false;
    };
    std::map<std::string_view, storage> storages;
    for (const pickle_reference &reference : object.references()) {
        const torch_storage_id id = read_storage_id(reference.id);
        const auto [place, added] = storages.try_emplace(id.key, storage{.id = id, .bytes = {}});
        if (added)
            budget.spend(sizeof(*place) + 8 * sizeof(void *));
        else if (id.count != place->second.id.count || id.type.name != place->second.id.type.name)
            throw error(error_kind::bad_format, "two descriptions of the storage \"" + std::string(id.key) + "\" disagree");
    }

    const auto *list = pickle_get<pickle_sequence>(keys.root());
    if (list == nullptr)
        throw error(error_kind::bad_format,
                    {.problem = "the storages' keys", .expected = "a list", .found = describe(keys.root())});
    byte_reader data(rest, "the file");
    for (const pickle_value &item : list->items) {
        const auto *key = pickle_get<std::string_view>(item);
        const auto place = key != nullptr ? storages.find(*key) : storages.end();
        if (place == storages.end() || place->second.found)
            throw error(error_kind::bad_format, "a storage's key is unknown or there twice");
        storage &s = place->second;
        const auto count = data.number<std::uint64_t>();
        if (count != s.id.count)
            throw error(error_kind::bad_format, {.problem = "the storage \"" + std::string(*key) + "\" has the wrong size",
                                                 .expected = std::to_string(s.id.count) + " elements",
                                                 .found = std::to_string(count)});
        detail::checked_storage(s.id, rest.subspan(data.position()));
        s.bytes = data.bytes(count * s.id.type.size);
        s.found = true;
    }
    if (data.left() != 0)
        throw error(error_kind::bad_format, {.problem = "there are bytes after the last storage",
                                             .expected = "the end",
                                             .found = std::to_string(data.left()) + " bytes"});

    const auto find = [&](const torch_storage_id &id) {
        const storage &s = storages.at(id.key);
        if (!s.found) throw error(error_kind::bad_format, "the storage \"" + std::string(id.key) + "\" is missing");
        return s.bytes;
    };
    return detail::read_chosen(find_state_dict(object.root(), choice), find, file.size());
}

}}} // namespace fastvit::FASTVIT_ABI::io
