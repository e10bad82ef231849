// SPDX-License-Identifier: MIT
// The processor's count of last-level cache misses, where the system gives it: many virtual machines do not.
#pragma once

#include <optional>

#if defined(__linux__)
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace bench {

/// Counts for the calling thread while it lives.
class cache_misses {
  public:
#if defined(__linux__)
    cache_misses() {
        perf_event_attr what{};
        what.size = sizeof(what);
        what.type = PERF_TYPE_HARDWARE;
        what.config = PERF_COUNT_HW_CACHE_MISSES;
        what.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
        what.exclude_kernel = 1;
        what.exclude_hv = 1;
        file_ = static_cast<int>(syscall(SYS_perf_event_open, &what, 0, -1, -1, 0));
    }
    ~cache_misses() {
        if (file_ >= 0) close(file_);
    }
    cache_misses(const cache_misses &) = delete;
    cache_misses &operator=(const cache_misses &) = delete;

    /// Since it was made; none where they are not counted. Where several counters share the processor's, each counts for a part
    /// of the time, and the rest is estimated.
    std::optional<double> count() const {
        struct {
            std::uint64_t value, enabled, running;
        } now{};
        if (file_ < 0 || read(file_, &now, sizeof(now)) != sizeof(now) || now.running == 0) return std::nullopt;
        return static_cast<double>(now.value) * static_cast<double>(now.enabled) / static_cast<double>(now.running);
    }

  private:
    int file_ = -1;
#else
    std::optional<double> count() const { return std::nullopt; }
#endif
};

} // namespace bench
