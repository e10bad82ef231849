// SPDX-License-Identifier: MIT
// The definitions of loader.hpp.
#include "support/loader.hpp"

#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/recognise.hpp"

namespace fastvit_test {

namespace loading = fastvit::loading;

recognised recognise(const fastvit::checkpoint &source, const std::optional<std::string_view> &prefix) {
    const loading::state_dict dict(source, prefix);
    return {dict.names().source(), loading::recognise(dict)};
}

std::uint64_t memory_needed(const fastvit::checkpoint &source) {
    const loading::state_dict dict(source);
    return loading::memory_needed(dict, loading::recognise(dict)).bytes;
}

std::vector<network_tensor> tensors_of(const fastvit::architecture &net, bool folded) {
    std::vector<network_tensor> all;
    for (const loading::listed_tensor &t : loading::tensors_of(net, folded))
        all.push_back({t.name, t.dims, t.quantised == loading::quantised_as::int8});
    return all;
}

} // namespace fastvit_test
