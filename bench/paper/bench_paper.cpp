// SPDX-License-Identifier: MIT
// The networks that the paper compares, one forward pass each: run.sh runs this and makes a page of its results.
//
//     mixers/MIXER/size:N            S12 with another token mixer
//     folding/VARIANT/FORM/size:N    a published variant, of which FORM is left unfolded
//     kernels/VN/size:N              the paper's V1 to V5: S12 with small or large kernels, and with attention instead
//
// One image, one thread, float32. Times are the processor's. --most_gmac=N (default 1000) leaves out what needs more
// multiply-adds than N billion. Counters:
//
//     parameters                       of the network in this form
//     activation_mb, weight_mb         what its graph reads and writes: traffic.hpp
//     cache_misses                     of a forward pass, where the machine counts them
//     token_mixer_ms, mlp_ms           the parts of the time that token mixers and ConvFFNs take
#include "fastvit/cost.hpp"
#include "fastvit/model.hpp"
#include "fastvit/observer.hpp"

#include "cache_misses.hpp"
#include "cli/fma_peak.hpp"
#include "forms.hpp"
#include "support/seeded.hpp"
#include "traffic.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using fastvit::architecture;
using fastvit::index_type;
using fastvit::token_mixer;

// A network and the form in which it runs.
struct subject {
    architecture net;
    bench::left unfolded;
};

// Milliseconds in the token mixers and the ConvFFNs of forward passes.
class stopwatch final : public fastvit::observer {
  public:
    void enter(std::string_view name) override { open_.emplace_back(name, now_ms()); }
    void leave() override {
        const auto [name, begin] = open_.back();
        open_.pop_back();
        const double ms = now_ms() - begin;
        if (name == "token_mixer") token_mixer_ms += ms;
        if (name == "mlp") mlp_ms += ms;
    }

    double token_mixer_ms = 0, mlp_ms = 0;

  private:
    // The thread's processor time.
    static double now_ms() {
        timespec t{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return 1e3 * static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_nsec);
    }

    std::vector<std::pair<std::string_view, double>> open_;
};

// The models of the benchmarks so far, which interleaved repetitions come back to.
class model_shelf {
  public:
    struct entry {
        fastvit::model net;
        double parameters, weight_bytes;
        fastvit::checkpoint seeded;
    };

    const entry &get(const std::string &name, const subject &s) {
        if (const auto known = made_.find(name); known != made_.end()) return *known->second;
        fastvit::checkpoint seeded = fastvit_test::seeded_checkpoint(s.net, fastvit::io::spelling::timm);
        const bool folded = s.unfolded == bench::nothing_left;
        // The mixers that no published network uses have no tensors in the folded form.
        const fastvit::checkpoint source = folded && !published_mixers(s.net) ? seeded : bench::partly_folded(seeded, s.unfolded);
        fastvit::model net(source, {.graph = folded ? fastvit::graph::folded : fastvit::graph::train_time});
        const double parameters = bench::parameters(seeded, s.unfolded);
        auto made = std::make_unique<entry>(entry{std::move(net), parameters, sizeof(float) * parameters, std::move(seeded)});
        return *made_.emplace(name, std::move(made)).first->second;
    }

  private:
    static bool published_mixers(const architecture &net) {
        for (const fastvit::stage_architecture &stage : net.stages)
            if (stage.mixer != token_mixer::rep_mixer && stage.mixer != token_mixer::attention) return false;
        return true;
    }

    std::map<std::string, std::unique_ptr<entry>> made_;
};

double most_gmac = 1000;

void run(benchmark::State &state, model_shelf &shelf, const std::string &name, const subject &s, index_type size) {
    const double gmac = 1e-9 * fastvit::multiply_adds(s.net, size, size);
    if (gmac > most_gmac) return state.SkipWithError("too many multiply-adds");
    const model_shelf::entry &made = shelf.get(name, s);
    const fastvit::tensor<float> image = fastvit_test::seeded_input({1, 3, size, size});
    fastvit::workspace space;
    stopwatch watch;
    made.net.forward(image, space); // allocates, and brings weights and code into the caches
    space.watch(&watch);
    const bench::cache_misses misses;
    for (auto _ : state) benchmark::DoNotOptimize(made.net.forward(image, space).logits.data());
    const auto counted = misses.count();

    const double runs = static_cast<double>(state.iterations());
    if (counted) state.counters["cache_misses"] = *counted / runs;
    state.counters["token_mixer_ms"] = watch.token_mixer_ms / runs;
    state.counters["mlp_ms"] = watch.mlp_ms / runs;
    state.counters["parameters"] = made.parameters;
    state.counters["activation_mb"] = 1e-6 * bench::activation_bytes(made.seeded, s.unfolded, size);
    state.counters["weight_mb"] = 1e-6 * made.weight_bytes;
    state.SetLabel(std::string(made.net.isa()));
}

class registry {
  public:
    explicit registry(model_shelf &shelf) : shelf_(shelf) {}

    void add(const std::string &name, const subject &s) {
        for (const index_type size : {64, 224, 256, 384, 512, 768, 1024})
            benchmark::RegisterBenchmark((name + "/size:" + std::to_string(size)).c_str(), [this, name, s,
                                                                                            size](benchmark::State &state) {
                run(state, shelf_, name, s, size);
            })->Unit(benchmark::kMillisecond);
    }

  private:
    model_shelf &shelf_;
};

// S12 with that mixer in its last stages.
architecture s12_with(token_mixer mixer, std::size_t last_stages = 4) {
    architecture net = fastvit::published_architecture("fastvit_s12");
    for (std::size_t s = 4 - last_stages; s < 4; ++s) {
        net.stages[s].mixer = mixer;
        net.stages[s].position = mixer == token_mixer::attention;
    }
    return net;
}

void add_mixers(registry &all) {
    using namespace bench;
    all.add("mixers/rep_mixer", {s12_with(token_mixer::rep_mixer), nothing_left});
    all.add("mixers/rep_mixer_skip", {s12_with(token_mixer::rep_mixer), {.skips = true}});
    all.add("mixers/pooling", {s12_with(token_mixer::pooling), nothing_left});
    all.add("mixers/pooling_skip", {s12_with(token_mixer::pooling), {.skips = true}});
    all.add("mixers/conv_mixer", {s12_with(token_mixer::conv_mixer), nothing_left});
    for (const std::size_t stages : {1, 2, 4})
        all.add("mixers/attention_" + std::to_string(stages), {s12_with(token_mixer::attention, stages), nothing_left});
}

void add_folding(registry &all) {
    struct form {
        const char *name;
        bench::left unfolded;
    };
    constexpr std::array<form, 5> forms{{{"train", bench::everything_left},
                                         {"skips", {.skips = true}},
                                         {"branches", {.branches = true}},
                                         {"norms", {.norms = true}},
                                         {"folded", bench::nothing_left}}};
    for (const fastvit::variant_entry &v : fastvit::variant_table) {
        if (v.large_kernel_gelu) continue; // MCi is not the paper's
        for (const form &f : forms)
            all.add("folding/" + std::string(v.name.substr(v.name.find('_') + 1)) + "/" + f.name,
                    {fastvit::published_architecture(v.name), f.unfolded});
    }
}

void add_kernels(registry &all) {
    for (int v = 1; v <= 5; ++v) {
        const bool large = v >= 4;
        const std::size_t attention = large ? v - 4 : v - 1;
        architecture net = s12_with(token_mixer::attention, attention);
        for (fastvit::stage_architecture &stage : net.stages) stage.ffn_kernel = stage.downsample_kernel = large ? 7 : 3;
        all.add("kernels/v" + std::to_string(v), {net, bench::nothing_left});
    }
}

} // namespace

int main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    constexpr std::string_view option = "--most_gmac=";
    if (argc == 2 && std::string_view(argv[1]).starts_with(option)) {
        most_gmac = std::strtod(argv[1] + option.size(), nullptr);
        argc = 1;
    }
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::AddCustomContext("peak_gflops", std::to_string(bench::fma_peak()));
    model_shelf shelf;
    registry all(shelf);
    add_mixers(all);
    add_folding(all);
    add_kernels(all);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
