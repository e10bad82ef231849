// SPDX-License-Identifier: MIT
// The program `fastvit`: reads the command line, calls a command, and says in one line what went wrong.
//
// Results go to the standard output and messages to the standard error. Exit status: 0, 1 for input that cannot be used, 2 for a
// command line that makes no sense.
#include "fastvit/error.hpp"
#include "fastvit/version.hpp"

#include "cli_commands.hpp"
#include "cli_text.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <iostream>
#include <new>
#include <string>

namespace {

constexpr int usage_error = 2;

constexpr const char *model_help = "Checkpoint: safetensors, .pth or .pth.tar (default: the bundled model)";
constexpr const char *threads_help = "Threads; 0: all that the machine has";

std::string version() {
    return "fastvit " + std::to_string(FASTVIT_VERSION_MAJOR) + '.' + std::to_string(FASTVIT_VERSION_MINOR) + '.' +
           std::to_string(FASTVIT_VERSION_PATCH);
}

const CLI::Range thread_counts(0, 1024), sizes(1, 16384);

void add_classify(CLI::App &app, cli::classify_options &o) {
    CLI::App *const sub = app.add_subcommand("classify", "Name what is in pictures (PNG, JPEG, PPM)");
    sub->add_option("IMAGE", o.pictures, "Pictures")->required();
    sub->add_option("--model", o.model, model_help);
    sub->add_option("--labels", o.labels, "Text file with one label per line, in the order of the classes");
    sub->add_option("--top-k", o.top_k, "Answers per picture")->capture_default_str()->check(CLI::Range(1, 1000000));
    sub->add_option("--threads", o.threads, threads_help)->capture_default_str()->check(thread_counts);
    sub->add_option("--size", o.size, "Side of the network's input in pixels (default: the model's)")->check(sizes);
    sub->add_option("--crop-pct", o.crop_fraction, "Part of the resized picture's side that is kept (default: the model's)")
        ->check(CLI::Range(0.01, 1.0));
    sub->add_option("--html", o.html, "Also write the answers as a page to look at in a browser");
    sub->add_flag("--json", o.json, "Print JSON");
    sub->add_flag("--names-are-labels", o.names_are_labels, "Count the pictures that are named after the first answer");
}

void add_run(CLI::App &app, cli::run_options &o) {
    CLI::App *const sub = app.add_subcommand("run", "Run the network on a tensor");
    sub->add_option("--model", o.model, "Checkpoint: safetensors, .pth or .pth.tar")->required();
    sub->add_option("--input", o.input, "safetensors file with the tensor `input`, N x C x H x W, normalised")->required();
    sub->add_option("--output", o.output, "safetensors file to write")->required();
    sub->add_option_function<std::string>(
           "--graph", [&o](const std::string &form) { o.train_time = form == "train"; },
           "Which of the two equal graphs to run: folded (the default) or train")
        ->check(CLI::IsMember({"folded", "train"}));
    sub->add_flag("--features", o.features, "Write stem, stage0.., final_conv and embedding as well as logits");
    sub->add_option("--threads", o.threads, threads_help)->capture_default_str()->check(thread_counts);
    sub->add_option("--isa", o.isa, "Kernels to run; `fastvit info` lists them (default: the fastest, or FASTVIT_ISA)");
}

void add_fold(CLI::App &app, cli::fold_options &o) {
    CLI::App *const sub = app.add_subcommand("fold", "Fold a checkpoint's branches, as the official reparameterisation does");
    sub->add_option("--model", o.model, "Checkpoint: safetensors, .pth or .pth.tar")->required();
    sub->add_option("--output", o.output, "safetensors file to write")->required();
}

void add_info(CLI::App &app, cli::info_options &o) {
    CLI::App *const sub = app.add_subcommand("info", "Say what a checkpoint holds and which kernels would run it");
    sub->add_option("--model", o.model, model_help);
    sub->add_option("--size", o.size, "Side of the input for the cost (default: 256, the bundled model's 96)")->check(sizes);
    sub->add_flag("--json", o.json, "Print JSON");
    sub->add_flag("--tensors", o.tensors, "List the tensors");
}

void add_verify(CLI::App &app, cli::verify_options &o) {
    CLI::App *const sub = app.add_subcommand("verify", "Compare the folded graph with the train-time graph");
    sub->add_option("--model", o.model, model_help);
    sub->add_option("--size", o.size, "Side of the input (default: 256, the bundled model's 96)")->check(sizes);
}

int complain(const std::string &problem, int status) {
    std::cerr << "fastvit: " << cli::printable(problem) << '\n';
    return status;
}

int run_command(int argc, char **argv) {
    cli::classify_options classify;
    cli::run_options run;
    cli::fold_options fold;
    cli::info_options info;
    cli::verify_options verify;

    CLI::App app("FastViT on CPUs", "fastvit");
    app.set_version_flag("--version", version());
    app.require_subcommand(1);
    add_classify(app, classify);
    add_run(app, run);
    add_fold(app, fold);
    add_info(app, info);
    add_verify(app, verify);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success &help_or_version) {
        return app.exit(help_or_version);
    } catch (const CLI::ParseError &e) {
        // CLI11 would only say that a subcommand is required.
        if (const auto words = app.remaining(); app.get_subcommands().empty() && !words.empty())
            return complain(words[0] + ": no such command or option (see fastvit --help)", usage_error);
        return complain(std::string(e.what()) + " (see fastvit --help)", usage_error);
    }
    if (app.got_subcommand("classify")) return cli::classify(classify);
    if (app.got_subcommand("run")) return cli::run(run);
    if (app.got_subcommand("fold")) return cli::fold(fold);
    if (app.got_subcommand("info")) return cli::info(info);
    return cli::verify(verify);
}

} // namespace

int main(int argc, char **argv) {
    try {
        const int status = run_command(argc, argv);
        if (!std::cout.flush()) return complain("cannot write to the standard output", 1);
        return status;
    } catch (const std::bad_alloc &) {
        return complain("not enough memory", 1);
    } catch (const std::exception &e) {
        return complain(e.what(), 1);
    }
}
