// SPDX-License-Identifier: MIT
// The definitions of custom_networks.hpp.
#include "support/custom_networks.hpp"

#include <utility>

namespace fastvit_test {

fastvit::architecture make(std::vector<fastvit::stage_architecture> stages, index_type head_channels, index_type classes,
                           index_type in_channels) {
    fastvit::architecture net;
    net.variant = "custom";
    net.in_channels = in_channels;
    net.classes = classes;
    net.stages = std::move(stages);
    net.head_channels = head_channels;
    return net;
}

fastvit::architecture with_fork_features(fastvit::architecture net) {
    net.fork_features = true;
    return net;
}

fastvit::architecture small_net() {
    return with_fork_features(make({plain(1, 8, 24), plain(2, 16, 48), plain(1, 32, 96), attending(1, 64, 192)}, 128, 10));
}

const fastvit::checkpoint &small_checkpoint() {
    static const fastvit::checkpoint source = seeded_checkpoint(small_net(), fastvit::io::spelling::timm);
    return source;
}
fastvit::model small_model(fastvit::graph form) { return fastvit::model(small_checkpoint(), {.graph = form}); }

} // namespace fastvit_test
