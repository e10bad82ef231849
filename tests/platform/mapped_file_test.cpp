// SPDX-License-Identifier: MIT
#include "fastvit/platform/mapped_file.hpp"
#include "fastvit/platform/output_file.hpp"

#include "support/io_test_files.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <type_traits>
#include <utility>

namespace {

using fastvit::error_kind;
using fastvit::platform::mapped_file;
using fastvit::platform::output_file;
using io_test::expect_error;

static_assert(!std::is_copy_constructible_v<mapped_file> && std::is_nothrow_move_constructible_v<mapped_file>);

std::string text(std::span<const std::byte> bytes) { return {reinterpret_cast<const char *>(bytes.data()), bytes.size()}; }

TEST(mapped_file, holds_the_files_bytes_also_when_moved) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "a", "hello");
    io_test::write_file(directory / "b", "world!");
    mapped_file a(directory / "a");
    const auto *const address = a.bytes().data();
    EXPECT_EQ(text(a.bytes()), "hello");
    mapped_file moved(std::move(a));
    EXPECT_EQ(moved.bytes().data(), address);
    EXPECT_TRUE(a.bytes().empty());
    moved = mapped_file(directory / "b");
    EXPECT_EQ(text(moved.bytes()), "world!");
}

TEST(mapped_file, follows_links) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "a", "hello");
    std::filesystem::create_symlink("a", directory / "link");
    EXPECT_EQ(text(mapped_file(directory / "link").bytes()), "hello");
}

TEST(mapped_file, survives_the_files_replacement) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "a", "old");
    const mapped_file a(directory / "a");
    output_file replacement(directory / "a");
    replacement.write(io_test::bytes_of("new contents"));
    replacement.commit();
    EXPECT_EQ(text(a.bytes()), "old");
    EXPECT_EQ(io_test::read_file(directory / "a"), "new contents");
}

TEST(mapped_file, says_what_is_wrong_with_the_path) {
    const io_test::temporary_directory directory;
    const auto open = [&](std::string_view name) { return [&, name] { mapped_file file(directory / name); }; };
    expect_error(error_kind::io, {"absent.pth", "does not exist"}, open("absent.pth"));
    expect_error(error_kind::io, {directory.path().string(), "directory"}, open(""));
    io_test::write_file(directory / "empty", "");
    expect_error(error_kind::io, {"empty", "the file is empty"}, open("empty"));
    // Opened by a careless reader, a pipe that nobody writes to blocks forever.
    ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
    expect_error(error_kind::io, {"pipe", "not a regular file"}, open("pipe"));
    expect_error(error_kind::io, {"/dev/null", "not a regular file"}, [] { mapped_file file("/dev/null"); });
    io_test::write_file(directory / "file", "x");
    expect_error(error_kind::io, {"file/below", "Not a directory"}, open("file/below"));
}

TEST(mapped_file, says_that_permission_is_missing) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "secret", "x");
    ASSERT_EQ(::chmod((directory / "secret").c_str(), 0), 0);
    expect_error(error_kind::io, {"secret", "Permission denied"}, [&] { mapped_file file(directory / "secret"); });
}

TEST(output_file, appears_under_its_name_only_when_committed) {
    const io_test::temporary_directory directory;
    {
        output_file file(directory / "out");
        file.write(io_test::bytes_of("one "));
        file.write(io_test::bytes_of("two"));
        EXPECT_FALSE(std::filesystem::exists(directory / "out"));
        file.commit();
    }
    EXPECT_EQ(io_test::read_file(directory / "out"), "one two");
    EXPECT_EQ(directory.names(), std::vector<std::string>{"out"});
}

TEST(output_file, leaves_nothing_behind_without_commit) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "out", "old");
    {
        output_file file(directory / "out");
        file.write(io_test::bytes_of("half of a fi"));
        EXPECT_EQ(directory.names().size(), 2u);
    }
    EXPECT_EQ(io_test::read_file(directory / "out"), "old");
    EXPECT_EQ(directory.names(), std::vector<std::string>{"out"});
}

TEST(output_file, writes_through_a_link) {
    const io_test::temporary_directory directory;
    io_test::write_file(directory / "real", "old");
    std::filesystem::create_symlink("real", directory / "link");
    output_file file(directory / "link");
    file.write(io_test::bytes_of("new"));
    file.commit();
    EXPECT_TRUE(std::filesystem::is_symlink(directory / "link"));
    EXPECT_EQ(io_test::read_file(directory / "real"), "new");
}

TEST(output_file, obeys_the_umask) {
    const io_test::temporary_directory directory;
    const auto before = ::umask(027);
    output_file file(directory / "out");
    ::umask(before);
    file.commit();
    struct stat status {};
    ASSERT_EQ(::stat((directory / "out").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(output_file, writes_relative_to_the_working_directory) {
    const io_test::temporary_directory directory;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(directory.path());
    output_file file("out");
    file.commit();
    std::filesystem::current_path(before);
    EXPECT_EQ(directory.names(), std::vector<std::string>{"out"});
}

TEST(output_file, says_why_it_cannot_write) {
    const io_test::temporary_directory directory;
    const auto create = [&](std::string_view name) { return [&, name] { output_file file(directory / name); }; };
    expect_error(error_kind::io, {"absent/out", "No such file or directory"}, create("absent/out"));
    std::filesystem::create_directory(directory / "sub");
    expect_error(error_kind::io, {"sub", "directory"}, create("sub"));
    expect_error(error_kind::io, {"/dev/null", "not a regular file"}, [] { output_file file("/dev/null"); });
    expect_error(error_kind::io, {"the path is empty"}, [] { output_file file(""); });
    EXPECT_EQ(directory.names(), std::vector<std::string>{"sub"});
}

TEST(output_file, says_that_the_directory_is_not_writable) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
    const io_test::temporary_directory directory;
    ASSERT_EQ(::chmod(directory.path().c_str(), 0500), 0);
    expect_error(error_kind::io, {"out", "Permission denied"}, [&] { output_file file(directory / "out"); });
}

// Exits with 0 if a write over the limit is an error that says so.
[[noreturn]] void write_over_the_limit(const std::filesystem::path &path) {
    // The limit on a file's size stands for a full disk; the signal that comes with it would end the process.
    const rlimit limit{.rlim_cur = 4096, .rlim_max = 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, SIG_IGN);
    int status = 1;
    try {
        output_file file(path);
        file.write(io_test::bytes_of(std::string(10000, 'x')));
    } catch (const fastvit::error &e) {
        status = std::string(e.what()).find("File too large") == std::string::npos ? 2 : 0;
    }
    ::_exit(status);
}

TEST(output_file, says_that_the_disk_is_full) {
    const io_test::temporary_directory directory;
    EXPECT_EXIT(write_over_the_limit(directory / "out"), testing::ExitedWithCode(0), "");
    EXPECT_TRUE(directory.names().empty());
}

} // namespace
