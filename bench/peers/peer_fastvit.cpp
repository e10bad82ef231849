// SPDX-License-Identifier: MIT
// peer_fastvit CHECKPOINT IMAGE SIZE THREADS PRECISION OUTPUTS: this library's side of compare.py. It loads the model, then runs
// it when it is told to. OUTPUTS is logits, embedding, final_conv or stages.
//
// Each line of the standard input is a command, each line of the standard output its answer, in JSON; the first line answers the
// start:
//
//     {"name": ..., "load_ms": ..., "memory_before_mib": ..., "memory_loaded_mib": ..., ...}
//     run WARM_UP COUNT    milliseconds of each of COUNT forward passes, after WARM_UP others: [9.1, 9.0, ...]
//     output FILE          writes the outputs as raw float32, one after the other: the number of elements of each
//     picture WIDTH HEIGHT FILE    from now on runs begin with this picture, decoded, three bytes a pixel: {}
//     memory               the process's largest resident set: {"memory_peak_mib": ...}
//     peak SECONDS         what as many cores can do: {"peak_gflops": ...}
//
// The end of the input ends it.
#include "fastvit/fastvit.hpp"

#include "cli/fma_peak.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

double milliseconds_since(clock_type::time_point begin) {
    return std::chrono::duration<double, std::milli>(clock_type::now() - begin).count();
}

// The largest resident set so far. Not getrusage's: that one begins with what the parent had when it forked.
double peak_memory_mib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
    return 0;
}

template <class T> std::vector<T> read_file(const std::string &path, fastvit::index_type count) {
    std::vector<T> values(static_cast<std::size_t>(count));
    std::ifstream file(path, std::ios::binary);
    if (!file.read(reinterpret_cast<char *>(values.data()), count * static_cast<std::streamsize>(sizeof(T))))
        throw fastvit::error(fastvit::error_kind::io, "cannot read " + path);
    return values;
}

fastvit::output_kind parse_outputs(std::string_view name) {
    if (name == "logits") return fastvit::output_kind::logits;
    if (name == "embedding") return fastvit::output_kind::embedding;
    if (name == "final_conv") return fastvit::output_kind::final_conv;
    if (name == "stages") return fastvit::output_kind::stages;
    throw fastvit::error(fastvit::error_kind::invalid_argument, "unknown outputs: " + std::string(name));
}

// Of what the outputs need.
double multiply_adds(const fastvit::architecture &net, fastvit::index_type size, fastvit::output_kind wanted) {
    double sum = 0;
    for (const fastvit::part_cost &part : fastvit::part_costs(net, size, size)) {
        if (part.name == "final_conv" && wanted == fastvit::output_kind::stages) continue;
        if (part.name == "head.fc" && wanted != fastvit::output_kind::logits) continue;
        sum += part.multiply_adds;
    }
    return sum;
}

class peer {
  public:
    peer(const char *checkpoint, const char *image, fastvit::index_type size, int threads, fastvit::precision type,
         fastvit::output_kind wanted)
        : image_(read_file<float>(image, 3 * size * size)), size_(size), wanted_(wanted), threads_(threads), pool_(threads),
          space_(pool_) {
        const double before = peak_memory_mib();
        const auto begin = clock_type::now();
        model_ = fastvit::model::open(checkpoint, {.precision = type});
        const double load = milliseconds_since(begin);
        const double macs = multiply_adds(model_->architecture(), size, wanted);
        std::ostringstream line;
        line << R"({"name": "fastvit )" << FASTVIT_VERSION_MAJOR << '.' << FASTVIT_VERSION_MINOR << '.' << FASTVIT_VERSION_PATCH
             << R"(", "isa": ")" << model_->isa() << R"(", "peak_isa": ")" << bench::fma_peak_isa() << R"(", "load_ms": )" << load
             << R"(, "memory_before_mib": )" << before << R"(, "memory_loaded_mib": )" << peak_memory_mib() << R"(, "gmac": )"
             << 1e-9 * macs << '}';
        answer(line.str());
    }

    void obey(const std::string &line) {
        std::istringstream words(line);
        std::string command;
        words >> command;
        std::ostringstream out;
        if (command == "run") {
            int warm_up = 0, count = 0;
            words >> warm_up >> count;
            for (int i = 0; i < warm_up; ++i) forward();
            out << '[';
            for (int i = 0; i < count; ++i) {
                const auto begin = clock_type::now();
                forward();
                out << (i ? ", " : "") << milliseconds_since(begin);
            }
            out << ']';
        } else if (command == "output") {
            const std::string path = rest_of(words);
            std::ofstream file(path, std::ios::binary);
            out << '[';
            for (const char *separator = ""; const fastvit::tensor_view<const float> &one : in_order(forward())) {
                file.write(reinterpret_cast<const char *>(one.data()), one.count() * static_cast<std::streamsize>(sizeof(float)));
                out << std::exchange(separator, ", ") << one.count();
            }
            out << ']';
            if (!file.flush()) throw fastvit::error(fastvit::error_kind::io, "cannot write " + path);
        } else if (command == "picture") {
            fastvit::picture_view picture;
            words >> picture.width >> picture.height;
            pixels_ = read_file<std::uint8_t>(rest_of(words), picture.width * picture.height * picture.channels);
            picture.pixels = pixels_.data();
            picture_ = picture;
            out << "{}";
        } else if (command == "memory") {
            out << R"({"memory_peak_mib": )" << peak_memory_mib() << '}';
        } else if (command == "peak") {
            double seconds = 0.1;
            words >> seconds;
            out << R"({"peak_gflops": )" << bench::fma_peak(threads_, seconds) << '}';
        } else {
            throw fastvit::error(fastvit::error_kind::invalid_argument, "unknown command: " + line);
        }
        answer(out.str());
    }

  private:
    static void answer(const std::string &line) { std::cout << line << std::endl; }

    static std::string rest_of(std::istringstream &words) {
        std::string rest;
        std::getline(words >> std::ws, rest);
        return rest;
    }

    const fastvit::outputs &forward() {
        if (picture_) return model_->forward(*picture_, fastvit::preprocessing::imagenet(size_), space_, wanted_);
        return model_->forward({image_.data(), {1, 3, size_, size_}}, space_, wanted_);
    }

    // What was asked for.
    static std::vector<fastvit::tensor_view<const float>> in_order(const fastvit::outputs &results) {
        std::vector<fastvit::tensor_view<const float>> all = results.stages;
        for (const auto &one : {results.logits, results.embedding, results.final_conv})
            if (one.data()) all.push_back(one);
        return all;
    }

    std::vector<float> image_;
    fastvit::index_type size_;
    fastvit::output_kind wanted_;
    std::vector<std::uint8_t> pixels_;
    std::optional<fastvit::picture_view> picture_;
    int threads_;
    fastvit::thread_pool pool_;
    fastvit::workspace space_;
    std::optional<fastvit::model> model_;
};

} // namespace

int main(int argc, char **argv) {
    const auto type = std::find_if(fastvit::precisions.begin(), fastvit::precisions.end(),
                                   [&](fastvit::precision p) { return argc == 7 && to_string(p) == argv[5]; });
    if (type == fastvit::precisions.end()) {
        std::fprintf(stderr, "usage: peer_fastvit CHECKPOINT IMAGE SIZE THREADS float32|bfloat16|int8 OUTPUTS\n");
        return 2;
    }
    try {
        peer p(argv[1], argv[2], std::stol(argv[3]), std::stoi(argv[4]), *type, parse_outputs(argv[6]));
        for (std::string line; std::getline(std::cin, line);) p.obey(line);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "peer_fastvit: %s\n", e.what());
        return 1;
    }
}
