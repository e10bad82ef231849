// SPDX-License-Identifier: MIT
// Named tensors and metadata, from a file of any format that the library reads or made in memory.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/pth.hpp"
#include "fastvit/io/safetensors.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/platform/mapped_file.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Named tensors and string metadata, wherever they came from. A file stays mapped, and tensors made in memory stay alive, as
/// long as any copy of the checkpoint does; copies share them. Reading one from several threads at a time is safe.
class checkpoint {
  public:
    /// Empty, to be filled with add() and set_metadata().
    checkpoint() = default;

    /// Maps and parses a file, safetensors or PyTorch's; its content decides which, not its name. Of a PyTorch file the tensors
    /// are those of the state dict, and they may be strided and share bytes. Elements are converted only when they are read.
    /// Throws `io`, `bad_format`, `unsupported` or `unexpected_tensor` (a name that is there twice); the error names the file.
    static checkpoint open(const std::filesystem::path &path) {
        auto file = std::make_shared<const mapped_file>(path);
        checkpoint result = from_bytes(file->bytes(), path.string());
        result.mapping_ = std::move(file);
        return result;
    }

    /// Parses a file that is in memory. `bytes` is not copied: it must outlive the checkpoint, its copies and what find()
    /// returned. `label` stands for the file's name in messages. Throws like open().
    static checkpoint from_bytes(std::span<const std::byte> bytes, std::string label) {
        checkpoint result;
        try {
            file_contents contents = parse(bytes);
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

    /// Adds a tensor at the end and keeps it alive. Throws `unexpected_tensor` if the name is taken. Pointers from find() and
    /// tensors() are invalid afterwards.
    void add(std::string name, tensor<float> values) {
        const auto place = lower_bound(name);
        if (place != by_name_.end() && tensors_[*place].name == name)
            throw error(error_kind::unexpected_tensor,
                        {.problem = "the tensor is there already", .tensor = std::move(name), .file = file_});
        const auto kept = std::make_shared<const tensor<float>>(std::move(values));
        size_in_bytes_ += kept->span().size_bytes();
        by_name_.insert(place, static_cast<std::uint32_t>(tensors_.size()));
        tensors_.push_back({.name = std::move(name),
                            .type = dtype::f32,
                            .type_name = std::string(to_string(dtype::f32)),
                            .dims = kept->dims(),
                            .strides = contiguous_strides(kept->dims()),
                            .bytes = std::as_bytes(kept->span())});
        made_.push_back(kept);
    }

    /// All tensors, in file order.
    const std::vector<stored_tensor> &tensors() const noexcept { return tensors_; }

    /// The tensor of that name; nullptr if there is none.
    const stored_tensor *find(std::string_view name) const noexcept {
        const auto place = lower_bound(name);
        return place != by_name_.end() && tensors_[*place].name == name ? &tensors_[*place] : nullptr;
    }

    const string_map &metadata() const noexcept { return metadata_; }
    /// Replaces the value if the key is there.
    void set_metadata(std::string key, std::string value) { metadata_.insert_or_assign(std::move(key), std::move(value)); }

    /// The file's path, or the label given; empty for a checkpoint made in memory. For messages.
    const std::string &file() const noexcept { return file_; }
    /// mapped_file::drop_pages() of these tensors, if they are the file's.
    void drop_pages(std::vector<const stored_tensor *> read) const {
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
    /// Of the file, and of the tensors made in memory.
    std::size_t size_in_bytes() const noexcept { return size_in_bytes_; }

  private:
    // Safetensors has no magic number, so it comes last, and its error speaks for whatever is none of the three.
    static file_contents parse(std::span<const std::byte> bytes) {
        if (looks_like_zip(bytes)) return parse_zip_pth(bytes);
        if (looks_like_legacy_pth(bytes)) return parse_legacy_pth(bytes);
        return parse_safetensors(bytes);
    }

    std::vector<std::uint32_t>::const_iterator lower_bound(std::string_view name) const noexcept {
        return std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
    }

    std::vector<stored_tensor> tensors_;
    // The positions in tensors_, sorted by name. Not a hash table: a file's author could make all names of one collide, copying a
    // table of views into strings would leave them dangling, and one of strings would hold every name twice.
    std::vector<std::uint32_t> by_name_;
    string_map metadata_;
    std::string file_;
    std::size_t size_in_bytes_ = 0;
    std::shared_ptr<const mapped_file> mapping_;
    std::vector<std::shared_ptr<const tensor<float>>> made_;
};

}}} // namespace fastvit::FASTVIT_ABI::io
