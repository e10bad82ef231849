// SPDX-License-Identifier: MIT
// Zip archives and pickles written by hand, right or wrong as a test needs them.
#pragma once

#include "support/io_test_files.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace io_test {

using named_data = std::vector<std::pair<std::string, std::string>>;

struct zip_options {
    bool descriptors = false; ///< checksum and sizes after the data, as PyTorch writes them
    bool zip64_end = false;   ///< a zip64 end record beside the short one
    bool zip64_sizes = false; ///< sizes and offsets in zip64 fields, and the wide descriptor
    std::string comment = {};
    std::string hidden = {};       ///< bytes of no entry
    std::size_t hidden_before = 0; ///< the number of the entry that they come before; that of all, for the directory
};

/// An archive and where its parts are, so that a test can change a field.
struct built_zip {
    std::string file = {};
    std::vector<std::size_t> local = {};
    std::vector<std::size_t> data = {};
    std::vector<std::size_t> central = {};
    std::size_t end64 = 0;
    std::size_t locator = 0;
    std::size_t end = 0;

    template <class T> built_zip &set(std::size_t at, T value) {
        std::memcpy(file.data() + at, &value, sizeof value);
        return *this;
    }
};

built_zip build_zip(const named_data &entries, const zip_options &options = {});

/// Pieces of pickles: each pushes one value.
namespace pk {

inline const std::string proto2 = "\x80\x02";

std::string text(std::string_view s);
std::string integer(std::int64_t value);
std::string global(std::string_view module, std::string_view name);
std::string join(std::initializer_list<std::string> parts);
std::string tuple(std::initializer_list<std::string> items);
std::string list(std::initializer_list<std::string> items);
std::string dict(std::initializer_list<std::string> keys_and_values);
std::string ordered_dict(std::initializer_list<std::string> keys_and_values);
std::string call(const std::string &function, std::initializer_list<std::string> arguments);
std::string integers(std::initializer_list<std::int64_t> values);

/// A persistent id of a storage.
std::string storage(std::string_view type, std::string_view key, std::int64_t count);
/// The same as before PyTorch 1.6, with a view or None.
std::string legacy_storage(std::string_view type, std::string_view key, std::int64_t count, const std::string &view = "N");
std::string tensor(const std::string &storage, std::int64_t offset, std::initializer_list<std::int64_t> dims,
                   std::initializer_list<std::int64_t> strides);

} // namespace pk

/// A file of torch.save: `object` is the pickle without its protocol and stop.
std::string torch_zip(const std::string &object, const named_data &storages,
                      const zip_options &options = {.descriptors = true, .zip64_end = true});

inline const std::string legacy_magic = pk::proto2 + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
inline const std::string legacy_protocol = pk::proto2 + "M" + number<std::uint16_t>(1001) + ".";
std::string legacy_system(const std::string &little_endian = "\x88");

/// The list of keys and the data of each: a count of elements, then the elements.
std::string legacy_storages(const std::vector<std::pair<std::string, std::string>> &keys_and_data, std::size_t element_size = 4);

/// A file of torch.save before 1.6, of storages with elements of 4 bytes.
std::string torch_legacy(const std::string &object, const named_data &storages);

} // namespace io_test
