// SPDX-License-Identifier: MIT
// A whole file in memory, read-only, without copying it.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace platform {

/// An `io` error that names the path. `code` is an errno value, explained in the system's words; 0 for none.
inline error file_error(const std::filesystem::path &path, std::string problem, int code = 0) {
    if (code != 0) problem += ": " + std::generic_category().message(code);
    return {error_kind::io, {.problem = std::move(problem), .file = path.string()}};
}

/// A file descriptor that closes itself.
class descriptor {
  public:
    explicit descriptor(int fd) noexcept : fd_(fd) {}
    descriptor(descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor &operator=(descriptor &&other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }

    int get() const noexcept { return fd_; }
    /// Closes now; 0, or the errno of a write error that only shows on closing.
    int close() noexcept { return ::close(std::exchange(fd_, -1)) == 0 ? 0 : errno; }

  private:
    int fd_;
};

/// A read-only mapping of a whole regular file. Move-only; the bytes stay where they are when it moves.
/// The file must not be truncated while it is mapped: the system answers a read past the new end with SIGBUS.
/// Replacing it by renaming another over it, as output_file does, is safe.
class mapped_file {
  public:
    /// Throws `io`, naming the path, for anything but a readable, non-empty regular file (a link to one will do).
    explicit mapped_file(const std::filesystem::path &path) {
        // Without O_NONBLOCK the open of a named pipe waits for somebody to write to it.
        const descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
        if (fd.get() < 0) {
            if (errno == ENOENT) throw file_error(path, "the file does not exist");
            throw file_error(path, "cannot open the file", errno);
        }
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0) throw file_error(path, "cannot inspect the file", errno);
        if (S_ISDIR(status.st_mode)) throw file_error(path, "this is a directory, not a file");
        if (!S_ISREG(status.st_mode)) throw file_error(path, "not a regular file");
        if (status.st_size == 0) throw file_error(path, "the file is empty");
        if (!std::in_range<std::size_t>(status.st_size)) throw file_error(path, "the file does not fit in the address space");

        const auto size = static_cast<std::size_t>(status.st_size);
        void *const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
        if (address == MAP_FAILED) throw file_error(path, "cannot map the file", errno);
        bytes_ = {static_cast<const std::byte *>(address), size};
    }
    mapped_file(mapped_file &&other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    mapped_file &operator=(mapped_file &&other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~mapped_file() {
        // munmap takes a pointer to mutable memory, although nobody may write there.
        if (!bytes_.empty()) ::munmap(const_cast<std::byte *>(bytes_.data()), bytes_.size());
    }

    /// The file's contents, for as long as this object (or the one it was moved to) lives.
    std::span<const std::byte> bytes() const noexcept { return bytes_; }

    /// Takes the pages of `part`, which lies in bytes(), out of the process's memory; reading them again maps them again. Without
    /// this, a large file that is read once would stay resident.
    void drop_pages(std::span<const std::byte> part) const noexcept {
        if (part.empty()) return;
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const auto begin = static_cast<std::size_t>(part.data() - bytes_.data()), first = begin / page * page;
        ::madvise(const_cast<std::byte *>(bytes_.data()) + first, begin + part.size() - first, MADV_DONTNEED);
    }

  private:
    std::span<const std::byte> bytes_;
};

}}} // namespace fastvit::FASTVIT_ABI::platform
