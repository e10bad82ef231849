// SPDX-License-Identifier: MIT
// The whole network in double and plain loops: the oracle for networks that nobody has published.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/tensor.hpp"

#include "support/reference.hpp"

#include <map>
#include <string>

namespace reference {

/// All outputs under the names `stem`, `stage0` ..., `out0` ... (fork features), `final_conv`, `embedding` and `logits`, the last
/// two N x C x 1 x 1.
std::map<std::string, maps<double>> run_network(const fastvit::checkpoint &parameters, const fastvit::architecture &net,
                                                fastvit::tensor_view<const float> images);

} // namespace reference
