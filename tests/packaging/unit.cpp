// SPDX-License-Identifier: MIT
// What a user's unit does with the library: it opens models, preprocesses, runs, folds and saves. Compiled several times, with
// flags that must not matter, as FASTVIT_TEST_UNIT(), a function of another name each; but nothing keeps the functions of the
// library apart other than what the library does itself.
//
// Nothing here computes with floating-point numbers, but for quotients that are exact.
#include "unit.hpp"

#include "fastvit/fastvit.hpp"
#include "fastvit/parts/position.hpp"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <utility>

namespace {

namespace fs = std::filesystem;
using fastvit::index_type;

class results {
  public:
    void add(std::string what, std::span<const std::byte> bytes) {
        all_.push_back({std::move(what), {bytes.begin(), bytes.end()}});
    }
    void add(std::string what, fastvit::tensor_view<const float> t) { add(std::move(what), std::as_bytes(t.span())); }
    void add(std::string what, const fastvit::tensor<float> &t) { add(std::move(what), t.view()); }
    void add(const std::string &what, const fastvit::outputs &out) {
        add(what + ", logits", out.logits);
        add(what + ", embedding", out.embedding);
        add(what + ", stem", out.stem);
        add(what + ", final_conv", out.final_conv);
        for (std::size_t i = 0; i < out.stages.size(); ++i) add(what + ", stage " + std::to_string(i), out.stages[i]);
    }
    void add_file(const std::string &what, const fs::path &path) {
        std::ifstream file(path, std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        add(what, std::as_bytes(std::span(text)));
    }
    std::vector<unit_result> take() { return std::move(all_); }

  private:
    std::vector<unit_result> all_;
};

/// Something other than a gradient, so that every filter has work.
std::vector<std::uint8_t> draw(index_type height, index_type width) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(height * width * 3));
    std::uint32_t state = 1;
    for (std::uint8_t &p : pixels) {
        state = state * 1664525u + 1013904223u;
        p = static_cast<std::uint8_t>(state >> 24);
    }
    return pixels;
}

/// One positional encoding, folded.
void fold_position(results &all) {
    constexpr index_type channels = 24;
    auto numbers = [state = 7u](fastvit::shape dims) mutable {
        fastvit::tensor<float> t(dims);
        for (float &x : t.span()) {
            state = state * 1664525u + 1013904223u;
            x = static_cast<float>(static_cast<std::int32_t>(state >> 8) - (1 << 23)) / 8388608.0F;
        }
        return t;
    };
    fastvit::parts::position::weights w;
    w.channels = channels;
    fastvit::tensor<float> kernel = numbers({channels, 1, 7, 7}), bias = numbers({channels});
    w.encoding = fastvit::reparam::conv{std::move(kernel), std::move(bias)};
    fastvit::parts::position::reparameterize(w);
    all.add("position, kernel", w.folded->kernel);
    all.add("position, bias", w.folded->bias);
}

/// The network with its convolutions as weight_norm leaves them, and one head pruned: the library puts them together.
fastvit::checkpoint in_parts(const fastvit::checkpoint &source) {
    fastvit::checkpoint parts;
    const auto varied = [](fastvit::tensor<float> t) {
        for (index_type i = 0; i < t.count(); ++i) t.data()[i] = static_cast<float>(i % 7 + 5) / 8.0F;
        return t;
    };
    for (const fastvit::io::stored_tensor &t : source.tensors()) {
        if (!fastvit::io::is_floating(t.type)) continue;
        const std::string name(t.name);
        const bool weight = name.ends_with("weight");
        if (weight && t.dims.rank() == 4) {
            parts.add(name + "_g", varied(fastvit::tensor<float>({t.dims[0], 1, 1, 1})));
            parts.add(name + "_v", fastvit::io::read_float(t));
        } else if (weight && t.dims.rank() == 2) {
            parts.add(name + "_mask", varied(fastvit::tensor<float>(t.dims)));
            parts.add(name + "_orig", fastvit::io::read_float(t));
        } else {
            parts.add(name, fastvit::io::read_float(t));
        }
    }
    return parts;
}

void preprocess_all(results &all, const fastvit::picture_view &picture) {
    fastvit::preprocessing cut = fastvit::preprocessing::imagenet(40), squash = fastvit::preprocessing::openai_clip(40);
    squash.rule = fastvit::resize_rule::squash;
    fastvit::preprocessing oblong = fastvit::preprocessing::imagenet(48);
    oblong.width = 80;
    for (const auto &how : {cut, squash, oblong, fastvit::preprocessing::mobileclip(200), fastvit::preprocessing::fastvlm(56)})
        all.add("preprocess", fastvit::preprocess(picture, how));
    const auto config = fastvit::parse_preprocessing_config(
        R"({"input_size": [3, 56, 56], "crop_pct": 0.77, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [0.7, 0.8, 0.9]})");
    all.add("crop_fraction", std::as_bytes(std::span(&config.crop_fraction, 1)));
    all.add("preprocess as a configuration says", fastvit::preprocess(picture, config));
}

void run_model(results &all, const std::string &name, const fastvit::checkpoint &file, const fastvit::model_options &options,
               const fastvit::picture_view &picture, const fastvit::preprocessing &how) {
    using enum fastvit::output_kind;
    const fastvit::model net(file, options);
    fastvit::workspace space;
    const auto everything = logits | embedding | stem | stages | final_conv;
    const fastvit::tensor<float> input = fastvit::preprocess(picture, how);
    all.add(name + ", input", input);
    all.add(name + ", of a tensor", net.forward(input, space, everything));
    const fastvit::outputs &out = net.forward(picture, how, space, everything);
    all.add(name + ", of a picture", out);
    const fastvit::tensor<float> probabilities = fastvit::softmax(out.logits);
    all.add(name + ", softmax", probabilities);
    all.add(name + ", l2_normalized", fastvit::l2_normalized(out.embedding));
    for (const fastvit::ranked_value &best : fastvit::top_k(probabilities[0], 3))
        all.add(name + ", top_k", std::as_bytes(std::span(&best.value, 1)));

    fastvit::thread_pool threads(2);
    fastvit::workspace threaded(threads);
    all.add(name + ", two threads", net.forward(picture, how, threaded));
}

} // namespace

std::vector<unit_result> FASTVIT_TEST_UNIT(const unit_files &files) {
    results all;
    const std::vector<std::uint8_t> pixels = draw(90, 120);
    const fastvit::picture_view picture{.pixels = pixels.data(), .height = 90, .width = 120, .channels = 3};
    preprocess_all(all, picture);
    fold_position(all);

    const auto tiny = fastvit::checkpoint::open(files.checkpoints / "tiny.safetensors");
    const auto bundled = fastvit::checkpoint::open(files.bundled);
    fastvit::preprocessing how = fastvit::preprocessing::imagenet(64);
    for (const fastvit::graph graph : {fastvit::graph::folded, fastvit::graph::train_time}) {
        const std::string form = graph == fastvit::graph::folded ? ", folded" : ", train-time";
        run_model(all, "tiny" + form, tiny, {.graph = graph}, picture, how);
        run_model(all, "bundled" + form, bundled, {.graph = graph}, picture, fastvit::bundled_preprocessing());
    }
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers())
        for (const fastvit::precision type : fastvit::precisions)
            if (tier.runs(type))
                run_model(all, "tiny, " + std::string(tier.name) + ", " + std::string(to_string(type)), tiny,
                          {.precision = type, .isa = tier.name}, picture, how);
    run_model(all, "tiny in parts", in_parts(tiny), {}, picture, how);
    for (const char *name : {"tiny_fp16.safetensors", "tiny_bf16.pth", "tiny.pth.tar"})
        run_model(all, name, fastvit::checkpoint::open(files.checkpoints / name), {}, picture, how);

    const fs::path saved = files.scratch / "saved.safetensors";
    for (const auto &[type, name] :
         {std::pair{fastvit::io::dtype::f32, "f32"}, {fastvit::io::dtype::f16, "f16"}, {fastvit::io::dtype::bf16, "bf16"}}) {
        fastvit::save_folded(tiny, saved, type);
        all.add_file(std::string("save_folded, ") + name, saved);
        fastvit::save_converted(tiny, saved, type);
        all.add_file(std::string("save_converted, ") + name, saved);
    }
    fs::remove(saved);
    return all.take();
}
