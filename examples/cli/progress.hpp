// SPDX-License-Identifier: MIT
#pragma once

#include "fastvit/base/config.hpp"

#include <chrono>

namespace cli {

/// A line on the standard error that says how far a long job is, and is gone when it ends. It shows only where the standard
/// error is a terminal, the pictures are many, and no results scroll by.
class progress_bar {
  public:
    /// `prints`: results go to the standard output meanwhile; where that is a terminal they show the progress themselves.
    progress_bar(fastvit::index_type total, bool prints);
    progress_bar(const progress_bar &) = delete;
    progress_bar &operator=(const progress_bar &) = delete;
    ~progress_bar() { hide(); }

    /// One more is done.
    void step();
    /// Makes room for another line on the standard error. The next step() may show the bar again.
    void hide();

  private:
    fastvit::index_type total_, done_ = 0;
    bool wanted_, shown_ = false;
    std::chrono::steady_clock::time_point drawn_{};
};

} // namespace cli
