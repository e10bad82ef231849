// SPDX-License-Identifier: MIT
// The tensors of the state dict in a PyTorch pickle, whichever container the pickle and the storages came in.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/dtype.hpp"
#include "fastvit/io/pickle_value.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/io/torch_dictionaries.hpp"
#include "fastvit/io/torch_storage.hpp"
#include "fastvit/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Finds the bytes of a storage: count elements or more, before offset and length are applied. Throws if it is not in the file or
/// too short.
using torch_storage_source = std::function<std::span<const std::byte>(const torch_storage_id &)>;

namespace detail {

/// A tuple of natural numbers, as sizes and strides are.
inline std::vector<index_type> read_naturals(const pickle_value &value, const std::string &tensor, const char *what) {
    const auto wrong = [&](std::string found) {
        return error(error_kind::bad_format,
                     {.problem = std::string("the tensor's ") + what + " are wrong",
                      .expected = "a tuple of up to " + std::to_string(shape::max_rank) + " natural numbers",
                      .found = std::move(found),
                      .tensor = tensor});
    };
    const auto *items = pickle_tuple(value);
    if (items == nullptr) throw wrong(describe(value));
    if (items->size() > shape::max_rank) throw wrong(std::to_string(items->size()) + " of them");
    std::vector<index_type> result;
    for (const pickle_value &item : *items) {
        const auto number = natural(item);
        if (!number) throw wrong(describe(item) + " that is not natural");
        result.push_back(static_cast<index_type>(*number));
    }
    return result;
}

/// The last argument of a tensor: None, or a dict of what its elements do not show. Throws `unsupported` for a view that stands
/// for its elements' negatives or conjugates (torch.Tensor.is_neg, is_conj).
inline void check_metadata(const pickle_value &metadata, const std::string &name) {
    const auto *const items = pickle_get<pickle_dictionary>(metadata);
    if (items == nullptr) return;
    for (const auto &[key, value] : items->items) {
        const auto *const word = pickle_get<std::string_view>(key);
        const bool *const set = pickle_get<bool>(value);
        if (word != nullptr && (*word == "neg" || *word == "conj") && !(set != nullptr && !*set))
            throw error(error_kind::unsupported, {.problem = "the tensor is a view with the bit " + std::string(*word) +
                                                             ", whose elements are not what its storage has",
                                                  .tensor = name});
    }
}

/// The sizes of a tensor as far as they make sense; no dimensions otherwise: nothing is refused before it is read.
inline shape outlined_dims(const pickle_value &value) {
    const auto *const arguments = tensor_arguments(value);
    if (arguments == nullptr || arguments->size() < 3) return {};
    const auto *const items = pickle_tuple((*arguments)[2]);
    if (items == nullptr || items->size() > shape::max_rank) return {};
    std::array<index_type, shape::max_rank> dims{};
    for (std::size_t i = 0; i < items->size(); ++i) {
        const auto number = natural((*items)[i]);
        if (!number) return {};
        dims[i] = static_cast<index_type>(*number);
    }
    try {
        return shape(std::span(dims).first(items->size()));
    } catch (const error &) { // the product overflows
        return {};
    }
}

/// A view of a storage, from (storage, offset, size, stride, requires_grad, backward_hooks[, metadata]).
inline stored_tensor rebuild_tensor(std::string name, const std::vector<pickle_value> &arguments,
                                    const torch_storage_source &find) {
    const auto wrong = [&](std::string problem, std::string expected, std::string found) {
        return error(error_kind::bad_format,
                     {.problem = std::move(problem), .expected = std::move(expected), .found = std::move(found), .tensor = name});
    };
    if (arguments.size() != 6 && arguments.size() != 7)
        throw wrong("the tensor has a wrong number of arguments", "6 or 7", std::to_string(arguments.size()));
    if (arguments.size() == 7) check_metadata(arguments[6], name);
    const auto *reference = pickle_get<pickle_reference>(arguments[0]);
    if (reference == nullptr) throw wrong("the tensor has no storage", "a persistent id", describe(arguments[0]));
    const auto offset = natural(arguments[1]);
    if (!offset) throw wrong("the tensor's offset is wrong", "a natural number", describe(arguments[1]) + " that is not natural");
    const std::vector<index_type> dims = read_naturals(arguments[2], name, "sizes");
    const std::vector<index_type> strides = read_naturals(arguments[3], name, "strides");
    if (dims.size() != strides.size())
        throw wrong("the tensor's strides do not fit its sizes", std::to_string(dims.size()), std::to_string(strides.size()));

    const torch_storage_id storage = read_storage_id(reference->id);
    stored_tensor result{.name = name,
                         .type = storage.type.type,
                         .type_name = "torch." + std::string(storage.type.name),
                         .dims = checked_shape(dims, name),
                         .strides = {},
                         .bytes = {}};
    std::copy(strides.begin(), strides.end(), result.strides.begin());
    const auto span = spanned(result.dims, result.strides);
    if (!span || *offset > storage.length || static_cast<std::uint64_t>(*span) > storage.length - *offset)
        throw wrong("the tensor reaches outside its storage", std::to_string(storage.length) + " elements",
                    "offset " + std::to_string(*offset) + ", size " + result.dims.to_string() + ", strides " +
                        (strides.empty() ? "" : std::to_string(strides[0])) + (strides.size() > 1 ? ", .." : ""));
    // The source has checked that count elements are there, and offset + length is within them.
    const std::uint64_t begin = (storage.offset + *offset) * storage.type.size;
    result.bytes = find(storage).subspan(static_cast<std::size_t>(begin),
                                         static_cast<std::size_t>(static_cast<std::uint64_t>(*span) * storage.type.size));
    return result;
}

} // namespace detail

/// The tensors of a state dict, in file order, with their names as they are. Values that are no tensors are left out, except
/// inert objects with a dot in their name, like a network's parameters: they may be tensors of a kind that is not read. They are
/// `other`, so that reading one is an error that names it. (Names without a dot are, for instance, the arguments of the
/// training.) `most_bytes` limits what all tensors would take as float32: many views of one storage can make a small file a huge
/// network. Throws `bad_format`, `unsupported`, and `unexpected_tensor` for a name that is there twice.
inline std::vector<stored_tensor> read_state_dict(const pickle_dictionary &dictionary, const torch_storage_source &find,
                                                  std::uint64_t most_bytes) {
    struct candidate {
        std::string_view name;
        const pickle_value *value;
    };
    std::vector<candidate> candidates;
    for (const auto &[key, value] : dictionary.items) {
        const auto *name = pickle_get<std::string_view>(key);
        if (detail::tensor_arguments(value) == nullptr) {
            const bool inert = pickle_get<pickle_call>(value) != nullptr;
            if (!inert || name == nullptr || name->find('.') == std::string_view::npos) continue;
        } else if (name == nullptr) {
            throw error(error_kind::bad_format,
                        {.problem = "a tensor's name is wrong", .expected = "a string", .found = describe(key)});
        }
        check_name_length(*name);
        if (candidates.size() == max_tensors)
            throw error(error_kind::bad_format, "the file has more than " + std::to_string(max_tensors) + " tensors");
        candidates.push_back({*name, &value});
    }
    std::vector<std::string_view> names;
    names.reserve(candidates.size());
    for (const candidate &c : candidates) names.push_back(c.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
        throw error(error_kind::unexpected_tensor, {.problem = "the tensor is in the file twice", .tensor = std::string(*twice)});

    std::vector<stored_tensor> result;
    result.reserve(candidates.size());
    std::uint64_t left = most_bytes;
    for (const candidate &c : candidates) {
        const auto *arguments = detail::tensor_arguments(*c.value);
        if (arguments == nullptr) {
            result.push_back({.name = std::string(c.name),
                              .type = dtype::other,
                              .type_name = describe(*c.value),
                              .dims = {},
                              .strides = {},
                              .bytes = {}});
            continue;
        }
        result.push_back(detail::rebuild_tensor(std::string(c.name), *arguments, find));
        const stored_tensor &t = result.back();
        const std::uint64_t size = is_floating(t.type) ? sizeof(float) : 1;
        const auto count = static_cast<std::uint64_t>(t.dims.count());
        if (count > left / size)
            throw error(error_kind::bad_format, {.problem = "the tensors are too large for the file",
                                                 .expected = "at most " + std::to_string(most_bytes) + " bytes in all",
                                                 .found = t.dims.to_string(),
                                                 .tensor = t.name});
        left -= count * size;
    }
    return result;
}

}}} // namespace fastvit::FASTVIT_ABI::io
