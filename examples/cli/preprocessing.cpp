// SPDX-License-Identifier: MIT
#include "cli/preprocessing.hpp"

#include "fastvit/error.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"

#include "image_file.hpp"

#include <array>
#include <cstdint>
#include <span>

namespace cli {

using fastvit::preprocessing;

preprocessing preprocessing_of(const preprocessing_options &options, preprocessing usual) {
    preprocessing how = options.config ? fastvit::read_preprocessing_config(*options.config) : options.preset.value_or(usual);
    if (options.rule) {
        how.rule = *options.rule;
        // Both are ways to keep the whole picture.
        if (how.rule != fastvit::resize_rule::shorter_side) how.crop_fraction = 1;
    }
    if (options.size) how.height = options.size->height, how.width = options.size->width;
    if (options.crop_fraction) how.crop_fraction = *options.crop_fraction;
    if (options.filter) how.filter = *options.filter;
    return how;
}

int preprocess(const preprocess_options &options) {
    const preprocessing how = preprocessing_of(options.preprocessing, preprocessing::imagenet());
    const examples::picture picture = examples::read_picture(
        options.picture, options.exif ? examples::camera_orientation::applied : examples::camera_orientation::ignored);
    try {
        const fastvit::tensor<std::uint8_t> pixels = fastvit::resize_crop(picture.view(), how);
        const fastvit::tensor<float> input = fastvit::preprocess(picture.view(), how);
        fastvit::io::stored_tensor bytes;
        bytes.type = fastvit::io::dtype::u8;
        bytes.dims = pixels.dims();
        bytes.strides = fastvit::io::contiguous_strides(pixels.dims());
        bytes.bytes = std::as_bytes(pixels.span());
        const std::array<fastvit::io::named_tensor, 2> both{
            {{.name = "pixels", .data = {}, .stored = &bytes}, {.name = "input", .data = input}}};
        fastvit::io::save_safetensors(options.output, both);
    } catch (const fastvit::error &e) {
        throw e.in_file(options.picture);
    }
    return 0;
}

} // namespace cli
