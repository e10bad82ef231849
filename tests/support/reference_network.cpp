// SPDX-License-Identifier: MIT
// The definition of reference_network.hpp.
#include "support/reference_network.hpp"

#include "fastvit/checkpoint/archives.hpp"

#include "support/reference_blocks.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <vector>

namespace reference {

std::map<std::string, maps<double>> run_network(const fastvit::checkpoint &parameters, const fastvit::architecture &net,
                                                fastvit::tensor_view<const float> images) {
    maps<double> x(images.dim(0), images.dim(1), images.dim(2), images.dim(3));
    x.values.assign(images.span().begin(), images.span().end());
    std::map<std::string, maps<double>> out;
    // The mean of each channel; with a last layer, what that makes of them.
    const auto pooled = [&](index_type channels, auto layer) {
        maps<double> rows(x.images, channels, 1, 1);
        for (index_type n = 0; n < x.images; ++n) {
            const std::vector<double> row = layer(mean(x, n));
            std::copy(row.begin(), row.end(), rows.values.begin() + n * channels);
        }
        return rows;
    };
    int fork_features = 0;
    fastvit::loading::state_dict dict(parameters);
    fastvit::loading::reader reader(dict);
    fastvit::loading::for_each_read_part(
        reader, net, [&]<class Part>(const parts::place &p, const typename Part::config &c, const typename Part::weights &w) {
            if constexpr (std::is_same_v<Part, parts::linear>) {
                out.emplace("logits", pooled(c.out, [&](const std::vector<double> &row) {
                                return linear(row, values_of(w.kernel), values_of(w.bias));
                            }));
            } else if constexpr (std::is_same_v<Part, parts::fork_norm>) {
                out.emplace("out" + std::to_string(fork_features++), forward(x, w));
            } else if constexpr (std::is_same_v<Part, parts::head_conv>) {
                x = gelu_of(forward(x, w));
                out.emplace("final_conv", x);
            } else {
                if constexpr (std::is_same_v<Part, parts::patch_embed>)
                    x = forward(x, w, c.gelu);
                else
                    x = forward(x, w);
                // A stage's last block has the last word.
                const std::size_t number = std::string_view("stages.").size();
                out.insert_or_assign(
                    p.name == "stem" ? "stem" : "stage" + p.name.substr(number, p.name.find('.', number) - number), x);
            }
        });
    out.emplace("embedding", pooled(x.channels, [](const std::vector<double> &row) { return row; }));
    return out;
}

} // namespace reference
