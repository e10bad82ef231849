// SPDX-License-Identifier: MIT
#include "fastvit/labels.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace {

using fastvit::error_kind;
using fastvit::parse_labels;
using io_test::expect_error;
using list = std::vector<std::string>;

TEST(labels, are_the_lines_of_a_text) {
    EXPECT_EQ(parse_labels("a\nb c\n\nd"), (list{"a", "b c", "", "d"}));
    EXPECT_EQ(parse_labels("a\r\nb\r\n"), (list{"a", "b"}));
    EXPECT_EQ(parse_labels("\xef\xbb\xbf"
                           "a\r\nb\r\n\r\n\n"),
              (list{"a", "b"}));
    EXPECT_EQ(parse_labels(" a \nb\t"), (list{" a ", "b\t"}));
    EXPECT_EQ(parse_labels("[background]\n[cat]\n"), (list{"[background]", "[cat]"}));
    EXPECT_EQ(parse_labels("\xe9t\xe9\n"), list{"\xe9t\xe9"}); // no matter which alphabet
}

TEST(labels, are_read_from_json) {
    EXPECT_EQ(parse_labels("\xef\xbb\xbf [\"a\", \"b\\u00e9\"]\r\n"), (list{"a", "b\xc3\xa9"}));
    EXPECT_EQ(parse_labels(R"({"1": "b", "0": "a"})"), (list{"a", "b"}));
    EXPECT_EQ(parse_labels(R"({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]})"), (list{"tench", "goldfish"}));
    EXPECT_EQ(parse_labels(R"({"dog": 1, "cat": 0})"), (list{"cat", "dog"}));
    EXPECT_EQ(parse_labels(R"({"model": {"0": 1}, "id2label": {"0": "a"}, "label2id": {"a": 0}})"), list{"a"});
    EXPECT_EQ(parse_labels(R"({"label_names": ["a", "b"]})"), (list{"a", "b"}));
}

TEST(labels, refuse_what_has_none) {
    for (const char *const text : {"", "\n\r\n", "\xef\xbb\xbf"})
        expect_error(error_kind::bad_format, {"no label in it", "one on each line"}, [&] { (void)parse_labels(text); });
    for (const char *const text : {"[]", "{}", R"({"a": "b"})", R"({"0": "a", "name": "x"})", R"({"0": []})", R"({"0": 1})"})
        expect_error(error_kind::bad_format, {"no label in it", "a list, or an object"}, [&] { (void)parse_labels(text); });
    for (const char *const text : {R"(["a")", R"(["a"] b)", R"(["a", 1])", R"({"0": "a")"})
        expect_error(error_kind::bad_format, {"bad JSON"}, [&] { (void)parse_labels(text); });
    expect_error(error_kind::bad_format, {"class 0 has two labels"}, [] { (void)parse_labels(R"({"0": "a", "0": "b"})"); });
    expect_error(error_kind::bad_format, {"more than 65536 labels"}, [] { (void)parse_labels(R"({"a": 65536})"); });
    for (const std::string_view text : {std::string_view("\xff\xfe"
                                                         "a\0\n\0",
                                                         6),
                                        std::string_view("\xfe\xff\0a", 4), std::string_view("a\0\n\0", 4)})
        expect_error(error_kind::unsupported, {"UTF-16", "save it as UTF-8"}, [&] { (void)parse_labels(text); });
    expect_error(error_kind::bad_format, {"too large for a text"}, [] { (void)parse_labels(std::string((16 << 20) + 1, 'a')); });
}

TEST(labels, errors_name_the_file) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "labels.txt", "a\nb\n");
    EXPECT_EQ(fastvit::read_labels(directory / "labels.txt"), (list{"a", "b"}));
    io_test::write_file(directory / "labels.txt", "");
    expect_error(error_kind::bad_format, {"labels.txt: no label in it"},
                 [&] { (void)fastvit::read_labels(directory / "labels.txt"); });
    io_test::write_file(directory / "labels.txt", std::string(17 << 20, 'a'));
    expect_error(error_kind::bad_format, {"labels.txt: too large"},
                 [&] { (void)fastvit::read_labels(directory / "labels.txt"); });
    expect_error(error_kind::io, {"absent: cannot open: No such file"},
                 [&] { (void)fastvit::read_labels(directory / "absent"); });
    expect_error(error_kind::io, {"directory"}, [&] { (void)fastvit::read_labels(directory.path()); });
}

} // namespace
