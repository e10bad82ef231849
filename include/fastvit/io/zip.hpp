// SPDX-License-Identifier: MIT
// Reading zip archives whose entries are stored, not compressed, as PyTorch writes them, with zip64.
// Strictly: where two readers could see two archives in the same bytes, this one refuses. (APPNOTE.TXT 6.3.9, PKWARE.)
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/crc32.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/byte_reader.hpp"
#include "fastvit/io/zip_directory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// A file in an archive. Both views are into the archive's bytes.
struct zip_entry {
    std::string_view name;
    std::span<const std::byte> bytes;
    std::uint32_t crc = 0; ///< what the archive claims; zip_archive::read() compares
};

/// The directory of an archive, checked as a whole.
class zip_archive {
  public:
    /// `file` must outlive the archive. Throws `bad_format`, and `unsupported` for compression, encryption and several disks.
    /// Allocates less than the file's size.
    explicit zip_archive(std::span<const std::byte> file) : file_(file) {
        read_directory();
        sort_names();
    }

    /// In the directory's order.
    const std::vector<zip_entry> &entries() const noexcept { return entries_; }

    /// The entry of that name; nullptr if there is none.
    const zip_entry *find(std::string_view name) const noexcept {
        const auto place = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                            [&](std::uint32_t i, std::string_view wanted) { return entries_[i].name < wanted; });
        return place != by_name_.end() && entries_[*place].name == name ? &entries_[*place] : nullptr;
    }

    /// The entry's bytes, after comparing their checksum. Throws `bad_format`.
    static std::span<const std::byte> read(const zip_entry &entry) {
        if (crc32(entry.bytes) != entry.crc) throw wrong(entry.name, "the checksum (CRC-32) is wrong: the file is damaged");
        return entry.bytes;
    }

  private:
    // The sizes and the place of an entry, 64 bits wide wherever they were written.
    struct extent {
        std::uint64_t stored;
        std::uint64_t original;
        std::uint64_t offset;
    };
    // The part of the file that an entry takes, headers included.
    struct occupied {
        std::uint64_t begin;
        std::uint64_t end;
        std::uint32_t entry;
    };

    static constexpr std::uint32_t local_signature = 0x04034b50;
    static constexpr std::uint32_t central_signature = 0x02014b50;
    static constexpr std::uint32_t descriptor_signature = 0x08074b50;
    static constexpr unsigned has_descriptor = 1u << 3;

    static error wrong(std::string_view entry, std::string problem, error_kind code = error_kind::bad_format) {
        constexpr std::size_t enough = 200;
        return {code, "zip entry \"" + std::string(entry.substr(0, enough)) + "\": " + std::move(problem)};
    }

    void read_directory() {
        const zip_directory where = find_zip_directory(file_);
        byte_reader central(file_.subspan(static_cast<std::size_t>(where.offset), static_cast<std::size_t>(where.size)),
                            "the zip directory");
        // Without their names, records of the directory and local headers, of which none overlap.
        constexpr std::uint64_t smallest = 46, smallest_local = 30;
        if (where.entries > where.size / smallest || where.entries > where.offset / smallest_local)
            throw error(error_kind::bad_format, {.problem = "zip: the archive is too short for its entries",
                                                 .expected = std::to_string(where.entries) + " entries",
                                                 .found = std::to_string(where.size) + " bytes of directory, " +
                                                          std::to_string(where.offset) + " before it"});
        // An index of 32 bits suffices for archives up to 300 GB.
        if (where.entries >= detail::see_zip64_32) throw detail::zip_error("too many entries", error_kind::unsupported);
        entries_.reserve(static_cast<std::size_t>(where.entries));
        std::vector<occupied> places;
        places.reserve(entries_.capacity());
        for (std::uint64_t i = 0; i < where.entries; ++i) places.push_back(read_entry(central, where.offset));
        if (central.left() != 0) throw detail::zip_error("the directory has more entries than the end record says");
        check_tiling(places, where.offset);
    }

    // One record of the central directory, and the local header that it points to. Local headers end before `limit`.
    occupied read_entry(byte_reader &central, std::uint64_t limit) {
        if (central.number<std::uint32_t>() != central_signature)
            throw detail::zip_error("a directory entry has a wrong signature");
        central.bytes(2 + 2); // versions
        const auto flags = central.number<std::uint16_t>();
        const auto method = central.number<std::uint16_t>();
        central.bytes(2 + 2); // time and date
        const auto crc = central.number<std::uint32_t>();
        const auto stored = central.number<std::uint32_t>();
        const auto original = central.number<std::uint32_t>();
        const auto name_size = central.number<std::uint16_t>();
        const auto extra_size = central.number<std::uint16_t>();
        const auto comment_size = central.number<std::uint16_t>();
        const auto disk = central.number<std::uint16_t>();
        central.bytes(2 + 4); // attributes
        const auto offset = central.number<std::uint32_t>();
        const std::string_view name = central.text(name_size);
        const auto extra = central.bytes(extra_size);
        central.bytes(comment_size);

        check_name(name);
        constexpr unsigned encrypted = 1u << 0 | 1u << 6 | 1u << 13;
        constexpr unsigned harmless = has_descriptor | 1u << 11 /* the name is UTF-8 */ | 3u << 1 /* how well it is compressed */;
        if (flags & encrypted) throw wrong(name, "it is encrypted", error_kind::unsupported);
        if (flags & ~harmless) throw wrong(name, "unknown flags " + std::to_string(flags), error_kind::unsupported);
        if (method != 0)
            throw wrong(name, "it is compressed (method " + std::to_string(method) + "), not stored", error_kind::unsupported);
        if (disk != 0) throw wrong(name, "it is in another part of the archive", error_kind::unsupported);

        const extent where = widen(name, extra, {.stored = stored, .original = original, .offset = offset}, true);
        if (where.stored != where.original) throw wrong(name, "its two sizes differ although it is not compressed");
        const std::uint64_t data = check_local_header(name, flags, crc, where, limit);
        std::uint64_t end = data + where.stored; // both were compared with the limit
        if (flags & has_descriptor) end += descriptor_size(name, crc, where, end, limit);
        entries_.push_back({.name = name,
                            .bytes = file_.subspan(static_cast<std::size_t>(data), static_cast<std::size_t>(where.stored)),
                            .crc = crc});
        return {.begin = where.offset, .end = end, .entry = static_cast<std::uint32_t>(entries_.size() - 1)};
    }

    static void check_name(std::string_view name) {
        const auto refuse = [&](const char *why) { return wrong(name, std::string("its name ") + why); };
        using namespace std::string_view_literals;
        if (name.empty()) throw refuse("is empty");
        if (name.find_first_of("\\\0"sv) != std::string_view::npos) throw refuse("has a character that no path may have");
        if (name.front() == '/' || (name.size() > 1 && name[1] == ':')) throw refuse("is an absolute path");
        for (std::string_view rest = name; !rest.empty();) {
            const std::size_t length = std::min(rest.find('/'), rest.size());
            if (rest.substr(0, length) == "..") throw refuse("leads out of the archive");
            rest.remove_prefix(std::min(length + 1, rest.size()));
        }
    }

    // Replaces the fields that are too large for their 32 bits by those of the zip64 extra field. In the directory it must have
    // those and no others, or readers could differ; PyTorch's local headers repeat fields that are elsewhere.
    static extent widen(std::string_view name, std::span<const std::byte> extra, extent e, bool exactly) {
        byte_reader fields(extra, "a zip extra field");
        bool seen = false;
        while (fields.left() != 0) {
            const auto id = fields.number<std::uint16_t>();
            byte_reader body(fields.bytes(fields.number<std::uint16_t>()), "a zip64 extra field");
            constexpr std::uint16_t zip64 = 1;
            if (id != zip64) continue;
            if (std::exchange(seen, true)) throw wrong(name, "it has two zip64 fields");
            for (std::uint64_t *const field : {&e.original, &e.stored, &e.offset})
                if (*field == detail::see_zip64_32) *field = body.number<std::uint64_t>();
            if (exactly && body.left() != 0) throw wrong(name, "its zip64 field repeats what the directory says");
        }
        if (!seen && (e.original == detail::see_zip64_32 || e.stored == detail::see_zip64_32 || e.offset == detail::see_zip64_32))
            throw wrong(name, "its zip64 field is missing");
        return e;
    }

    // Returns where the data begins.
    std::uint64_t check_local_header(std::string_view name, unsigned flags, std::uint32_t crc, const extent &where,
                                     std::uint64_t limit) const {
        if (where.offset > limit) throw wrong(name, "it begins past the end of the data");
        byte_reader local(file_.subspan(static_cast<std::size_t>(where.offset), static_cast<std::size_t>(limit - where.offset)),
                          "a zip local header");
        if (local.number<std::uint32_t>() != local_signature) throw wrong(name, "its local header has a wrong signature");
        local.bytes(2); // version
        const auto local_flags = local.number<std::uint16_t>();
        const auto method = local.number<std::uint16_t>();
        local.bytes(2 + 2); // time and date
        const auto local_crc = local.number<std::uint32_t>();
        const auto stored = local.number<std::uint32_t>();
        const auto original = local.number<std::uint32_t>();
        const auto name_size = local.number<std::uint16_t>();
        const auto extra_size = local.number<std::uint16_t>();
        const std::string_view local_name = local.text(name_size);
        const auto extra = local.bytes(extra_size);

        const extent e = widen(name, extra, {.stored = stored, .original = original, .offset = 0}, false);
        // Written before the data was known, all three are 0 and a descriptor after the data has them.
        const bool later = (flags & has_descriptor) != 0 && local_crc == 0 && e.stored == 0 && e.original == 0;
        if (local_name != name || local_flags != flags || method != 0 ||
            (!later && (local_crc != crc || e.stored != where.stored || e.original != where.original)))
            throw wrong(name, "its local header and the directory disagree");
        if (where.stored > local.left())
            throw error(error_kind::bad_format, {.problem = wrong(name, "it reaches past the end of the data").details().problem,
                                                 .expected = std::to_string(where.stored) + " bytes",
                                                 .found = std::to_string(local.left())});
        return where.offset + local.position();
    }

    // The descriptor repeats checksum and sizes; the sizes are 32 or 64 bits wide, and nothing says which.
    std::uint64_t descriptor_size(std::string_view name, std::uint32_t crc, const extent &where, std::uint64_t at,
                                  std::uint64_t limit) const {
        const auto bytes = file_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(limit - at));
        byte_reader head(bytes, "a zip data descriptor");
        if (head.number<std::uint32_t>() != descriptor_signature || head.number<std::uint32_t>() != crc)
            throw wrong(name, "its data descriptor and the directory disagree");
        // The wide one first: of an empty entry it begins like the narrow one, which however no zeros follow.
        byte_reader wide = head;
        if (wide.left() >= 16 && wide.number<std::uint64_t>() == where.stored && wide.number<std::uint64_t>() == where.original)
            return wide.position();
        byte_reader narrow = head;
        if (narrow.number<std::uint32_t>() == where.stored && narrow.number<std::uint32_t>() == where.original)
            return narrow.position();
        throw wrong(name, "its data descriptor and the directory disagree");
    }

    // The entries cover the file from its first byte to the directory: in a gap another archive could hide, for readers that look
    // for local headers and not at the directory.
    void check_tiling(std::vector<occupied> &places, std::uint64_t directory) const {
        std::sort(places.begin(), places.end(), [](const occupied &a, const occupied &b) { return a.begin < b.begin; });
        std::uint64_t covered = 0;
        for (const occupied &place : places) {
            if (place.begin < covered) throw wrong(entries_[place.entry].name, "it overlaps another entry");
            if (place.begin > covered) throw wrong(entries_[place.entry].name, "before it are bytes that belong to no entry");
            covered = place.end;
        }
        if (covered != directory) throw detail::zip_error("before the directory are bytes that belong to no entry");
    }

    void sort_names() {
        by_name_.resize(entries_.size());
        std::iota(by_name_.begin(), by_name_.end(), std::uint32_t{0});
        std::sort(by_name_.begin(), by_name_.end(),
                  [&](std::uint32_t a, std::uint32_t b) { return entries_[a].name < entries_[b].name; });
        const auto twice = std::adjacent_find(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
            return entries_[a].name == entries_[b].name;
        });
        if (twice != by_name_.end()) throw wrong(entries_[*twice].name, "it is in the archive twice");
    }

    std::span<const std::byte> file_;
    std::vector<zip_entry> entries_;
    std::vector<std::uint32_t> by_name_; // positions in entries_, sorted by name
};

}}} // namespace fastvit::FASTVIT_ABI::io
