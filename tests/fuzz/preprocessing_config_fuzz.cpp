// SPDX-License-Identifier: MIT
// The bytes are the configuration of a model. Whatever is accepted can be run.
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"

#include "fuzz_target.hpp"

#include <array>
#include <optional>
#include <string_view>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    std::optional<fastvit::preprocessing_config> config;
    fuzz::bounded(size, 2, [&] {
        fuzz::accepts(
            [&] { config = fastvit::parse_preprocessing_config(std::string_view(reinterpret_cast<const char *>(data), size)); });
    });
    if (!config) return 0;
    fuzz::require(config->classes >= 0, "the number of classes is natural");
    static constexpr std::array<std::uint8_t, 5 * 7 * 3> pixels{};
    constexpr fastvit::index_type most_pixels = 256 * 256; // large outputs take too long here
    if (config->height * config->width <= most_pixels)
        (void)fastvit::preprocess({.pixels = pixels.data(), .height = 5, .width = 7}, *config);
    return 0;
}
