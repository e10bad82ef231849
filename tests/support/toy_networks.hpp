// SPDX-License-Identifier: MIT
// Small networks with seeded parameters, and the files that training scripts make of them.
#pragma once

#include "fastvit/model.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/pth_test_files.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

fastvit::architecture toy_net();

/// The toy network's tensors in the train-time form. Two seeds are two networks.
file_of_tensors toy_file(std::uint64_t seed = 1, std::string_view prefix = "",
                         fastvit::io::spelling spelling = fastvit::io::spelling::timm);

file_of_tensors renamed(file_of_tensors file, const std::function<std::string(const std::string &)> &f);

file_of_tensors joined(std::initializer_list<file_of_tensors> files);

/// All results, one after the other.
std::vector<float> results_of(const fastvit::model &net);

/// The largest difference over the largest value; infinite for another number of values.
double distance_between(const std::vector<float> &a, const std::vector<float> &b);

/// Expects that the network is that one, in both graphs.
void expect_network(const fastvit::checkpoint &source, const file_of_tensors &expected,
                    const fastvit::model_options &options = {});
void expect_network(const file_of_tensors &file, const file_of_tensors &expected, const fastvit::model_options &options = {});

/// A file of torch.save of float32 tensors.
class torch_file {
  public:
    /// A dictionary of the tensors, pickled; their elements go into the file.
    std::string dictionary(const file_of_tensors &file);
    /// The file, zip or of before PyTorch 1.6, with that object.
    std::string zip(const std::string &object) const;
    std::string legacy(const std::string &object) const;

  private:
    // Of all that dictionaries were made of, what this object refers to.
    io_test::named_data storages_of(const std::string &object) const;

    io_test::named_data storages_;
};

} // namespace fastvit_test
