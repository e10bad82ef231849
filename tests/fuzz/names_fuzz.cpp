// SPDX-License-Identifier: MIT
// Each line is a tensor's name and its dimensions, `stem.0.reparam_conv.weight 16 3 3 3`: which network that is, whatever the
// order of the lines, how its names translate, and that what is written of it has the same network and no other.
#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/written_names.hpp"

#include "fuzz_target.hpp"
#include "support/loader.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;

std::vector<io::tensor_outline> read_lines(std::string_view text) {
    std::vector<io::tensor_outline> tensors;
    std::set<std::string_view> names;
    while (!text.empty() && tensors.size() < 512) {
        std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        const std::string_view name = line.substr(0, line.find(' '));
        if (name.empty() || name.size() > io::longest_name || !names.insert(name).second) continue;
        line.remove_prefix(name.size());
        std::vector<index_type> dims;
        while (line.starts_with(' ') && dims.size() < 4) {
            index_type value = 0;
            for (line.remove_prefix(1); !line.empty() && line[0] >= '0' && line[0] <= '9'; line.remove_prefix(1))
                value = std::min<index_type>(10 * value + (line[0] - '0'), 64);
            dims.push_back(value);
        }
        tensors.push_back({name, shape(dims)});
    }
    return tensors;
}

// The choice, or what the error says.
std::pair<std::optional<io::network_choice>, std::string> choose(const std::vector<io::tensor_outline> &tensors,
                                                                 const std::optional<std::string_view> &prefix = {}) {
    try {
        return {io::choose_network(tensors, prefix), {}};
    } catch (const error &e) {
        return {std::nullopt, e.what()};
    }
}

} // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const std::vector<io::tensor_outline> tensors = read_lines({reinterpret_cast<const char *>(data), size});
    std::vector<io::tensor_outline> turned(tensors.rbegin(), tensors.rend());
    const auto [choice, said] = choose(tensors);
    const auto [choice_turned, said_turned] = choose(turned);
    fuzz::require(choice.has_value() == choice_turned.has_value() && said == said_turned, "the order does not decide");
    fuzz::require(!choice || (choice->place == choice_turned->place && choice->others == choice_turned->others),
                  "the order does not decide which");

    checkpoint source;
    for (const io::tensor_outline &t : tensors)
        source.add(std::string(t.name), tensor<float>(t.dims.count() <= 4096 ? t.dims : shape{}));
    std::vector<std::string_view> names;
    for (const io::tensor_outline &t : tensors) names.push_back(t.name);
    for (const io::network_place &place : io::find_networks(tensors)) {
        const auto [one, refused] = choose(tensors, place.prefix);
        if (!one) continue; // two spellings, or two prefixes that differ in wrappers alone
        fuzz::require(one->place == place, "a prefix picks its network");
        const io::name_translator translator(names, *one);
        const loading::written_names written(source, translator);
        std::vector<std::string> kept;
        std::vector<io::tensor_outline> outlines;
        for (const io::tensor_outline &t : tensors) {
            if (const auto canonical = translator.to_canonical(t.name)) (void)translator.from_canonical(*canonical);
            if (auto name = written.of(t.name)) {
                kept.push_back(std::move(*name));
                outlines.push_back({{}, t.dims});
            }
        }
        for (std::size_t i = 0; i < kept.size(); ++i) outlines[i].name = kept[i];
        const auto [again, lost] = choose(outlines);
        fuzz::require(again && again->others.empty() && io::find_networks(outlines).size() == 1,
                      "what is written has the network and no other");
        fuzz::accepts([&] { (void)fastvit_test::recognise(source, place.prefix); });
    }
    fuzz::accepts([&] { (void)fastvit_test::recognise(source); });
    return 0;
}
