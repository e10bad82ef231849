// SPDX-License-Identifier: MIT
#pragma once

#include "fastvit/kernels/table.hpp"

#include <vector>

namespace emulated {

/// The tiers of x86-64 without their instructions: see emulated_tiers.cpp. Their encoded kernels and affine may be called, no
/// others.
std::vector<const fastvit::kernels::kernel_table *> tables();

} // namespace emulated
