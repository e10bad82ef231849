// SPDX-License-Identifier: MIT
#include "cli/checkpoint.hpp"

#include "fastvit/bundled.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/cost.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "cli/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cli {
namespace {

using fastvit::index_type;
using fastvit::loading::listed_tensor;
using json = nlohmann::ordered_json;

index_type count_parameters(const std::vector<listed_tensor> &tensors) {
    index_type count = 0;
    for (const listed_tensor &t : tensors)
        if (!t.name.ends_with("running_mean") && !t.name.ends_with("running_var") && !t.name.ends_with("num_batches_tracked"))
            count += t.dims.count();
    return count;
}

index_type count_folded(const std::vector<listed_tensor> &tensors) {
    index_type count = 0;
    // The ConvFFN's is folded in quantised checkpoints only, and counts in none.
    for (const listed_tensor &t : tensors)
        count += t.name.ends_with("reparam_conv.weight") && !t.name.ends_with("mlp.conv.reparam_conv.weight");
    return count;
}

/// How many tensors of each type there are.
std::map<std::string, index_type> count_types(const fastvit::checkpoint &source) {
    std::map<std::string, index_type> counts;
    for (const fastvit::io::stored_tensor &t : source.tensors()) ++counts[t.type_name];
    return counts;
}

std::string_view form_of(const contents &c) { return c.folded == 0 ? "train-time" : c.folded == c.blocks ? "folded" : "mixed"; }

json tensor_list(const fastvit::checkpoint &source) {
    json list = json::array();
    for (const fastvit::io::stored_tensor &t : source.tensors())
        list.push_back(
            {{"name", t.name}, {"dtype", t.type_name}, {"shape", std::vector<index_type>(t.dims.begin(), t.dims.end())}});
    return list;
}

json to_json(const kernel_report &kernels) {
    json tiers = json::array();
    for (const kernel_report::tier &t : kernels.tiers) tiers.push_back({{"name", t.name}, {"supported", t.supported}});
    return {{"tiers", tiers}, {"runs", kernels.runs}, {"why", kernels.why}};
}

/// Of each stage.
std::vector<std::string> mixers_of(const fastvit::architecture &net) {
    std::vector<std::string> mixers;
    for (const fastvit::stage_architecture &stage : net.stages) mixers.emplace_back(to_string(stage.mixer));
    return mixers;
}

json to_json(const contents &c, const fastvit::checkpoint &source, index_type size) {
    return {{"file", source.file()},
            {"variant", c.net.variant},
            {"spelling", to_string(c.spelling)},
            {"key", source.key()},
            {"prefix", c.prefix},
            {"graph", form_of(c)},
            {"blocks", {{"folded", c.folded}, {"unfolded", c.blocks - c.folded}}},
            {"parameters", {{"file", c.parameters}, {"folded", c.folded_parameters}}},
            {"gmac", fastvit::multiply_adds(c.net, size, size) / 1e9},
            {"size", size},
            {"classes", c.net.classes},
            {"other_head", c.net.other_head},
            {"input_channels", c.net.in_channels},
            {"fork_features", c.net.fork_features},
            {"token_mixers", mixers_of(c.net)},
            {"tensors", source.tensors().size()},
            {"types", count_types(source)}};
}

/// `1 1 2 1 blocks of 8 16 32 32 channels`
std::string stages_of(const fastvit::architecture &net) {
    std::string blocks, channels;
    for (const fastvit::stage_architecture &stage : net.stages) {
        blocks += std::to_string(stage.blocks) + ' ';
        channels += ' ' + std::to_string(stage.channels);
    }
    return blocks + "blocks of" + channels + " channels";
}

void print_text(std::ostream &out, const contents &c, const fastvit::checkpoint &source, index_type size) {
    const std::string side = std::to_string(size);
    out << "file        " << printable(source.file()) << '\n';
    out << "variant     " << c.net.variant << ": " << stages_of(c.net) << '\n';
    out << "mixers     ";
    for (const std::string &mixer : mixers_of(c.net)) out << ' ' << mixer;
    out << '\n';
    out << "spelling    " << to_string(c.spelling) << ", prefix \"" << printable(c.prefix) << '"';
    if (!source.key().empty()) out << ", key \"" << printable(source.key()) << '"';
    out << '\n';
    out << "graph       " << form_of(c) << ": " << c.folded << " of " << c.blocks << " blocks are folded\n";
    out << "parameters  " << c.parameters << " in the file, " << c.folded_parameters << " folded\n";
    out << "cost        " << fixed(fastvit::multiply_adds(c.net, size, size) / 1e9, 3) << " GMAC at " << side << " x " << side
        << '\n';
    out << "classes     " << c.net.classes
        << (c.net.classes != 0         ? ""
            : c.net.other_head.empty() ? " (no linear layer)"
                                       : " (the head is not one linear layer)")
        << '\n';
    out << "input       " << c.net.in_channels << " channels\n";
    if (c.net.fork_features) out << "features    out0.. of the official dense prediction (fork_feat), beside stage0..\n";
    out << "tensors     " << source.tensors().size();
    const char *before = " (";
    for (const auto &[type, count] : count_types(source)) {
        out << before << count << ' ' << printable(type);
        before = ", ";
    }
    out << ")\n";
}

void print_text(std::ostream &out, const kernel_report &kernels) {
    out << "kernels     " << kernels.runs << ", " << kernels.why << "; compiled in:";
    for (const kernel_report::tier &t : kernels.tiers) out << ' ' << t.name << (t.supported ? "" : " (not on this machine)");
    out << '\n';
}

void print_tensors(std::ostream &out, const fastvit::checkpoint &source) {
    for (const fastvit::io::stored_tensor &t : source.tensors())
        out << printable(t.name) << ' ' << printable(t.type_name) << ' ' << t.dims.to_string() << '\n';
}

} // namespace

std::filesystem::path path_of(const model_file &model) {
    return model ? std::filesystem::path(*model.path) : fastvit::bundled_model_path();
}

fastvit::checkpoint open_checkpoint(const model_file &model) { return fastvit::checkpoint::open(path_of(model), model.key); }

fastvit::model open_model(const model_file &model, const execution_options &execution, fastvit::executor *threads) {
    return fastvit::model::open(path_of(model),
                                {.graph = execution.train_time ? fastvit::graph::train_time : fastvit::graph::folded,
                                 .precision = execution.precision,
                                 .isa = execution.isa,
                                 .prefix = model.prefix,
                                 .key = model.key,
                                 .threads = threads});
}

contents examine(const fastvit::checkpoint &source, const model_file &model) {
    try {
        fastvit::loading::state_dict dict(source, model.prefix);
        contents c{.net = fastvit::loading::recognise(dict), .spelling = dict.names().source(), .prefix = dict.names().prefix()};
        // Reading every tensor, and not only the list of names, finds what would keep the network from running.
        fastvit::loading::reader read(dict);
        fastvit::loading::lister list;
        fastvit::loading::for_each_read_part(
            read, c.net, [&]<class Part>(const fastvit::parts::place &p, const typename Part::config &config, auto &weights) {
                Part::describe(list.in(p.name), weights, config);
            });
        dict.expect_all_used();
        const std::vector<listed_tensor> folded = fastvit::loading::tensors_of(c.net, true);
        c.folded = count_folded(list.list());
        c.blocks = count_folded(folded);
        c.parameters = count_parameters(list.list());
        c.folded_parameters = count_parameters(folded);
        return c;
    } catch (const fastvit::error &e) {
        throw e.in_file(source.file());
    }
}

void print_layers(std::ostream &out, const fastvit::model &net, bool each) {
    const auto asked = std::count_if(net.layers().begin(), net.layers().end(),
                                     [&](const fastvit::layer_precision &l) { return l.type == net.precision(); });
    out << asked << " of " << net.layers().size() << " dense layers compute in " << to_string(net.precision())
        << (each ? ", all that is not listed in float32\n" : "\n");
    for (const fastvit::layer_precision &l : net.layers())
        if (each || l.type != net.precision())
            out << "    " << printable(l.name) << "  " << to_string(l.type) << (l.reason.empty() ? "" : ": ") << l.reason << '\n';
}

json layers_to_json(std::span<const fastvit::layer_precision> layers) {
    json list = json::array();
    for (const fastvit::layer_precision &l : layers) {
        json one{{"name", l.name}, {"precision", to_string(l.type)}};
        if (!l.reason.empty()) one["reason"] = l.reason;
        list.push_back(std::move(one));
    }
    return list;
}

index_type usual_size(const model_file &model, std::string_view variant, fastvit::io::spelling spelling) {
    return model ? fastvit::usual_preprocessing(variant, spelling).width : fastvit::bundled_preprocessing().width;
}

int convert(const convert_options &options) {
    const fastvit::checkpoint source = open_checkpoint(options.model);
    if (options.fold)
        fastvit::save_folded(source, options.output, options.type, options.model.prefix);
    else
        fastvit::save_converted(source, options.output, options.type, options.model.prefix);
    return 0;
}

int info(const info_options &options) {
    const fastvit::checkpoint source = open_checkpoint(options.model);
    const contents c = examine(source, options.model);
    const kernel_report kernels = report_kernels(options.precision);
    const index_type size = options.size ? *options.size : usual_size(options.model, c.net.variant, c.spelling);
    const bool exact = options.precision == fastvit::precision::float32;
    std::optional<fastvit::model> net; // only packing its weights tells what an imprecise one computes in
    if (!exact) net.emplace(source, fastvit::model_options{.precision = options.precision, .prefix = options.model.prefix});
    if (options.json) {
        json all = to_json(c, source, size);
        all["kernels"] = to_json(kernels);
        all["precision"] = to_string(options.precision);
        if (net) all["layers"] = layers_to_json(net->layers());
        if (options.tensors) all["tensor_list"] = tensor_list(source);
        std::cout << all.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
        return 0;
    }
    print_text(std::cout, c, source, size);
    print_text(std::cout, kernels);
    std::cout << "precision   ";
    if (net)
        print_layers(std::cout, *net, true);
    else
        std::cout << "float32, the default; bfloat16 and int8 are less exact, and faster where the processor has instructions "
                     "for them\n";
    if (options.tensors) print_tensors(std::cout, source);
    return 0;
}

} // namespace cli
