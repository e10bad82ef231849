// SPDX-License-Identifier: MIT
// A network's results by name, as files have them.
#pragma once

#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/model.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

/// All results that were asked for, in the order in which the network computes them. Views of the workspace.
inline std::vector<fastvit::io::named_tensor> named_results(const fastvit::outputs &out) {
    std::vector<fastvit::io::named_tensor> all{{.name = "stem", .data = out.stem}};
    for (std::size_t s = 0; s < out.stages.size(); ++s)
        all.push_back({.name = "stage" + std::to_string(s), .data = out.stages[s]});
    for (std::size_t i = 0; i < out.fork_features.size(); ++i)
        all.push_back({.name = "out" + std::to_string(i), .data = out.fork_features[i]});
    all.push_back({.name = "final_conv", .data = out.final_conv});
    all.push_back({.name = "embedding", .data = out.embedding});
    all.push_back({.name = "logits", .data = out.logits});
    std::erase_if(all, [](const fastvit::io::named_tensor &t) { return t.data.empty(); });
    return all;
}

/// The feature pyramids that this network has.
inline fastvit::output_kind pyramids(const fastvit::architecture &net) {
    return net.fork_features ? fastvit::output_kind::stages | fastvit::output_kind::fork_features : fastvit::output_kind::stages;
}

/// Everything that this network can give.
inline fastvit::output_kind all_outputs(const fastvit::architecture &net) {
    fastvit::output_kind all = pyramids(net) | fastvit::output_kind::embedding | fastvit::output_kind::stem;
    if (net.head_channels > 0) all = all | fastvit::output_kind::final_conv;
    if (net.classes > 0) all = all | fastvit::output_kind::logits;
    return all;
}

} // namespace cli
