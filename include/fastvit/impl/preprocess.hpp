// SPDX-License-Identifier: MIT
// See fastvit/preprocess.hpp.
#pragma once

#include "fastvit/image/crop.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/preprocess.hpp"

#include <algorithm>
#include <cstddef>

namespace fastvit { inline namespace FASTVIT_ABI {

struct preprocess_workspace::state {
    resampling::cropper cropper;
};

FASTVIT_FUNCTION preprocess_workspace::preprocess_workspace() : state_(std::make_unique<state>()) {}
FASTVIT_FUNCTION preprocess_workspace::preprocess_workspace(preprocess_workspace &&) noexcept = default;
FASTVIT_FUNCTION preprocess_workspace &preprocess_workspace::operator=(preprocess_workspace &&) noexcept = default;
FASTVIT_FUNCTION preprocess_workspace::~preprocess_workspace() = default;

FASTVIT_FUNCTION tensor<std::uint8_t> resize_crop(const picture_view &picture, const preprocessing &how) {
    const platform::ieee_arithmetic arithmetic;
    resampling::cropper cropper;
    cropper.prepare(picture, how);
    tensor<std::uint8_t> pixels({how.height, how.width, 3});
    cropper.run(
        [&](index_type y, const std::uint8_t *row) { std::copy_n(row, how.width * 3, pixels.data() + y * how.width * 3); });
    return pixels;
}

FASTVIT_FUNCTION void preprocess_into(const picture_view &picture, const preprocessing &how, tensor_view<float> image,
                                      preprocess_workspace &workspace) {
    const platform::ieee_arithmetic arithmetic;
    resampling::cropper &cropper = workspace.state_->cropper;
    cropper.prepare(picture, how);
    const shape expected{3, how.height, how.width};
    if (!(image.dims() == expected))
        throw error(error_kind::shape_mismatch,
                    {.problem = "output of preprocessing", .expected = expected.to_string(), .found = image.dims().to_string()});
    if (image.empty()) throw error(error_kind::invalid_argument, "output of preprocessing: the pointer is null");
    const byte_values values = resampling::values_of(how);
    const index_type plane = how.height * how.width;
    cropper.run([&](index_type y, const std::uint8_t *row) {
        float *out = image.data() + y * how.width;
        for (index_type x = 0; x < how.width; ++x)
            for (index_type c = 0; c < 3; ++c) out[c * plane + x] = values[static_cast<std::size_t>(c)][row[3 * x + c]];
    });
}

FASTVIT_FUNCTION tensor<float> preprocess(const picture_view &picture, const preprocessing &how) {
    const platform::ieee_arithmetic arithmetic;
    (void)resampling::checked(picture); // what is wrong is said before memory is allocated
    (void)resampling::plan(picture, how);
    tensor<float> input({1, 3, how.height, how.width});
    preprocess_workspace workspace;
    preprocess_into(picture, how, input[0], workspace);
    return input;
}

}} // namespace fastvit::FASTVIT_ABI
