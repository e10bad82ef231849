// SPDX-License-Identifier: MIT
// The bytes are a checkpoint of any format; whatever it is, a model is made from it, both ways, and run if it is small.
//
// A zip archive's checksums would keep a fuzzer from ever changing the pickle inside. So bytes that are a pickle by themselves,
// and no file of PyTorch's, become the archive's data.pkl; the storages have positive numbers, as variances must.
#include "fastvit/fastvit.hpp"

#include "fuzz_target.hpp"
#include "support/pth_test_files.hpp"

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

bool is_small(const fastvit::architecture &net) {
    index_type blocks = 0, widest = std::max({net.in_channels, net.head_channels, net.classes});
    for (const fastvit::stage_architecture &stage : net.stages) {
        blocks += stage.blocks;
        widest = std::max({widest, stage.channels, stage.hidden});
    }
    return blocks <= 8 && widest <= 128;
}

} // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit;
    const std::string file = to_file({reinterpret_cast<const char *>(data), size});
    fuzz::bounded(file.size(), 2, [&] {
        std::optional<checkpoint> source;
        if (!fuzz::accepts([&] { source = checkpoint::from_bytes(io_test::bytes_of(file), "FILE"); })) return;
        for (const io::stored_tensor &t : source->tensors()) {
            fuzz::require(fuzz::inside(t.bytes, io_test::bytes_of(file)), "a tensor is inside the file");
            fuzz::accepts([&] { io::read_float(t); });
        }
    });
    for (const graph form : {graph::folded, graph::train_time}) {
        std::optional<model> net;
        fuzz::bounded(file.size(), 3, [&] {
            fuzz::accepts([&] {
                net.emplace(checkpoint::from_bytes(io_test::bytes_of(file), "FILE"),
                            model_options{.form = form, .isa = "scalar"});
            });
        });
        if (!net || !is_small(net->net())) continue;
        tensor<float> images({1, net->net().in_channels, 11, 19});
        for (float value = -3; float &pixel : images.span()) pixel = value = value < 3 ? value + 0.25f : -3;
        workspace space;
        output wanted = output::embedding | output::stages | output::stem;
        if (net->net().classes > 0) wanted = wanted | output::logits;
        net->forward(images, space, wanted);
    }
    return 0;
}
