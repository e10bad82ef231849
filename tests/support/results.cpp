// SPDX-License-Identifier: MIT
// The definitions of results.hpp.
#include "support/results.hpp"

#include "fastvit/isa.hpp"
#include "fastvit/parts/list.hpp"

#include "support/golden_files.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace fastvit_test {

fastvit::output_kind everything(const fastvit::architecture &net) {
    using fastvit::output_kind;
    output_kind all = output_kind::embedding | output_kind::stem | output_kind::stages;
    if (net.head_channels > 0) all = all | output_kind::final_conv;
    if (net.classes > 0) all = all | output_kind::logits;
    if (net.fork_features) all = all | output_kind::fork_features;
    return all;
}

fastvit::output_shapes shapes_of(const fastvit::architecture &net, const fastvit::shape &images) {
    return fastvit::parts::shapes_of(net, fastvit::parts::image_extent(net, images), everything(net));
}

namespace {

template <class View> results copy_of(const fastvit::per_output<View> &out) {
    results all;
    for_each_output(out, [&](const std::string &name, fastvit::tensor_view<const float> t) {
        if (!t.empty()) all.emplace_back(name, t);
    });
    return all;
}

} // namespace

std::vector<std::string> usable_tiers() {
    std::vector<std::string> names;
    for (const fastvit::isa_tier &tier : fastvit::isa_tiers())
        if (tier.runs(fastvit::precision::int8)) names.emplace_back(tier.name);
    return names;
}

fastvit::tensor_view<const float> output_named(const fastvit::outputs &out, std::string_view name) {
    fastvit::tensor_view<const float> found;
    for_each_output(out, [&](std::string_view of, fastvit::tensor_view<const float> t) {
        if (of == name) found = t;
    });
    return found;
}

results copied(const fastvit::outputs &out) { return copy_of(out); }
results copied(const fastvit::output_buffers &out) { return copy_of(out); }

results run(const fastvit::model &net, fastvit::tensor_view<const float> images, fastvit::workspace &&space) {
    return copied(net.forward(images, space, everything(net.architecture())));
}
results run(const fastvit::model &net, const fastvit::tensor<float> &images, fastvit::workspace &&space) {
    return run(net, images.view(), std::move(space));
}

double cosine(const fastvit::tensor<float> &a, const fastvit::tensor<float> &b) {
    double ab = 0, aa = 0, bb = 0;
    for (index_type i = 0; i < a.count(); ++i) {
        const double x = a.data()[i], y = b.data()[i];
        ab += x * y, aa += x * x, bb += y * y;
    }
    return ab / std::sqrt(aa * bb);
}

void expect_same_bits(const results &expected, const results &actual) {
    ASSERT_EQ(expected.size(), actual.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const auto &[name, e] = expected[i];
        const auto &[actual_name, a] = actual[i];
        EXPECT_EQ(actual_name, name);
        ASSERT_EQ(a.dims().to_string(), e.dims().to_string()) << name;
        const auto at = std::mismatch(e.span().begin(), e.span().end(), a.span().begin()).first - e.span().begin();
        EXPECT_EQ(at, e.count()) << name << " differs from this element on";
    }
}

void expect_reference(const std::map<std::string, reference::maps<double>> &expected, const fastvit::checkpoint &source,
                      const fastvit::tensor<float> &images, fastvit::model_options options) {
    for (const fastvit::graph form : {fastvit::graph::train_time, fastvit::graph::folded}) {
        options.graph = form;
        const fastvit::model m(source, options);
        SCOPED_TRACE(std::string(m.isa()) + (form == fastvit::graph::folded ? " folded " : " train-time ") +
                     images.dims().to_string());
        EXPECT_EQ(m.architecture().variant, "custom");
        const results actual = run(m, images);
        EXPECT_EQ(actual.size(), expected.size());
        for (const auto &[name, t] : actual) {
            const auto &e = expected.at(name);
            std::vector<index_type> dims{e.images, e.channels, e.height, e.width};
            dims.resize(t.dims().rank());
            fastvit::tensor<float> rounded{fastvit::shape(dims)};
            std::copy(e.values.begin(), e.values.end(), rounded.data());
            const difference d = expected_tensor::whole(rounded).from(t);
            EXPECT_LE(d.relative, tolerance) << name << ": " << d;
        }
    }
}

} // namespace fastvit_test
