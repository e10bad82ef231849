// SPDX-License-Identifier: MIT
// Both translation units define this function template's instance for their own fastvit: the names must differ, else the linker
// keeps one of the two machine codes for both.
#pragma once

#include "fastvit/fastvit.hpp"

#include <string>
#include <typeinfo>

inline namespace FASTVIT_ABI {
inline std::string use_fastvit() {
    fastvit::tensor<float> t(fastvit::shape{4, 4});
    for (float &x : t.span()) x += 1.0f;
    return typeid(t).name();
}
} // namespace FASTVIT_ABI
