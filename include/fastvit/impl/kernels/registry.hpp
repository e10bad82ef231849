// SPDX-License-Identifier: MIT
// The list of tiers. The program has every tier that its compiler can make; the machine decides which one runs.
#pragma once

#include "fastvit/error.hpp"
#include "fastvit/kernels/registry.hpp"
#include "fastvit/kernels/tiers/avx2.hpp"
#include "fastvit/kernels/tiers/avx512.hpp"
#include "fastvit/kernels/tiers/avx512_amx.hpp"
#include "fastvit/kernels/tiers/avx512_bf16.hpp"
#include "fastvit/kernels/tiers/avx512_vnni.hpp"
#include "fastvit/kernels/tiers/avx_vnni.hpp"
#include "fastvit/kernels/tiers/neon.hpp"
#include "fastvit/kernels/tiers/neon_dotprod.hpp"
#include "fastvit/kernels/tiers/neon_i8mm_bf16.hpp"
#include "fastvit/kernels/tiers/scalar.hpp"

#include <array>
#include <cstdlib>
#include <string>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace kernels {

FASTVIT_FUNCTION std::span<const tier> tiers() {
    static const std::array list = [] {
#if defined(__x86_64__)
        const tier vnni{avx512_vnni::table.name, avx512_vnni::supported(), &avx512_vnni::table};
        const tier bf16{avx512_bf16::table.name, avx512_bf16::supported(), &avx512_bf16::table};
        const bool vnni_first = avx512_bf16::slower_than_float32();
#endif
        return std::array {
#if defined(__x86_64__)
            tier{avx512_amx::table.name, avx512_amx::supported(), &avx512_amx::table, avx512_amx::permitted},
                vnni_first ? vnni : bf16, vnni_first ? bf16 : vnni, tier{avx512::table.name, avx512::supported(), &avx512::table},
                tier{avx_vnni::table.name, avx_vnni::supported(), &avx_vnni::table},
                tier{avx2::table.name, avx2::supported(), &avx2::table},
#elif defined(__aarch64__)
            tier{neon_i8mm_bf16::table.name, neon_i8mm_bf16::supported(), &neon_i8mm_bf16::table},
                tier{neon_dotprod::table.name, neon_dotprod::supported(), &neon_dotprod::table},
                tier{neon::table.name, neon::supported(), &neon::table},
#endif
                tier{scalar::table.name, scalar::supported(), &scalar::table},
        };
    }();
    return list;
}

FASTVIT_FUNCTION const tier &select_tier(std::string_view name, precision type) {
    if (name.empty())
        if (const char *const forced = std::getenv("FASTVIT_ISA")) name = forced;
    return select_tier_of(tiers(), name, type);
}

FASTVIT_FUNCTION const tier &select_tier_of(std::span<const tier> list, std::string_view name, precision type) {
    std::string usable, found(name);
    for (const tier &t : list) {
        if (!t.supported) continue;
        if (!name.empty() && name != t.name)
            usable += (usable.empty() ? "" : ", ") + std::string(t.name);
        else if (t.runs(type)) // asked of no other: being permitted is not without effect
            return t;
        else if (name == t.name)
            found += ", which the operating system does not permit for " + std::string(to_string(type));
    }
    throw error(error_kind::invalid_argument, {.problem = "instruction set (FASTVIT_ISA or the isa option)",
                                               .expected = "one that this machine can run: " + usable,
                                               .found = std::move(found)});
}

}}} // namespace fastvit::FASTVIT_ABI::kernels
