// SPDX-License-Identifier: MIT
// The time of a forward pass: every published variant, both graphs, every precision, several numbers of threads, sizes and
// batches.
//
//     bench_latency                                       T8 to MA36, folded, float32, 1 x 3 x 256 x 256, one and two threads
//     bench_latency --benchmark_filter=t8/folded          everything about one network
//     bench_latency --benchmark_list_tests                what there is, once --benchmark_filter=. takes the default away
//
// gmac_per_s counts the network's own multiply-adds, without padding and recomputation; peak_fraction is their share of what as
// many cores could do (see fma_peak.hpp), measured right before; so is round_trip_ns, of two threads (see round_trip.hpp).
#include "fastvit/cost.hpp"
#include "fastvit/model.hpp"

#include "cli/fma_peak.hpp"
#include "round_trip.hpp"
#include "support/seeded.hpp"

#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct setting {
    std::string_view variant; // as in fastvit::variant_table
    fastvit::graph form;
    fastvit::precision type;
    int threads;
    fastvit::index_type size, batch;
};

// The model and the threads of the benchmark that runs, kept for the next one, which mostly wants the same.
class bed {
  public:
    const fastvit::model &model(std::string_view variant, fastvit::graph form, fastvit::precision type) {
        if (!model_ || variant != variant_ || form != model_->graph() || type != model_->precision()) {
            model_.reset(); // before the next is made: the large ones take a gigabyte while they are packed
            space_.reset();
            model_.emplace(fastvit_test::seeded_checkpoint(fastvit::published_architecture(variant), fastvit::io::spelling::timm),
                           fastvit::model_options{.graph = form, .precision = type});
            variant_ = variant;
        }
        return *model_;
    }

    fastvit::workspace &workspace(int threads) {
        if (!space_ || !pool_ || pool_->workers() != threads) {
            space_.reset();
            pool_ = std::make_unique<fastvit::thread_pool>(threads);
            space_ = std::make_unique<fastvit::workspace>(*pool_);
        }
        return *space_;
    }

  private:
    std::string_view variant_;
    std::optional<fastvit::model> model_;
    std::unique_ptr<fastvit::thread_pool> pool_;
    std::unique_ptr<fastvit::workspace> space_;
};

void run(benchmark::State &state, bed &shared, const setting &s) {
    const fastvit::model &net = shared.model(s.variant, s.form, s.type);
    fastvit::workspace &space = shared.workspace(s.threads);
    const fastvit::tensor<float> images = fastvit_test::seeded_input({s.batch, net.architecture().in_channels, s.size, s.size});
    const double peak = bench::fma_peak(s.threads);
    if (s.threads == 2) state.counters["round_trip_ns"] = bench::round_trip_ns();
    net.forward(images, space); // allocates, and brings weights and code into the caches
    const auto begin = std::chrono::steady_clock::now();
    for (auto _ : state) benchmark::DoNotOptimize(net.forward(images, space).logits.data());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;

    const double macs =
        fastvit::multiply_adds(net.architecture(), s.size, s.size) * static_cast<double>(s.batch * state.iterations());
    // Plain numbers: the library's own rates print a fraction as so much per second.
    state.counters["gmac_per_s"] = 1e-9 * macs / seconds.count();
    state.counters["peak_fraction"] = 2e-9 * macs / seconds.count() / peak;
    state.SetLabel(std::string(net.isa()));
}

// Calls add(form, precision, name) for each way to run a network.
template <class F> void for_each_way(F &&add) {
    for (const fastvit::precision type : fastvit::precisions)
        add(fastvit::graph::folded, type, "folded/precision:" + std::string(to_string(type)));
    add(fastvit::graph::train_time, fastvit::precision::float32, "train/precision:float32");
}

void register_all(bed &shared) {
    for (const fastvit::variant_entry &v : fastvit::variant_table)
        for_each_way([&](fastvit::graph form, fastvit::precision type, const std::string &way) {
            for (const int threads : {1, 2})
                for (const fastvit::index_type size : {64, 256, 512, 1024})
                    for (const fastvit::index_type batch : {1, 8}) {
                        const std::string_view short_name = v.name.substr(v.name.find('_') + 1);
                        const std::string name = "latency/" + std::string(short_name) + "/" + way +
                                                 "/threads:" + std::to_string(threads) + "/size:" + std::to_string(size) +
                                                 "/batch:" + std::to_string(batch);
                        const setting s{v.name, form, type, threads, size, batch};
                        benchmark::RegisterBenchmark(name.c_str(),
                                                     [&shared, s](benchmark::State &state) { run(state, shared, s); })
                            ->UseRealTime()
                            ->Unit(benchmark::kMillisecond);
                    }
        });
}

} // namespace

int main(int argc, char **argv) {
    // Without a filter everything would run for an hour: the usual choice comes first, so that an argument overrides it.
    std::string usual =
        "--benchmark_filter=^latency/(t8|t12|s12|sa12|sa24|sa36|ma36)/folded/precision:float32/threads:[12]/size:256/batch:1/";
    std::vector<char *> arguments(argv, argv + argc);
    arguments.insert(arguments.begin() + 1, usual.data());
    int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
    bed shared;
    register_all(shared);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
