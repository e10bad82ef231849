// SPDX-License-Identifier: MIT
// Named tensors and metadata, from a file of any format that the library reads or made in memory.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/tensor.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {

namespace platform {
class mapped_file;
} // namespace platform

/// Named tensors and string metadata, wherever they came from. A file stays mapped, and tensors made in memory stay alive, as
/// long as any copy of the checkpoint does; copies share them. Reading one from several threads at a time is safe.
class checkpoint {
  public:
    /// Empty, to be filled with add() and set_metadata().
    checkpoint() = default;

    /// Maps and parses a file: safetensors, PyTorch's, or an index (model.safetensors.index.json) with the files it lists, which
    /// are in its folder or below (links are followed). The content decides which, not the name. The tensors of a PyTorch file
    /// are those of one dictionary, the one at `key` or the one in which io::find_state_dict() finds a FastViT; they may be
    /// strided and share bytes. Elements are converted only when they are read. Throws `io`, `bad_format`, `unsupported` (also if
    /// several keys have a network), `unexpected_tensor` (a duplicate name), `missing_tensor` (the index lists it, its file lacks
    /// it) or `invalid_argument` (no such key); the error names the file.
    [[nodiscard]] static checkpoint open(const std::filesystem::path &path, std::string_view key = {});

    /// Parses a file that is in memory. `bytes` is not copied: it must outlive the checkpoint, its copies and what find()
    /// returned. `label` is the file's name in messages. Throws like open().
    [[nodiscard]] static checkpoint from_bytes(std::span<const std::byte> bytes, std::string label, std::string_view key = {});
    template <class T> static checkpoint from_bytes(std::vector<T> &&temporary, std::string, std::string_view = {}) = delete;

    /// Adds a tensor at the end and keeps it alive. Throws `unexpected_tensor` if the name is taken. Pointers from find() and
    /// tensors() are invalid afterwards.
    void add(std::string name, tensor<float> values);

    /// All tensors, in file order. io::read_float() gives a tensor's numbers.
    [[nodiscard]] const std::vector<io::stored_tensor> &tensors() const &noexcept { return tensors_; }

    /// The tensor of that name; nullptr if there is none.
    [[nodiscard]] const io::stored_tensor *find(std::string_view name) const &noexcept;

    [[nodiscard]] const io::string_map &metadata() const &noexcept { return metadata_; }
    /// Replaces the value if the key is there.
    void set_metadata(std::string key, std::string value) { metadata_.insert_or_assign(std::move(key), std::move(value)); }

    /// The file's path, or the label given; empty for a checkpoint made in memory. For messages.
    [[nodiscard]] const std::string &file() const &noexcept { return file_; }
    /// The key of the dictionary in a PyTorch file that the tensors come from: `model_ema`, or `checkpoint.model` if it is
    /// nested; empty if that is the whole file, and for other files.
    [[nodiscard]] const std::string &key() const &noexcept { return key_; }
    /// Takes the pages of these tensors, if they are a file's, out of the process's memory; reading them again maps them again.
    void drop_pages(const std::vector<const io::stored_tensor *> &read) const;
    /// Bytes of the files, and of the tensors made in memory.
    [[nodiscard]] std::size_t size_in_bytes() const noexcept { return size_in_bytes_; }

    // Not for a temporary: the results would dangle.
    void tensors() const && = delete;
    void find(std::string_view name) const && = delete;
    void metadata() const && = delete;
    void file() const && = delete;
    void key() const && = delete;

  private:
    static checkpoint open_parts(const std::filesystem::path &path, std::span<const std::byte> index);
    void sort_names();
    std::vector<std::uint32_t>::const_iterator lower_bound(std::string_view name) const noexcept;

    std::vector<io::stored_tensor> tensors_;
    // The positions in tensors_, sorted by name. Not a hash table: a file's author could make all names of one collide, copying a
    // table of views into strings would leave them dangling, and one of strings would hold every name twice.
    std::vector<std::uint32_t> by_name_;
    io::string_map metadata_;
    std::string file_, key_;
    std::size_t size_in_bytes_ = 0;
    std::vector<std::shared_ptr<const platform::mapped_file>> mappings_; // one, or those of the files that an index lists
    std::vector<std::shared_ptr<const tensor<float>>> made_;
};

}} // namespace fastvit::FASTVIT_ABI

#if !defined(FASTVIT_COMPILED)
#include "fastvit/impl/checkpoint.hpp"
#endif
