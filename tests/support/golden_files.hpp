// SPDX-License-Identifier: MIT
// The expected outputs and tensor names in data/goldens and data/keys, which data/README.md describes.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/spelling.hpp"
#include "fastvit/tensor.hpp"

#include "support/seeded.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit_test {

inline const std::filesystem::path data = FASTVIT_TEST_DATA;

/// How far float32 results may be from the reference, relative to its largest absolute value. The official code itself is up to
/// 6e-6 away.
inline constexpr double tolerance = 2e-5;

/// A published variant in the official dense-prediction form: without head, with BatchNorms beside the network.
fastvit::architecture dense_prediction_form(std::string_view variant);

/// The largest absolute difference, relative to the largest absolute value of the reference, and where it is.
struct difference {
    double relative = 0;
    index_type at = 0;

    friend std::ostream &operator<<(std::ostream &out, const difference &d);
};

/// A reference: all elements of a tensor, or every step-th of them.
struct expected_tensor {
    fastvit::shape dims;
    fastvit::tensor<float> values;
    index_type step = 1;
    double largest = 0;

    static expected_tensor whole(fastvit::tensor_view<const float> values);

    /// Infinite for a tensor of another shape and for NaN.
    difference from(fastvit::tensor_view<const float> actual) const;
};

/// Reads a tensor of a golden file, complete or sampled.
expected_tensor read_expected(const fastvit::checkpoint &file, const fastvit::io::stored_tensor &stored);

/// One golden file: what it was made from, and what came out.
struct golden {
    std::string source, variant; ///< `apple`, `fastvit_t8`
    bool dense_prediction = false;
    fastvit::shape images;
    std::uint64_t seed = 0;
    std::vector<std::pair<std::string, expected_tensor>> expected;

    explicit golden(const std::filesystem::path &path);
    fastvit::io::spelling spelling() const;
    fastvit::architecture net() const;
};

/// Where the golden files are: those of the repository, or complete ones, if the environment names a directory.
std::filesystem::path golden_directory();

/// The files of a network, `apple_t8` or `apple_t8_forkfeat`.
std::vector<std::filesystem::path> goldens_of(const std::string &network);

/// The networks that there are golden files of.
std::set<std::string> golden_networks();

/// Lists of tensors are compared as text, a line for each in the order of the names: `head.bias [1000]`.
class tensor_list {
  public:
    void add(std::string_view name, const fastvit::shape &dims);
    std::size_t count() const { return lines_.size(); }
    std::string text() const;

  private:
    std::multiset<std::string> lines_;
};

/// A line of keys/digests.txt: the tensors of a published network in one spelling and form, by their number and hash.
struct key_digest {
    std::string source, variant, form; ///< `apple`, `t8` or `t8_forkfeat`, `train` or `reparam`
    std::size_t count = 0;
    std::uint64_t hash = 0;

    fastvit::io::spelling spelling() const;
    bool folded() const { return form == "reparam"; }
    fastvit::architecture net() const;
    std::string name() const { return source + "_" + variant + "_" + form; }

    /// Checks a list against the digest, and line by line where the complete list is kept.
    void expect(const tensor_list &actual) const;
};

std::vector<key_digest> key_digests();

} // namespace fastvit_test
