// SPDX-License-Identifier: MIT
// See fastvit/model.hpp.
#pragma once

#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/image/crop.hpp"
#include "fastvit/impl/workspace.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/model.hpp"
#include "fastvit/parts/network.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

FASTVIT_FUNCTION preprocessing usual_preprocessing(std::string_view variant, io::spelling source) {
    if (variant == "fastvit_mci3" || variant == "fastvit_mci4") return preprocessing::openai_clip();
    if (variant.starts_with("fastvit_mci")) return preprocessing::mobileclip();
    const bool wide = variant == "fastvit_ma36" || (variant == "fastvit_sa36" && source == io::spelling::apple);
    return preprocessing::imagenet(256, wide ? 0.95 : 0.90);
}

FASTVIT_FUNCTION model model::open(const std::filesystem::path &path, const model_options &options) {
    return model(checkpoint::open(path, options.key), options);
}

FASTVIT_FUNCTION model model::from_bytes(std::span<const std::byte> bytes, std::string label, const model_options &options) {
    return model(checkpoint::from_bytes(bytes, std::move(label), options.key), options);
}

FASTVIT_FUNCTION model::model(const checkpoint &source, const model_options &options) : graph_(options.graph) {
    if (graph_ == fastvit::graph::train_time && options.precision != fastvit::precision::float32)
        throw error(error_kind::invalid_argument,
                    {.problem = "precision of the train-time graph, whose branches only float32 computes",
                     .expected = "float32, or the folded graph",
                     .found = std::string(to_string(options.precision))});
    const isa_tier &tier = select_isa(options.isa, options.precision);
    const platform::ieee_arithmetic arithmetic;
    try {
        loading::state_dict dict(source, options.prefix);
        fastvit::architecture net = loading::recognise(dict);
        const loading::memory_need need = loading::check_memory(dict, net);
        if (options.large_kernel_gelu) net.large_kernel_gelu = *options.large_kernel_gelu;
        spelling_ = dict.names().source();
        auto made = std::make_shared<parts::network>(net, *tier.kernels, options.precision);
        loading::reader reader(dict, need.part_floats);
        loading::for_each_read_part(
            reader, net, [&]<class Part>(const parts::place &p, const typename Part::config &c, typename Part::weights &w) {
                if (graph_ == fastvit::graph::folded) Part::fold(w);
                made->add<Part>(p, w, c, options.threads);
                reader.end_part();
            });
        dict.expect_all_used();
        network_ = std::move(made);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

FASTVIT_FUNCTION const fastvit::architecture &model::architecture() const noexcept { return network_->net(); }
FASTVIT_FUNCTION std::string_view model::isa() const noexcept { return network_->tier().name; }
FASTVIT_FUNCTION fastvit::precision model::precision() const noexcept { return network_->precision(); }
FASTVIT_FUNCTION std::span<const layer_precision> model::layers() const &noexcept { return network_->layers(); }

namespace parts {

/// Throws invalid_argument for images that a network cannot take or outputs that it does not have.
inline extent checked_extent(const fastvit::architecture &net, const shape &images, output_kind wanted) {
    const extent size = image_extent(net, images);
    if (wants(wanted, output_kind::logits) && net.classes == 0) throw error(error_kind::invalid_argument, why_no_logits(net));
    if (wants(wanted, output_kind::final_conv) && net.head_channels == 0)
        throw error(error_kind::invalid_argument, "this network has no last convolution");
    if (wants(wanted, output_kind::fork_features) && !net.fork_features)
        throw error(error_kind::invalid_argument,
                    "this network has no BatchNorms for fork features, which checkpoints of the official dense-prediction form "
                    "(fork_feat) have; every network has a feature pyramid, output_kind::stages");
    return size;
}

inline runtime::image_source source_of(const tensor_view<const float> &images) {
    if (images.empty()) throw error(error_kind::invalid_argument, "images: the pointer is null");
    return runtime::image_source::planes(images.data());
}

/// What the buffers have room for.
inline output_kind wanted_by(const output_buffers &results) {
    unsigned wanted = 0;
    const auto add = [&](bool there, output_kind kind) { wanted |= there ? static_cast<unsigned>(kind) : 0U; };
    add(!results.logits.empty(), output_kind::logits);
    add(!results.embedding.empty(), output_kind::embedding);
    add(!results.stem.empty(), output_kind::stem);
    add(!results.final_conv.empty(), output_kind::final_conv);
    add(!results.stages.empty(), output_kind::stages);
    add(!results.fork_features.empty(), output_kind::fork_features);
    return static_cast<output_kind>(wanted);
}

/// Throws shape_mismatch for buffers that are not of these shapes.
inline void check_buffers(const output_shapes &expected, const output_buffers &results) {
    const auto check = [](const char *name, const shape &dims, const tensor_view<float> &buffer) {
        if (dims.rank() > 0 && !(buffer.dims() == dims && !buffer.empty()))
            throw error(error_kind::shape_mismatch, {.problem = std::string("memory for ") + name,
                                                     .expected = dims.to_string(),
                                                     .found = buffer.empty() ? "none" : buffer.dims().to_string()});
    };
    const auto check_all = [&](const char *name, const std::vector<shape> &dims, const std::vector<tensor_view<float>> &buffers) {
        if (dims.size() != buffers.size())
            throw error(error_kind::shape_mismatch, {.problem = std::string("memory for ") + name,
                                                     .expected = std::to_string(dims.size()) + " tensors",
                                                     .found = std::to_string(buffers.size())});
        for (std::size_t i = 0; i < dims.size(); ++i) check(name, dims[i], buffers[i]);
    };
    check("the logits", expected.logits, results.logits);
    check("the embedding", expected.embedding, results.embedding);
    check("the stem", expected.stem, results.stem);
    check("the last convolution", expected.final_conv, results.final_conv);
    check_all("the stages", expected.stages, results.stages);
    check_all("the fork features", expected.fork_features, results.fork_features);
}

} // namespace parts

FASTVIT_FUNCTION fastvit::output_shapes model::output_shapes(const shape &images, output_kind wanted) const {
    return parts::shapes_of(architecture(), parts::checked_extent(architecture(), images, wanted), wanted);
}

FASTVIT_FUNCTION const outputs &model::forward(tensor_view<const float> images, workspace &space, output_kind wanted) const {
    workspace::state &state = *space.state_;
    const runtime::extent size = parts::checked_extent(architecture(), images.dims(), wanted);
    const runtime::image_source source = parts::source_of(images);
    state.prepare({network_, size, wanted});
    state.run(source, state.buffers);
    return state.results;
}

FASTVIT_FUNCTION void model::forward_into(tensor_view<const float> images, workspace &space,
                                          const output_buffers &results) const {
    workspace::state &state = *space.state_;
    const output_kind wanted = parts::wanted_by(results);
    const runtime::extent size = parts::checked_extent(architecture(), images.dims(), wanted);
    const runtime::image_source source = parts::source_of(images);
    state.prepare({network_, size, wanted, false});
    parts::check_buffers(state.shapes, results);
    state.run(source, results);
}

FASTVIT_FUNCTION const outputs &model::forward(std::span<const picture_view> pictures, const preprocessing &how, workspace &space,
                                               output_kind wanted) const {
    workspace::state &state = *space.state_;
    const shape images = state.prepare_crops(pictures, how);
    state.prepare({network_, parts::checked_extent(architecture(), images, wanted), wanted});
    state.run(state.crop(pictures, how), state.buffers);
    return state.results;
}

FASTVIT_FUNCTION void model::forward_into(std::span<const picture_view> pictures, const preprocessing &how, workspace &space,
                                          const output_buffers &results) const {
    workspace::state &state = *space.state_;
    const output_kind wanted = parts::wanted_by(results);
    const shape images = state.prepare_crops(pictures, how);
    state.prepare({network_, parts::checked_extent(architecture(), images, wanted), wanted, false});
    parts::check_buffers(state.shapes, results);
    state.run(state.crop(pictures, how), results);
}

}} // namespace fastvit::FASTVIT_ABI
