// SPDX-License-Identifier: MIT
#include "cli/progress.hpp"

#include <unistd.h>

#include <iostream>
#include <string>

namespace cli {
namespace {

constexpr fastvit::index_type few = 8; // are done before anybody wonders
constexpr fastvit::index_type bar_width = 40;
constexpr std::chrono::milliseconds interval{100};

} // namespace

progress_bar::progress_bar(fastvit::index_type total, bool prints)
    : total_(total), wanted_(total > few && ::isatty(STDERR_FILENO) && !(prints && ::isatty(STDOUT_FILENO))) {}

void progress_bar::step() {
    ++done_;
    const auto now = std::chrono::steady_clock::now();
    if (!wanted_ || (done_ < total_ && now - drawn_ < interval)) return;
    drawn_ = now;
    shown_ = true;
    const fastvit::index_type filled = bar_width * done_ / total_;
    std::cerr << "\r[" << std::string(filled, '#') << std::string(bar_width - filled, '.') << "] " << done_ << " of " << total_
              << std::flush;
}

void progress_bar::hide() {
    if (shown_) std::cerr << "\r\033[K" << std::flush; // clears the line
    shown_ = false;
}

} // namespace cli
