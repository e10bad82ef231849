// SPDX-License-Identifier: MIT
// Results for many pictures, on their way into a file.
//
// OUTPUT.partial grows by one row a picture, all its results one after another, after a header that describes the job.
// OUTPUT.files.jsonl.partial grows by one line a picture: {"file": NAME, "row": 0}, or {"file": NAME, "error": WHY}. Neither can
// be mistaken for a result. The same command resumes where they end. At the end OUTPUT is written from the rows, under a
// temporary name until it is whole; the list becomes OUTPUT.files.jsonl and stays beside it.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/platform/mapped_file.hpp"
#include "fastvit/tensor.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace cli {

/// What the network made of one picture, kept.
struct kept_picture {
    std::string file;
    struct result {
        std::string name;
        fastvit::tensor<float> values; ///< [1, ...]
    };
    std::vector<result> results;
};

class row_file {
  public:
    /// Begins, or resumes what a stopped run left of the same `job`, any JSON, and the same pictures, of which there may be more
    /// by now. Throws `io` for files that cannot be written, and invalid_argument for what another job left.
    row_file(const std::string &output, const std::string &job, const std::vector<std::string> &pictures);

    /// How many pictures are done, and how many of them failed.
    fastvit::index_type done() const { return rows_ + failed_; }
    fastvit::index_type failed() const { return failed_; }
    /// Calls visit(file, values of the first result) for each row so far.
    void for_each_row(const std::function<void(const std::string &, std::span<const float>)> &visit) const;

    /// The next picture is done. All have results of the same names and shapes.
    void add(const kept_picture &picture);
    void add_failure(const std::string &file, const fastvit::error &problem);

    /// Writes the list and, if there are rows, the file: .npy if its name ends so, otherwise safetensors. Throws fastvit::error;
    /// the rows then stay.
    void finish();

  private:
    struct column {
        std::string name;
        std::vector<fastvit::index_type> dims; ///< of one picture
        std::size_t floats = 0;
    };
    void write_head();
    void read_rests(const std::vector<std::string> &pictures);
    void add_line(const std::string &line);
    void read_row(fastvit::index_type row, std::size_t skip, std::span<float> values) const;
    std::vector<std::string> names() const;
    std::string npy_header() const;
    std::string safetensors_header() const;

    std::string output_, job_;
    fastvit::platform::descriptor data_, list_;
    std::vector<column> columns_;
    std::size_t row_floats_ = 0;
    fastvit::index_type rows_ = 0, failed_ = 0;
};

} // namespace cli
