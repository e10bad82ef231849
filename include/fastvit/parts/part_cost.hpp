// SPDX-License-Identifier: MIT
// What a part of the network costs.
#pragma once

#include "fastvit/base/config.hpp"

#include <string>

namespace fastvit { inline namespace FASTVIT_ABI {

/// A part of the network under the name that an observer is told, and its multiply-adds.
struct part_cost {
    std::string name;
    double multiply_adds;
};

}} // namespace fastvit::FASTVIT_ABI
