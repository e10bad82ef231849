// SPDX-License-Identifier: MIT
// Zip archives and pickles written by hand, right or wrong as a test needs them.
#pragma once

#include "fastvit/base/crc32.hpp"

#include "support/io_test_files.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace io_test {

using named_data = std::vector<std::pair<std::string, std::string>>;

struct zip_options {
    bool descriptors = false; ///< checksum and sizes after the data, as PyTorch writes them
    bool zip64_end = false;   ///< a zip64 end record beside the short one
    bool zip64_sizes = false; ///< sizes and offsets in zip64 fields, and the wide descriptor
    std::string comment = {};
    std::string hidden = {};       ///< bytes of no entry
    std::size_t hidden_before = 0; ///< the number of the entry that they come before; that of all, for the directory
};

/// An archive and where its parts are, so that a test can change a field.
struct built_zip {
    std::string file = {};
    std::vector<std::size_t> local = {};
    std::vector<std::size_t> data = {};
    std::vector<std::size_t> central = {};
    std::size_t end64 = 0;
    std::size_t locator = 0;
    std::size_t end = 0;

    template <class T> built_zip &set(std::size_t at, T value) {
        std::memcpy(file.data() + at, &value, sizeof value);
        return *this;
    }
};

inline built_zip build_zip(const named_data &entries, const zip_options &options = {}) {
    using u16 = std::uint16_t;
    using u32 = std::uint32_t;
    using u64 = std::uint64_t;
    constexpr u32 full = 0xffffffff;
    const auto flags = static_cast<u16>(0x0800 | (options.descriptors ? 8 : 0));
    built_zip zip;
    const auto narrow = [&](std::size_t value) { return options.zip64_sizes ? full : static_cast<u32>(value); };
    for (const auto &[name, data] : entries) {
        if (zip.local.size() == options.hidden_before) zip.file += options.hidden;
        zip.local.push_back(zip.file.size());
        const u32 crc = fastvit::io::crc32(bytes_of(data));
        std::string extra;
        if (options.zip64_sizes && !options.descriptors)
            extra = number<u16>(1) + number<u16>(16) + number<u64>(data.size()) + number<u64>(data.size());
        zip.file += number<u32>(0x04034b50) + number<u16>(45) + number(flags) + number<u16>(0) + number<u32>(0);
        if (options.descriptors)
            zip.file += std::string(12, '\0');
        else
            zip.file += number(crc) + number(narrow(data.size())) + number(narrow(data.size()));
        zip.file += number(static_cast<u16>(name.size())) + number(static_cast<u16>(extra.size())) + name + extra;
        zip.data.push_back(zip.file.size());
        zip.file += data;
        if (!options.descriptors) continue;
        zip.file += number<u32>(0x08074b50) + number(crc);
        for (int i = 0; i < 2; ++i)
            zip.file += options.zip64_sizes ? number<u64>(data.size()) : number(static_cast<u32>(data.size()));
    }
    if (entries.size() == options.hidden_before) zip.file += options.hidden;
    const std::size_t directory = zip.file.size();
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto &[name, data] = entries[i];
        zip.central.push_back(zip.file.size());
        std::string extra;
        if (options.zip64_sizes)
            extra = number<u16>(1) + number<u16>(24) + number<u64>(data.size()) + number<u64>(data.size()) +
                    number<u64>(zip.local[i]);
        zip.file += number<u32>(0x02014b50) + number<u16>(45) + number<u16>(45) + number(flags) + number<u16>(0) +
                    number<u32>(0) + number(fastvit::io::crc32(bytes_of(data))) + number(narrow(data.size())) +
                    number(narrow(data.size())) + number(static_cast<u16>(name.size())) + number(static_cast<u16>(extra.size())) +
                    std::string(10, '\0') + number(narrow(zip.local[i])) + name + extra;
    }
    const std::size_t size = zip.file.size() - directory;
    if (options.zip64_end) {
        zip.end64 = zip.file.size();
        zip.file += number<u32>(0x06064b50) + number<u64>(44) + number<u16>(45) + number<u16>(45) + number<u64>(0) +
                    number<u64>(entries.size()) + number<u64>(entries.size()) + number<u64>(size) + number<u64>(directory);
        zip.locator = zip.file.size();
        zip.file += number<u32>(0x07064b50) + number<u32>(0) + number<u64>(zip.end64) + number<u32>(1);
    }
    zip.end = zip.file.size();
    zip.file += number<u32>(0x06054b50) + number<u32>(0) + number(static_cast<u16>(entries.size())) +
                number(static_cast<u16>(entries.size())) + number(static_cast<u32>(size)) + number(static_cast<u32>(directory)) +
                number(static_cast<u16>(options.comment.size())) + options.comment;
    return zip;
}

/// Pieces of pickles: each pushes one value.
namespace pk {

inline const std::string proto2 = "\x80\x02";

inline std::string text(std::string_view s) {
    return std::string(1, 'X') + number(static_cast<std::uint32_t>(s.size())) + std::string(s);
}
inline std::string integer(std::int64_t value) { return "\x8a\x08" + number(value); }
inline std::string global(std::string_view module, std::string_view name) {
    return std::string(1, 'c') + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string join(std::initializer_list<std::string> parts) {
    std::string result;
    for (const std::string &p : parts) result += p;
    return result;
}
inline std::string tuple(std::initializer_list<std::string> items) { return "(" + join(items) + "t"; }
inline std::string list(std::initializer_list<std::string> items) { return "](" + join(items) + "e"; }
inline std::string dict(std::initializer_list<std::string> keys_and_values) { return "}(" + join(keys_and_values) + "u"; }
inline std::string ordered_dict(std::initializer_list<std::string> keys_and_values) {
    return global("collections", "OrderedDict") + ")R(" + join(keys_and_values) + "u";
}
inline std::string call(const std::string &function, std::initializer_list<std::string> arguments) {
    return function + tuple(arguments) + "R";
}
inline std::string integers(std::initializer_list<std::int64_t> values) {
    std::string result = "(";
    for (const auto v : values) result += integer(v);
    return result + "t";
}

/// A persistent id of a storage.
inline std::string storage(std::string_view type, std::string_view key, std::int64_t count) {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) + "Q";
}
/// The same as before PyTorch 1.6, with a view or None.
inline std::string legacy_storage(std::string_view type, std::string_view key, std::int64_t count,
                                  const std::string &view = "N") {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count), view}) + "Q";
}
inline std::string tensor(const std::string &storage, std::int64_t offset, std::initializer_list<std::int64_t> dims,
                          std::initializer_list<std::int64_t> strides) {
    return call(global("torch._utils", "_rebuild_tensor_v2"),
                {storage, integer(offset), integers(dims), integers(strides), "\x89", ordered_dict({})});
}

} // namespace pk

/// A file of torch.save: `object` is the pickle without its protocol and stop.
inline std::string torch_zip(const std::string &object, const named_data &storages,
                             const zip_options &options = {.descriptors = true, .zip64_end = true}) {
    named_data entries{{"archive/data.pkl", pk::proto2 + object + "."}, {"archive/byteorder", "little"}};
    for (const auto &[key, data] : storages) entries.emplace_back("archive/data/" + key, data);
    entries.emplace_back("archive/version", "3\n");
    return build_zip(entries, options).file;
}

inline const std::string legacy_magic = pk::proto2 + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
inline const std::string legacy_protocol = pk::proto2 + "M" + number<std::uint16_t>(1001) + ".";
inline std::string legacy_system(const std::string &little_endian = "\x88") {
    return pk::proto2 + pk::dict({pk::text("protocol_version"), pk::integer(1001), pk::text("little_endian"), little_endian}) +
           ".";
}

/// The list of keys and the data of each: a count of elements, then the elements.
inline std::string legacy_storages(const std::vector<std::pair<std::string, std::string>> &keys_and_data,
                                   std::size_t element_size = 4) {
    std::string keys = pk::proto2 + "](";
    std::string data;
    for (const auto &[key, bytes] : keys_and_data) {
        keys += pk::text(key);
        data += number<std::uint64_t>(bytes.size() / element_size) + bytes;
    }
    return keys + "e." + data;
}

/// A file of torch.save before 1.6, of storages with elements of 4 bytes.
inline std::string torch_legacy(const std::string &object, const named_data &storages) {
    return legacy_magic + legacy_protocol + legacy_system() + pk::proto2 + object + "." + legacy_storages(storages);
}

} // namespace io_test
