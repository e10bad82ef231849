// SPDX-License-Identifier: MIT
// FASTVIT_ASSERT(condition) checks what a function's contract demands of its arguments. It is assert() unless it is defined
// before the library is included, the same way in every unit.
#pragma once

#if !defined(FASTVIT_ASSERT)
#include <cassert>
#define FASTVIT_ASSERT(condition) assert(condition)
#endif
