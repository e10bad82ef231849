// SPDX-License-Identifier: MIT
// FASTVIT_ASSERT(condition): what a function's contract says of its arguments. assert() unless defined before the library is
// included, the same way in every unit.
#pragma once

#if !defined(FASTVIT_ASSERT)
#include <cassert>
#define FASTVIT_ASSERT(condition) assert(condition)
#endif
