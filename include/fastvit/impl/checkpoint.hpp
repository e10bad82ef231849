// SPDX-License-Identifier: MIT
// checkpoint: see fastvit/checkpoint.hpp.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/io/pth.hpp"
#include "fastvit/io/safetensors.hpp"
#include "fastvit/platform/mapped_file.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace io {

/// The content decides. Safetensors has no magic number, so it comes last, and its error speaks for whatever is none of the
/// three.
inline file_contents parse_checkpoint(std::span<const std::byte> bytes) {
    if (looks_like_zip(bytes)) return parse_zip_pth(bytes);
    if (looks_like_legacy_pth(bytes)) return parse_legacy_pth(bytes);
    return parse_safetensors(bytes);
}

} // namespace io

FASTVIT_FUNCTION checkpoint checkpoint::open(const std::filesystem::path &path) {
    auto file = std::make_shared<const platform::mapped_file>(path);
    checkpoint result = from_bytes(file->bytes(), path.string());
    result.mapping_ = std::move(file);
    return result;
}

FASTVIT_FUNCTION checkpoint checkpoint::from_bytes(std::span<const std::byte> bytes, std::string label) {
    checkpoint result;
    try {
        io::file_contents contents = io::parse_checkpoint(bytes);
        result.tensors_ = std::move(contents.tensors);
        result.metadata_ = std::move(contents.metadata);
    } catch (const error &e) {
        throw e.in_file(std::move(label));
    }
    result.file_ = std::move(label);
    result.size_in_bytes_ = bytes.size();
    result.by_name_.resize(result.tensors_.size());
    std::iota(result.by_name_.begin(), result.by_name_.end(), std::uint32_t{0});
    std::sort(result.by_name_.begin(), result.by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return result.tensors_[a].name < result.tensors_[b].name; });
    return result;
}

FASTVIT_FUNCTION void checkpoint::add(std::string name, tensor<float> values) {
    const auto place = lower_bound(name);
    if (place != by_name_.end() && tensors_[*place].name == name)
        throw error(error_kind::unexpected_tensor,
                    {.problem = "the tensor is there already", .tensor = std::move(name), .file = file_});
    const auto kept = std::make_shared<const tensor<float>>(std::move(values));
    size_in_bytes_ += kept->span().size_bytes();
    by_name_.insert(place, static_cast<std::uint32_t>(tensors_.size()));
    tensors_.push_back({.name = std::move(name),
                        .type = io::dtype::f32,
                        .type_name = std::string(to_string(io::dtype::f32)),
                        .dims = kept->dims(),
                        .strides = io::contiguous_strides(kept->dims()),
                        .bytes = std::as_bytes(kept->span())});
    made_.push_back(kept);
}

FASTVIT_FUNCTION const io::stored_tensor *checkpoint::find(std::string_view name) const noexcept {
    const auto place = lower_bound(name);
    return place != by_name_.end() && tensors_[*place].name == name ? &tensors_[*place] : nullptr;
}

FASTVIT_FUNCTION void checkpoint::drop_pages(std::vector<const io::stored_tensor *> read) const {
    if (!mapping_) return;
    const std::less<> before;
    const std::byte *const first = mapping_->bytes().data(), *const last = first + mapping_->bytes().size();
    std::erase_if(read, [&](auto *t) { return before(t->bytes.data(), first) || !before(t->bytes.data(), last); });
    std::sort(read.begin(), read.end(), [&](auto *a, auto *b) { return before(a->bytes.data(), b->bytes.data()); });
    // Neighbours go together, with what is between them: each call costs as much as some pages.
    constexpr std::ptrdiff_t near = 65536;
    for (std::size_t i = 0; i < read.size();) {
        const std::byte *const begin = read[i]->bytes.data(), *end = begin;
        for (; i < read.size() && read[i]->bytes.data() - end <= near; ++i)
            end = std::max(end, read[i]->bytes.data() + read[i]->bytes.size());
        mapping_->drop_pages({begin, end});
    }
}

FASTVIT_FUNCTION std::vector<std::uint32_t>::const_iterator checkpoint::lower_bound(std::string_view name) const noexcept {
    return std::lower_bound(by_name_.begin(), by_name_.end(), name,
                            [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
}

}} // namespace fastvit::FASTVIT_ABI
