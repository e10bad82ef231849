// SPDX-License-Identifier: MIT
// A segmentation head on the feature pyramid: semantic FPN (Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, section
// 3), cut small. tools/shapes/train_segmentation.py trains it and has the same network in PyTorch.
//
//     stage3 -> lateral ---------------> x3 -> smooth, ReLU, resized --+
//     stage2 -> lateral, + x3 resized -> x2 -> smooth, ReLU, resized --+
//     stage1 -> lateral, + x2 resized -> x1 -> smooth, ReLU, resized --+-> their sum -> classifier -> scores
//     stage0 -> lateral, + x1 resized -> x0 -> smooth, ReLU -----------+
//
// lateral and classifier are 1 x 1 convolutions, smooth is 3 x 3. The loops are plain; with the bundled model they take some ten
// times as long as the network itself.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/error.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace examples {

/// C x H x W.
using feature_map = fastvit::tensor<float>;
using feature_map_view = fastvit::tensor_view<const float>;

/// A convolution of stride 1, as PyTorch's checkpoints have it.
struct convolution {
    fastvit::tensor<float> weight; ///< outputs x inputs x k x k, k odd
    fastvit::tensor<float> bias;   ///< outputs

    /// Throws missing_tensor, shape_mismatch, and unsupported for elements that are no floats.
    convolution(const fastvit::checkpoint &file, const std::string &name)
        : weight(read(file, name + ".weight")), bias(read(file, name + ".bias")) {
        const auto &dims = weight.dims();
        if (dims.rank() != 4 || dims[2] != dims[3] || dims[2] % 2 == 0 || bias.dims() != fastvit::shape{dims[0]})
            throw fastvit::error(fastvit::error_kind::shape_mismatch, {.problem = "these are not the weights of a convolution",
                                                                       .found = dims.to_string(),
                                                                       .tensor = name,
                                                                       .file = file.file()});
    }
    fastvit::index_type outputs() const noexcept { return weight.dim(0); }
    fastvit::index_type inputs() const noexcept { return weight.dim(1); }

    /// The map's size stays: beyond its border are zeros.
    feature_map operator()(feature_map_view in) const {
        using fastvit::index_type;
        const index_type half = weight.dim(2) / 2, height = in.dim(1), width = in.dim(2);
        feature_map out({outputs(), height, width});
        for (index_type o = 0; o < outputs(); ++o) {
            std::ranges::fill(out[o].span(), bias(o));
            for (index_type i = 0; i < inputs(); ++i)
                for (index_type dy = -half; dy <= half; ++dy)
                    for (index_type dx = -half; dx <= half; ++dx) {
                        // What one weight adds to the whole map: the pixels whose neighbour at (dy, dx) exists.
                        const float w = weight(o, i, dy + half, dx + half);
                        const index_type left = std::max<index_type>(0, -dx), right = std::min(width, width - dx);
                        for (index_type y = std::max<index_type>(0, -dy); y < std::min(height, height - dy); ++y) {
                            const float *const from = in.data() + (i * height + y + dy) * width;
                            float *const to = out.data() + (o * height + y) * width;
                            for (index_type x = left; x < right; ++x) to[x] += w * from[x + dx];
                        }
                    }
        }
        return out;
    }

  private:
    static fastvit::tensor<float> read(const fastvit::checkpoint &file, const std::string &name) {
        const auto *const stored = file.find(name);
        if (!stored)
            throw fastvit::error(fastvit::error_kind::missing_tensor,
                                 {.problem = "no such tensor", .tensor = name, .file = file.file()});
        return fastvit::io::read_float(*stored);
    }
};

/// Where a row or column of a resized map comes from: between two neighbours of the original, `share` of the way to the second.
struct between {
    fastvit::index_type first, second;
    float share;
};

/// For each of `to` places, where it comes from among `from`: PyTorch's bilinear interpolation with align_corners=False.
inline std::vector<between> places(fastvit::index_type from, fastvit::index_type to) {
    std::vector<between> all;
    const float step = static_cast<float>(from) / static_cast<float>(to);
    for (fastvit::index_type i = 0; i < to; ++i) {
        const float at = std::max(0.0F, (static_cast<float>(i) + 0.5F) * step - 0.5F);
        const auto first = std::min(static_cast<fastvit::index_type>(at), from - 1);
        all.push_back({first, std::min(first + 1, from - 1), at - static_cast<float>(first)});
    }
    return all;
}

/// A map resized to height x width: calls to(y, row) for each row, from the top, with the row of each channel, [channels, width].
template <class To> void resize(feature_map_view map, fastvit::index_type height, fastvit::index_type width, To to) {
    using fastvit::index_type;
    const auto mixed = [](float a, float b, float share) { return a * (1 - share) + b * share; };
    const index_type channels = map.dim(0), rows = map.dim(1), columns = map.dim(2);
    const std::vector<between> from_rows = places(rows, height), from_columns = places(columns, width);
    std::vector<float> narrow(static_cast<std::size_t>(columns));
    fastvit::tensor<float> row({channels, width});
    for (index_type y = 0; y < height; ++y) {
        const between &at = from_rows[y];
        float *wide = row.data();
        for (index_type c = 0; c < channels; ++c) {
            const float *const channel = map.data() + c * rows * columns;
            for (index_type x = 0; x < columns; ++x)
                narrow[x] = mixed(channel[at.first * columns + x], channel[at.second * columns + x], at.share);
            for (const between &x : from_columns) *wide++ = mixed(narrow[x.first], narrow[x.second], x.share);
        }
        to(y, row.view());
    }
}

/// sum += map, resized to the sum's height and width.
inline void add_resized(feature_map &sum, feature_map_view map) {
    resize(map, sum.dim(1), sum.dim(2), [&](fastvit::index_type y, fastvit::tensor_view<const float> row) {
        for (fastvit::index_type c = 0; c < sum.dim(0); ++c)
            for (fastvit::index_type x = 0; x < sum.dim(2); ++x) sum(c, y, x) += row(c, x);
    });
}

/// The head, with the weights of models/shapes/segmentation.safetensors or others of the same names.
class segmentation_head {
  public:
    /// Throws what reading a convolution throws, and shape_mismatch for those that do not fit together or have no classes, or
    /// more than the 256 that a mask's byte can name.
    explicit segmentation_head(const fastvit::checkpoint &file) : classifier_(file, "classifier") {
        const auto width = classifier_.inputs();
        if (classes() < 1 || classes() > 256)
            throw fastvit::error(fastvit::error_kind::shape_mismatch, {.problem = "a mask has 1 to 256 classes",
                                                                       .found = std::to_string(classes()),
                                                                       .tensor = "classifier.weight",
                                                                       .file = file.file()});
        for (int i = 0; file.find("lateral." + std::to_string(i) + ".weight"); ++i) {
            const convolution &lateral = lateral_.emplace_back(file, "lateral." + std::to_string(i));
            const convolution &smooth = smooth_.emplace_back(file, "smooth." + std::to_string(i));
            if (lateral.outputs() != width || smooth.inputs() != width || smooth.outputs() != width)
                throw fastvit::error(fastvit::error_kind::shape_mismatch,
                                     {.problem = "the head's convolutions do not fit together", .file = file.file()});
        }
    }

    fastvit::index_type classes() const noexcept { return classifier_.outputs(); }

    /// Scores of the classes at the resolution of the finest stage. `stages` are those of one picture, finest first, each
    /// [1, channels, height, width] as a forward pass gives them. Throws shape_mismatch for those of another network.
    feature_map scores(const std::vector<feature_map_view> &stages) const {
        check(stages);
        feature_map above, sum({classifier_.inputs(), stages[0].dim(2), stages[0].dim(3)});
        for (std::size_t level = stages.size(); level-- > 0;) {
            feature_map x = lateral_[level](stages[level][0]);
            if (above.count() > 0) add_resized(x, above);
            feature_map smooth = smooth_[level](x);
            for (float &value : smooth.span()) value = std::max(value, 0.0F);
            add_resized(sum, smooth);
            above = std::move(x);
        }
        return classifier_(sum);
    }

    /// The class of each pixel of a picture of this size: the one with the best score.
    fastvit::tensor<std::uint8_t> mask(const std::vector<feature_map_view> &stages, fastvit::index_type height,
                                       fastvit::index_type width) const {
        fastvit::tensor<std::uint8_t> classes({height, width});
        std::vector<float> best(static_cast<std::size_t>(width));
        const feature_map coarse = scores(stages);
        resize(coarse, height, width, [&](fastvit::index_type y, fastvit::tensor_view<const float> row) {
            std::ranges::copy(row[0].span(), best.begin());
            const auto winners = classes[y].span();
            for (fastvit::index_type c = 1; c < row.dim(0); ++c) {
                const auto scores_of_class = row[c].span();
                for (std::size_t x = 0; x < best.size(); ++x)
                    if (scores_of_class[x] > best[x]) {
                        best[x] = scores_of_class[x];
                        winners[x] = static_cast<std::uint8_t>(c);
                    }
            }
        });
        return classes;
    }

  private:
    void check(const std::vector<feature_map_view> &stages) const {
        bool fit = stages.size() == lateral_.size() && !stages.empty();
        for (std::size_t i = 0; fit && i < stages.size(); ++i)
            fit = stages[i].dim(0) == 1 && stages[i].dim(1) == lateral_[i].inputs();
        if (!fit)
            throw fastvit::error(fastvit::error_kind::shape_mismatch, "these are not the stages that the head was trained on");
    }

    std::vector<convolution> lateral_, smooth_; // one for each stage, finest first
    convolution classifier_;
};

} // namespace examples
