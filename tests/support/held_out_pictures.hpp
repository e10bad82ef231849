// SPDX-License-Identifier: MIT
// The first 300 held-out pictures of the bundled model's data set, what was drawn, and PyTorch's logits.
// tools/shapes/make_test_data.py makes the file and says what each tensor is.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/error.hpp"
#include "fastvit/tensor.hpp"

#include "image_file.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastvit_test {

class held_out_pictures {
  public:
    fastvit::index_type count() const { return static_cast<fastvit::index_type>(offsets_.size()) - 1; }

    examples::picture picture(fastvit::index_type i) const {
        const auto png = file_.find("png_bytes")->bytes.subspan(offsets_[i], offsets_[i + 1] - offsets_[i]);
        return examples::decode_picture({reinterpret_cast<const std::uint8_t *>(png.data()), png.size()});
    }
    /// The class of each picture.
    std::vector<std::int64_t> labels() const { return integers("labels"); }
    fastvit::tensor<float> logits() const { return fastvit::io::read_float(*file_.find("logits_torch")); }

  private:
    std::vector<std::int64_t> integers(std::string_view name) const {
        const fastvit::io::stored_tensor *const stored = file_.find(name);
        if (!stored)
            throw fastvit::error(fastvit::error_kind::missing_tensor, {.problem = "missing", .tensor = std::string(name)});
        std::vector<std::int64_t> values(stored->bytes.size() / sizeof(std::int64_t));
        std::memcpy(values.data(), stored->bytes.data(), stored->bytes.size());
        return values;
    }

    fastvit::checkpoint file_ =
        fastvit::checkpoint::open(std::filesystem::path(FASTVIT_TEST_DATA) / "shapes_heldout.safetensors");
    std::vector<std::int64_t> offsets_ = integers("png_offsets");
};

} // namespace fastvit_test
