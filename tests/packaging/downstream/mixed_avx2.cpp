// SPDX-License-Identifier: MIT
// Compiled with -mavx2 -mfma.
#include "mixed.hpp"

std::string use_fastvit_avx2() { return use_fastvit(); }
