// SPDX-License-Identifier: MIT
// From a checkpoint's tensors to a network: which names, shapes and forms are understood, and what the errors say of the rest.
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/golden_files.hpp"
#include "support/io_test_files.hpp"
#include "support/loader.hpp"
#include "support/results.hpp"
#include "support/seeded.hpp"
#include "support/translators.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace fastvit;
using namespace fastvit_test;
using fastvit::index_type;
using io_test::expect_error;

expected_tensor tiny_logits() {
    const auto file = checkpoint::open(data / "checkpoints" / "tiny_expected.safetensors");
    return read_expected(file, *file.find("logits"));
}

double distance_from_tiny(const model &net) {
    workspace space;
    return tiny_logits().from(net.forward(seeded_input({1, 3, 64, 64}), space).logits).relative;
}

file_of_tensors tiny(io::spelling spelling = io::spelling::apple) {
    static const file_of_tensors apple = file_of_tensors::read("tiny.safetensors");
    static const file_of_tensors timm = apple.in_timm_spelling();
    return spelling == io::spelling::apple ? apple : timm;
}
file_of_tensors tiny_folded(io::spelling spelling = io::spelling::apple) {
    const file_of_tensors apple = file_of_tensors::read("tiny_reparam.safetensors");
    return spelling == io::spelling::apple ? apple : apple.in_timm_spelling();
}

// The parts of an error, checked one by one. Empty: not looked at.
void expect_failure(const file_of_tensors &file, error_kind code, std::string_view tensor, std::string_view expected = {},
                    std::string_view found = {}) {
    const std::optional<error> e = file.failure();
    ASSERT_TRUE(e) << "it loads";
    EXPECT_EQ(to_string(e->code()), to_string(code)) << e->what();
    EXPECT_EQ(e->details().file, "net.safetensors") << e->what();
    if (!tensor.empty()) {
        EXPECT_EQ(e->details().tensor, tensor) << e->what();
    }
    if (!expected.empty()) {
        EXPECT_EQ(e->details().expected, expected) << e->what();
    }
    if (!found.empty()) {
        EXPECT_EQ(e->details().found, found) << e->what();
    }
}

bool is_counter(std::string_view name) { return name.ends_with("num_batches_tracked"); }

class spelling_test : public testing::TestWithParam<io::spelling> {};
INSTANTIATE_TEST_SUITE_P(loading, spelling_test, testing::Values(io::spelling::apple, io::spelling::timm),
                         [](const auto &i) { return std::string(to_string(i.param)); });

// --- files of every container and precision

struct container {
    const char *file;
    double tolerance;
};

class container_test : public testing::TestWithParam<container> {};
INSTANTIATE_TEST_SUITE_P(loading, container_test,
                         testing::Values(container{"tiny.safetensors", tolerance},
                                         container{"tiny_reparam.safetensors", tolerance}, container{"tiny.pth.tar", tolerance},
                                         container{"tiny_legacy.pth.tar", tolerance}, container{"tiny_bare.pth", tolerance},
                                         container{"tiny_module_prefix.pth", tolerance},
                                         container{"tiny_image_encoder_prefix.pt", tolerance},
                                         container{"tiny_fp16.safetensors", 5e-3}, container{"tiny_bf16.pth", 3e-2}),
                         [](const auto &i) {
                             std::string name = i.param.file;
                             std::replace(name.begin(), name.end(), '.', '_');
                             return name;
                         });

TEST_P(container_test, gives_the_official_logits) {
    for (const graph form : {graph::folded, graph::train_time}) {
        const model net = model::open(data / "checkpoints" / GetParam().file, {.graph = form});
        EXPECT_LE(distance_from_tiny(net), GetParam().tolerance);
        EXPECT_EQ(net.spelling(), io::spelling::apple);
        EXPECT_EQ(net.architecture().variant, "custom");
        EXPECT_EQ(net.architecture().classes, 10);
        ASSERT_EQ(net.architecture().stages.size(), 4U);
        EXPECT_EQ(net.architecture().stages[3].mixer, token_mixer::attention);
    }
}

// --- names

TEST(keys, are_the_official_ones) {
    const std::vector<key_digest> digests = key_digests();
    // Train-time and folded: seven variants of Apple, twelve of timm. Two of Apple's for dense prediction.
    EXPECT_EQ(digests.size(), 2U * (7 + 12) + 2);
    for (const key_digest &d : digests) d.expect(list_of(file_of(d.net(), d.spelling(), d.folded())));
}

TEST_P(spelling_test, recognises_every_variant_in_both_forms) {
    const io_test::temporary_directory directory;
    for (const variant_entry &v : variant_table)
        for (const bool folded : {false, true}) {
            SCOPED_TRACE(std::string(v.name) + (folded ? " folded" : " train-time"));
            const architecture net = published_architecture(v.name);
            file_of(net, GetParam(), folded).save_sparse(directory / "net");
            const auto source = checkpoint::open(directory / "net");
            const auto &[spelling, found] = recognise(source);
            EXPECT_EQ(spelling, GetParam());
            EXPECT_EQ(found.variant, net.variant);
            EXPECT_EQ(found.in_channels, 3);
            EXPECT_EQ(found.classes, net.classes);
            EXPECT_EQ(found.stages, net.stages);
            EXPECT_EQ(found.head_channels, net.head_channels);
            EXPECT_EQ(found.large_kernel_gelu, net.large_kernel_gelu);
            if (!folded) { // a folded stem does not tell
                EXPECT_EQ(found.stem_scale_branch, net.stem_scale_branch);
            }
        }
}

TEST_P(spelling_test, takes_a_published_network_with_another_head_and_other_images) {
    struct other {
        index_type in_channels, head_channels, classes;
    };
    for (const auto &[in_channels, head_channels, classes] :
         {other{1, 768, 3}, {12, 768, 1}, {12, 384, 21841}, {3, 768, 0}, {3, 0, 7}, {4, 0, 0}}) {
        architecture net = published_architecture("fastvit_t8");
        net.in_channels = in_channels;
        net.head_channels = head_channels;
        net.classes = classes;
        const model m(seeded_checkpoint(net, GetParam()));
        EXPECT_EQ(m.architecture().variant, "fastvit_t8");
        EXPECT_EQ(m.architecture().in_channels, in_channels);
        EXPECT_EQ(m.architecture().head_channels, head_channels);
        EXPECT_EQ(m.architecture().classes, classes);
    }
}

TEST(loading, recognises_the_official_dense_prediction_form) {
    const io_test::temporary_directory directory;
    for (const key_digest &d : key_digests()) {
        file_of(d.net(), d.spelling(), d.folded()).save_sparse(directory / "net");
        const auto source = checkpoint::open(directory / "net");
        const architecture found = recognise(source).net;
        EXPECT_EQ(found.fork_features, d.net().fork_features) << d.name();
        EXPECT_EQ(found.variant, d.net().variant) << d.name();
    }
}

TEST_P(spelling_test, takes_prefixes_with_other_networks_beside) {
    const double expected = distance_from_tiny(tiny(GetParam()).load());
    EXPECT_LE(expected, tolerance);
    for (const std::string prefix : {"module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "image_encoder.model.",
                                     "module.image_encoder.model.", "visual.trunk.", "module.visual.trunk.",
                                     "_orig_mod.visual.trunk.", "backbone.", "model.vision_tower.vision_tower.model."}) {
        SCOPED_TRACE(prefix);
        file_of_tensors file = tiny(GetParam());
        file.rename([&](const std::string &name) { return prefix + name; });
        EXPECT_EQ(distance_from_tiny(file.load()), expected);

        // Nothing stands beside a network that is merely wrapped; what is beside the part of a larger one is not ours.
        const bool wrapped =
            prefix.find("mod") != prefix.npos && prefix.find("vis") == prefix.npos && prefix.find("image") == prefix.npos;
        const std::string outer = prefix.substr(0, prefix.find('.') + 1);
        for (const std::string &foreign : {std::string("logit_scale"), std::string("text_encoder.projection.weight"),
                                           outer + "logit_scale", outer + "transformer.0.attn.weight"}) {
            if (foreign.starts_with(prefix)) continue;
            file_of_tensors beside = file;
            beside.tensors.insert(beside.tensors.begin(), {foreign, "F32", {2}, std::string(8, '\0')});
            if (wrapped) {
                expect_failure(beside, error_kind::unexpected_tensor, foreign);
            } else {
                EXPECT_EQ(distance_from_tiny(beside.load()), expected) << foreign;
            }
        }
        // Inside the prefix, everything is the network's.
        file_of_tensors inside = file;
        inside.tensors.push_back({prefix + "extra.weight", "F32", {2}, std::string(8, '\0')});
        expect_failure(inside, error_kind::unexpected_tensor, prefix + "extra.weight");
        // Errors name tensors as the file does.
        const std::string lost = file.tensors.back().name;
        file.erase(lost);
        expect_failure(file, error_kind::missing_tensor, lost);
    }
}

// --- CLIPs

// An image encoder of the MCi family. Nothing in it tells MobileCLIP's from timm's but names and the form of the projection.
architecture clip_net() {
    architecture net;
    net.stages = {{.blocks = 1, .channels = 16, .hidden = 48},
                  {.blocks = 1, .channels = 32, .hidden = 96, .downsample_squeeze_excite = true},
                  {.blocks = 1,
                   .channels = 64,
                   .hidden = 192,
                   .mixer = token_mixer::attention,
                   .position = true,
                   .downsample_squeeze_excite = true}};
    net.head_channels = 128;
    net.classes = 24;
    return net;
}

// timm's linear layer has a bias; the other forms say the same where it is zero.
file_of_tensors without_bias(file_of_tensors timm) {
    timm.at("head.fc.bias").fill(0);
    return timm;
}
file_of_tensors timm_clip() { return without_bias(file_of_tensors(seeded_checkpoint(clip_net(), io::spelling::timm))); }

file_of_tensors folded_file(const file_of_tensors &file) {
    const io_test::temporary_directory directory;
    const std::string bytes = file.bytes();
    fastvit::save_folded(checkpoint::from_bytes(io_test::bytes_of(bytes), "net.safetensors"), directory / "folded");
    return file_of_tensors(checkpoint::open(directory / "folded"));
}

// All results, one after the other.
std::vector<float> everything_from(const model &net) {
    workspace space;
    const outputs &out = net.forward(seeded_input({2, 3, 40, 56}), space, everything(net.architecture()));
    std::vector<float> all;
    const auto add = [&](tensor_view<const float> t) { all.insert(all.end(), t.span().begin(), t.span().end()); };
    for (const auto &t : {out.stem, out.final_conv, out.embedding, out.logits}) add(t);
    for (const auto &t : out.stages) add(t);
    return all;
}

TEST(clip, gives_the_same_bits_in_every_spelling) {
    for (const bool folded : {false, true}) {
        SCOPED_TRACE(folded ? "folded" : "train-time");
        const file_of_tensors timm = folded ? folded_file(timm_clip()) : timm_clip();
        const file_of_tensors mobileclip = timm.in_mobileclip_spelling(clip_net());
        std::vector<std::pair<file_of_tensors, linear_form>> files{{mobileclip, linear_form::transposed}};
        for (const std::string prefix : {"module.", "_orig_mod.", "model.vision_tower."}) {
            files.emplace_back(mobileclip, linear_form::transposed);
            files.back().first.rename([&](const std::string &name) { return prefix + name; });
        }
        // ml-mobileclip's own squeeze and excite, as everywhere else in Apple's spelling.
        files.emplace_back(mobileclip, linear_form::transposed);
        files.back().first.rename([](std::string name) {
            for (const auto &[timms, apples] : {std::pair{".se.fc1.", ".se.reduce."}, std::pair{".se.fc2.", ".se.expand."}})
                if (const std::size_t at = name.find(timms); at != name.npos) name.replace(at, 8, apples);
            return name;
        });
        for (const std::string prefix : {"visual.", "module.visual.", ""}) {
            // open_clip uses the trunk's linear layer as the projection, or has one of its own, with or without bias.
            file_of_tensors open_clip = timm;
            open_clip.rename([&](const std::string &name) { return prefix + "trunk." + name; });
            open_clip.tensors.insert(open_clip.tensors.begin(), {"logit_scale", "F32", {}, {}});
            files.emplace_back(open_clip, linear_form::biased);
            open_clip.at(prefix + "trunk.head.fc.weight").name = prefix + "head.proj.weight";
            open_clip.at(prefix + "trunk.head.fc.bias").name = prefix + "head.proj.bias";
            files.emplace_back(open_clip, linear_form::biased);
            open_clip.erase(prefix + "head.proj.bias");
            files.emplace_back(open_clip, linear_form::unbiased);
        }
        for (const graph form : {graph::folded, graph::train_time}) {
            const std::vector<float> expected = everything_from(timm.load({.graph = form}));
            for (const auto &[file, linear] : files) {
                SCOPED_TRACE(file.tensors[1].name + ", " + std::to_string(file.tensors.size()) + " tensors");
                const model net = file.load({.graph = form});
                EXPECT_EQ(net.architecture().classes, 24);
                EXPECT_EQ(net.architecture().linear, linear);
                EXPECT_TRUE(net.architecture().large_kernel_gelu);
                EXPECT_TRUE(everything_from(net) == expected);
            }
        }
    }
}

TEST(clip, keeps_its_spelling_when_it_is_folded) {
    const file_of_tensors official = folded_file(timm_clip());
    const file_of_tensors expected = official.in_mobileclip_spelling(clip_net());
    file_of_tensors written = folded_file(timm_clip().in_mobileclip_spelling(clip_net()));
    EXPECT_EQ(list_of(written).text(), list_of(expected).text());
    for (const file_tensor &t : expected.tensors)
        if (!t.bytes.empty()) { // of the image encoder
            EXPECT_TRUE(written.at(t.name).bytes == t.bytes) << t.name;
        }
    EXPECT_EQ(written.at("image_encoder.model.head.proj").dims.to_string(), "[128, 24]");

    file_of_tensors open_clip = timm_clip();
    open_clip.rename([](const std::string &name) { return "visual.trunk." + name; });
    open_clip.at("visual.trunk.head.fc.weight").name = "visual.head.proj.weight";
    open_clip.erase("visual.trunk.head.fc.bias");
    open_clip.tensors.push_back({"logit_scale", "F32", {}, {}});
    written = folded_file(open_clip);
    EXPECT_TRUE(written.has("visual.head.proj.weight"));
    EXPECT_TRUE(written.has("visual.trunk.stem.0.reparam_conv.weight"));
    EXPECT_TRUE(everything_from(written.load()) == everything_from(official.load()));
}

TEST(clip, recognises_the_whole_family_in_mobileclips_spelling) {
    const io_test::temporary_directory directory;
    for (const variant_entry &v : variant_table) {
        if (!v.large_kernel_gelu) continue;
        for (const bool folded : {false, true}) {
            SCOPED_TRACE(std::string(v.name) + (folded ? " folded" : " train-time"));
            architecture net = published_architecture(v.name);
            net.linear = linear_form::transposed;
            file_of_tensors file = file_of(net, io::spelling::apple, folded);
            file.rename([](const std::string &name) { return "image_encoder.model." + name; });
            EXPECT_EQ(file.at("image_encoder.model.head.proj").dims.to_string(),
                      (shape{net.head_channels, net.classes}).to_string());
            file.save_sparse(directory / "net");
            const auto source = checkpoint::open(directory / "net");
            const architecture found = recognise(source).net;
            EXPECT_EQ(found.variant, v.name);
            EXPECT_TRUE(found.large_kernel_gelu);
            EXPECT_EQ(found.classes, net.classes);
            EXPECT_EQ(found.linear, linear_form::transposed);
        }
    }
}

TEST(clip, names_what_is_wrong_with_a_projection) {
    const std::string projection = "image_encoder.model.head.proj";
    const file_of_tensors right = timm_clip().in_mobileclip_spelling(clip_net());
    file_of_tensors file = right;
    file.at(projection).transpose();
    expect_failure(file, error_kind::shape_mismatch, projection, "[128, 128]", "[24, 128]");
    file = right;
    file.at(projection).reshape({128});
    expect_failure(file, error_kind::shape_mismatch, projection, {}, "[128]");
    file = right;
    file.tensors.push_back({"image_encoder.model.head.bias", "F32", {24}, {}});
    expect_failure(file, error_kind::unexpected_tensor, "image_encoder.model.head.bias");
    file.tensors.push_back({"image_encoder.model.head.weight", "F32", {24, 128}, {}});
    expect_failure(file, error_kind::unexpected_tensor, {}, {}, "2 such tensors");
    // Without one, there is no more than the embedding.
    file = right;
    file.erase(projection);
    EXPECT_EQ(file.load().architecture().classes, 0);

    // A bias is optional beside the trunk alone.
    file = timm_clip();
    file.rename([](const std::string &name) { return "visual.trunk." + name; });
    file.erase("visual.trunk.head.fc.bias");
    expect_failure(file, error_kind::missing_tensor, "visual.trunk.head.fc.bias");
    file.at("visual.trunk.head.fc.weight").name = "visual.head.proj.bias";
    expect_failure(file, error_kind::missing_tensor, "visual.head.proj.weight");
    file.at("visual.head.proj.bias").name = "visual.head.proj.weight";
    EXPECT_EQ(file.load().architecture().linear, linear_form::unbiased);
    file.tensors.push_back({"visual.head.proj.extra", "F32", {1}, {}});
    expect_failure(file, error_kind::unexpected_tensor, "visual.head.proj.extra");
}

// --- dense prediction

TEST_P(spelling_test, names_what_is_wrong_with_the_norms_of_fork_features) {
    file_of_tensors right = tiny(GetParam());
    const std::vector<std::pair<std::string, index_type>> norms{{"norm0", 8}, {"norm2", 16}, {"norm4", 32}, {"norm6", 32}};
    for (const auto &[norm, channels] : norms)
        for (const std::string leaf : {"weight", "bias", "running_mean", "running_var"})
            right.tensors.push_back({norm + "." + leaf, "F32", {channels}, {}});
    EXPECT_FALSE(right.failure());
    EXPECT_TRUE(right.load().architecture().fork_features);
    for (const auto &[norm, channels] : norms) {
        for (const std::string leaf : {".weight", ".bias", ".running_mean", ".running_var"}) {
            file_of_tensors file = right;
            file.erase(norm + leaf);
            expect_failure(file, error_kind::missing_tensor, norm + leaf);
            file = right;
            file.at(norm + leaf).reshape({channels + 1});
            expect_failure(file, error_kind::shape_mismatch, norm + leaf, shape{channels}.to_string(),
                           shape{channels + 1}.to_string());
        }
    }
    for (const std::string name : {"norm1.weight", "norm8.weight", "norm0.extra", "norm.weight", "norm00.weight"}) {
        file_of_tensors file = right;
        file.tensors.push_back({name, "F32", {8}, {}});
        expect_failure(file, error_kind::unexpected_tensor, name, {}, "1 such tensor");
    }
}

// --- forms

// A network with any of its blocks folded.
class mixture {
  public:
    mixture(file_of_tensors train_time, file_of_tensors folded) : train_(std::move(train_time)), folded_(std::move(folded)) {
        for (const file_tensor &t : folded_.tensors)
            for (const std::string_view name : {".reparam_conv.weight", ".lkb_reparam.weight"})
                if (t.name.ends_with(name)) blocks_.push_back(t.name.substr(0, t.name.size() - name.size() + 1));
    }
    /// The names of the blocks that fold, each with its last dot.
    const std::vector<std::string> &blocks() const { return blocks_; }

    file_of_tensors with_folded(const std::set<std::string> &chosen) const {
        const auto is_chosen = [&](const std::string &name) {
            for (const std::string &block : chosen)
                if (name.starts_with(block)) return true;
            return false;
        };
        file_of_tensors mixed;
        for (const file_tensor &t : train_.tensors)
            if (!is_chosen(t.name)) mixed.tensors.push_back(t);
        for (const file_tensor &t : folded_.tensors)
            if (is_chosen(t.name)) mixed.tensors.push_back(t);
        return mixed;
    }

  private:
    file_of_tensors train_, folded_;
    std::vector<std::string> blocks_;
};

TEST_P(spelling_test, takes_any_mixture_of_folded_blocks) {
    const mixture mixed(tiny(GetParam()), tiny_folded(GetParam()));
    const std::vector<std::string> &blocks = mixed.blocks();
    ASSERT_EQ(blocks.size(), 3U + 4 + 3 * 2 + 1 + 1); // stem, RepMixers, patch embeddings, position, last convolution
    std::vector<std::set<std::string>> choices;
    for (const std::string &block : blocks) {
        choices.push_back({block});
        choices.emplace_back(blocks.begin(), blocks.end());
        choices.back().erase(block);
    }
    std::mt19937 random(1);
    for (int i = 0; i < 20; ++i) {
        choices.emplace_back();
        for (const std::string &block : blocks)
            if (random() % 2) choices.back().insert(block);
    }
    for (const std::set<std::string> &folded : choices) {
        std::string trace = "folded:";
        for (const std::string &block : folded) trace += " " + block;
        SCOPED_TRACE(trace);
        for (const graph form : {graph::folded, graph::train_time})
            EXPECT_LE(distance_from_tiny(mixed.with_folded(folded).load({.graph = form})), tolerance);
    }
}

// The stem of MCi3 and MCi4 has no scale branches; which of its convolutions are folded must not matter.
TEST_P(spelling_test, takes_any_mixture_of_folded_blocks_in_a_stem_without_scale_branches) {
    architecture net;
    net.stages = {{.blocks = 1, .channels = 16, .hidden = 32}};
    net.head_channels = 32;
    net.classes = 4;
    net.stem_scale_branch = false;
    const checkpoint source = seeded_checkpoint(net, GetParam());
    const io_test::temporary_directory directory;
    fastvit::save_folded(source, directory / "folded");
    const mixture mixed(file_of_tensors(source), file_of_tensors(checkpoint::open(directory / "folded")));
    const tensor<float> images = seeded_input({1, 3, 32, 32});
    workspace space;
    const model original(source);
    EXPECT_FALSE(original.architecture().stem_scale_branch);
    const expected_tensor logits = expected_tensor::whole(original.forward(images, space).logits);
    for (unsigned set = 0; set < 1U << mixed.blocks().size(); ++set) {
        std::set<std::string> folded;
        for (std::size_t b = 0; b < mixed.blocks().size(); ++b)
            if (set >> b & 1) folded.insert(mixed.blocks()[b]);
        const file_of_tensors file = mixed.with_folded(folded);
        const std::optional<error> e = file.failure();
        ASSERT_FALSE(e) << "set " << set << ": " << e->what();
        workspace other;
        EXPECT_LE(logits.from(file.load().forward(images, other).logits).relative, tolerance) << "set " << set;
    }
}

TEST_P(spelling_test, refuses_a_block_that_is_there_in_both_forms) {
    const file_of_tensors folded = tiny_folded(GetParam());
    const mixture blocks(tiny(GetParam()), folded);
    for (const std::string &block : blocks.blocks()) {
        SCOPED_TRACE(block);
        file_of_tensors file = tiny(GetParam());
        for (const file_tensor &t : folded.tensors)
            if (t.name.starts_with(block) && !file.has(t.name)) file.tensors.push_back(t);
        const std::optional<error> e = file.failure();
        ASSERT_TRUE(e) << "it loads";
        EXPECT_EQ(e->code(), error_kind::unexpected_tensor);
        EXPECT_TRUE(e->details().tensor.starts_with(block)) << e->what();
        EXPECT_NE(e->details().problem.find("folded, as " + block), std::string::npos) << e->what();
        EXPECT_TRUE(file.has(e->details().tensor)) << e->what();
    }
}

// --- what is missing, and what is too much

TEST_P(spelling_test, names_each_tensor_that_is_missing) {
    for (const file_of_tensors &complete : {tiny(GetParam()), tiny_folded(GetParam())})
        for (const std::string &name : complete.names()) {
            SCOPED_TRACE(name);
            file_of_tensors file = complete;
            file.erase(name);
            if (is_counter(name)) {
                EXPECT_FALSE(file.failure());
                continue;
            }
            const std::optional<error> e = file.failure();
            ASSERT_TRUE(e) << "it loads";
            EXPECT_EQ(to_string(e->code()), to_string(error_kind::missing_tensor)) << e->what();
            EXPECT_EQ(e->details().file, "net.safetensors");
            // Without its folded weight, a block at the ends of the network counts as one of the train-time form.
            const std::size_t last = name.rfind("reparam_conv.weight");
            const bool undecided = last != name.npos && e->details().tensor.starts_with(name.substr(0, last));
            if (!undecided) {
                EXPECT_EQ(e->details().tensor, name) << e->what();
            }
        }
}

TEST_P(spelling_test, refuses_a_tensor_that_has_no_place) {
    const bool apple = GetParam() == io::spelling::apple;
    const std::string block = apple ? "network.0.0." : "stages.0.blocks.0.";
    for (const std::string &name :
         {std::string("extra"), block + "extra.weight", block + "token_mixer.extra", std::string("head.extra.weight"),
          std::string(apple ? "network.9.5.layer_scale" : "stages.0.blocks.5"),
          std::string(apple ? "patch_embed.3.reparam_conv.weight" : "stem.3.reparam_conv.weight")}) {
        file_of_tensors file = tiny(GetParam());
        file.tensors.push_back({name, "F32", {8}, std::string(32, '\0')});
        expect_failure(file, error_kind::unexpected_tensor, name, {}, "1 such tensor");
        file.tensors.push_back({name + "_too", "I64", {}, std::string(8, '\0')});
        expect_failure(file, error_kind::unexpected_tensor, {}, {}, "2 such tensors");
    }
}

// What an Apple checkpoint has no number for keeps its canonical name.
TEST(loading, names_what_is_missing_of_a_stage_that_is_not_there) {
    file_of_tensors file = tiny();
    const std::string added = "network.8.proj.0.lkb_origin.conv.weight";
    file.tensors.push_back({added, "F32", {64, 1, 7, 7}, {}});
    expect_failure(file, error_kind::missing_tensor, "stages.4.blocks.0.mlp.conv.conv.weight");
    const auto names = translator_of(file.names());
    EXPECT_EQ(names.from_canonical("stages.4.downsample.proj.0.large_conv.conv.weight"), added);
    EXPECT_EQ(names.from_canonical("stages.3.blocks.0.layer_scale_1.gamma"), "network.7.0.layer_scale_1");
    // One name, also where two numbers mean the same place.
    file.tensors.push_back({"network.9.0.layer_scale", "F32", {8}, {}});
    file.tensors.push_back({"network.10.0.layer_scale", "F32", {8}, {}});
    EXPECT_EQ(translator_of(file.names()).from_canonical("stages.4.blocks.0.layer_scale.gamma"), "network.9.0.layer_scale");
}

TEST(loading, refuses_two_spellings_of_one_tensor) {
    file_of_tensors file = tiny_folded();
    file_tensor again = file.at("network.1.proj.0.lkb_reparam.weight");
    again.name = "network.1.proj.0.reparam_conv.weight";
    file.tensors.push_back(again);
    expect_failure(file, error_kind::unexpected_tensor, again.name, {}, "network.1.proj.0.lkb_reparam.weight");

    file = tiny();
    again = file.at("network.0.0.layer_scale");
    again.name = "stages.0.blocks.0.layer_scale.gamma";
    file.tensors.push_back(again);
    expect_failure(file, error_kind::unexpected_tensor, again.name, {}, "network.0.0.layer_scale");
}

// --- shapes

// The tensors that the architecture is read off: of a wrong one, the error may be about what follows from it.
bool decides(std::string_view name) {
    return name.find("mlp.conv.conv.weight") != name.npos || name.find("convffn.conv.conv.weight") != name.npos ||
           name.find("fc1.weight") != name.npos || name.find("0.conv.weight") != name.npos ||
           name.find("reparam_conv.weight") != name.npos || name.starts_with("head.");
}

TEST_P(spelling_test, names_each_tensor_of_a_wrong_shape) {
    for (const file_of_tensors &right : {tiny(GetParam()), tiny_folded(GetParam())})
        for (const file_tensor &t : right.tensors) {
            if (is_counter(t.name)) continue;
            SCOPED_TRACE(t.name);
            const auto with_dims = [&](std::vector<index_type> dims) {
                file_of_tensors file = right;
                file.at(t.name).reshape(shape(dims));
                return file;
            };
            const std::vector<index_type> dims(t.dims.begin(), t.dims.end());
            std::vector<index_type> wrong = dims;
            ++wrong.back();
            // One more in the last dimension decides nothing, but where it is the only one or a matrix's.
            const std::string expected = t.dims.to_string(), found = shape(wrong).to_string();
            expect_failure(with_dims(wrong), error_kind::shape_mismatch, t.name, expected, found);

            wrong = dims;
            ++wrong.front();
            const std::optional<error> e = with_dims(wrong).failure();
            ASSERT_TRUE(e) << "it loads";
            EXPECT_TRUE(e->code() == error_kind::shape_mismatch || (decides(t.name) && e->code() == error_kind::unsupported))
                << e->what();
            EXPECT_FALSE(e->details().expected.empty()) << e->what();
            EXPECT_FALSE(e->details().found.empty()) << e->what();
            if (!decides(t.name)) {
                EXPECT_EQ(e->details().tensor, t.name) << e->what();
            }

            wrong = dims;
            wrong.push_back(1);
            expect_failure(with_dims(wrong), error_kind::shape_mismatch, t.name, {}, shape(wrong).to_string());
            wrong = dims;
            wrong.back() = 0;
            expect_failure(with_dims(wrong), error_kind::shape_mismatch, t.name, {}, shape(wrong).to_string());
            expect_failure(with_dims({}), error_kind::shape_mismatch, t.name, {}, "[]");
        }
}

TEST(loading, refuses_an_empty_tensor_that_claims_a_huge_network) {
    constexpr index_type huge = index_type{1} << 40;
    for (const auto &[name, dims] :
         std::vector<std::pair<std::string, shape>>{{"patch_embed.0.rbr_conv.0.conv.weight", {8, huge, 0, 3}},
                                                    {"network.0.0.convffn.conv.conv.weight", {huge, 1, 0, 7}},
                                                    {"network.0.0.convffn.fc1.weight", {huge, 8, 1, 0}},
                                                    {"conv_exp.rbr_conv.0.conv.weight", {huge, 0, 3, 3}},
                                                    {"head.weight", {huge, 0}}}) {
        file_of_tensors file = tiny();
        file.at(name).reshape(dims);
        expect_failure(file, error_kind::shape_mismatch, name, {}, dims.to_string());
    }
}

// Of a type that it does not know, the reader of the file cannot tell how many bytes a claim needs.
TEST(loading, refuses_a_tensor_of_an_unknown_type_that_claims_a_huge_network) {
    constexpr index_type huge = index_type{1} << 40;
    for (const char *const name : {"patch_embed.0.rbr_conv.0.conv.weight", "network.0.0.convffn.conv.conv.weight",
                                   "network.0.0.convffn.fc1.weight", "conv_exp.rbr_conv.0.conv.weight"}) {
        file_of_tensors file = tiny();
        file_tensor &t = file.at(name);
        t.type = "Q9";
        t.dims = {huge, 1, 7, 7};
        t.bytes.clear();
        expect_failure(file, error_kind::unsupported, name, "F64, F32, F16 or BF16", "Q9");
    }
}

TEST(loading, names_the_object_that_is_there_instead_of_a_tensor) {
    for (const char *const name : {"patch_embed.0.rbr_conv.0.conv.weight", "network.0.0.convffn.fc1.weight", "head.bias"}) {
        file_of_tensors file = tiny();
        file_tensor &t = file.at(name);
        t.type = "Q9";
        t.dims = {};
        t.bytes.clear();
        expect_failure(file, error_kind::unsupported, name, "F64, F32, F16 or BF16", "Q9");
    }
}

TEST(loading, refuses_architectures_that_it_cannot_run) {
    architecture net;
    net.stages = {{.blocks = 1, .channels = 16, .hidden = 32},
                  {.blocks = 1, .channels = 32, .hidden = 64, .mixer = token_mixer::attention, .position = true}};
    net.head_channels = 64;
    net.classes = 4;
    const auto refused = [](const architecture &a, std::initializer_list<std::string_view> words,
                            error_kind code = error_kind::unsupported) {
        for (const io::spelling spelling : {io::spelling::apple, io::spelling::timm})
            expect_error(code, words, [&] { model{seeded_checkpoint(a, spelling)}; });
    };
    EXPECT_NO_THROW(model{seeded_checkpoint(net, io::spelling::timm)});

    architecture wrong = net;
    wrong.stages[1].channels = 48;
    wrong.head_channels = 96;
    refused(wrong, {"0.token_mixer.qkv.weight", "a multiple of 32", "found 48"});
    wrong = net;
    wrong.stages[0].channels = 24;
    refused(wrong, {"stage 1", "multiple of the stage before, 24", "found 32"});
    wrong = net;
    wrong.stages[0].channels = wrong.head_channels = 8;
    wrong.stages.pop_back();
    refused(wrong, {"the head's convolution", "at least 16", "found 8"});
    wrong = net;
    wrong.stages.assign(9, net.stages[0]);
    wrong.head_channels = 16;
    refused(wrong, {"no place"}, error_kind::unexpected_tensor);
}

// --- values

TEST_P(spelling_test, refuses_integers_for_each_tensor) {
    for (const std::string &name : tiny(GetParam()).names()) {
        if (is_counter(name)) continue;
        file_of_tensors file = tiny(GetParam());
        file.at(name).type = "I32";
        expect_failure(file, error_kind::unsupported, name, "F64, F32, F16 or BF16", "I32");
    }
}

TEST_P(spelling_test, refuses_variances_that_cannot_be) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    int variances = 0;
    for (const std::string &name : tiny(GetParam()).names()) {
        if (!name.ends_with("running_var")) continue;
        ++variances;
        for (const auto &[value, text] :
             {std::pair{-1e-3F, "-0.001"}, {std::nanf(""), "nan"}, {infinity, "inf"}, {-infinity, "-inf"}}) {
            file_of_tensors file = tiny(GetParam());
            std::string &bytes = file.at(name).bytes;
            bytes.replace(bytes.size() - 4, 4, io_test::number(value)); // only the last
            const std::optional<error> e = file.failure();
            ASSERT_TRUE(e) << name << " may be " << value;
            EXPECT_EQ(to_string(e->code()), to_string(error_kind::bad_value));
            EXPECT_EQ(e->details().tensor, name);
            EXPECT_EQ(e->details().file, "net.safetensors");
            EXPECT_NE(e->details().found.find(text), std::string::npos) << e->what();
        }
        file_of_tensors file = tiny(GetParam());
        file.at(name).fill(0); // epsilon is added
        EXPECT_FALSE(file.failure());
    }
    EXPECT_GT(variances, 20);
}

// --- hostile files

TEST_P(spelling_test, survives_hostile_names) {
    const std::string first = tiny(GetParam()).tensors.front().name;
    std::vector<std::string> names{"network.99999999999.0.layer_scale",
                                   "network.99999999999999999999999999.proj.0.lkb_origin.conv.weight",
                                   "network.9999.0.layer_scale",
                                   "network.9999.proj.0.lkb_origin.conv.weight",
                                   "network.8.proj.0.lkb_origin.conv.weight",
                                   "network.-1.0.layer_scale",
                                   "network.00.0.layer_scale",
                                   "network.1e3.0.layer_scale",
                                   "network..0.layer_scale",
                                   "network.0..layer_scale",
                                   "network.0.0.",
                                   "network",
                                   "network.",
                                   "network.0",
                                   "network.0.",
                                   "stages.5000.blocks.0.mlp.fc1.weight",
                                   "stages.4.blocks.0.mlp.fc1.weight",
                                   "stages.0.blocks.4000000000.mlp.fc1.weight",
                                   "stages..blocks.0.mlp.fc1.weight",
                                   "stages.0",
                                   "stages.",
                                   "stages",
                                   "stem.0.",
                                   "stem.0.x",
                                   "patch_embed.0.",
                                   "patch_embed.0.x",
                                   ".stem.0.x",
                                   "..patch_embed.0.x",
                                   "stem.0.stem.0.patch_embed.0.x",
                                   "patch_embed.0.patch_embed.0.x",
                                   "head",
                                   "head.",
                                   "head.fc",
                                   "final_conv",
                                   "final_conv.",
                                   "",
                                   ".",
                                   "...........",
                                   ".." + first,
                                   "module.module.module." + first,
                                   "\xd1\x81\xd1\x82\xd0\xb5\xd0\xbc.0",
                                   std::string(200, '.'), // files may have names of up to 256
                                   std::string(150, 'a') + "." + first};
    std::string deep;
    for (int i = 0; i < 30; ++i) deep += "stem.0.";
    names.push_back(deep);
    for (const std::string &name : names)
        for (const bool at_front : {false, true}) {
            SCOPED_TRACE(name.substr(0, 60) + (at_front ? " first" : " last"));
            file_of_tensors file = tiny(GetParam());
            file.tensors.insert(at_front ? file.tensors.begin() : file.tensors.end(), {name, "F32", {1}, std::string(4, '\0')});
            const std::optional<error> e = file.failure();
            ASSERT_TRUE(e) << "it loads";
            EXPECT_EQ(e->details().file, "net.safetensors") << e->what();
            EXPECT_LT(std::string_view(e->what()).size(), 2000U);
            // The whole network behind a wrong prefix may look like another network that lacks a tensor.
            const bool told = e->code() == error_kind::unexpected_tensor || e->code() == error_kind::missing_tensor ||
                              e->code() == error_kind::shape_mismatch || e->code() == error_kind::unsupported;
            EXPECT_TRUE(told) << e->what();
            EXPECT_FALSE(e->details().tensor.empty() && e->details().found.empty() && !name.empty()) << e->what();
        }
}

// To look for a folded sibling, tensors without a place are given the names that their spelling would have for it.
TEST_P(spelling_test, survives_hostile_names_of_folded_siblings) {
    for (const char *const prefix : {"reparam_conv.x.downsample", "x.y.downsample", "a.b.downsample.0", "stages.0.downsample"}) {
        file_of_tensors file = tiny(GetParam());
        for (const char *const leaf : {".foo", ".reparam_conv.weight"})
            file.tensors.push_back({std::string(prefix) + leaf, "F32", {1}, std::string(4, '\0')});
        const std::optional<error> e = file.failure();
        ASSERT_TRUE(e) << prefix;
        EXPECT_EQ(e->code(), error_kind::unexpected_tensor) << e->what();
    }
}

TEST(loading, names_a_wrong_variance_as_the_file_does) {
    file_of_tensors file = tiny();
    file_tensor &t = file.at("network.0.0.token_mixer.norm.rbr_skip.running_var");
    t.name = "stages.0.blocks.0.token_mixer.norm.identity.running_var";
    t.fill(-1);
    expect_failure(file, error_kind::bad_value, t.name, {}, {});
}

TEST(loading, refuses_a_file_with_thousands_of_blocks) {
    file_of_tensors file = tiny(io::spelling::timm);
    for (int b = 1; b < 20000; ++b)
        file.tensors.push_back({"stages.0.blocks." + std::to_string(b) + ".x", "F32", {1}, std::string(4, '\0')});
    expect_failure(file, error_kind::missing_tensor, "stages.0.blocks.1.token_mixer.norm.identity.weight");
}

TEST(loading, says_what_is_no_fastvit) {
    const auto refused = [](const file_of_tensors &file, std::string_view found) {
        expect_failure(file, error_kind::unsupported, {}, "tensors of the stem, stem.0.* (timm) or patch_embed.0.* (apple)",
                       found);
    };
    refused({}, "no tensors");
    file_of_tensors resnet;
    for (const char *const name : {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "stem.1.weight", "system.0.weight"})
        resnet.tensors.push_back({name, "F32", {1}, std::string(4, '\0')});
    refused(resnet, "no such name among 5");

    expect_error(error_kind::unsupported, {"not a FastViT checkpoint", "no tensors"}, [] { model{checkpoint{}}; });
    const auto views = data / "checkpoints" / "views.pth";
    expect_error(error_kind::unsupported, {views.string(), "not a FastViT checkpoint"}, [&] { (void)model::open(views); });
    // A stem and nothing else.
    file_of_tensors stem;
    for (const file_tensor &t : tiny().tensors)
        if (t.name.starts_with("patch_embed.")) stem.tensors.push_back(t);
    const std::optional<error> e = stem.failure();
    ASSERT_TRUE(e);
    EXPECT_EQ(to_string(e->code()), to_string(error_kind::missing_tensor)) << e->what();
}

TEST(loading, names_the_file_that_is_broken) {
    const io_test::temporary_directory directory;
    const auto path = directory / "broken.safetensors";
    const std::string whole = tiny().bytes();
    for (const std::size_t length : {std::size_t{7}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
        io_test::write_file(path, std::string_view(whole).substr(0, length));
        expect_error(error_kind::bad_format, {path.string()}, [&] { (void)model::open(path); });
    }
    io_test::write_file(path, whole);
    EXPECT_NO_THROW((void)model::open(path));
    expect_error(error_kind::io, {(directory / "none").string()}, [&] { (void)model::open(directory / "none"); });
    expect_error(error_kind::io, {directory.path().string()}, [&] { (void)model::open(directory.path()); });
    // An error about a tensor on one line, the file first.
    file_of_tensors file = tiny();
    file.at("head.bias").reshape({11});
    io_test::write_file(path, file.bytes());
    expect_error(error_kind::shape_mismatch, {path.string() + ": head.bias: wrong shape: expected [10], found [11]"},
                 [&] { (void)model::open(path); });
}

} // namespace
