// SPDX-License-Identifier: MIT
// The definitions of translators.hpp.
#include "support/translators.hpp"

#include <cstddef>

namespace fastvit_test {

fastvit::io::name_translator translator_of(const std::vector<std::string> &names) {
    std::vector<fastvit::io::tensor_outline> outlines;
    for (const std::string &name : names) outlines.push_back({name, {}});
    return {std::vector<std::string_view>(names.begin(), names.end()), fastvit::io::choose_network(outlines)};
}

fastvit::io::name_translator translator_of(const fastvit::architecture &net, fastvit::io::spelling spelling) {
    std::vector<std::string> names;
    if (spelling == fastvit::io::spelling::timm) {
        names.emplace_back("stem.0.conv_kxk.0.conv.weight");
    } else {
        names.emplace_back("patch_embed.0.rbr_conv.0.conv.weight");
        int number = 0;
        const auto add_numbered = [&](const char *rest) { names.push_back("network." + std::to_string(number++) + "." + rest); };
        for (std::size_t s = 0; s < net.stages.size(); ++s) {
            if (s > 0) add_numbered("proj.0.lkb_origin.conv.weight");
            if (net.stages[s].position) add_numbered("pe.weight");
            add_numbered("0.layer_scale");
        }
    }
    return translator_of(names);
}

} // namespace fastvit_test
