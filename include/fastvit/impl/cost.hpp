// SPDX-License-Identifier: MIT
// See fastvit/cost.hpp.
#pragma once

#include "fastvit/cost.hpp"
#include "fastvit/parts/list.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"

#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

FASTVIT_FUNCTION std::vector<part_cost> part_costs(const architecture &net, index_type height, index_type width) {
    const platform::ieee_arithmetic arithmetic;
    std::vector<part_cost> costs;
    const runtime::extent image = parts::image_extent(net, {1, net.in_channels, height, width});
    parts::for_each_part(net, image,
                         [&]<class Part>(const parts::place &p, const typename Part::config &c, const runtime::extent &in,
                                         const runtime::extent &) {
                             for (part_cost &cost : Part::costs(c, in)) {
                                 cost.name = cost.name.empty() ? p.name : p.name + "." + cost.name;
                                 costs.push_back(std::move(cost));
                             }
                         });
    return costs;
}

FASTVIT_FUNCTION double multiply_adds(const architecture &net, index_type height, index_type width) {
    const platform::ieee_arithmetic arithmetic;
    double total = 0;
    for (const part_cost &part : part_costs(net, height, width)) total += part.multiply_adds;
    return total;
}

}} // namespace fastvit::FASTVIT_ABI
