// SPDX-License-Identifier: MIT
// The definitions of loader.hpp.
#include "support/loader.hpp"

#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/parts/list.hpp"

namespace fastvit_test {

namespace loading = fastvit::loading;

recognised::recognised(const fastvit::checkpoint &source, const std::optional<std::string_view> &prefix) {
    const loading::state_dict dict(source, prefix);
    spelling = dict.names().source();
    net = loading::recognise(dict);
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

fastvit::output_kind everything(const fastvit::architecture &net) {
    using fastvit::output_kind;
    output_kind all = output_kind::embedding | output_kind::stem | output_kind::stages;
    if (net.head_channels > 0) all = all | output_kind::final_conv;
    if (net.classes > 0) all = all | output_kind::logits;
    if (net.fork_features) all = all | output_kind::fork_features;
    return all;
}

fastvit::output_shapes shapes_of(const fastvit::architecture &net, const fastvit::shape &images) {
    return fastvit::parts::shapes_of(net, fastvit::parts::image_extent(net, images), everything(net));
}

void save_checkpoint(const std::filesystem::path &path, const fastvit::checkpoint &source) {
    std::vector<fastvit::io::named_tensor> tensors;
    for (const fastvit::io::stored_tensor &t : source.tensors()) tensors.push_back({.name = t.name, .data = {}, .stored = &t});
    fastvit::io::save_safetensors(path, tensors);
}

} // namespace fastvit_test
