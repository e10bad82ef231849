// SPDX-License-Identifier: MIT
// Checkpoints that are nearly right: safetensors files taken apart, edited and put together again.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/error.hpp"
#include "fastvit/model.hpp"

#include "support/golden_files.hpp"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

struct file_tensor {
    std::string name;
    std::string type = "F32";
    fastvit::shape dims;
    std::string bytes;

    /// Other dimensions, and as many bytes as they need.
    void reshape(const fastvit::shape &to);
    /// Of a float32 matrix.
    void transpose();
    void fill(float value);
};

class file_of_tensors {
  public:
    file_of_tensors() = default;
    explicit file_of_tensors(const fastvit::checkpoint &source);
    static file_of_tensors read(std::string_view name);

    std::vector<file_tensor> tensors;

    std::vector<std::string> names() const;
    bool has(std::string_view name) const;
    file_tensor &at(std::string_view name);
    void erase(std::string_view name);
    void rename(const std::function<std::string(const std::string &)> &f);
    /// An Apple file in timm's spelling.
    file_of_tensors in_timm_spelling() const;

    /// A CLIP's image encoder, `net` in timm's spelling, as ml-mobileclip has it: Apple's names, the patch embedding's squeeze
    /// and excite in timm's words, the projection transposed and without bias. Another network stands beside it.
    file_of_tensors in_mobileclip_spelling(const fastvit::architecture &net) const;

    std::string bytes() const;

    /// The network of the file, called net.safetensors.
    fastvit::model load(const fastvit::model_options &options = {}) const;

    /// What loading it throws, if it does.
    std::optional<fastvit::error> failure() const;

    /// The file on disk with nothing but holes for data: of any size, without the disk or memory for it.
    void save_sparse(const std::filesystem::path &path) const;
};

/// Writes a safetensors file of all tensors, floating-point ones as float32.
void save_checkpoint(const std::filesystem::path &path, const fastvit::checkpoint &source);

/// Every tensor of a network in one form, BatchNorms' counters included, without values.
file_of_tensors file_of(const fastvit::architecture &net, fastvit::io::spelling spelling, bool folded);

tensor_list list_of(const file_of_tensors &file);

} // namespace fastvit_test
