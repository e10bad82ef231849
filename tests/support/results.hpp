// SPDX-License-Identifier: MIT
// The results of forward passes, to compare: bit for bit, or with the reference.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/model.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/tensor.hpp"
#include "fastvit/workspace.hpp"

#include "support/reference.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit_test {

/// All outputs that the network can give.
fastvit::output_kind everything(const fastvit::architecture &net);

/// Their shapes, for images of that shape.
fastvit::output_shapes shapes_of(const fastvit::architecture &net, const fastvit::shape &images);

/// The tiers that this machine can run in every precision.
std::vector<std::string> usable_tiers();

/// f(name, output) for each output, in the names of the golden files.
template <class T, class F> void for_each_output(const fastvit::per_output<T> &out, F &&f) {
    f("stem", out.stem);
    for (std::size_t s = 0; s < out.stages.size(); ++s) f("stage" + std::to_string(s), out.stages[s]);
    for (std::size_t i = 0; i < out.fork_features.size(); ++i) f("out" + std::to_string(i), out.fork_features[i]);
    f("final_conv", out.final_conv);
    f("embedding", out.embedding);
    f("logits", out.logits);
}

/// The output of that name; empty if there is none.
fastvit::tensor_view<const float> output_named(const fastvit::outputs &out, std::string_view name);

using results = std::vector<std::pair<std::string, fastvit::tensor<float>>>;

/// Copies of all that is there, by name.
results copied(const fastvit::outputs &out);
results copied(const fastvit::output_buffers &out);

results run(const fastvit::model &net, fastvit::tensor_view<const float> images, fastvit::workspace &&space = {});
results run(const fastvit::model &net, const fastvit::tensor<float> &images, fastvit::workspace &&space = {});

/// Of the angle between two results.
double cosine(const fastvit::tensor<float> &a, const fastvit::tensor<float> &b);

void expect_same_bits(const results &expected, const results &actual);

/// Expects what reference::run_network() gives, of both graphs.
void expect_reference(const std::map<std::string, reference::maps<double>> &expected, const fastvit::checkpoint &source,
                      const fastvit::tensor<float> &images, fastvit::model_options options);

} // namespace fastvit_test
