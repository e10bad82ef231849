// SPDX-License-Identifier: MIT
// From a decoded picture to the network's input, byte for byte what Pillow and torchvision make of it in Python.
//
//     const preprocessing how = preprocessing::imagenet();
//     tensor<float> input = preprocess({.pixels = rgb.data(), .height = 480, .width = 640, .channels = 3}, how);
//
// Where versions of Pillow differ, this follows those before 12.2, which always filter rows first. (Later ones filter columns
// first if a picture is over 100 times as tall as wide.)
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/picture.hpp"
#include "fastvit/tensor.hpp"

#include <cstdint>
#include <memory>

namespace fastvit { inline namespace FASTVIT_ABI {

/// The memory of preprocess_into: kept from picture to picture, used by one call at a time. Move-only; one that was moved from
/// may only be assigned to or destroyed.
class preprocess_workspace {
  public:
    preprocess_workspace();
    preprocess_workspace(preprocess_workspace &&) noexcept;
    preprocess_workspace &operator=(preprocess_workspace &&) noexcept;
    ~preprocess_workspace();

  private:
    friend void preprocess_into(const picture_view &, const preprocessing &, tensor_view<float>, preprocess_workspace &);
    struct state;
    std::unique_ptr<state> state_;
};

/// The pixels that preprocess() normalises, [height, width, 3] of the output: what Python has after Resize and CenterCrop.
/// Throws invalid_argument as preprocess() does.
[[nodiscard]] tensor<std::uint8_t> resize_crop(const picture_view &picture, const preprocessing &how);

/// Writes one input, [3, height, width] of the output, red green blue: an image of a batch [n, 3, height, width] is
/// `tensor_view<float>(batch.data() + i * 3 * height * width, {3, height, width})`. Allocates nothing if the workspace has seen a
/// picture as large. Throws invalid_argument for an impossible picture or preprocessing, and shape_mismatch for `image`.
void preprocess_into(const picture_view &picture, const preprocessing &how, tensor_view<float> image,
                     preprocess_workspace &workspace);

/// The network's input, [1, 3, height, width] of the output. Throws invalid_argument for null pixels, sides of zero or beyond
/// 2^20, a channel count other than 1, 3 and 4, a row stride shorter than the row, sizes that overflow, an output of zero or
/// beyond 2^14, a crop fraction that is not positive, a mean or standard deviation that is not finite, a standard deviation that
/// is not positive.
[[nodiscard]] tensor<float> preprocess(const picture_view &picture, const preprocessing &how);

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/preprocess.hpp"
#endif
