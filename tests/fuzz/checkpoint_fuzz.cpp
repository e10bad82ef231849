// SPDX-License-Identifier: MIT
// The bytes are a checkpoint of any format; whatever it is, a model is made from it, both ways, and run if it is small.
//
// A zip archive's checksums would keep a fuzzer from ever changing the pickle inside. So bytes that are a pickle by themselves,
// and no file of PyTorch's, become the archive's data.pkl; the storages have positive numbers, as variances must.
//
// Nor would it ever change the shapes of all tensors together. So bytes that begin with "draw" are numbers from which an
// architecture is drawn: any widths, with any ratios between them.
#include "fastvit/fastvit.hpp"
#include "fastvit/io/pth.hpp"

#include "fuzz_target.hpp"
#include "support/pth_test_files.hpp"
#include "support/seeded.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace {

using fastvit::index_type;

std::string to_file(std::string_view input) {
    if (!input.starts_with('\x80') || fastvit::io::looks_like_legacy_pth(io_test::bytes_of(input))) return std::string(input);
    static const std::string storage = [] {
        std::string floats;
        for (int i = 0; i < 16384; ++i) floats += io_test::number(0.25f);
        return floats;
    }();
    return io_test::build_zip({{"a/data.pkl", std::string(input)}, {"a/data/0", storage}, {"a/data/1", storage}}).file;
}

fastvit::architecture draw(fuzz::number_source numbers) {
    const auto number = [&](index_type low, index_type high) { return low + numbers.take<std::uint8_t>() % (high - low + 1); };
    fastvit::architecture net;
    net.in_channels = number(1, 4);
    net.classes = number(1, 20);
    net.stages.resize(static_cast<std::size_t>(number(1, 3)));
    index_type channels = number(1, 40);
    for (fastvit::stage_architecture &stage : net.stages) {
        stage = {.blocks = number(1, 2), .channels = channels, .hidden = channels * number(1, 4)};
        channels = std::min<index_type>(channels * number(1, 64), channels * std::max<index_type>(1, 128 / channels));
    }
    const index_type last = net.stages.back().channels, least = 16; // of a head, which has a sixteenth in its squeeze and excite
    net.head_channels = last * std::max(number(1, 64), (least + last - 1) / last);
    return net;
}

bool is_small(const fastvit::architecture &net) {
    index_type blocks = 0, widest = std::max(net.in_channels, net.classes);
    for (const fastvit::stage_architecture &stage : net.stages) {
        blocks += stage.blocks;
        widest = std::max({widest, stage.channels, stage.hidden});
    }
    return blocks <= 8 && widest <= 512 && net.head_channels <= 8192;
}

/// Makes the model in every way, by make(options) from a checkpoint of that size, and runs it if it is small. False if it was
/// refused. Memory is bounded by `most` times the size.
template <class Make> bool run_all_ways(std::size_t bytes, int most, Make &&make) {
    using namespace fastvit;
    for (const auto &[form, type] :
         {std::pair(graph::folded, precision::float32), std::pair(graph::folded, precision::int8),
          std::pair(graph::folded, precision::bfloat16), std::pair(graph::train_time, precision::float32)}) {
        const model_options options{.graph = form, .precision = type, .isa = "scalar"};
        std::optional<model> net;
        fuzz::bounded(bytes, most, [&] { fuzz::accepts([&] { net.emplace(make(options)); }); });
        if (!net) return false;
        if (!is_small(net->architecture())) continue;
        tensor<float> images({1, net->architecture().in_channels, 11, 19});
        for (float value = -3; float &pixel : images.span()) pixel = value = value < 3 ? value + 0.25f : -3;
        workspace space;
        output_kind wanted = output_kind::embedding | output_kind::stages | output_kind::stem;
        if (net->architecture().classes > 0) wanted = wanted | output_kind::logits;
        net->forward(images, space, wanted);
    }
    return true;
}

} // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit;
    const std::string_view input(reinterpret_cast<const char *>(data), size);
    if (constexpr std::string_view mark = "draw"; input.starts_with(mark)) {
        const architecture net = draw(fuzz::number_source(data + mark.size(), size - mark.size()));
        const checkpoint source = fastvit_test::seeded_checkpoint(net, io::spelling::timm);
        const auto make = [&](const model_options &options) { return model(source, options); };
        fuzz::require(run_all_ways(static_cast<std::size_t>(source.size_in_bytes()), 3, make), "a drawn network is one");
        return 0;
    }
    const std::string file = to_file(input);
    std::size_t element = sizeof(float); // the smallest, in bytes; of bytes, quantised matrices are made
    fuzz::bounded(file.size(), 2, [&] {
        std::optional<checkpoint> source;
        if (!fuzz::accepts([&] { source = checkpoint::from_bytes(io_test::bytes_of(file), "FILE"); })) return;
        for (const io::stored_tensor &t : source->tensors()) {
            fuzz::require(fuzz::inside(t.bytes, io_test::bytes_of(file)), "a tensor is inside the file");
            fuzz::accepts([&] { (void)io::read_float(t); });
            if (t.type == io::dtype::i8 || io::is_floating(t.type)) element = std::min(element, io::size_of(t.type));
        }
    });
    run_all_ways(file.size(), static_cast<int>(2 * sizeof(float) / element + 1), [&](const model_options &options) {
        return model(checkpoint::from_bytes(io_test::bytes_of(file), "FILE"), options);
    });
    return 0;
}
