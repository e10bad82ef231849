// SPDX-License-Identifier: MIT
// Finding a zip archive's directory from the end of the file, with zip64. (APPNOTE.TXT 6.3.9, PKWARE, 4.3.14 to 4.3.16.)
#pragma once

#include "fastvit/base/bytes.hpp"
#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/byte_reader.hpp"
#include "fastvit/io/stored_tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Where an archive's central directory is, and how many entries it claims to have.
struct zip_directory {
    std::uint64_t entries;
    std::uint64_t size;
    std::uint64_t offset;
};

namespace detail {

// A 16- or 32-bit field with all bits set stands for one in a zip64 record.
inline constexpr std::uint16_t see_zip64_16 = 0xffff;
inline constexpr std::uint32_t see_zip64_32 = 0xffffffff;

inline constexpr std::uint32_t end_signature = 0x06054b50;
inline constexpr std::uint32_t end64_signature = 0x06064b50;
inline constexpr std::uint32_t locator_signature = 0x07064b50;
inline constexpr std::size_t end_size = 22;
inline constexpr std::size_t locator_size = 20;

inline error zip_error(std::string problem, error_kind code = error_kind::bad_format) {
    return {code, "zip: " + std::move(problem)};
}

// The end record is at the end, before a comment that is nearly always empty. Data or a comment may look like one, so every place
// is tried, and only one may hold a record that ends where the file ends.
inline std::size_t find_zip_end_record(std::span<const std::byte> file) {
    constexpr std::size_t longest_comment = 0xffff;
    std::optional<std::size_t> found;
    for (std::size_t tail = end_size; tail <= std::min(file.size(), end_size + longest_comment); ++tail) {
        const std::byte *const at = file.data() + (file.size() - tail);
        if (load<std::uint32_t>(at) != end_signature || load<std::uint16_t>(at + 20) != tail - end_size) continue;
        if (found) throw zip_error("the archive has several end records");
        found = file.size() - tail;
    }
    if (!found) throw zip_error("the archive has no end record, or is cut short");
    return *found;
}

inline std::uint64_t zip64_end_offset(std::span<const std::byte> file, std::size_t locator_at) {
    byte_reader locator(file.subspan(locator_at + 4), "the zip64 locator");
    const auto disk = locator.number<std::uint32_t>();
    const auto offset = locator.number<std::uint64_t>();
    const auto disks = locator.number<std::uint32_t>();
    if (disk != 0 || disks > 1) throw zip_error("the archive is in several parts", error_kind::unsupported);
    if (offset > locator_at) throw zip_error("the zip64 end record is past the end");
    return offset;
}

inline zip_directory read_zip64_end(std::span<const std::byte> file, std::uint64_t at, std::size_t locator_at) {
    const auto begin = static_cast<std::size_t>(at);
    byte_reader record(file.subspan(begin, locator_at - begin), "the zip64 end record");
    if (record.number<std::uint32_t>() != end64_signature) throw zip_error("the zip64 end record is missing");
    const auto size = record.number<std::uint64_t>();
    if (size != record.left()) throw zip_error("the zip64 end record does not end where its locator begins");
    record.bytes(2 + 2); // the versions that wrote it and that it needs
    const auto disk = record.number<std::uint32_t>();
    const auto first_disk = record.number<std::uint32_t>();
    const auto entries_here = record.number<std::uint64_t>();
    const auto entries = record.number<std::uint64_t>();
    if (disk != 0 || first_disk != 0 || entries_here != entries)
        throw zip_error("the archive is in several parts", error_kind::unsupported);
    const auto directory_size = record.number<std::uint64_t>();
    return {.entries = entries, .size = directory_size, .offset = record.number<std::uint64_t>()};
}

} // namespace detail

/// Where the end record says that the directory is. It lies in `file` and ends where the end records begin; what it holds is
/// not looked at. Throws `bad_format`, and `unsupported` for an archive in several parts.
inline zip_directory find_zip_directory(std::span<const std::byte> file) {
    using namespace detail;
    const std::size_t end = find_zip_end_record(file);
    byte_reader record(file.subspan(end + 4), "the zip end record");
    const auto disk = record.number<std::uint16_t>();
    const auto first_disk = record.number<std::uint16_t>();
    const auto entries_here = record.number<std::uint16_t>();
    const auto entries = record.number<std::uint16_t>();
    const auto size = record.number<std::uint32_t>();
    const auto offset = record.number<std::uint32_t>();
    if (disk != 0 || first_disk != 0 || entries_here != entries)
        throw zip_error("the archive is in several parts", error_kind::unsupported);

    zip_directory result{.entries = entries, .size = size, .offset = offset};
    std::uint64_t directory_end = end;
    if (end >= locator_size && load<std::uint32_t>(file.data() + (end - locator_size)) == locator_signature) {
        const std::uint64_t at = zip64_end_offset(file, end - locator_size);
        result = read_zip64_end(file, at, end - locator_size);
        directory_end = at;
        // Both records say the same, unless the short one has no room for it.
        if ((entries != see_zip64_16 && entries != result.entries) || (size != see_zip64_32 && size != result.size) ||
            (offset != see_zip64_32 && offset != result.offset))
            throw zip_error("the end record and the zip64 end record disagree");
    } else if (entries == see_zip64_16 || size == see_zip64_32 || offset == see_zip64_32) {
        throw zip_error("the zip64 end record is missing");
    }
    if (result.offset > directory_end || result.size != directory_end - result.offset)
        throw zip_error("the directory does not end where the end record begins");
    return result;
}

}}} // namespace fastvit::FASTVIT_ABI::io
