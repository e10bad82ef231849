// SPDX-License-Identifier: MIT
#include "fastvit/io/zip.hpp"

#include "support/pth_test_files.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

using fastvit::error_kind;
using namespace fastvit::io;
using namespace std::string_literals;
using io_test::build_zip;
using io_test::built_zip;
using io_test::bytes_of;
using io_test::expect_error;
using io_test::number;
using io_test::zip_options;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

const io_test::named_data two{{"a/one", "hello"}, {"a/two", std::string(1000, 'x')}};

// Offsets of fields in the records of the format.
namespace local {
constexpr std::size_t flags = 6, method = 8, crc = 14, stored = 18, original = 22, name = 30;
}
namespace central {
constexpr std::size_t flags = 8, method = 10, crc = 16, stored = 20, original = 24, name_size = 28, disk = 34, offset = 42,
                      name = 46;
}
namespace ending {
constexpr std::size_t disk = 4, first_disk = 6, entries_here = 8, entries = 10, size = 12, offset = 16;
}
namespace ending64 {
constexpr std::size_t record_size = 4, disk = 16, entries_here = 24, entries = 32, size = 40, offset = 48;
}

// Reads all entries of an archive, in a buffer of exactly its size.
std::vector<std::string> read_all(const std::string &file) {
    const std::vector<char> copy(file.begin(), file.end());
    const zip_archive archive(std::as_bytes(std::span(copy)));
    std::vector<std::string> result;
    for (const zip_entry &entry : archive.entries()) {
        const auto bytes = zip_archive::read(entry);
        result.emplace_back(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    }
    return result;
}

void expect_refused(const built_zip &zip, std::initializer_list<std::string_view> words,
                    error_kind code = error_kind::bad_format) {
    expect_error(code, words, [&] { read_all(zip.file); });
}

TEST(crc32, is_the_standard_one) {
    EXPECT_EQ(crc32(bytes_of("")), 0u);
    EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926u);
    // By definition, bit by bit, for all alignments, and lengths around the steps of eight and of sixty-four.
    std::string text;
    for (int i = 0; i < 400; ++i) text += static_cast<char>(i * 37 + (i >> 3) + 11);
    for (std::size_t begin = 0; begin < 16; ++begin)
        for (std::size_t size = 0; size < 350; ++size) {
            const auto bytes = bytes_of(std::string_view(text).substr(begin, size));
            u32 expected = 0xffffffff;
            for (const std::byte b : bytes)
                for (int bit = 0; bit < 8; ++bit) {
                    const bool one = ((expected ^ (std::to_integer<unsigned>(b) >> bit)) & 1) != 0;
                    expected = (expected >> 1) ^ (one ? 0xedb88320u : 0u);
                }
            ASSERT_EQ(crc32(bytes), ~expected) << begin << " " << size;
            // The one of the two that this machine does not take.
            ASSERT_EQ(detail::crc32_by_tables(bytes, ~0u), expected) << begin << " " << size;
        }
}

TEST(crc32, is_the_same_either_way_for_long_data) {
    std::mt19937 random(7);
    std::string text(100000, '\0');
    for (char &c : text) c = static_cast<char>(random());
    for (std::size_t size = text.size() - 130; size <= text.size(); ++size) {
        const auto bytes = bytes_of(std::string_view(text).substr(0, size));
        ASSERT_EQ(crc32(bytes), ~detail::crc32_by_tables(bytes, ~0u)) << size;
    }
}

TEST(zip, reads_every_form_of_stored_entries) {
    for (const bool descriptors : {false, true})
        for (const bool zip64_end : {false, true})
            for (const bool zip64_sizes : {false, true}) {
                const built_zip zip =
                    build_zip(two, {.descriptors = descriptors, .zip64_end = zip64_end, .zip64_sizes = zip64_sizes});
                EXPECT_EQ(read_all(zip.file), (std::vector<std::string>{two[0].second, two[1].second}));
            }
}

TEST(zip, finds_entries_by_name) {
    const built_zip zip = build_zip({{"b", "1"}, {"a", "2"}, {"c/d", ""}});
    const zip_archive archive(bytes_of(zip.file));
    ASSERT_EQ(archive.entries().size(), 3u);
    EXPECT_EQ(archive.find("b"), &archive.entries()[0]);
    EXPECT_EQ(archive.find("a"), &archive.entries()[1]);
    EXPECT_EQ(archive.find("c/d")->bytes.size(), 0u);
    EXPECT_EQ(archive.find("c"), nullptr);
    EXPECT_EQ(archive.find(""), nullptr);
}

TEST(zip, accepts_no_entries_and_a_comment) {
    EXPECT_TRUE(read_all(build_zip({}).file).empty());
    EXPECT_EQ(read_all(build_zip(two, {.comment = "a comment"}).file).size(), 2u);
    EXPECT_EQ(read_all(build_zip(two, {.comment = std::string(65535, 'c')}).file).size(), 2u);
}

// The values that the long records replace.
TEST(zip, accepts_an_end_record_that_refers_to_zip64) {
    built_zip zip = build_zip(two, {.zip64_end = true});
    zip.set<u16>(zip.end + ending::entries_here, 0xffff).set<u16>(zip.end + ending::entries, 0xffff);
    zip.set<u32>(zip.end + ending::size, 0xffffffff).set<u32>(zip.end + ending::offset, 0xffffffff);
    EXPECT_EQ(read_all(zip.file).size(), 2u);
}

TEST(zip, refuses_no_end_record) {
    expect_refused({.file = ""}, {"no end record"});
    expect_refused({.file = "PK\x05\x06"}, {"no end record"});
    expect_refused({.file = std::string(100000, 'P')}, {"no end record"});
    built_zip zip = build_zip(two);
    zip.file += "x"; // not a comment
    expect_refused(zip, {"no end record"});
}

TEST(zip, refuses_several_end_records) {
    // One in the comment of the other; both end where the file does.
    const std::string inner = build_zip({}).file;
    built_zip zip = build_zip(two, {.comment = inner});
    expect_refused(zip, {"several end records"});
    // One after the other: the directory does not end where the last begins.
    zip = build_zip(two);
    zip.file += zip.file.substr(zip.end);
    expect_refused(zip, {"directory does not end where the end record begins"});
}

TEST(zip, refuses_several_disks) {
    for (const std::size_t field : {ending::disk, ending::first_disk, ending::entries_here}) {
        built_zip zip = build_zip(two);
        expect_refused(zip.set<u16>(zip.end + field, 1), {"several parts"}, error_kind::unsupported);
    }
    built_zip zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u32>(zip.end64 + ending64::disk, 1), {"several parts"}, error_kind::unsupported);
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u64>(zip.end64 + ending64::entries_here, 1), {"several parts"}, error_kind::unsupported);
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u32>(zip.locator + 16, 2), {"several parts"}, error_kind::unsupported);
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.central[1] + central::disk, 1), {"a/two", "another part"}, error_kind::unsupported);
}

TEST(zip, refuses_a_directory_that_is_not_where_it_should_be) {
    for (const std::size_t field : {ending::size, ending::offset})
        for (const u32 value : {0u, 1u, 0x7fffffffu, 0xfffffffeu}) {
            built_zip zip = build_zip(two);
            expect_refused(zip.set<u32>(zip.end + field, value), {"directory does not end where the end record begins"});
        }
}

TEST(zip, refuses_a_wrong_number_of_entries) {
    built_zip zip = build_zip(two);
    zip.set<u16>(zip.end + ending::entries, 1).set<u16>(zip.end + ending::entries_here, 1);
    expect_refused(zip, {"more entries than the end record says"});
    zip.set<u16>(zip.end + ending::entries, 3).set<u16>(zip.end + ending::entries_here, 3);
    expect_refused(zip, {"expected 3 entries"});
    // Refused before memory for them is asked for.
    zip = build_zip(two, {.zip64_end = true});
    zip.set<u64>(zip.end64 + ending64::entries, ~u64{0}).set<u64>(zip.end64 + ending64::entries_here, ~u64{0});
    zip.set<u16>(zip.end + ending::entries, 0xffff).set<u16>(zip.end + ending::entries_here, 0xffff);
    expect_refused(zip, {"too short for its entries"});
}

TEST(zip, refuses_zip64_fields_that_disagree) {
    for (const std::size_t field : {ending64::size, ending64::offset}) {
        built_zip zip = build_zip(two, {.zip64_end = true});
        expect_refused(zip.set<u64>(zip.end64 + field, 7), {"end record and the zip64 end record disagree"});
        zip.set<u32>(zip.end + ending::size, 0xffffffff).set<u32>(zip.end + ending::offset, 0xffffffff);
        expect_refused(zip.set<u64>(zip.end64 + field, ~u64{0} - 3), {"directory does not end"});
    }
    built_zip zip = build_zip(two, {.zip64_end = true});
    zip.set<u64>(zip.end64 + ending64::entries, 1).set<u64>(zip.end64 + ending64::entries_here, 1);
    expect_refused(zip, {"disagree"});
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u64>(zip.end64 + ending64::record_size, 45), {"does not end where its locator begins"});
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u64>(zip.locator + 8, ~u64{0}), {"zip64 end record is past the end"});
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u64>(zip.locator + 8, 0), {"zip64 end record is missing"});
    zip = build_zip(two, {.zip64_end = true});
    expect_refused(zip.set<u64>(zip.locator + 8, zip.locator), {"cut short"});
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.end + ending::size, 0xffffffff), {"zip64 end record is missing"});
    // A field that the entry refers to but has not, and one that it has but does not refer to.
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[0] + central::stored, 0xffffffff), {"a/one", "zip64 field is missing"});
    zip = build_zip(two, {.zip64_sizes = true});
    expect_refused(zip.set<u32>(zip.central[0] + central::stored, 5), {"a/one", "repeats"});
    // Its extra field: id, size, original, stored, offset.
    const std::size_t field = zip.central[0] + central::name + two[0].first.size();
    zip = build_zip(two, {.zip64_sizes = true});
    expect_refused(zip.set<u16>(field + 2, 16), {"cut short"});
    zip = build_zip(two, {.zip64_sizes = true});
    expect_refused(zip.set<u16>(field + 2, 25), {"cut short"});
    zip = build_zip(two, {.zip64_sizes = true});
    expect_refused(zip.set<u64>(field + 4, ~u64{0}), {"a/one", "two sizes differ"});
    zip = build_zip(two, {.zip64_sizes = true});
    zip.set<u64>(field + 4, ~u64{0}).set<u64>(field + 12, ~u64{0});
    expect_refused(zip, {"a/one", "disagree"});
    zip = build_zip(two, {.descriptors = true, .zip64_sizes = true});
    zip.set<u64>(field + 4, ~u64{0}).set<u64>(field + 12, ~u64{0});
    EXPECT_THROW(read_all(zip.file), fastvit::error);
    zip = build_zip(two, {.zip64_sizes = true});
    expect_refused(zip.set<u64>(field + 20, ~u64{0}), {"a/one", "begins past the end"});
}

TEST(zip, refuses_local_headers_that_disagree) {
    const auto refuse = [](std::size_t field, auto value) {
        built_zip zip = build_zip(two);
        expect_refused(zip.set(zip.local[1] + field, value), {"a/two", "local header and the directory disagree"});
    };
    refuse(local::flags, u16{0});
    refuse(local::method, u16{8});
    refuse(local::crc, u32{1});
    refuse(local::stored, u32{999});
    refuse(local::original, u32{999});
    refuse(local::name, 'b');
    built_zip zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.local[1], 0x04034b51), {"a/two", "local header has a wrong signature"});
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[1] + central::crc, 1), {"a/two", "disagree"});
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[1], 0x02014b51), {"directory entry has a wrong signature"});
    // A name of another length, zip64 fields cut short, names past the end.
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.local[1] + 26, 4), {"disagree"});
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.local[1] + 28, 3), {"extra field is cut short"});
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.local[1] + 26, 0xffff), {"local header is cut short"});
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.central[1] + central::name_size, 0xffff), {"directory is cut short"});
}

TEST(zip, refuses_descriptors_that_disagree) {
    for (const bool wide : {false, true}) {
        const std::size_t size = wide ? 8 : 4;
        for (const std::size_t field : {std::size_t{0}, std::size_t{4}, std::size_t{8}, 8 + size}) {
            built_zip zip = build_zip(two, {.descriptors = true, .zip64_sizes = wide});
            const std::size_t at = zip.data[1] + two[1].second.size() + field;
            expect_refused(zip.set<char>(at, static_cast<char>(zip.file[at] + 1)),
                           {"a/two", "descriptor and the directory disagree"});
        }
    }
    // No room for one before the directory.
    built_zip zip = build_zip({{"a", "x"}});
    zip.set<u16>(zip.local[0] + local::flags, 0x0808).set<u16>(zip.central[0] + central::flags, 0x0808);
    expect_refused(zip, {"descriptor is cut short"});
}

TEST(zip, refuses_entries_past_the_end) {
    built_zip zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[1] + central::offset, 0xfffffff0), {"a/two", "begins past the end"});
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[1] + central::offset, static_cast<u32>(zip.end)), {"a/two", "begins past the end"});
    // Larger than what is left, in both headers.
    for (const u32 size : {1001u, 0xfffffffeu}) {
        zip = build_zip(two);
        zip.set<u32>(zip.central[1] + central::stored, size).set<u32>(zip.central[1] + central::original, size);
        zip.set<u32>(zip.local[1] + local::stored, size).set<u32>(zip.local[1] + local::original, size);
        expect_refused(zip, {"a/two", "past the end", "expected " + std::to_string(size) + " bytes, found 1000"});
    }
}

TEST(zip, refuses_entries_that_overlap) {
    // The first is made so long that it covers the second.
    built_zip zip = build_zip(two);
    const auto size = static_cast<u32>(two[0].second.size() + 100);
    zip.set<u32>(zip.central[0] + central::stored, size).set<u32>(zip.central[0] + central::original, size);
    zip.set<u32>(zip.local[0] + local::stored, size).set<u32>(zip.local[0] + local::original, size);
    expect_refused(zip, {"a/two", "overlaps another entry"});
    // Two entries of the directory for one in the file, as in zip bombs.
    zip = build_zip({{"a", "x"}, {"a", "x"}});
    expect_refused(zip.set<u32>(zip.central[1] + central::offset, 0), {"\"a\"", "overlaps another entry"});
}

// A reader that goes from one local header to the next would see what the directory does not have.
TEST(zip, refuses_bytes_that_belong_to_no_entry) {
    const std::string whole_entry = build_zip({{"hidden", "x"}}).file.substr(0, 30 + 6 + 1);
    for (const std::string &hidden : {"x"s, std::string(8, '\0'), whole_entry})
        for (const bool descriptors : {false, true})
            for (const std::size_t before : {0u, 1u, 2u}) {
                const built_zip zip = build_zip(two, {.descriptors = descriptors, .hidden = hidden, .hidden_before = before});
                expect_refused(zip, {"bytes that belong to no entry", before < 2 ? two[before].first : "directory"});
            }
    expect_refused(build_zip({}, {.hidden = "x"}), {"bytes that belong to no entry"});
}

TEST(zip, reads_empty_entries_with_either_descriptor) {
    for (const bool zip64_sizes : {false, true})
        EXPECT_EQ(read_all(build_zip({{"a", ""}, {"b", "1"}, {"c", ""}}, {.descriptors = true, .zip64_sizes = zip64_sizes}).file),
                  (std::vector<std::string>{"", "1", ""}));
}

TEST(zip, refuses_compression_and_encryption) {
    built_zip zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.central[0] + central::method, 8), {"a/one", "compressed (method 8), not stored"},
                   error_kind::unsupported);
    for (const u16 flags : {u16{0x0801}, u16{0x0841}, u16{0x2800}}) {
        zip = build_zip(two);
        expect_refused(zip.set<u16>(zip.central[0] + central::flags, flags), {"a/one", "encrypted"}, error_kind::unsupported);
    }
    zip = build_zip(two);
    expect_refused(zip.set<u16>(zip.central[0] + central::flags, 0x0820), {"a/one", "unknown flags"}, error_kind::unsupported);
    zip = build_zip(two);
    expect_refused(zip.set<u32>(zip.central[0] + central::original, 6), {"a/one", "two sizes differ"});
}

TEST(zip, refuses_names_that_no_archive_should_have) {
    expect_refused(build_zip({{"a/b", "1"}, {"c", ""}, {"a/b", "2"}}), {"\"a/b\"", "twice"});
    for (const std::string &name : {"/etc/passwd"s, "/"s, "C:/x"s, "c:x"s})
        expect_refused(build_zip({{name, ""}}), {name, "absolute"});
    for (const std::string &name : {".."s, "../x"s, "a/../b"s, "a/.."s, "a/b/../../../c"s})
        expect_refused(build_zip({{name, ""}}), {"leads out"});
    expect_refused(build_zip({{"a\\b", ""}}), {"character"});
    expect_refused(build_zip({{"a\0b"s, ""}}), {"character"});
    expect_refused(build_zip({{"", ""}}), {"empty"});
    EXPECT_EQ(read_all(build_zip({{"a../..b/c..d", "x"}, {"dir/", ""}, {"...", ""}}).file).size(), 3u);
}

TEST(zip, refuses_a_wrong_checksum) {
    built_zip zip = build_zip(two, {.descriptors = true});
    zip.file[zip.data[1] + 500] ^= 1;
    expect_refused(zip, {"a/two", "checksum"});
}

TEST(zip, refuses_every_truncation) {
    for (const bool modern : {false, true}) {
        const std::string file =
            build_zip({{"a/one", "hello"}, {"a/two", "world"}}, {.descriptors = modern, .zip64_end = modern}).file;
        for (std::size_t length = 0; length < file.size(); ++length)
            EXPECT_THROW(read_all(file.substr(0, length)), fastvit::error) << length;
        for (std::size_t begin = 1; begin < file.size(); ++begin)
            EXPECT_THROW(read_all(file.substr(begin)), fastvit::error) << begin;
    }
}

TEST(zip, survives_any_damage) {
    constexpr unsigned seed = 1234;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    for (const zip_options &options : {zip_options{}, zip_options{.descriptors = true, .zip64_end = true},
                                       zip_options{.zip64_end = true, .zip64_sizes = true}}) {
        const std::string file = build_zip({{"a/one", "hello"}, {"a/two", "world"}}, options).file;
        int refused = 0;
        for (int i = 0; i < 10000; ++i) {
            std::string damaged = file;
            for (int k = static_cast<int>(random() % 3); k >= 0; --k) {
                // Also the values that a length or an offset goes wrong with.
                const char extreme[] = {'\0', '\x7f', '\x80', '\xff', static_cast<char>(random())};
                damaged[random() % damaged.size()] = extreme[random() % 5];
            }
            try {
                read_all(damaged);
            } catch (const fastvit::error &) {
                ++refused;
            }
        }
        EXPECT_GT(refused, 3000);
    }
}

} // namespace
