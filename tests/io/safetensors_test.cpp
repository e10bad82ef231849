// SPDX-License-Identifier: MIT
#include "fastvit/checkpoint.hpp"
#include "fastvit/io/safetensors.hpp"
#include "fastvit/io/safetensors_writer.hpp"

#include "support/counted_memory.hpp"
#include "support/io_test_files.hpp"
#include "support/sanitized.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using fastvit::checkpoint;
using fastvit::error_kind;
using fastvit::index_type;
using fastvit::shape;
using fastvit::tensor;
using namespace fastvit::io;
using io_test::expect_error;
using io_test::expect_refused;
using io_test::floats;
using io_test::number;
using io_test::safetensors;
using io_test::tensor_count;
using io_test::values;

const std::filesystem::path data = FASTVIT_TEST_DATA;

checkpoint parse(std::string_view file) { return checkpoint::from_bytes(io_test::bytes_of(file), "FILE"); }

// A file with one tensor "t", described by these fields.
std::string one(std::string_view fields, std::string_view bytes = {}) {
    return safetensors("{\"t\":{" + std::string(fields) + "}}", bytes);
}

// --- what errors look like

TEST(error, shows_no_control_characters) {
    const auto shown = [](const std::string &text) { return std::string(fastvit::error(error_kind::bad_format, text).what()); };
    EXPECT_EQ(shown("plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"), "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(shown("a\nb\x1b[2Jc\x7f"), "a?b?[2Jc?");
    EXPECT_EQ(shown("a\xc2\x9b"
                    "2Jb\xc2\x85"),
              "a?2Jb?")
        << "U+0080 to U+009F";
    EXPECT_EQ(shown("a\x9b"
                    "2J\xff\xc3"),
              "a?2J??")
        << "not UTF-8";
    EXPECT_EQ(shown("\xc2\xa0"), "\xc2\xa0");
}

// --- what must be accepted

TEST(safetensors, reads_tensors_and_metadata_in_file_order) {
    const std::string file = safetensors(R"({"__metadata__":{"format":"pt","note":"a\"b"},"b":{"dtype":"F32","shape":[2,3],)"
                                         R"("data_offsets":[4,28]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                         floats({9, 1, 2, 3, 4, 5, 6}));
    const checkpoint c = parse(file);
    ASSERT_EQ(c.tensors().size(), 2u);
    EXPECT_EQ(c.tensors()[0].name, "b");
    EXPECT_EQ(c.tensors()[0].type, dtype::f32);
    EXPECT_EQ(c.tensors()[0].type_name, "F32");
    EXPECT_EQ(c.tensors()[0].dims, (shape{2, 3}));
    EXPECT_EQ(c.tensors()[0].strides[0], 3);
    EXPECT_EQ(c.tensors()[1].name, "a");
    EXPECT_EQ(c.find("b"), &c.tensors()[0]);
    EXPECT_EQ(c.find("a"), &c.tensors()[1]);
    EXPECT_EQ(c.find("c"), nullptr);
    EXPECT_EQ(c.find(""), nullptr);
    EXPECT_EQ(values(c, "b"), (std::vector<float>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(values(c, "a"), std::vector<float>{9});
    EXPECT_EQ(c.metadata(), (string_map{{"format", "pt"}, {"note", "a\"b"}}));
    EXPECT_EQ(c.file(), "FILE");
}

TEST(safetensors, accepts_white_space_and_any_order_of_fields) {
    const std::string file = safetensors(
        " \t\r\n{ \"t\" : { \"data_offsets\" : [ 0 , 8 ] ,\n\"shape\":[ 2 ],\"dtype\" :\"F32\"} } \n\t\r ", floats({1, 2}));
    EXPECT_EQ(values(parse(file), "t"), (std::vector<float>{1, 2}));
}

TEST(safetensors, accepts_an_empty_object) { EXPECT_EQ(tensor_count(parse(safetensors("{}"))), 0u); }

TEST(safetensors, accepts_scalars_and_tensors_without_elements) {
    const std::string file = safetensors(R"({"none":{"dtype":"F32","shape":[4,0,2],"data_offsets":[4,4]},)"
                                         R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                         R"("first":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                                         floats({7}));
    const checkpoint c = parse(file);
    EXPECT_EQ(c.find("scalar")->dims.rank(), 0u);
    EXPECT_EQ(values(c, "scalar"), std::vector<float>{7});
    EXPECT_EQ(c.find("none")->dims, (shape{4, 0, 2}));
    EXPECT_TRUE(values(c, "none").empty());
    EXPECT_TRUE(values(c, "first").empty());
}

TEST(safetensors, converts_every_floating_type) {
    const std::string bytes = number(0.1) + number(1e300) + number(1.0 + 0x1p-24) + floats({0.1f}) +
                              number<std::uint16_t>(0x3c01) + number<std::uint16_t>(0x8001) + number<std::uint16_t>(0x3f81) +
                              number<std::uint16_t>(0xff80);
    const std::string file = safetensors(R"({"d":{"dtype":"F64","shape":[3],"data_offsets":[0,24]},)"
                                         R"("f":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},)"
                                         R"("h":{"dtype":"F16","shape":[2],"data_offsets":[28,32]},)"
                                         R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]}})",
                                         bytes);
    const checkpoint c = parse(file);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    EXPECT_EQ(values(c, "d"), (std::vector<float>{0.1f, infinity, 1.0f})); // the third is a tie
    EXPECT_EQ(values(c, "f"), std::vector<float>{0.1f});
    EXPECT_EQ(values(c, "h"), (std::vector<float>{1.0f + 0x1p-10f, -0x1p-24f}));
    EXPECT_EQ(values(c, "b"), (std::vector<float>{1.0f + 0x1p-7f, -infinity}));
}

TEST(safetensors, accepts_nan_values) {
    const std::string file = one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", floats({std::nanf("")}));
    EXPECT_TRUE(std::isnan(values(parse(file), "t")[0]));
}

TEST(safetensors, reads_data_that_is_not_aligned) {
    for (std::size_t padding = 0; padding < 8; ++padding) {
        const std::string header =
            "{\"t\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}" + std::string(padding, ' ');
        EXPECT_EQ(values(parse(safetensors(header, floats({1, 2, 3}))), "t"), (std::vector<float>{1, 2, 3})) << padding;
        const std::string wide = "{\"t\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}" + std::string(padding, ' ');
        EXPECT_EQ(values(parse(safetensors(wide, number(2.5))), "t"), std::vector<float>{2.5f}) << padding;
    }
}

TEST(safetensors, unescapes_names) {
    const std::string file =
        safetensors(R"({"\u0041\n\/\\\u00e9\u20ac\ud83d\ude00é":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})");
    const checkpoint parsed = parse(file);
    EXPECT_EQ(parsed.tensors()[0].name, "A\n/\\é€😀é");
}

TEST(safetensors, an_integer_type_is_an_error_only_when_it_is_read) {
    const std::string file = one(R"("dtype":"I64","shape":[1],"data_offsets":[0,8])", number<std::int64_t>(5));
    const checkpoint c = parse(file);
    EXPECT_EQ(c.find("t")->type, dtype::i64);
    expect_error(error_kind::unsupported, {"t: ", "expected F64, F32, F16 or BF16, found I64"},
                 [&] { (void)read_float(*c.find("t")); });
}

TEST(safetensors, an_unknown_type_is_an_error_only_when_it_is_read_but_its_span_is_checked) {
    const checkpoint c = parse(one(R"("dtype":"Q3_K","shape":[100],"data_offsets":[0,4])", "1234"));
    EXPECT_EQ(c.find("t")->type, dtype::other);
    expect_error(error_kind::unsupported, {"found Q3_K"}, [&] { (void)read_float(*c.find("t")); });
    expect_refused(one(R"("dtype":"Q3_K","shape":[1],"data_offsets":[0,5])", "1234"), {"t: ", "past the end"});
    expect_refused(one(R"("dtype":"Q3_K","shape":[1],"data_offsets":[1,4])", "1234"), {"t: ", "hole"});
    expect_refused(one(R"("dtype":"Q3_K","shape":[1],"data_offsets":[0,3])", "1234"), {"do not reach the end"});
    // Known by its size, though not converted.
    EXPECT_EQ(tensor_count(parse(one(R"("dtype":"U16","shape":[2],"data_offsets":[0,4])", "1234"))), 1u);
    EXPECT_EQ(tensor_count(parse(one(R"("dtype":"F4","shape":[8],"data_offsets":[0,4])", "1234"))), 1u);
    expect_refused(one(R"("dtype":"U16","shape":[1],"data_offsets":[0,4])", "1234"), {"U16 [1] in 2 bytes, found 4 bytes"});
    expect_refused(one(R"("dtype":"F4","shape":[7],"data_offsets":[0,4])", "1234"), {"F4 [7]"});
}

// --- what must be refused

TEST(safetensors, refuses_a_file_without_room_for_the_length) {
    expect_refused("", {"FILE: ", "expected at least 8 bytes, found 0"});
    expect_refused("\x01\x02\x03\x04\x05\x06\x07", {"at least 8 bytes, found 7"});
}

TEST(safetensors, refuses_a_header_length_that_cannot_be) {
    expect_refused(number<std::uint64_t>(0) + "{}", {"header is empty"});
    expect_refused(number<std::uint64_t>(3) + "{}", {"at most 2 bytes", "found 3"});
    // 8 more wrap around.
    for (const std::uint64_t length : {~std::uint64_t{0}, ~std::uint64_t{0} - 7, std::uint64_t{1} << 63})
        expect_refused(number(length) + "{}", {"at most 2 bytes", "found " + std::to_string(length)});
}

TEST(safetensors, refuses_a_header_over_the_limit) {
    const io_test::temporary_directory directory;
    const auto path = directory / "long.safetensors";
    io_test::write_file(path, number<std::uint64_t>(max_safetensors_header + 1));
    std::filesystem::resize_file(path, max_safetensors_header + 100); // sparse
    expect_error(error_kind::bad_format, {"long.safetensors", "header is too long", "found 100000001"},
                 [&] { (void)checkpoint::open(path); });
}

TEST(safetensors, refuses_what_is_not_utf8) {
    for (const std::string_view bad : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xc3", "\xe0\x80\xaf", "\xe2\x82", "\xed\xa0\x80",
                                       "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x28\xa1"})
        expect_refused(safetensors("{\"" + std::string(bad) + "\":{}}"), {"expected UTF-8", "byte 2"});
    expect_refused(safetensors("{} \xc3"), {"expected UTF-8", "byte 3"});
}

TEST(safetensors, refuses_what_is_not_json) {
    const std::pair<const char *, const char *> cases[] = {
        {" ", "expected an object, found the end"},
        {"[]", "expected an object, found '['"},
        {"null", "expected an object, found 'n'"},
        {"\"{}\"", "expected an object"},
        {"\xef\xbb\xbf{}", "expected an object"}, // a byte order mark
        {"{", "expected a string, found the end"},
        {"{,}", "expected a string, found ','"},
        {"{'a':1}", "expected a string, found '''"},
        {"{\"t\"}", "expected ':', found '}'"},
        {"{\"t\":1}", "expected an object, found '1'"},
        {"{\"t\":{},}", "the field dtype is missing"},
        {"{\"__metadata__\":{},}", "expected a string, found '}'"},
        {"{\"__metadata__\":{}", "expected ',' or '}', found the end"},
        {"{\"__metadata__\":{\"a\":\"b}", "expected '\"', found the end"},
        {"{\"__metadata__\":{\"a\nb\":\"c\"}}", "control character"},
        {"{\"__metadata__\":{\"a\":\"\\x\"}}", "expected an escape, found 'x'"},
        {"{\"__metadata__\":{\"a\":\"\\", "expected an escape, found the end"},
        {"{\"__metadata__\":{\"a\":\"\\u12", "hexadecimal digits, found the end"},
        {"{\"__metadata__\":{\"a\":\"\\u12g4\"}}", "hexadecimal digits, found 'g'"},
        {"{\"__metadata__\":{\"a\":\"\\udc00\"}}", "half a surrogate pair"},
        {"{\"__metadata__\":{\"a\":\"\\ud800\"}}", "second half of a surrogate pair"},
        {"{\"__metadata__\":{\"a\":\"\\ud800\\u0041\"}}", "second half of a surrogate pair"},
        {"{} x", "expected nothing after the closing brace, found 'x'"},
        {"{}{}", "expected nothing after the closing brace, found '{'"},
        {"{}//", "expected nothing after the closing brace, found '/'"},
    };
    for (const auto &[header, words] : cases) {
        SCOPED_TRACE(header);
        expect_refused(safetensors(header), {words});
    }
    using namespace std::string_literals;
    expect_refused(safetensors("{}\0"s), {"nothing after the closing brace"});
}

TEST(safetensors, refuses_nesting_deeper_than_the_format) {
    expect_refused(safetensors(std::string(200000, '[')), {"expected an object"});
    expect_refused(one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), {"natural number", "found '['"});
    expect_refused(one(R"("dtype":"F32","shape":{"a":1},"data_offsets":[0,8])"), {"expected an array, found '{'"});
    expect_refused(one(R"("dtype":{"a":)" + std::string(100000, '{')), {"expected a string, found '{'"});
    expect_refused(safetensors(R"({"__metadata__":{"a":{"b":"c"}}})"), {"expected a string, found '{'"});
}

TEST(safetensors, refuses_integers_in_any_other_form) {
    const char *const bad[] = {"-1", "-0",    "+1",   "1.0",  "1.5", "1e0", "1E2", "01", "00",
                               ".5", "\"1\"", "null", "true", "1 2", "NaN", "0x2", ""};
    for (const char *const integer : bad) {
        SCOPED_TRACE(integer);
        expect_refused(one("\"dtype\":\"F32\",\"shape\":[" + std::string(integer) + ",1],\"data_offsets\":[0,4]", "1234"),
                       {"bad JSON"});
        expect_refused(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" + std::string(integer) + ",4]", "1234"),
                       {"bad JSON"});
    }
    // 2^48 + 1, 2^63, 2^64 (wraps to 0), and a number of a hundred thousand digits.
    for (const std::string &integer : {std::string("281474976710657"), std::string("9223372036854775808"),
                                       std::string("18446744073709551616"), std::string(100000, '9')})
        expect_refused(one("\"dtype\":\"F32\",\"shape\":[" + integer + "],\"data_offsets\":[0,4]", "1234"),
                       {"up to 2^48, found a larger one"});
    expect_refused(one(R"("dtype":"F32","shape":[1,],"data_offsets":[0,4])", "1234"), {"found ']'"});
}

TEST(safetensors, refuses_anything_twice) {
    const std::string t = R"("t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
    expect_refused(safetensors("{" + t + "," + t + "}"), {"t: ", "twice"}, error_kind::unexpected_tensor);
    // Two spellings of one name.
    expect_refused(safetensors("{" + t + R"(,"\u0074":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})"), {"t: ", "twice"},
                   error_kind::unexpected_tensor);
    expect_refused(one(R"("dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0])"), {"t: ", "dtype is there twice"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"shape":[0],"data_offsets":[0,0])"), {"t: ", "shape is there twice"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0])"),
                   {"t: ", "data_offsets is there twice"});
    expect_refused(safetensors(R"({"__metadata__":{},"__metadata__":{}})"), {"__metadata__ is there twice"});
    expect_refused(safetensors(R"({"__metadata__":{"k":"1","k":"2"}})"), {"__metadata__", "\"k\" twice"});
}

TEST(safetensors, refuses_metadata_that_is_not_string_to_string) {
    expect_refused(safetensors(R"({"__metadata__":[]})"), {"expected an object, found '['"});
    expect_refused(safetensors(R"({"__metadata__":"a"})"), {"expected an object"});
    expect_refused(safetensors(R"({"__metadata__":{"a":1}})"), {"expected a string, found '1'"});
    expect_refused(safetensors(R"({"__metadata__":{"a":null}})"), {"expected a string, found 'n'"});
    expect_refused(safetensors(R"({"__metadata__":null})"), {"expected an object, found 'n'"});
}

TEST(safetensors, refuses_missing_and_unknown_fields) {
    expect_refused(one(R"("shape":[0],"data_offsets":[0,0])"), {"t: ", "dtype is missing"});
    expect_refused(one(R"("dtype":"F32","data_offsets":[0,0])"), {"t: ", "shape is missing"});
    expect_refused(one(R"("dtype":"F32","shape":[0])"), {"t: ", "data_offsets is missing"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[0,0],"scale":2)"), {"t: ", "found scale"});
}

TEST(safetensors, refuses_offsets_that_are_not_begin_and_end) {
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[])"), {"t: ", "data_offsets", "expected 2, found 0"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[0])"), {"expected 2, found 1"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[0,0,0])"), {"expected 2, found 3"});
    expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", "1234"), {"t: ", "ends before it begins"});
}

TEST(safetensors, refuses_data_past_the_end) {
    expect_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", "1234"),
                   {"t: ", "past the end", "found an end at 8"});
    expect_refused(one(R"("dtype":"U8","shape":[281474976710656],"data_offsets":[0,281474976710656])", "1234"),
                   {"t: ", "past the end"});
}

TEST(safetensors, refuses_overlaps_and_holes) {
    const auto two = [](std::string_view a, std::string_view b, std::string_view bytes) {
        return safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + std::string(a) +
                               "},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + std::string(b) + "}}",
                           bytes);
    };
    expect_refused(two("[0,4]", "[0,4]", "1234"), {"overlaps", "expected a beginning at 4, found 0"});
    expect_refused(two("[0,4]", "[2,6]", "123456"), {"b: ", "overlaps"});
    expect_refused(two("[0,4]", "[8,12]", "123456789012"), {"b: ", "hole", "expected a beginning at 4, found 8"});
    expect_refused(two("[4,8]", "[8,12]", "123456789012"), {"a: ", "hole"});
    // Nothing hides inside a neighbour: a tensor without elements has its place between two others.
    expect_refused(
        safetensors(
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
            "12345678"),
        {"z: ", "overlaps"});
}

TEST(safetensors, refuses_bytes_after_the_last_tensor) {
    expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", "12345"), {"expected 4 bytes of data, found 5"});
    expect_refused(safetensors("{}", "1"), {"expected 0 bytes of data, found 1"});
}

TEST(safetensors, refuses_spans_that_do_not_fit_the_shape) {
    expect_refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", "1234"),
                   {"t: ", "expected F32 [2] in 8 bytes, found 4 bytes"});
    expect_refused(one(R"("dtype":"F64","shape":[1],"data_offsets":[0,4])", "1234"), {"F64 [1] in 8 bytes"});
    expect_refused(one(R"("dtype":"F32","shape":[0],"data_offsets":[0,4])", "1234"), {"F32 [0] in 0 bytes"});
    expect_refused(one(R"("dtype":"F32","shape":[],"data_offsets":[0,0])"), {"F32 [] in 4 bytes, found 0 bytes"});
    expect_refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,5])", "12345"), {"found 5 bytes"});
}

TEST(safetensors, refuses_shapes_that_overflow) {
    // Products that wrap to 0 or 1, in elements or in bytes.
    for (const char *const dims :
         {"4294967296,4294967296", "281474976710656,65536", "281474976710656,16384", "281474976710656,2048",
          "281474976710656,281474976710656,281474976710656", "281474976710656,281474976710656,0"}) {
        SCOPED_TRACE(dims);
        expect_refused(one("\"dtype\":\"F32\",\"shape\":[" + std::string(dims) + "],\"data_offsets\":[0,0]"), {"t: "});
        expect_refused(one("\"dtype\":\"F6_E2M3\",\"shape\":[" + std::string(dims) + "],\"data_offsets\":[0,0]"), {"t: "});
    }
}

TEST(safetensors, refuses_an_absurd_rank) {
    expect_refused(one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])", "1234"),
                   {"t: ", "dimensions", "at most 8"});
    std::string many = "1";
    for (int i = 0; i < 100000; ++i) many += ",1";
    expect_refused(one("\"dtype\":\"F32\",\"shape\":[" + many + "],\"data_offsets\":[0,4]", "1234"), {"t: ", "dimensions"});
}

TEST(safetensors, refuses_more_tensors_than_anybody_has) {
    std::string header = "{";
    for (std::size_t i = 0; i <= max_tensors; ++i)
        header += (i ? ",\"" : "\"") + std::to_string(i) + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    expect_refused(safetensors(header + "}"), {"more than 65536 tensors"});
    header = "{\"__metadata__\":{";
    for (std::size_t i = 0; i <= max_tensors; ++i) header += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
    expect_refused(safetensors(header + "}}"), {"__metadata__", "more than 65536 entries"});
}

TEST(safetensors, refuses_names_and_types_that_are_too_long) {
    const auto named = [](std::size_t length) {
        return safetensors("{\"" + std::string(length, 'n') + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})");
    };
    EXPECT_EQ(tensor_count(parse(named(longest_name))), 1u);
    expect_refused(named(longest_name + 1), {"name is too long", "expected at most 256 bytes, found 257"});
    expect_refused(named(json_reader::longest_key + 1), {"a string of at most 4096 bytes"});
    expect_refused(named(std::size_t{1} << 20), {"a string of at most 4096 bytes"});
    expect_refused(one("\"dtype\":\"" + std::string(5000, 'F') + "\",\"shape\":[0],\"data_offsets\":[0,0]"),
                   {"a string of at most 4096 bytes"});
    // A value of the metadata may be any text. Its last character does not make it twice as long for a moment.
    const std::string escaped = safetensors("{\"__metadata__\":{\"k\":\"" + std::string(std::size_t{20} << 20, 'x') + "\\n\"}}");
    EXPECT_LE(counted_memory::peak_of([&] { parse(escaped); }), std::size_t{41} << 20);
    const std::string note(std::size_t{1} << 20, 'x');
    const checkpoint noted = parse(safetensors("{\"__metadata__\":{\"note\":\"" + note + "\"}}"));
    EXPECT_EQ(noted.metadata().at("note"), note);
}

TEST(safetensors, an_error_names_the_file) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "broken.safetensors", safetensors("{]"));
    expect_error(error_kind::bad_format, {"broken.safetensors: ", "expected a string, found ']'"},
                 [&] { (void)checkpoint::open(directory / "broken.safetensors"); });
    expect_error(error_kind::io, {"absent: the file does not exist"}, [&] { (void)checkpoint::open(directory / "absent"); });
    expect_error(error_kind::io, {"is a directory"}, [&] { (void)checkpoint::open(directory.path()); });
}

// --- damage

const std::string small =
    safetensors(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}   )",
                std::string("0123456789abcdefghijkl"));

TEST(safetensors, refuses_a_file_cut_short_anywhere) {
    EXPECT_EQ(io_test::open_and_read(small), 2u);
    for (std::size_t length = 0; length < small.size(); ++length)
        EXPECT_THROW(io_test::open_and_read(small.substr(0, length)), fastvit::error) << length;
    EXPECT_THROW(io_test::open_and_read(small + '\0'), fastvit::error);
}

TEST(safetensors, survives_any_damage_to_the_header) {
    constexpr unsigned seed = 20240607;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::size_t header_end = small.size() - 22;
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string damaged = small;
        const int changes = 1 + static_cast<int>(random() % 3);
        for (int k = 0; k < changes; ++k) damaged[random() % header_end] = static_cast<char>(random());
        try {
            io_test::open_and_read(damaged);
        } catch (const fastvit::error &) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 10000);
}

// What is no checkpoint shows at its ends: a large file is refused at once.
TEST(checkpoint, looks_at_little_of_a_large_file_that_is_none) {
    const io_test::temporary_directory directory;
    const auto path = directory / "garbage";
    constexpr std::uintmax_t size = 100'000'000;
    std::mt19937 random(5);
    std::string noise(1000, '\0');
    for (char &c : noise) c = static_cast<char>(random());
    const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    for (const std::string &head : {std::string(), noise, "PK\x03\x04" + noise, magic + noise, std::string("{\"a\": [1, 2, 3"),
                                    number<std::uint64_t>(90'000'000) + noise, number<std::uint64_t>(16) + noise}) {
        SCOPED_TRACE(head.substr(0, 20));
        io_test::write_file(path, head);
        std::filesystem::resize_file(path, size); // the rest is zeros
        const auto pages_touched = [] {
            struct rusage use {};
            ::getrusage(RUSAGE_SELF, &use);
            return use.ru_minflt + use.ru_majflt;
        };
        const auto before = pages_touched();
        expect_error(error_kind::bad_format, {"garbage: "}, [&] { (void)checkpoint::open(path); });
        EXPECT_TRUE(SANITIZED || pages_touched() - before < 1000); // of 24415
    }
}

// --- checkpoint

TEST(checkpoint, keeps_its_file_alive_through_copies_and_moves) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "f", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", floats({1, 2})));
    checkpoint copy;
    {
        checkpoint original = checkpoint::open(directory / "f");
        EXPECT_EQ(original.file(), (directory / "f").string());
        copy = original;
        EXPECT_NE(copy.find("t"), original.find("t"));
    }
    const checkpoint moved = std::move(copy);
    EXPECT_EQ(moved.find("t"), &moved.tensors()[0]);
    EXPECT_EQ(values(moved, "t"), (std::vector<float>{1, 2}));
}

TEST(checkpoint, takes_tensors_made_in_memory) {
    checkpoint c;
    EXPECT_EQ(c.find("a"), nullptr);
    tensor<float> t(shape{2, 2});
    t(1, 0) = 5;
    c.add("m", t);
    c.add("a", tensor<float>(shape{}));
    c.add("z", std::move(t));
    c.add("none", tensor<float>());
    c.set_metadata("k", "1");
    c.set_metadata("k", "2");
    EXPECT_EQ(c.tensors()[0].name, "m");
    EXPECT_EQ(values(c, "m"), (std::vector<float>{0, 0, 5, 0}));
    EXPECT_EQ(values(c, "z"), (std::vector<float>{0, 0, 5, 0}));
    EXPECT_EQ(values(c, "a"), std::vector<float>{0});
    EXPECT_TRUE(values(c, "none").empty());
    EXPECT_EQ(c.metadata().at("k"), "2");
    EXPECT_EQ(c.file(), "");
    expect_error(error_kind::unexpected_tensor, {"m: ", "there already"}, [&] { c.add("m", tensor<float>(shape{1})); });
    EXPECT_EQ(c.tensors().size(), 4u);
}

TEST(checkpoint, adds_to_tensors_of_a_file) {
    const std::string file = one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", floats({3}));
    checkpoint c = parse(file);
    c.add("s", tensor<float>(shape{1}));
    EXPECT_EQ(values(c, "t"), std::vector<float>{3});
    EXPECT_EQ(values(c, "s"), std::vector<float>{0});
    expect_error(error_kind::unexpected_tensor, {"FILE: t: "}, [&] { c.add("t", tensor<float>(shape{1})); });
}

TEST(read_float, honours_strides) {
    std::vector<float> elements(24);
    for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<float>(i);
    const auto read = [&](shape dims, std::array<index_type, shape::max_rank> strides, std::size_t offset) {
        const auto t = read_float({.name = "t",
                                   .type = dtype::f32,
                                   .type_name = "F32",
                                   .dims = dims,
                                   .strides = strides,
                                   .bytes = std::as_bytes(std::span(elements).subspan(offset))});
        return std::vector<float>(t.span().begin(), t.span().end());
    };
    EXPECT_EQ(read({4, 3}, {1, 4}, 0), (std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));       // transposed
    EXPECT_EQ(read({2, 2}, {6, 1}, 7), (std::vector<float>{7, 8, 13, 14}));                               // a block
    EXPECT_EQ(read({3}, {8}, 1), (std::vector<float>{1, 9, 17}));                                         // a column
    EXPECT_EQ(read({2, 3}, {0, 1}, 4), (std::vector<float>{4, 5, 6, 4, 5, 6}));                           // expanded
    EXPECT_EQ(read({2, 2}, {0, 0}, 4), (std::vector<float>{4, 4, 4, 4}));                                 // one element
    EXPECT_EQ(read({2, 1, 2, 2}, {12, 99, 2, 1}, 0), (std::vector<float>{0, 1, 2, 3, 12, 13, 14, 15}));   // half merged
    EXPECT_EQ(read({2, 2, 3}, {3, 6, 1}, 0), (std::vector<float>{0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11})); // permuted
    EXPECT_EQ(read({}, {}, 23), std::vector<float>{23});
    EXPECT_TRUE(read({3, 0}, {100, 100}, 0).empty());
    const auto outside = [&](shape dims, std::array<index_type, shape::max_rank> strides) {
        expect_error(error_kind::invalid_argument, {"t: ", "outside"}, [&] { read(dims, strides, 0); });
    };
    outside({25}, {1});
    outside({2, 2}, {23, 1});
    outside({2}, {-1});
    outside({3, 3}, {std::numeric_limits<index_type>::max() / 2, std::numeric_limits<index_type>::max() / 2});
}

TEST(read_float, refuses_a_destination_of_the_wrong_size) {
    const checkpoint c = [] {
        checkpoint made;
        made.add("t", tensor<float>(shape{3}));
        return made;
    }();
    std::vector<float> two(2);
    expect_error(error_kind::invalid_argument, {"t: ", "expected 3 elements, found 2"},
                 [&] { read_float_into(*c.find("t"), two); });
}

TEST(read_float, converts_every_element_of_16_bits) {
    std::vector<std::uint16_t> codes(65536);
    std::iota(codes.begin(), codes.end(), std::uint16_t{0});
    std::string bytes(1, 0); // so that elements are not aligned
    bytes.append(reinterpret_cast<const char *>(codes.data()), 2 * codes.size());
    const auto expect_converted = [&](std::size_t first, index_type count, index_type stride) {
        for (const dtype type : {dtype::f16, dtype::bf16}) {
            stored_tensor t{.name = "t", .type = type, .type_name = "", .dims = {count}, .strides = {stride}, .bytes = {}};
            t.bytes = std::as_bytes(std::span(bytes).subspan(1 + 2 * first));
            const tensor<float> read = read_float(t);
            for (index_type i = 0; i < count; ++i) {
                const std::uint16_t code = codes[first + static_cast<std::size_t>(i * stride)];
                const float expected = type == dtype::f16 ? half_to_float(code) : bfloat16_to_float(code);
                ASSERT_EQ(std::bit_cast<std::uint32_t>(read(i)), std::bit_cast<std::uint32_t>(expected)) << code << ' ' << count;
            }
        }
    };
    expect_converted(0, 65536, 1);
    for (index_type count = 0; count < 30; ++count)
        for (const index_type stride : {1, 2, 3}) expect_converted(31730, count, stride); // from numbers to infinity and NaN
}

TEST(read_quantised, multiplies_bytes_wherever_they_lie) {
    constexpr index_type rows = 3;
    const std::vector<float> scales{0.5F, 0, 0x1.fffcp-20F};
    const stored_tensor stored_scales{.name = "t_scale",
                                      .type = dtype::f32,
                                      .type_name = "F32",
                                      .dims = {rows},
                                      .strides = {1},
                                      .bytes = std::as_bytes(std::span(scales))};
    for (index_type columns = 1; columns < 40; ++columns)
        for (const bool transposed : {false, true}) {
            const index_type row_stride = transposed ? 1 : columns + 2, column_stride = transposed ? rows : 1;
            const auto at = [&](index_type row, index_type column) {
                return static_cast<std::size_t>(row * row_stride + column * column_stride);
            };
            std::vector<std::int8_t> bytes(at(rows - 1, columns - 1) + 1);
            for (std::size_t i = 0; i < bytes.size(); ++i)
                bytes[i] = static_cast<std::int8_t>(static_cast<int>(i * 83) % 255 - 127);
            const stored_tensor stored{.name = "t",
                                       .type = dtype::i8,
                                       .type_name = "I8",
                                       .dims = {rows, columns},
                                       .strides = {row_stride, column_stride},
                                       .bytes = std::as_bytes(std::span(bytes))};
            const tensor<float> read = read_quantised(stored, stored_scales);
            ASSERT_EQ(read.dims(), stored.dims);
            for (index_type row = 0; row < rows; ++row)
                for (index_type column = 0; column < columns; ++column) {
                    std::int8_t &byte = bytes[at(row, column)];
                    ASSERT_EQ(double{read(row, column)}, double{scales[static_cast<std::size_t>(row)]} * byte);
                    const std::int8_t before = std::exchange(byte, std::int8_t{-128});
                    expect_error(error_kind::bad_value, {"t: ", "-127 to 127"},
                                 [&] { (void)read_quantised(stored, stored_scales); });
                    byte = before;
                }
            std::vector<float> wrong(static_cast<std::size_t>(rows * columns + 1));
            expect_error(error_kind::invalid_argument, {"t: ", "wrong size"},
                         [&] { read_quantised_into(stored, stored_scales, wrong); });
        }
}

// --- writing

TEST(save_safetensors, writes_what_is_read_back) {
    const io_test::temporary_directory directory;
    tensor<float> a(shape{2, 3});
    for (index_type i = 0; i < a.count(); ++i) a.data()[i] = static_cast<float>(i) / 3;
    const tensor<float> scalar(shape{});
    const tensor<float> none(shape{0, 4});
    const std::vector<named_tensor> tensors{{"z\"\\\n\x01é", a}, {"scalar", scalar}, {"none", none}};
    save_safetensors(directory / "out", tensors, {{"format", "pt"}, {"k", "v\t"}});
    const checkpoint c = checkpoint::open(directory / "out");
    ASSERT_EQ(c.tensors().size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(c.tensors()[i].name, tensors[i].name);
        EXPECT_EQ(c.tensors()[i].dims, tensors[i].data.dims());
        EXPECT_EQ(values(c, tensors[i].name), std::vector<float>(tensors[i].data.span().begin(), tensors[i].data.span().end()));
    }
    EXPECT_EQ(c.metadata(), (string_map{{"format", "pt"}, {"k", "v\t"}}));
    EXPECT_EQ(directory.names(), std::vector<std::string>{"out"});
}

TEST(save_safetensors, writes_the_layout_of_the_official_library) {
    const io_test::temporary_directory directory;
    const tensor<float> t(shape{2, 1});
    save_safetensors(directory / "out", std::vector<named_tensor>{{"t", t}});
    const std::string header = R"({"t":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})";
    EXPECT_EQ(io_test::read_file(directory / "out"),
              safetensors(header + std::string((8 - header.size() % 8) % 8, ' '), floats({0, 0})));
    save_safetensors(directory / "empty", {});
    EXPECT_EQ(io_test::read_file(directory / "empty"), safetensors("{}      "));
}

TEST(save_safetensors, writes_sixteen_bits) {
    const io_test::temporary_directory directory;
    tensor<float> t(shape{5000});
    for (index_type i = 0; i < t.count(); ++i) t.data()[i] = std::sin(static_cast<float>(i));
    for (const auto type : {dtype::f16, dtype::bf16}) {
        save_safetensors(directory / "out", std::vector<named_tensor>{{"t", t}}, {}, type);
        const checkpoint c = checkpoint::open(directory / "out");
        EXPECT_EQ(c.find("t")->type, type);
        const auto read = values(c, "t");
        for (std::size_t i = 0; i < read.size(); ++i) {
            const float x = t.data()[i];
            ASSERT_EQ(read[i], type == dtype::f16 ? half_to_float(float_to_half(x)) : bfloat16_to_float(float_to_bfloat16(x)));
        }
    }
}

TEST(save_safetensors, refuses_numbers_that_would_become_infinite) {
    const io_test::temporary_directory directory;
    const double infinite = std::numeric_limits<double>::infinity();
    for (const auto &[x, type, fits] : std::vector<std::tuple<double, dtype, bool>>{{65519, dtype::f16, true},
                                                                                    {65520, dtype::f16, false},
                                                                                    {1e300, dtype::f16, false},
                                                                                    {1e300, dtype::bf16, false},
                                                                                    {-1e300, dtype::f32, false},
                                                                                    {3e38, dtype::f32, true},
                                                                                    {infinite, dtype::f16, true}}) {
        SCOPED_TRACE(x);
        const std::string bytes = number(x);
        stored_tensor stored{.name = "t", .type = dtype::f64, .type_name = "F64", .dims = shape{1}, .strides = {1}, .bytes = {}};
        stored.bytes = io_test::bytes_of(bytes);
        const auto save = [&, type = type] {
            save_safetensors(directory / "out", std::vector<named_tensor>{{"t", {}, &stored}}, {}, type);
        };
        if (fits)
            EXPECT_NO_THROW(save());
        else
            expect_error(error_kind::bad_value, {"t: ", "too large"}, save);
    }
}

TEST(save_safetensors, refuses_what_it_could_not_read_back) {
    const io_test::temporary_directory directory;
    const tensor<float> t(shape{1});
    const auto save = [&](std::vector<named_tensor> tensors, string_map metadata = {}, dtype type = dtype::f32) {
        return [&directory, tensors, metadata, type] { save_safetensors(directory / "out", tensors, metadata, type); };
    };
    expect_error(error_kind::invalid_argument, {"a: ", "taken"}, save({{"a", t}, {"a", t}}));
    expect_error(error_kind::invalid_argument, {"__metadata__: ", "taken"}, save({{"__metadata__", t}}));
    expect_error(error_kind::invalid_argument, {"not UTF-8"}, save({{"\xff", t}}));
    expect_error(error_kind::invalid_argument, {"not UTF-8"}, save({}, {{"k", "\xc3"}}));
    expect_error(error_kind::invalid_argument, {"element type", "found I64"}, save({{"a", t}}, {}, dtype::i64));
    EXPECT_TRUE(directory.names().empty());
}

TEST(save_safetensors, leaves_no_half_file) {
    const io_test::temporary_directory directory;
    const tensor<float> t(shape{1});
    std::filesystem::create_directory(directory / "sub");
    expect_error(error_kind::io, {"sub", "directory"}, [&] {
        save_safetensors(directory / "sub", std::vector<named_tensor>{{"a", t}});
    });
    expect_error(error_kind::io, {"absent/out", "No such file"}, [&] {
        save_safetensors(directory / "absent/out", std::vector<named_tensor>{{"a", t}});
    });
    EXPECT_EQ(directory.names(), std::vector<std::string>{"sub"});
}

// --- files of the official library

TEST(safetensors, reads_the_official_librarys_files) {
    const checkpoint full = checkpoint::open(data / "checkpoints/tiny.safetensors");
    const checkpoint half = checkpoint::open(data / "checkpoints/tiny_fp16.safetensors");
    EXPECT_EQ(full.find("head.bias")->dims, (shape{10}));
    ASSERT_EQ(full.tensors().size(), half.tensors().size());
    for (const stored_tensor &t : full.tensors()) {
        const stored_tensor *const other = half.find(t.name);
        ASSERT_NE(other, nullptr) << t.name;
        ASSERT_EQ(other->dims, t.dims) << t.name;
        if (!is_floating(t.type)) continue;
        EXPECT_EQ(other->type, dtype::f16) << t.name;
        const auto a = values(full, t.name);
        const auto b = values(half, t.name);
        for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(b[i], half_to_float(float_to_half(a[i]))) << t.name;
    }
}

TEST(safetensors, writes_the_official_librarys_bytes) {
    const io_test::temporary_directory directory;
    for (const char *const name : {"views_expected.safetensors"}) {
        const checkpoint c = checkpoint::open(data / "checkpoints" / name);
        std::vector<tensor<float>> kept;
        std::vector<named_tensor> tensors;
        for (const stored_tensor &t : c.tensors()) kept.push_back(read_float(t));
        for (std::size_t i = 0; i < kept.size(); ++i) tensors.push_back({c.tensors()[i].name, kept[i]});
        save_safetensors(directory / name, tensors, c.metadata());
        EXPECT_EQ(io_test::read_file(directory / name), io_test::read_file(data / "checkpoints" / name)) << name;
    }
}

} // namespace
