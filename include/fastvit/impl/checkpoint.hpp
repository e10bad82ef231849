// SPDX-License-Identifier: MIT
// checkpoint: see fastvit/checkpoint.hpp.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/candidates.hpp"
#include "fastvit/io/file_kind.hpp"
#include "fastvit/io/pth.hpp"
#include "fastvit/io/safetensors.hpp"
#include "fastvit/io/shard_index.hpp"
#include "fastvit/platform/mapped_file.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <system_error>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace io {

/// Whether a dictionary of tensors has a FastViT.
inline bool has_network(const pickle_dictionary &dictionary) {
    std::vector<tensor_outline> outlines;
    for (const auto &[key, value] : dictionary.items) {
        const auto *const name = pickle_get<std::string_view>(key);
        if (!name || name->size() > longest_name || !detail::find_sign(*name)) continue;
        if (outlines.size() == max_tensors) return false;
        outlines.push_back({*name, detail::outlined_dims(value)});
    }
    return !find_networks(outlines).empty();
}

/// Throws for a key where there are no dictionaries.
inline void check_no_key(std::string_view key) {
    if (key.empty()) return;
    throw error(error_kind::invalid_argument,
                {.problem =
                     "only PyTorch files have keys; of several networks in one file the prefix picks one (--prefix, in C++ "
                     "model_options::prefix)",
                 .found = "the key " + std::string(key)});
}

/// The content decides. Safetensors has no magic number, so it comes last, and its error is also that of unknown formats.
inline file_contents parse_checkpoint(std::span<const std::byte> bytes, std::string_view key) {
    const dictionary_choice choice{.key = key, .wanted = has_network};
    if (looks_like_legacy_pth(bytes)) return parse_legacy_pth(bytes, choice);
    if (looks_like_shard_index(bytes))
        throw error(error_kind::unsupported, "this is the index of a checkpoint in several files; open it by its path");
    if (!looks_like_safetensors(bytes))
        if (const char *const kind = foreign_kind(bytes)) throw error(error_kind::unsupported, "this is " + std::string(kind));
    if (looks_like_zip(bytes)) return parse_zip_pth(bytes, choice);
    check_no_key(key);
    return parse_safetensors(bytes);
}

} // namespace io

FASTVIT_FUNCTION checkpoint checkpoint::open(const std::filesystem::path &path, std::string_view key) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
        throw error(error_kind::io, {.problem = "this is " + io::kind_of_folder(path), .file = path.string()});
    auto file = std::make_shared<const platform::mapped_file>(path);
    if (io::looks_like_shard_index(file->bytes())) {
        try {
            io::check_no_key(key);
            return open_parts(path, file->bytes());
        } catch (const error &e) {
            throw e.in_file(path.string());
        }
    }
    checkpoint result = from_bytes(file->bytes(), path.string(), key);
    result.mappings_.push_back(std::move(file));
    return result;
}

FASTVIT_FUNCTION checkpoint checkpoint::from_bytes(std::span<const std::byte> bytes, std::string label, std::string_view key) {
    checkpoint result;
    try {
        io::file_contents contents = io::parse_checkpoint(bytes, key);
        result.tensors_ = std::move(contents.tensors);
        result.metadata_ = std::move(contents.metadata);
        result.key_ = std::move(contents.key);
    } catch (const error &e) {
        throw e.in_file(std::move(label));
    }
    result.file_ = std::move(label);
    result.size_in_bytes_ = bytes.size();
    result.sort_names();
    return result;
}

// The tensors that the index lists, from the files beside it, which must have no others: another program might use them.
FASTVIT_FUNCTION checkpoint checkpoint::open_parts(const std::filesystem::path &path, std::span<const std::byte> bytes) {
    const io::shard_index index = io::parse_shard_index(bytes);
    checkpoint result;
    result.file_ = path.string();
    result.size_in_bytes_ = bytes.size();
    for (std::size_t i = 0; i < index.files.size(); ++i) {
        const std::filesystem::path file = path.parent_path() / index.files[i];
        std::shared_ptr<const platform::mapped_file> mapping;
        try {
            mapping = std::make_shared<const platform::mapped_file>(file);
        } catch (const error &e) {
            error::parts p = e.details();
            p.problem += " (" + path.filename().string() + " lists it)";
            throw error(e.code(), std::move(p));
        }
        checkpoint part = from_bytes(mapping->bytes(), file.string());
        for (io::stored_tensor &t : part.tensors_) {
            const auto place = index.place.find(t.name);
            if (place == index.place.end() || place->second != i)
                throw error(
                    error_kind::unexpected_tensor,
                    {.problem = "the index does not list this tensor for this file", .tensor = t.name, .file = file.string()});
            result.tensors_.push_back(std::move(t));
        }
        result.metadata_.merge(part.metadata_);
        result.size_in_bytes_ += part.size_in_bytes_;
        result.mappings_.push_back(std::move(mapping));
    }
    result.sort_names();
    for (const auto &[tensor, file] : index.place)
        if (!result.find(tensor))
            throw error(
                error_kind::missing_tensor,
                {.problem = "this tensor is missing, although the index lists it in " + index.files[file], .tensor = tensor});
    return result;
}

FASTVIT_FUNCTION void checkpoint::sort_names() {
    by_name_.resize(tensors_.size());
    std::iota(by_name_.begin(), by_name_.end(), std::uint32_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return tensors_[a].name < tensors_[b].name; });
}

FASTVIT_FUNCTION void checkpoint::add(std::string name, tensor<float> values) {
    const auto place = lower_bound(name);
    if (place != by_name_.end() && tensors_[*place].name == name)
        throw error(error_kind::unexpected_tensor,
                    {.problem = "a tensor of this name is there already", .tensor = std::move(name), .file = file_});
    const auto kept = std::make_shared<const tensor<float>>(std::move(values));
    size_in_bytes_ += kept->span().size_bytes();
    const auto before = place - by_name_.begin();
    made_.push_back(kept);
    tensors_.push_back({.name = std::move(name),
                        .type = io::dtype::f32,
                        .type_name = std::string(to_string(io::dtype::f32)),
                        .dims = kept->dims(),
                        .strides = io::contiguous_strides(kept->dims()),
                        .bytes = std::as_bytes(kept->span())});
    by_name_.insert(by_name_.begin() + before, static_cast<std::uint32_t>(tensors_.size() - 1));
}

FASTVIT_FUNCTION const io::stored_tensor *checkpoint::find(std::string_view name) const &noexcept {
    const auto place = lower_bound(name);
    return place != by_name_.end() && tensors_[*place].name == name ? &tensors_[*place] : nullptr;
}

namespace io {

/// mapped_file::drop_pages() of those tensors that are in this file.
inline void drop_pages(const platform::mapped_file &file, std::vector<const stored_tensor *> read) {
    const std::less<> before;
    const std::byte *const first = file.bytes().data(), *const last = first + file.bytes().size();
    std::erase_if(read, [&](auto *t) { return before(t->bytes.data(), first) || !before(t->bytes.data(), last); });
    std::sort(read.begin(), read.end(), [&](auto *a, auto *b) { return before(a->bytes.data(), b->bytes.data()); });
    // Neighbours are dropped in one call, with what is between them: a call costs as much as several pages.
    constexpr std::ptrdiff_t near = 65536;
    for (std::size_t i = 0; i < read.size();) {
        const std::byte *const begin = read[i]->bytes.data(), *end = begin;
        for (; i < read.size() && read[i]->bytes.data() - end <= near; ++i)
            end = std::max(end, read[i]->bytes.data() + read[i]->bytes.size());
        file.drop_pages({begin, end});
    }
}

} // namespace io

FASTVIT_FUNCTION void checkpoint::drop_pages(const std::vector<const io::stored_tensor *> &read) const {
    for (const auto &mapping : mappings_) io::drop_pages(*mapping, read);
}

FASTVIT_FUNCTION std::vector<std::uint32_t>::const_iterator checkpoint::lower_bound(std::string_view name) const noexcept {
    return std::lower_bound(by_name_.begin(), by_name_.end(), name,
                            [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
}

}} // namespace fastvit::FASTVIT_ABI
