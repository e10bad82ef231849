// SPDX-License-Identifier: MIT
// Where the bundled model's files are looked for, and files of labels.
#include "fastvit/bundled.hpp"
#include "fastvit/labels.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

// Of bundled_elsewhere.cpp.
std::vector<std::string> labels_elsewhere();
std::string model_path_elsewhere();

namespace {

using namespace fastvit;
using io_test::expect_error;
using lines = std::vector<std::string>;

class bundled_files : public testing::Test {
  protected:
    void SetUp() override { ::unsetenv("FASTVIT_DATA_DIR"); }
    void TearDown() override { ::unsetenv("FASTVIT_DATA_DIR"); }
};

TEST_F(bundled_files, are_where_each_unit_was_told) {
    EXPECT_EQ(bundled_labels().size(), 16u);
    EXPECT_EQ(labels_elsewhere(), lines{"elsewhere"});
    EXPECT_EQ(bundled_labels().size(), 16u);
    EXPECT_TRUE(std::filesystem::is_regular_file(bundled_model_path()));
    expect_error(error_kind::io, {"tests/data/bundled", "macro FASTVIT_DATA_DIR", "environment variable"},
                 [] { (void)model_path_elsewhere(); });
}

TEST_F(bundled_files, are_where_the_environment_says_first) {
    const io_test::temporary_directory directory;
    ::setenv("FASTVIT_DATA_DIR", directory.path().c_str(), 1);
    for (const auto &labels : {+[] { return bundled_labels(); }, +[] { return labels_elsewhere(); }})
        expect_error(error_kind::io, {directory.path().string(), "labels.txt", "that the environment variable"},
                     [&] { (void)labels(); });
    io_test::write_file(directory / "labels.txt", "a\nb\n");
    EXPECT_EQ(bundled_labels(), (lines{"a", "b"}));
    EXPECT_EQ(labels_elsewhere(), (lines{"a", "b"}));
}

TEST_F(bundled_files, are_nowhere_without_a_directory) {
    expect_error(error_kind::io, {"labels.txt", "no directory is known"}, [] { (void)bundled::file("labels.txt", ""); });
}

TEST(labels, are_the_lines_of_a_file) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "labels.txt", "tench\r\ngreat white shark\n\nlast");
    EXPECT_EQ(read_labels(directory / "labels.txt"), (lines{"tench", "great white shark", "", "last"}));
    io_test::write_file(directory / "empty.txt", "");
    expect_error(error_kind::bad_format, {"empty.txt", "no label in it"}, [&] { (void)read_labels(directory / "empty.txt"); });
    expect_error(error_kind::io, {"none.txt", "No such file"}, [&] { (void)read_labels(directory / "none.txt"); });
    expect_error(error_kind::io, {"directory"}, [&] { (void)read_labels(directory.path()); });
}

} // namespace
