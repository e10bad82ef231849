// SPDX-License-Identifier: MIT
// The program `fastvit`: reads the command line, calls a command, and says in one line what went wrong.
//
// Results go to the standard output and messages to the standard error. Exit status: 0, 1 for input that cannot be used, 2 for a
// command line that makes no sense.
#include "fastvit/error.hpp"
#include "fastvit/version.hpp"

#include "cli/commands.hpp"
#include "cli/text.hpp"

#include <CLI/CLI.hpp>

#include <charconv>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace {

constexpr int usage_error = 2;

constexpr const char *bundled = " (default: the bundled model)";
constexpr int longest_side = 16384;

std::string version() {
    return "fastvit " + std::to_string(FASTVIT_VERSION_MAJOR) + '.' + std::to_string(FASTVIT_VERSION_MINOR) + '.' +
           std::to_string(FASTVIT_VERSION_PATCH);
}

/// What the command line asks for, once it is read.
using command = std::function<int()>;

/// A subcommand that calls `run` with its options.
template <class Options>
CLI::App *add_command(CLI::App &app, command &chosen, const std::string &name, const std::string &help,
                      const std::shared_ptr<Options> &options, int (*run)(const Options &)) {
    CLI::App *const sub = app.add_subcommand(name, help);
    sub->callback([&chosen, options, run] {
        // `verify` takes a random input where there are none.
        if constexpr (requires { options->input.pictures; } && !std::is_same_v<Options, cli::verify_options>)
            if (options->input.pictures.empty() && !options->input.list) throw CLI::RequiredError("IMAGE or --list");
        chosen = [options, run] { return run(*options); };
    });
    return sub;
}

/// An option that takes one of a few words.
template <class Value, class Target>
CLI::Option *add_choice(CLI::App &sub, const std::string &name, Target &target, const std::map<std::string, Value> &values,
                        const std::string &help) {
    return sub
        .add_option_function<std::string>(
            name, [&target, values](const std::string &word) { target = values.at(word); }, help)
        ->check(CLI::IsMember(values));
}

std::optional<cli::preprocessing_options::extent> parse_size(std::string_view text) {
    const auto side = [](std::string_view digits) {
        int value = 0;
        const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        const bool whole = problem == std::errc() && end == digits.data() + digits.size();
        return whole && value >= 1 && value <= longest_side ? value : 0;
    };
    const std::size_t x = text.find('x');
    const int height = side(text.substr(0, x)), width = x == text.npos ? height : side(text.substr(x + 1));
    if (height == 0 || width == 0) return std::nullopt;
    return cli::preprocessing_options::extent{height, width};
}

/// Returns the option for the file.
CLI::Option *add_model(CLI::App &sub, cli::model_file &model, const std::string &usual = "") {
    sub.add_option("--prefix", model.prefix,
                   "Which network, if the checkpoint has several: what its tensors' names begin with, such as ema.model");
    sub.add_option("--key", model.key,
                   "Key of the dictionary in a PyTorch file to take the tensors from (default: state_dict_ema, model_ema, "
                   "state_dict or model, or the only one with a network)");
    return sub.add_option("--model", model.path,
                          "Checkpoint: safetensors, .pth, .pt, .bin, .pth.tar, or model.safetensors.index.json" + usual);
}

void add_output(CLI::App &sub, std::string &file, const std::string &help) { sub.add_option("--output", file, help)->required(); }

void add_json(CLI::App &sub, bool &json) { sub.add_flag("--json", json, "Print JSON"); }

/// Of the input of a network, where it is not a picture's.
void add_side(CLI::App &sub, std::optional<int> &side, const std::string &what) {
    sub.add_option("--size", side, what + " (default: 256, the bundled model's 96)")->check(CLI::Range(1, longest_side));
}

void add_threads(CLI::App &sub, int &threads) {
    sub.add_option("--threads", threads, "Threads; 0: all that the machine has")
        ->capture_default_str()
        ->check(CLI::Range(0, 1024));
}

template <class T> void add_precision(CLI::App &sub, T &precision, const std::string &what) {
    std::map<std::string, fastvit::precision> names;
    for (const fastvit::precision p : fastvit::precisions) names.emplace(to_string(p), p);
    add_choice(sub, "--precision", precision, names, what);
}

void add_precision(CLI::App &sub, fastvit::precision &precision) {
    add_precision(sub, precision,
                  "What the dense layers compute in: float32 (the default), bfloat16 or int8; `fastvit verify --precision` shows "
                  "what that costs");
}

void add_execution(CLI::App &sub, cli::execution_options &o) {
    add_threads(sub, o.threads);
    add_choice(sub, "--graph", o.train_time, std::map<std::string, bool>{{"folded", false}, {"train", true}},
               "Which of the two equivalent graphs to run: folded (the default) or train");
    add_precision(sub, o.precision);
    sub.add_option("--isa", o.isa, "Kernels to run; `fastvit info` lists them (default: the fastest, or FASTVIT_ISA)");
}

void add_preprocessing(CLI::App &sub, cli::preprocessing_options &o, const std::string &usual) {
    using fastvit::interpolation;
    using fastvit::preprocessing;
    using fastvit::resize_rule;
    CLI::Option *const config =
        sub.add_option("--config", o.config,
                       "Configuration of the model: timm's config.json, a preprocessor_config.json or an open_clip_config.json. "
                       "Preprocessing, and labels if it has them (default: the one beside the checkpoint)");
    add_choice(sub, "--preset", o.preset,
               std::map<std::string, preprocessing>{{"imagenet", preprocessing::imagenet()},
                                                    {"mobileclip", preprocessing::mobileclip()},
                                                    {"openai_clip", preprocessing::openai_clip()},
                                                    {"fastvlm", preprocessing::fastvlm()}},
               "Preprocessing of the published checkpoints: imagenet, mobileclip, openai_clip or fastvlm (default: " + usual +
                   "'s)")
        ->excludes(config);
    sub.add_option_function<std::string>(
           "--size", [&o](const std::string &text) { o.size = parse_size(text); },
           "Height and width of the network's input in pixels, H[xW] (default: " + usual + "'s)")
        ->check([](const std::string &text) {
            return parse_size(text) ? std::string() : text + " is not H or HxW, each 1 to " + std::to_string(longest_side);
        });
    add_choice(
        sub, "--mode", o.rule,
        std::map<std::string, resize_rule>{
            {"crop", resize_rule::shorter_side}, {"squash", resize_rule::squash}, {"pad", resize_rule::pad_to_square}},
        "crop: cut the centre out of the resized picture; squash: change its aspect ratio instead; pad: put black bars beside "
        "it. The last two keep all of it unless --crop-pct says otherwise");
    sub.add_option("--crop-pct", o.crop_fraction,
                   "How much of the resized picture's side is kept, such as 0.9 (default: " + usual + "'s)")
        ->check(CLI::Range(0.01, 1.0));
    add_choice(sub, "--filter", o.filter,
               std::map<std::string, interpolation>{{"bilinear", interpolation::bilinear}, {"bicubic", interpolation::bicubic}},
               "How pictures are resized: bicubic or bilinear (default: " + usual + "'s)");
}

constexpr const char *kinds = "JPEG, PNG, WebP, GIF, TIFF, BMP, PBM, PGM, PPM";

void add_exif(CLI::App &sub, bool &exif) {
    sub.add_flag("--exif", exif, "Turn pictures upright by their EXIF orientation, which Python's pipelines ignore");
}

void add_pictures(CLI::App &sub, cli::picture_options &o) {
    sub.add_option("IMAGE", o.pictures,
                   "Pictures (" + std::string(kinds) + "), folders of them, or -: a picture or a list on the standard input");
    sub.add_option("--list", o.list, "Text file with one picture or folder per line; -: the standard input");
    add_exif(sub, o.exif);
    add_threads(sub, o.threads);
    add_preprocessing(sub, o.preprocessing, "the model");
}

void add_picture_run(CLI::App &sub, cli::picture_options &o) {
    add_pictures(sub, o);
    add_precision(sub, o.precision);
}

std::optional<cli::shard> parse_shard(std::string_view text) {
    const auto number = [](std::string_view digits) {
        fastvit::index_type value = 0;
        const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return problem == std::errc() && end == digits.data() + digits.size() ? value : 0;
    };
    const std::size_t slash = text.find('/');
    if (slash == text.npos) return std::nullopt;
    const cli::shard part{number(text.substr(0, slash)), number(text.substr(slash + 1))};
    return part.number >= 1 && part.number <= part.of && part.of <= 1000000 ? std::optional(part) : std::nullopt;
}

void add_shard(CLI::App &sub, cli::shard &part) {
    sub.add_option_function<std::string>(
           "--shard", [&part](const std::string &text) { part = *parse_shard(text); },
           "Take only one part of the pictures, such as 2/8: the second of eight")
        ->check(
            [](const std::string &text) { return parse_shard(text) ? std::string() : text + " is not I/N, with I from 1 to N"; });
}

void add_classify(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::classify_options>();
    CLI::App *const sub = add_command(app, chosen, "classify", "Name what is in pictures", o, cli::classify);
    add_picture_run(*sub, o->input);
    add_model(*sub, o->model, bundled);
    sub->add_option("--labels", o->labels,
                    "File of labels: one per line, in the order of the classes, or JSON (a list, id2label)");
    sub->add_option("--top-k", o->top_k, "Answers per picture")->capture_default_str()->check(CLI::Range(1, 1000000));
    sub->add_option("--html", o->html, "Also write the answers as a page to look at in a browser");
    add_json(*sub, o->json);
    sub->add_flag("--names-are-labels", o->names_are_labels, "Count the pictures whose file name is the first answer");
}

void add_embed(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::embed_options>();
    CLI::App *const sub = add_command(app, chosen, "embed", "Print or write the embeddings of pictures", o, cli::embed);
    add_picture_run(*sub, o->input);
    add_model(*sub, o->model, bundled);
    sub->add_option(
        "--output", o->output,
        "File to write: safetensors with `embedding`, N x channels, and the pictures' names in the metadata `files`, in "
        "JSON; or the array alone, if the name ends in .npy. OUTPUT.files.jsonl has a line for each picture: its row, "
        "or what is wrong with it. The same command resumes a run that was stopped");
    add_shard(*sub, o->input.part);
    sub->add_flag("--json", o->json, "Print JSON, also with --output");
    sub->add_flag(
        "--projection", o->projection,
        "The last linear layer's output instead of its input: the space that a CLIP, such as MobileCLIP, compares with text");
    sub->add_flag("--normalize", o->normalize, "Divide each by its Euclidean length, as CLIP search needs");
}

void add_features(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::features_options>();
    CLI::App *const sub = add_command(app, chosen, "features", "Write the feature pyramids of pictures", o, cli::features);
    add_picture_run(*sub, o->input);
    add_model(*sub, o->model, bundled);
    add_output(*sub, o->output,
               "safetensors file to write: `stage0`.., N x C x H x W; the pictures' names in the metadata `files`, in JSON. "
               "OUTPUT.files.jsonl and stopped runs are as for embed. Official "
               "fork_feat checkpoints also give `out0`.., as with `run --features`");
    add_shard(*sub, o->input.part);
    sub->add_flag("--stem", o->stem, "Also write `stem`");
    sub->add_flag("--final-conv", o->final_conv, "Also write `final_conv`, the head's convolution");
    sub->get_option("--output")->check([](const std::string &file) {
        return file.ends_with(".npy") ? "a .npy file holds one array, and features are several" : std::string();
    });
}

void add_preprocess(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::preprocess_options>();
    CLI::App *const sub = add_command(app, chosen, "preprocess", "Write the network's input for a picture", o, cli::preprocess);
    sub->add_option("IMAGE", o->picture, "Picture (" + std::string(kinds) + "); -: on the standard input")->required();
    add_exif(*sub, o->exif);
    add_output(*sub, o->output,
               "safetensors file to write: `pixels`, the resized bytes, H x W x 3; `input`, normalised, 1 x 3 x H x W, as "
               "`fastvit run` takes it");
    add_preprocessing(*sub, o->preprocessing, "imagenet");
}

void add_run(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::run_options>();
    CLI::App *const sub = add_command(app, chosen, "run", "Run the network on a tensor", o, cli::run);
    add_model(*sub, o->model, bundled);
    sub->add_option("--input", o->input, "safetensors file with the tensor `input`, N x C x H x W, normalised")->required();
    add_output(*sub, o->output, "safetensors file to write");
    sub->add_flag("--features", o->features,
                  "Write stem, stage0.., final_conv and embedding as well as logits; for official fork_feat checkpoints also "
                  "out0..out3, as the official code does (in SA and MA networks out3 is before the last stage's blocks)");
    add_execution(*sub, o->execution);
}

void add_fold(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::convert_options>();
    o->fold = true;
    CLI::App *const sub =
        add_command(app, chosen, "fold", "Fold a checkpoint's branches, as the official reparameterisation does, in float32", o,
                    cli::convert);
    add_model(*sub, o->model)->required();
    add_output(*sub, o->output, "safetensors file to write");
}

void add_convert(CLI::App &app, command &chosen) {
    using fastvit::io::dtype;
    const auto o = std::make_shared<cli::convert_options>();
    CLI::App *const sub = add_command(app, chosen, "convert", "Write any checkpoint as safetensors", o, cli::convert);
    add_model(*sub, o->model)->required();
    add_output(*sub, o->output, "safetensors file to write");
    add_choice(
        *sub, "--dtype", o->type,
        std::map<std::string, dtype>{{"float32", dtype::f32},
                                     {"float16", dtype::f16},
                                     {"bfloat16", dtype::bf16},
                                     {"bf16", dtype::bf16},
                                     {"int8", dtype::i8}},
        "Type of floating-point tensors: float32 (the default), float16 or bfloat16 (bf16), rounded to nearest even; or "
        "int8: the network folded, its dense layers quantised as --precision int8 does, the weights of its other convolutions "
        "in float16, all else in float32. Only this library reads that");
    sub->add_flag("--fold", o->fold, "Fold the branches, as `fastvit fold` does; --dtype int8 always folds");
}

void add_info(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::info_options>();
    CLI::App *const sub =
        add_command(app, chosen, "info", "Show what a checkpoint holds and which kernels would run it", o, cli::info);
    add_model(*sub, o->model, bundled);
    add_side(*sub, o->size, "Side of the input for the cost");
    add_precision(*sub, o->precision,
                  "Show what each dense layer would compute in, and why: float32 (the default), bfloat16 or int8");
    add_json(*sub, o->json);
    sub->add_flag("--tensors", o->tensors, "List the tensors");
}

void add_profile(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::profile_options>();
    CLI::App *const sub =
        add_command(app, chosen, "profile", "Show where a forward pass spends its time, part by part", o, cli::profile);
    add_model(*sub, o->model, bundled);
    add_side(*sub, o->size, "Side of the input");
    sub->add_option("--batch", o->batch, "Images in a batch")->capture_default_str()->check(CLI::Range(1, 1024));
    sub->add_option("--rounds", o->rounds, "Passes; the table shows medians")
        ->capture_default_str()
        ->check(CLI::Range(1, 100000));
    add_execution(*sub, o->execution);
    sub->add_option("--trace", o->trace, "Also write the last pass as a trace for chrome://tracing or ui.perfetto.dev");
    add_json(*sub, o->json);
}

void add_verify(CLI::App &app, command &chosen) {
    const auto o = std::make_shared<cli::verify_options>();
    CLI::App *const sub = add_command(
        app, chosen, "verify", "Compare the folded graph with the train-time graph, or a precision with float32", o, cli::verify);
    add_precision(*sub, o->precision, "Compare bfloat16 or int8 with float32 instead of the graphs");
    add_pictures(*sub, o->input);
    add_model(*sub, o->model, bundled);
    add_json(*sub, o->json);
}

int complain(const std::string &problem, int status) {
    std::cerr << "fastvit: " << cli::printable(problem) << '\n';
    return status;
}

int run_command(int argc, char **argv) {
    command chosen;
    CLI::App app("FastViT on CPUs", "fastvit");
    app.set_version_flag("--version", version());
    app.require_subcommand(1);
    for (const auto add : {add_classify, add_embed, add_features, add_preprocess, add_run, add_fold, add_convert, add_info,
                           add_verify, add_profile})
        add(app, chosen);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success &help_or_version) {
        return app.exit(help_or_version);
    } catch (const CLI::ParseError &e) {
        // CLI11 would only say that a subcommand is required.
        if (const auto words = app.remaining(); app.get_subcommands().empty() && !words.empty())
            return complain(words[0] + ": no such command or option (see fastvit --help)", usage_error);
        const auto commands = app.get_subcommands();
        const std::string page = commands.empty() ? "fastvit" : "fastvit " + commands[0]->get_name();
        return complain(std::string(e.what()) + " (see " + page + " --help)", usage_error);
    }
    return chosen();
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
