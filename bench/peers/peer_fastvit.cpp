// SPDX-License-Identifier: MIT
// peer_fastvit CHECKPOINT IMAGE SIZE THREADS PRECISION: this library's side of compare.py. It loads the model, then runs it when
// it is told to.
//
// Each line of the standard input is a command, each line of the standard output its answer, in JSON; the first line answers the
// start:
//
//     {"name": ..., "load_ms": ..., "memory_before_mib": ..., "memory_loaded_mib": ..., ...}
//     run WARM_UP COUNT    milliseconds of each of COUNT forward passes, after WARM_UP others: [9.1, 9.0, ...]
//     output FILE          writes the logits as raw float32: {}
//     memory               the process's largest resident set: {"memory_peak_mib": ...}
//     peak SECONDS         what as many cores can do: {"peak_gflops": ...}
//
// The end of the input ends it.
#include "fastvit/fastvit.hpp"

#include "cli/fma_peak.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

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

fastvit::tensor<float> read_image(const char *path, fastvit::index_type size) {
    fastvit::tensor<float> image({1, 3, size, size});
    std::ifstream file(path, std::ios::binary);
    if (!file.read(reinterpret_cast<char *>(image.data()), image.count() * static_cast<std::streamsize>(sizeof(float))))
        throw fastvit::error(fastvit::error_kind::io, std::string("cannot read the image ") + path);
    return image;
}

class peer {
  public:
    peer(const char *checkpoint, const char *image, fastvit::index_type size, int threads, fastvit::precision type)
        : image_(read_image(image, size)), threads_(threads), pool_(threads), space_(pool_) {
        const double before = peak_memory_mib();
        const auto begin = clock_type::now();
        model_ = fastvit::model::open(checkpoint, {.precision = type});
        const double load = milliseconds_since(begin);
        const double macs = fastvit::multiply_adds(model_->architecture(), size, size);
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
            for (int i = 0; i < warm_up; ++i) model_->forward(image_, space_);
            out << '[';
            for (int i = 0; i < count; ++i) {
                const auto begin = clock_type::now();
                model_->forward(image_, space_);
                out << (i ? ", " : "") << milliseconds_since(begin);
            }
            out << ']';
        } else if (command == "output") {
            std::string path;
            words >> std::ws;
            std::getline(words, path);
            const fastvit::tensor_view<const float> logits = model_->forward(image_, space_).logits;
            std::ofstream file(path, std::ios::binary);
            file.write(reinterpret_cast<const char *>(logits.data()),
                       logits.count() * static_cast<std::streamsize>(sizeof(float)));
            if (!file.flush()) throw fastvit::error(fastvit::error_kind::io, "cannot write " + path);
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

    fastvit::tensor<float> image_;
    int threads_;
    fastvit::thread_pool pool_;
    fastvit::workspace space_;
    std::optional<fastvit::model> model_;
};

} // namespace

int main(int argc, char **argv) {
    const auto type = std::find_if(fastvit::precisions.begin(), fastvit::precisions.end(),
                                   [&](fastvit::precision p) { return argc == 6 && to_string(p) == argv[5]; });
    if (type == fastvit::precisions.end()) {
        std::fprintf(stderr, "usage: peer_fastvit CHECKPOINT IMAGE SIZE THREADS float32|bfloat16|int8\n");
        return 2;
    }
    try {
        peer p(argv[1], argv[2], std::stol(argv[3]), std::stoi(argv[4]), *type);
        for (std::string line; std::getline(std::cin, line);) p.obey(line);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "peer_fastvit: %s\n", e.what());
        return 1;
    }
}
