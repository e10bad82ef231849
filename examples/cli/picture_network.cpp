// SPDX-License-Identifier: MIT
#include "cli/picture_network.hpp"

#include "fastvit/bundled.hpp"
#include "fastvit/model.hpp"
#include "fastvit/postprocess.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"

#include "cli/checkpoint.hpp"
#include "cli/outputs.hpp"
#include "cli/pictures.hpp"
#include "cli/preprocessing.hpp"
#include "cli/text.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;
using fastvit::output_kind;

/// Throws for what this network cannot do.
output_kind outputs_of(const wanted_results &wanted, const fastvit::architecture &net) {
    if (net.in_channels != 3)
        throw error(error_kind::unsupported, error::parts{.problem = "input channels of the network",
                                                          .expected = "3, for a picture's red, green and blue",
                                                          .found = std::to_string(net.in_channels)});
    if (wanted.logits && net.classes == 0)
        throw error(error_kind::unsupported, why_no_logits(net) + "; it has an embedding and features");
    if (wanted.final_conv && net.head_channels == 0) throw error(error_kind::unsupported, "this network has no last convolution");
    auto all = output_kind{};
    if (wanted.logits) all = all | output_kind::logits;
    if (wanted.embedding) all = all | output_kind::embedding;
    if (wanted.stem) all = all | output_kind::stem;
    if (wanted.stages) all = all | pyramids(net);
    if (wanted.final_conv) all = all | output_kind::final_conv;
    return all;
}

/// One thread for each picture; where there is one picture, all threads are inside its forward pass.
int thread_count(int asked, std::size_t pictures) {
    const int most = asked > 0 ? asked : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    return pictures < 2 ? most : static_cast<int>(std::min(static_cast<std::size_t>(most), pictures));
}

} // namespace

struct picture_network::state {
    state(const model_file &file, const picture_options &options, const wanted_results &w)
        : pictures(options), threads(thread_count(options.threads, pictures.files().size())),
          net(open_model(file, {.precision = options.precision}, &threads)), wanted(w) {
        try {
            outputs = outputs_of(w, net.architecture());
        } catch (const error &e) {
            throw e.in_file(path_of(file).string());
        }
        how = file ? net.usual_preprocessing() : fastvit::bundled_preprocessing();
        if (file) use_config(path_of(file), options.preprocessing);
        how = preprocessing_of(options.preprocessing, how);
        const bool several = pictures.files().size() > 1;
        for (int i = 0; i < (several ? threads.workers() : 1); ++i)
            workers.push_back(several ? std::make_unique<worker>() : std::make_unique<worker>(threads));
    }

    /// Takes what a configuration beside the checkpoint says and the options do not, and says so.
    void use_config(const std::filesystem::path &checkpoint, const preprocessing_options &options) {
        const bool pixels = !options.preset && !options.config;
        if (!pixels && !wanted.labels) return;
        try {
            fastvit::found_config found = fastvit::find_config(checkpoint);
            std::string said;
            if (pixels && found.how) {
                how = *found.how;
                said = "preprocessing as " + found.how_file.string() + " says";
            }
            if (wanted.labels && !found.labels.empty()) {
                const bool fit = static_cast<index_type>(found.labels.size()) == net.architecture().classes;
                said += (said.empty() ? "" : "; ") + std::to_string(found.labels.size()) + " labels of " +
                        found.labels_file.string() +
                        (fit ? "" : " not used: there are " + std::to_string(net.architecture().classes) + " classes");
                if (fit) labels = std::move(found.labels);
            }
            if (!said.empty()) std::cerr << "fastvit: " << printable(said) << '\n';
        } catch (const error &e) {
            std::cerr << "fastvit: not used: " << e.what() << '\n';
        }
    }

    struct worker {
        worker() = default;
        explicit worker(fastvit::executor &e) : space(e) {}
        fastvit::workspace space;
        fastvit::preprocess_workspace resizing;
        fastvit::tensor<float> input;
        examples::picture picture;
        std::vector<fastvit::io::named_tensor> results;
        fastvit::tensor<float> unit;
        bool warm = false;
    };

    picture_list pictures;
    fastvit::thread_pool threads;
    fastvit::model net;
    wanted_results wanted;
    output_kind outputs{};
    fastvit::preprocessing how;
    std::vector<std::string> labels;
    std::vector<std::unique_ptr<worker>> workers;
};

picture_network::picture_network(const model_file &model, const picture_options &options, const wanted_results &wanted)
    : state_(std::make_unique<state>(model, options, wanted)) {}
picture_network::~picture_network() = default;

const fastvit::architecture &picture_network::net() const { return state_->net.architecture(); }
const fastvit::preprocessing &picture_network::preprocessing() const { return state_->how; }
const std::vector<std::string> &picture_network::pictures() const { return state_->pictures.files(); }
const std::vector<std::string> &picture_network::labels() const { return state_->labels; }
fastvit::executor &picture_network::threads() { return state_->threads; }

std::string picture_network::description() const {
    return "fastvit: " + net().variant + ", " + std::to_string(state_->how.width) + " x " + std::to_string(state_->how.height) +
           ", " + std::string(to_string(state_->net.precision())) + ", " + std::string(state_->net.isa()) + ", " +
           std::to_string(state_->threads.workers()) + " threads";
}

bool picture_network::report_skipped() const {
    const std::string line = state_->pictures.skipped();
    if (!line.empty()) std::cerr << "fastvit: " << printable(line) << '\n';
    return !line.empty();
}

sight picture_network::look_at(index_type number, int worker) {
    const std::string &file = pictures()[static_cast<std::size_t>(number)];
    state::worker &own = *state_->workers[worker];
    own.picture = state_->pictures.read(number);
    const fastvit::preprocessing &how = state_->how;
    if (own.input.count() == 0) own.input = fastvit::tensor<float>({1, 3, how.height, how.width});
    fastvit::preprocess_into(own.picture.view(), how, {own.input.data(), {3, how.height, how.width}}, own.resizing);
    // The first pass makes the plan and touches the memory.
    if (!own.warm && state_->wanted.times) state_->net.forward(own.input, own.space, state_->outputs);
    own.warm = true;
    const auto begin = std::chrono::steady_clock::now();
    own.results = named_results(state_->net.forward(own.input, own.space, state_->outputs));
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    if (state_->wanted.unit_length) {
        own.unit = fastvit::l2_normalized(own.results[0].data);
        own.results[0].data = own.unit;
    }
    return {.file = file, .picture = own.picture, .input = own.input, .results = own.results, .milliseconds = time.count()};
}

} // namespace cli
