// SPDX-License-Identifier: MIT
// The units of one program: FASTVIT_TEST_UNITS is a list of them, each as UNIT(name).
#include "unit.hpp"

#define UNIT(name) std::vector<unit_result> name(const unit_files &files);
FASTVIT_TEST_UNITS
#undef UNIT

#define UNIT(name) {#name, name},
std::span<const unit> all_units() {
    static constexpr unit units[] = {FASTVIT_TEST_UNITS};
    return units;
}
#undef UNIT
