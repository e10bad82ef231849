// SPDX-License-Identifier: MIT
// A file of n bytes never makes loading take more than 3 n + 64 MB, of 16-bit floats 5 n + 64 MB, quantised 9 n + 64 MB, whatever
// it says.
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/model.hpp"
#include "fastvit/save.hpp"

#include "support/checkpoint_editor.hpp"
#include "support/counted_memory.hpp"
#include "support/loader.hpp"
#include "support/pth_test_files.hpp"
#include "support/sanitized.hpp"
#include "support/seeded.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace {

using namespace fastvit;
using fastvit::index_type;
using fastvit_test::memory_needed;
using fastvit_test::seeded_checkpoint;
using io_test::expect_error;
using loading::most_memory;
namespace pk = io_test::pk;

constexpr std::size_t megabyte = std::size_t{1} << 20;

architecture small_net() {
    architecture net;
    net.stages = {{.blocks = 2, .channels = 32, .hidden = 96},
                  {.blocks = 2, .channels = 64, .hidden = 192, .mixer = token_mixer::attention, .position = true}};
    net.head_channels = 128;
    net.classes = 10;
    return net;
}

// A stem with one output for each of many input channels: sixteen times as large when it is padded.
architecture wide_stem(index_type in_channels) {
    architecture net;
    net.in_channels = in_channels;
    net.stages = {{.blocks = 1, .channels = 1, .hidden = 1}};
    net.classes = 0;
    return net;
}

TEST(part_memory, is_taken_in_cache_lines_and_used_again) {
    loading::part_memory memory(loading::part_memory::padded(1) + loading::part_memory::padded(17));
    const float *first[2] = {};
    for (int part = 0; part < 3; ++part) {
        std::optional<tensor<float>> one = memory.take({1}), seventeen = memory.take({17, 1});
        ASSERT_TRUE(one && seventeen);
        EXPECT_EQ(seventeen->dims(), (shape{17, 1}));
        EXPECT_EQ(seventeen->data() - one->data(), 16);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(one->data()) % alignment, 0u);
        if (part > 0) {
            EXPECT_EQ(one->data(), first[0]);
            EXPECT_EQ(seventeen->data(), first[1]);
        }
        first[0] = one->data();
        first[1] = seventeen->data();
        EXPECT_FALSE(memory.take({1}));
        EXPECT_TRUE(memory.take({0}));
        memory.clear();
    }
    EXPECT_FALSE(memory.take({49}));
    EXPECT_FALSE(loading::part_memory(0).take({1}));
}

// A file of PyTorch's with that network's train-time form, all of it views of one element.
std::string views_of_one_element(const architecture &net) {
    std::string items;
    for (const fastvit_test::network_tensor &t : fastvit_test::tensors_of(net, false)) {
        std::string dims = "(", strides = "(";
        for (const index_type d : t.dims) {
            dims += pk::integer(d);
            strides += pk::integer(0);
        }
        items += pk::text(t.name) + pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                                             {pk::storage("FloatStorage", "0", 1), pk::integer(0), dims + "t", strides + "t",
                                              "\x89", pk::ordered_dict({})});
    }
    return io_test::torch_zip("}(" + items + "u", {{"0", io_test::floats({0.5F})}});
}

// Bytes, from what the system says of this process.
std::size_t status(std::string_view field) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(field)) return std::stoull(line.substr(field.size())) << 10;
    throw std::runtime_error("no " + std::string(field) + " in /proc/self/status");
}

// The most memory that is resident at a time while f() runs, beyond that from before: the heap, mappings and pages of files.
template <class F> std::size_t peak_resident(F &&f) {
    ::malloc_trim(0); // what is free but resident would be used first
    std::ofstream("/proc/self/clear_refs") << "5";
    const std::size_t before = status("VmRSS:");
    f();
    return status("VmHWM:") - before;
}

TEST(memory_limit, holds_for_networks_as_they_are) {
#if SANITIZED
    GTEST_SKIP() << "a sanitizer keeps memory of its own";
#endif
    const io_test::temporary_directory directory;
    for (const architecture &net : {small_net(), wide_stem(5000), published_architecture("fastvit_t8"),
                                    published_architecture("fastvit_sa12"), published_architecture("fastvit_ma36")})
        for (const bool folded : {false, true})
            for (const io::dtype type : {io::dtype::f32, io::dtype::f16}) {
                SCOPED_TRACE(net.variant + (folded ? " folded " : " ") + std::string(to_string(type)) + " " +
                             std::to_string(net.in_channels));
                const auto path = directory / "net";
                if (folded)
                    fastvit::save_folded(seeded_checkpoint(net, io::spelling::timm), path, type);
                else
                    fastvit::save_converted(seeded_checkpoint(net, io::spelling::timm), path, type);
                const std::uint64_t expected = memory_needed(checkpoint::open(path));
                for (const graph form : {graph::folded, graph::train_time}) {
                    std::optional<model> loaded;
                    const std::size_t peak = peak_resident([&] { loaded.emplace(model::open(path, {.graph = form})); });
                    EXPECT_LE(peak, most_memory(std::filesystem::file_size(path), io::size_of(type)));
                    EXPECT_LE(peak, expected + loading::allocator_slack);
                    EXPECT_LE(expected, 2 * peak + loading::allocator_slack);
                    // The file's pages go while the packed weights come.
                    if (type == io::dtype::f32) {
                        EXPECT_LE(peak, std::filesystem::file_size(path) * 5 / 4 + 40 * megabyte);
                    }
                }
            }
}

// A published variant with another number of classes, if any is given.
architecture variant_with(std::string_view variant, index_type classes) {
    architecture net = published_architecture(variant);
    if (classes > 0) net.classes = classes;
    return net;
}

// The classes of ImageNet-21k: most of a T8 is the classifier.
constexpr index_type many_classes = 21841;

// Networks of 16-bit floats, whose float32 weights alone are twice the file; one has the widest layers of the family.
TEST(memory_limit, leaves_room_for_networks_in_16_bits) {
#if SANITIZED
    GTEST_SKIP() << "too large";
#endif
    const io_test::temporary_directory directory;
    for (const auto &[variant, classes, type] :
         {std::tuple("fastvit_mci3", index_type{0}, io::dtype::bf16), std::tuple("fastvit_t8", many_classes, io::dtype::bf16),
          std::tuple("fastvit_t8", many_classes, io::dtype::f16)})
        for (const bool folded : {false, true}) {
            const checkpoint made = seeded_checkpoint(variant_with(variant, classes), io::spelling::timm);
            if (folded)
                fastvit::save_folded(made, directory / "net", type);
            else
                fastvit::save_converted(made, directory / "net", type);
            for (const precision p : precisions) {
                std::optional<model> loaded;
                const std::size_t peak =
                    peak_resident([&] { EXPECT_NO_THROW(loaded.emplace(model::open(directory / "net", {.precision = p}))); });
                EXPECT_LE(peak, most_memory(std::filesystem::file_size(directory / "net"), io::size_of(type)));
            }
        }
}

// The float32 weights of one are nearly four times the file.
TEST(memory_limit, leaves_room_for_quantised_networks) {
#if SANITIZED
    GTEST_SKIP() << "too large";
#endif
    const io_test::temporary_directory directory;
    for (const auto &[variant, classes] : {std::pair("fastvit_t8", index_type{0}), std::pair("fastvit_t8", many_classes),
                                           std::pair("fastvit_ma36", index_type{0}), std::pair("fastvit_mci3", index_type{0})}) {
        SCOPED_TRACE(variant + (" of " + std::to_string(classes)));
        fastvit::save_converted(seeded_checkpoint(variant_with(variant, classes), io::spelling::timm), directory / "net",
                                io::dtype::i8);
        const std::uint64_t size = std::filesystem::file_size(directory / "net"),
                            expected = memory_needed(checkpoint::open(directory / "net"));
        for (const precision p : precisions) {
            std::optional<model> loaded;
            const std::size_t peak =
                peak_resident([&] { EXPECT_NO_THROW(loaded.emplace(model::open(directory / "net", {.precision = p}))); });
            EXPECT_LE(peak, most_memory(size, 1));
            EXPECT_LE(peak, expected + loading::allocator_slack);
        }
    }
}

// Bytes with scales may be views of a few bytes, like anything else.
TEST(memory_limit, refuses_a_quantised_network_made_of_views) {
    std::string items;
    const auto add = [&](const std::string &name, const char *storage, const char *key, const shape &dims) {
        std::string sizes = "(", strides = "(";
        for (const index_type d : dims) {
            sizes += pk::integer(d);
            strides += pk::integer(0);
        }
        items += pk::text(name) + pk::call(pk::global("torch._utils", "_rebuild_tensor_v2"),
                                           {pk::storage(storage, key, 1), pk::integer(0), sizes + "t", strides + "t", "\x89",
                                            pk::ordered_dict({})});
    };
    const auto file_of = [&](index_type channels) {
        architecture net = small_net();
        net.stages[1].channels = channels;
        net.stages[1].hidden = 4 * channels;
        net.head_channels = net.classes = 0;
        items.clear();
        for (const fastvit_test::network_tensor &t : fastvit_test::tensors_of(net, false)) {
            if (!t.matrix) {
                add(t.name, "FloatStorage", "0", t.dims);
                continue;
            }
            add(t.name, "CharStorage", "1", t.dims);
            add(t.name + "_scale", "FloatStorage", "0", {t.dims[0]});
        }
        return io_test::torch_zip("}(" + items + "u", {{"0", io_test::floats({0.5F})}, {"1", "\x7f"}});
    };
    const auto load = [](const std::string &file) { model{checkpoint::from_bytes(io_test::bytes_of(file), "FILE")}; };
    const std::string modest = file_of(64), large = file_of(1024);
    EXPECT_NO_THROW(load(modest));
    EXPECT_THROW(load(large), fastvit::error);
    EXPECT_TRUE(SANITIZED || peak_resident([&] { EXPECT_THROW(load(large), fastvit::error); }) <= 8 * megabyte);
}

// A stage of 1 channel, from which the patch embedding makes many: 16 times as large when it is padded.
TEST(memory_limit, counts_the_padding_of_inputs_with_several_outputs) {
    architecture net = small_net();
    net.stages[0] = {.blocks = 1, .channels = 1, .hidden = 1};
    net.stages[1] = {.blocks = 1, .channels = 1024, .hidden = 1};
    net.head_channels = 0;
    net.classes = 0;
    architecture dense = net;
    dense.stages[0].channels = 16;
    constexpr index_type padding = 15 * 1024 * (7 * 7 + 1) * 4;
    // The sixteen channels of the other are little beside it.
    EXPECT_GE(memory_needed(seeded_checkpoint(net, io::spelling::timm)),
              memory_needed(seeded_checkpoint(dense, io::spelling::timm)) + static_cast<std::uint64_t>(padding) * 9 / 10);
}

TEST(memory_limit, counts_what_a_checkpoint_has) {
    const checkpoint made = seeded_checkpoint(small_net(), io::spelling::timm);
    std::size_t sum = 0;
    for (const io::stored_tensor &t : made.tensors()) sum += t.bytes.size();
    EXPECT_EQ(made.size_in_bytes(), sum);
    const io_test::temporary_directory directory;
    fastvit::save_converted(made, directory / "net");
    const auto size = std::filesystem::file_size(directory / "net");
    EXPECT_EQ(checkpoint::open(directory / "net").size_in_bytes(), size);
    // Reading ends at a tensor that is not there, so it counts as nothing.
    checkpoint stem;
    for (const io::stored_tensor &t : made.tensors())
        if (t.name.find("blocks.1.") == t.name.npos) stem.add(t.name, io::read_float(t));
    EXPECT_LT(memory_needed(stem), memory_needed(made));
}

TEST(memory_limit, refuses_a_network_that_padding_makes_many_times_larger) {
    const io_test::temporary_directory directory;
    const checkpoint hostile = seeded_checkpoint(wide_stem(200000), io::spelling::apple);
    fastvit::save_converted(hostile, directory / "net");
    const auto refused = [](auto load) {
        const std::size_t peak = counted_memory::peak_of([&] {
            expect_error(error_kind::unsupported, {"more memory than the size of its file justifies", "expected at most", "MB"},
                         load);
        });
        EXPECT_LE(peak, megabyte);
        // The same of memory that comes straight from the system.
        EXPECT_TRUE(SANITIZED || peak_resident([&] { EXPECT_THROW(load(), fastvit::error); }) <= 8 * megabyte);
    };
    refused([&] { (void)model::open(directory / "net"); });
    refused([&] { model{hostile}; });
    refused([&] { fastvit::save_folded(hostile, directory / "folded"); });
    EXPECT_FALSE(std::filesystem::exists(directory / "folded"));
}

// Tensors without bytes, whose sizes would together be a number that wraps around.
TEST(memory_limit, refuses_a_network_that_padding_makes_larger_beside_claims_without_bytes) {
    const io_test::temporary_directory directory;
    architecture net = wide_stem(200000);
    net.stages.push_back({.blocks = 1, .channels = 4096, .hidden = 1});
    const checkpoint whole = seeded_checkpoint(net, io::spelling::timm);
    fastvit_test::file_of_tensors tensors(whole);
    const auto claim = [&](const char *leaf, const shape &dims) {
        fastvit_test::file_tensor &t = tensors.at(std::string("stages.1.blocks.0.mlp.") + leaf);
        t.type = "Q9";
        t.dims = dims;
        t.bytes.clear();
    };
    const index_type hidden = (index_type{1} << 47) - 16;
    claim("conv.conv.weight", {4096, 1, 7, 7});
    claim("fc1.weight", {hidden, 4096, 1, 1});
    claim("fc2.weight", {4096, hidden, 1, 1});
    const std::string file = tensors.bytes();
    EXPECT_LE(
        peak_resident([&] { EXPECT_THROW(model{checkpoint::from_bytes(io_test::bytes_of(file), "FILE")}, fastvit::error); }),
        8 * megabyte);
}

TEST(memory_limit, refuses_a_network_made_of_views) {
    const auto load = [](const std::string &file) { model{checkpoint::from_bytes(io_test::bytes_of(file), "FILE")}; };
    const std::string modest = views_of_one_element(wide_stem(1000));
    EXPECT_TRUE(SANITIZED || peak_resident([&] { load(modest); }) <= most_memory(modest.size(), sizeof(float)));
    // Up to 32 MB of elements are a checkpoint; what a model makes of them has to fit as well.
    for (const index_type in_channels : {200000, 700000}) {
        const std::string file = views_of_one_element(wide_stem(in_channels));
        ASSERT_LE(file.size(), 20000U);
        const std::size_t peak = counted_memory::peak_of([&] {
            expect_error(error_kind::unsupported, {"FILE: ", "more memory than the size of its file justifies"},
                         [&] { load(file); });
        });
        EXPECT_LE(peak, megabyte) << in_channels;
    }
    architecture wide = small_net();
    wide.stages[1].channels = 896;
    wide.stages[1].hidden = 64;
    wide.head_channels = 896;
    const std::string file = views_of_one_element(wide);
    EXPECT_LE(counted_memory::peak_of([&] {
                  expect_error(error_kind::unsupported, {"more memory than the size of its file justifies"}, [&] { load(file); });
              }),
              megabyte);
}

// Names that the translation to timm's spelling makes nearly three times as long, as many and as long as they may be.
TEST(memory_limit, holds_for_names_that_grow) {
    std::string middle;
    while (middle.size() + 30 < io::longest_name) middle += "pe.";
    std::string header = "{";
    for (std::size_t i = 0; i < io::max_tensors; ++i) // the first shows that it is a FastViT
        header += (i == 0 ? "\"patch_embed.1.reparam_conv.weight" : ",\"patch_embed.0." + middle + std::to_string(i)) +
                  "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    const std::string file = io_test::safetensors(header + "}");
    const std::size_t peak = counted_memory::peak_of([&] {
        expect_error(error_kind::missing_tensor, {"FILE: "},
                     [&] { model{checkpoint::from_bytes(io_test::bytes_of(file), "FILE")}; });
    });
    EXPECT_LE(peak, most_memory(file.size(), sizeof(float)));
}

// As many networks as there can be tensors of, whole or in parts.
TEST(memory_limit, holds_for_many_networks) {
    for (const std::size_t signs : {1, 4}) {
        std::string header = "{";
        std::size_t end = 0;
        for (std::size_t i = 0; i < io::max_tensors; ++i) {
            const char *const names[] = {"stem.0.reparam_conv", "stem.1.reparam_conv", "stem.2.reparam_conv",
                                         "stages.0.blocks.0.mlp.conv.conv"};
            const std::size_t kernels[] = {3, 3, 1, 7}, kernel = kernels[i % signs];
            header += (i == 0 ? "\"a" : ",\"a") + std::to_string(i / signs) + "." + names[i % signs] +
                      ".weight\":{\"dtype\":\"F32\",\"shape\":[1,1," + std::to_string(kernel) + "," + std::to_string(kernel) +
                      "],\"data_offsets\":[" + std::to_string(end) + ",";
            end += kernel * kernel * sizeof(float);
            header += std::to_string(end) + "]}";
        }
        const std::string file = io_test::safetensors(header + "}", std::string(end, '\0'));
        for (const auto &[prefix, code] : {std::pair<std::optional<std::string_view>, error_kind>{
                                               std::nullopt, signs == 4 ? error_kind::unsupported : error_kind::missing_tensor},
                                           {"a7", error_kind::missing_tensor}}) {
            const std::size_t peak = counted_memory::peak_of([&, p = prefix, c = code] {
                expect_error(c, {"FILE: "},
                             [&] { model(checkpoint::from_bytes(io_test::bytes_of(file), "FILE"), {.prefix = p}); });
            });
            EXPECT_LE(peak, most_memory(file.size(), sizeof(float)));
        }
    }
}

} // namespace
