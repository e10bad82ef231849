// SPDX-License-Identifier: MIT
// Writing a file so that nobody ever sees half of it.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/platform/mapped_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>

namespace fastvit { inline namespace FASTVIT_ABI { namespace platform {

/// A file under a temporary name in the target's directory, which takes the target's name when it is complete. Until then,
/// and if anything fails, the target stays what it was; without commit() the temporary file is removed.
class output_file {
  public:
    /// Throws `io`, naming the target, if its directory cannot be written or the target exists and is not a regular file.
    explicit output_file(const std::filesystem::path &target) : target_(target), fd_(-1) {
        if (target.empty()) throw file_error(target, "cannot write: the path is empty");
        std::error_code ignored;
        // Renaming over a symbolic link would replace the link; the file that it leads to is what the caller means.
        if (const auto real = std::filesystem::canonical(target, ignored); !ignored) target_ = real;
        const auto status = std::filesystem::status(target_, ignored);
        if (std::filesystem::is_directory(status)) throw file_error(target, "cannot write: this is a directory");
        if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
            throw file_error(target, "cannot write: this is not a regular file");
        open_temporary();
    }
    output_file(const output_file &) = delete;
    output_file &operator=(const output_file &) = delete;
    ~output_file() {
        if (!committed_) ::unlink(temporary_.c_str());
    }

    /// Appends. Throws `io` with the system's reason, for instance that the disk is full.
    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            // Linux writes at most 2^31 - 4096 bytes at a time, other systems refuse more.
            const auto done = ::write(fd_.get(), bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
            if (done < 0 && errno == EINTR) continue;
            if (done < 0) throw file_error(target_, "cannot write", errno);
            bytes = bytes.subspan(static_cast<std::size_t>(done));
        }
    }

    /// Makes the file durable and gives it its name. Call once, after the last write(). Throws `io`.
    void commit() {
        // A rename may reach the disk before the data does; without fsync a power cut could leave an empty file.
        if (::fsync(fd_.get()) != 0) throw file_error(target_, "cannot write", errno);
        if (const int code = fd_.close(); code != 0) throw file_error(target_, "cannot write", code);
        if (std::rename(temporary_.c_str(), target_.c_str()) != 0)
            throw file_error(target_, "cannot rename the finished file", errno);
        committed_ = true;
        // The new name itself is durable once the directory is; where directories cannot be synced, the file is whole anyway.
        const descriptor directory(::open(temporary_.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (directory.get() >= 0) ::fsync(directory.get());
    }

  private:
    // mkstemp would make a file for the owner's eyes only, and the umask cannot be read without changing it; open() applies it.
    void open_temporary() {
        static std::atomic<unsigned> counter{0};
        const auto directory = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
        constexpr int attempts = 100;
        for (int attempt = 0; attempt < attempts && fd_.get() < 0; ++attempt) {
            temporary_ = directory / (".fastvit-" + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".tmp");
            fd_ = descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
            // EEXIST: left behind by a process that was killed and had our id.
            if (fd_.get() < 0 && errno != EEXIST) break;
        }
        if (fd_.get() < 0) throw file_error(target_, "cannot create a file in its directory", errno);
    }

    std::filesystem::path target_;
    std::filesystem::path temporary_;
    descriptor fd_;
    bool committed_ = false;
};

}}} // namespace fastvit::FASTVIT_ABI::platform
