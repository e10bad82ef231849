// SPDX-License-Identifier: MIT
// The commands that run a network on tensors.
#include "fastvit/base/text.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/model.hpp"

#include "cli/checkpoint.hpp"
#include "cli/commands.hpp"
#include "cli/outputs.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::output_kind;

fastvit::tensor<float> read_input(const std::string &path) {
    const auto file = fastvit::checkpoint::open(path);
    const fastvit::io::stored_tensor *const stored = file.find("input");
    if (!stored) {
        const std::string names = fastvit::io::first_of_list(file.tensors(), 4, [](const auto &t) { return t.name; });
        throw error(error_kind::missing_tensor, {.problem = "this tensor is missing",
                                                 .expected = "images, N x C x H x W",
                                                 .found = names.empty() ? "no tensors" : names,
                                                 .tensor = "input",
                                                 .file = path});
    }
    try {
        return fastvit::io::read_float(*stored);
    } catch (const error &e) {
        throw e.in_file(path);
    }
}

} // namespace

kernel_report report_kernels(fastvit::precision type) {
    kernel_report report;
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers()) report.tiers.push_back({std::string(tier.name), tier.runs(type)});
    report.runs = fastvit::select_isa({}, type).name;
    const char *const forced = std::getenv("FASTVIT_ISA");
    report.why = forced && *forced ? "the environment variable FASTVIT_ISA asks for it" : "the fastest that this machine can run";
    return report;
}

int run(const run_options &options) {
    const std::filesystem::path file = path_of(options.model);
    const fastvit::model net = open_model(options.model, options.execution);
    if (net.architecture().classes == 0 && !options.features)
        throw error(error_kind::invalid_argument,
                    {.problem = why_no_logits(net.architecture()) + "; ask for --features", .file = file.string()});
    const fastvit::tensor<float> images = read_input(options.input);
    fastvit::thread_pool threads(options.execution.threads);
    fastvit::workspace space(threads);
    try {
        const fastvit::outputs &out =
            net.forward(images, space, options.features ? all_outputs(net.architecture()) : output_kind::logits);
        fastvit::io::save_safetensors(options.output, named_results(out));
    } catch (const error &e) {
        throw e.in_file(options.input);
    }
    return 0;
}

} // namespace cli
