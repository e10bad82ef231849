// SPDX-License-Identifier: MIT
// The definitions of pth_test_files.hpp.
#include "support/pth_test_files.hpp"

#include "fastvit/base/crc32.hpp"

namespace io_test {

built_zip build_zip(const named_data &entries, const zip_options &options) {
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

namespace pk {

std::string text(std::string_view s) {
    return std::string(1, 'X') + number(static_cast<std::uint32_t>(s.size())) + std::string(s);
}
std::string integer(std::int64_t value) { return "\x8a\x08" + number(value); }
std::string global(std::string_view module, std::string_view name) {
    return std::string(1, 'c') + std::string(module) + "\n" + std::string(name) + "\n";
}
std::string join(std::initializer_list<std::string> parts) {
    std::string result;
    for (const std::string &p : parts) result += p;
    return result;
}
std::string tuple(std::initializer_list<std::string> items) { return "(" + join(items) + "t"; }
std::string list(std::initializer_list<std::string> items) { return "](" + join(items) + "e"; }
std::string dict(std::initializer_list<std::string> keys_and_values) { return "}(" + join(keys_and_values) + "u"; }
std::string ordered_dict(std::initializer_list<std::string> keys_and_values) {
    return global("collections", "OrderedDict") + ")R(" + join(keys_and_values) + "u";
}
std::string call(const std::string &function, std::initializer_list<std::string> arguments) {
    return function + tuple(arguments) + "R";
}
std::string integers(std::initializer_list<std::int64_t> values) {
    std::string result = "(";
    for (const auto v : values) result += integer(v);
    return result + "t";
}

std::string storage(std::string_view type, std::string_view key, std::int64_t count) {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) + "Q";
}
std::string legacy_storage(std::string_view type, std::string_view key, std::int64_t count, const std::string &view) {
    return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count), view}) + "Q";
}
std::string tensor(const std::string &storage, std::int64_t offset, std::initializer_list<std::int64_t> dims,
                   std::initializer_list<std::int64_t> strides) {
    return call(global("torch._utils", "_rebuild_tensor_v2"),
                {storage, integer(offset), integers(dims), integers(strides), "\x89", ordered_dict({})});
}

} // namespace pk

std::string torch_zip(const std::string &object, const named_data &storages, const zip_options &options) {
    named_data entries{{"archive/data.pkl", pk::proto2 + object + "."}, {"archive/byteorder", "little"}};
    for (const auto &[key, data] : storages) entries.emplace_back("archive/data/" + key, data);
    entries.emplace_back("archive/version", "3\n");
    return build_zip(entries, options).file;
}

std::string legacy_system(const std::string &little_endian) {
    return pk::proto2 + pk::dict({pk::text("protocol_version"), pk::integer(1001), pk::text("little_endian"), little_endian}) +
           ".";
}

std::string legacy_storages(const std::vector<std::pair<std::string, std::string>> &keys_and_data, std::size_t element_size) {
    std::string keys = pk::proto2 + "](";
    std::string data;
    for (const auto &[key, bytes] : keys_and_data) {
        keys += pk::text(key);
        data += number<std::uint64_t>(bytes.size() / element_size) + bytes;
    }
    return keys + "e." + data;
}

std::string torch_legacy(const std::string &object, const named_data &storages) {
    return legacy_magic + legacy_protocol + legacy_system() + pk::proto2 + object + "." + legacy_storages(storages);
}

} // namespace io_test
