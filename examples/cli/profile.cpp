// SPDX-License-Identifier: MIT
// Where a forward pass spends its time: a table of the network's parts, and a trace for chrome://tracing or ui.perfetto.dev.
#include "fastvit/cost.hpp"
#include "fastvit/model.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/platform/output_file.hpp"

#include "cli/checkpoint.hpp"
#include "cli/commands.hpp"
#include "cli/fma_peak.hpp"
#include "cli/outputs.hpp"
#include "cli/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iomanip>
#include <iostream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli {
namespace {

using fastvit::index_type;
using clock = std::chrono::steady_clock;
using json = nlohmann::ordered_json;

struct interval {
    std::string name;
    clock::time_point begin, end;
};

double milliseconds(clock::time_point begin, clock::time_point end) {
    return std::chrono::duration<double, std::milli>(end - begin).count();
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// Notes when each part of the network begins and ends.
class part_recorder final : public fastvit::observer {
  public:
    void enter(std::string_view name) override {
        std::string full = open_.empty() ? std::string(name) : open_.back().name + "." + std::string(name);
        open_.push_back({std::move(full), clock::now(), {}});
    }
    void leave() override {
        open_.back().end = clock::now();
        parts_.push_back(std::move(open_.back()));
        open_.pop_back();
    }
    /// The parts that have ended since the last call, the inner ones first.
    std::vector<interval> take() { return std::exchange(parts_, {}); }

  private:
    std::vector<interval> open_, parts_;
};

/// Passes tasks on to a pool and notes when each ran. Each worker writes its own list.
class task_recorder final : public fastvit::executor {
  public:
    explicit task_recorder(int threads) : pool_(threads), tasks_(static_cast<std::size_t>(pool_.workers())) {}
    int workers() const noexcept override { return pool_.workers(); }
    void run(index_type tasks, fastvit::task_ref task) override {
        const auto timed = [&](index_type i, int worker) {
            const auto begin = clock::now();
            task(i, worker);
            tasks_[static_cast<std::size_t>(worker)].push_back({std::to_string(i), begin, clock::now()});
        };
        pool_.run(tasks, fastvit::task_ref(timed));
    }
    /// For each worker, what it has run since the last call.
    std::vector<std::vector<interval>> take() { return std::exchange(tasks_, std::vector<std::vector<interval>>(tasks_.size())); }

  private:
    fastvit::thread_pool pool_;
    std::vector<std::vector<interval>> tasks_;
};

/// The trace event format: complete events ("X"), times in microseconds. Thread 0 shows the parts, thread 1 + w what worker w
/// ran.
void save_trace(const std::string &path, const std::vector<interval> &parts, const std::vector<std::vector<interval>> &tasks,
                clock::time_point start) {
    json events = json::array();
    const auto add = [&](const std::vector<interval> &list, std::size_t thread) {
        for (const interval &i : list)
            events.push_back({{"name", i.name},
                              {"ph", "X"},
                              {"ts", 1e3 * milliseconds(start, i.begin)},
                              {"dur", 1e3 * milliseconds(i.begin, i.end)},
                              {"pid", 1},
                              {"tid", thread}});
    };
    const auto name_thread = [&](std::size_t thread, const std::string &name) {
        events.push_back({{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", thread}, {"args", {{"name", name}}}});
    };
    name_thread(0, "parts of the network");
    add(parts, 0);
    for (std::size_t w = 0; w < tasks.size(); ++w) {
        name_thread(1 + w, "worker " + std::to_string(w));
        add(tasks[w], 1 + w);
    }
    fastvit::platform::output_file file(path);
    const std::string text = json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump();
    file.write(std::as_bytes(std::span(text)));
    file.commit();
}

struct line {
    std::string name, type;
    double milliseconds, multiply_adds;
};

/// What the dense layers of a part compute in: one type, or several.
std::string type_of(const fastvit::model &net, const std::string &part) {
    std::string types;
    for (const fastvit::layer_precision &l : net.layers()) {
        const std::string type(to_string(l.type));
        if ((l.name == part || l.name.starts_with(part + ".")) && types.find(type) == types.npos)
            types += (types.empty() ? "" : "+") + type;
    }
    return types.empty() ? "float32" : types;
}

void print_table(const std::vector<line> &lines, double total, double peak) {
    const auto print = [&](const std::string &name, double ms, double macs, const std::string &type) {
        std::cout << std::left << std::setw(32) << name << std::right << std::setw(9) << fixed(ms, 3) << std::setw(7)
                  << fixed(100 * ms / total, 1) << " %";
        if (macs > 0)
            std::cout << std::setw(9) << fixed(1e-9 * macs, 4) << std::setw(8) << fixed(1e-6 * macs / ms, 1) << std::setw(9)
                      << fixed(2e-6 * macs / ms / peak, 2) << "  " << type;
        std::cout << '\n';
    };
    std::cout << std::left << std::setw(32) << "part" << std::right << std::setw(9) << "ms" << std::setw(9) << "share"
              << std::setw(9) << "GMAC" << std::setw(8) << "GMAC/s" << std::setw(9) << "of peak"
              << "  dense layers\n";
    double named = 0, macs = 0;
    for (const line &l : lines) {
        print(l.name, l.milliseconds, l.multiply_adds, l.type);
        named += l.milliseconds;
        macs += l.multiply_adds;
    }
    print("the rest", std::max(0.0, total - named), 0, "");
    print("all", total, macs, "");
}

void print_json(const std::vector<line> &lines, double total, double peak, const fastvit::model &net, int threads) {
    json parts = json::array();
    for (const line &l : lines)
        parts.push_back(
            {{"name", l.name}, {"precision", l.type}, {"milliseconds", l.milliseconds}, {"multiply_adds", l.multiply_adds}});
    std::cout << json{{"variant", net.architecture().variant},
                      {"kernels", net.isa()},
                      {"precision", to_string(net.precision())},
                      {"threads", threads},
                      {"milliseconds", total},
                      {"peak_gflop_per_s", peak},
                      {"parts", parts}}
                     .dump(2)
              << '\n';
}

} // namespace

int profile(const profile_options &options) {
    const fastvit::model net = open_model(options.model, options.execution);
    const index_type size = options.size ? *options.size : usual_size(options.model, net.architecture().variant, net.spelling());
    const fastvit::tensor<float> images({options.batch, net.architecture().in_channels, size, size});
    const fastvit::output_kind wanted =
        net.architecture().classes > 0 ? fastvit::output_kind::logits : fastvit::output_kind::embedding;
    task_recorder threads(options.execution.threads);
    part_recorder parts;
    fastvit::workspace space(threads);
    net.forward(images, space, wanted); // allocates, and brings weights and code into the caches
    space.watch(&parts);
    const double peak = bench::fma_peak(threads.workers());

    std::map<std::string, std::vector<double>> times;
    std::vector<double> totals;
    for (int round = 0; round < options.rounds; ++round) {
        parts.take(), threads.take();
        const auto begin = clock::now();
        net.forward(images, space, wanted);
        totals.push_back(milliseconds(begin, clock::now()));
        const std::vector<interval> now = parts.take();
        for (const interval &part : now) times[part.name].push_back(milliseconds(part.begin, part.end));
        if (options.trace && round + 1 == options.rounds) save_trace(*options.trace, now, threads.take(), begin);
    }
    std::vector<line> lines;
    for (const fastvit::part_cost &part : fastvit::part_costs(net.architecture(), size, size))
        if (const auto at = times.find(part.name); at != times.end())
            lines.push_back({part.name, type_of(net, part.name), median(at->second),
                             part.multiply_adds * static_cast<double>(options.batch)});
    if (options.json) {
        print_json(lines, median(totals), peak, net, threads.workers());
        return 0;
    }
    std::cout << printable(net.architecture().variant) << ", " << options.batch << " x " << size << " x " << size << ", "
              << to_string(net.precision()) << ", " << net.isa() << ", workers: " << threads.workers() << ", peak "
              << fixed(peak, 0) << " GFLOP/s in float32, medians of " << options.rounds << " rounds\n";
    print_table(lines, median(totals), peak);
    return 0;
}

} // namespace cli
