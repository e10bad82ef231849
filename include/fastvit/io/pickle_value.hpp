// SPDX-License-Identifier: MIT
// What a pickle holds, as plain data: nothing here can run, and a class is no more than its name.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

struct pickle_sequence;
struct pickle_dictionary;
struct pickle_global;
struct pickle_call;
struct pickle_reference;

/// None.
struct pickle_none {};
/// An integer that needs more than 64 bits: two's complement, little-endian.
struct pickle_long {
    std::span<const std::byte> digits;
};

/// Any value. Text, bytes and digits are views of the pickle's bytes; the pointers are to nodes of the pickle's arena. Values may
/// refer to one another in cycles and nest to any depth, so code that walks them must not recurse.
using pickle_value =
    std::variant<pickle_none, bool, std::int64_t, double, std::string_view, std::span<const std::byte>, pickle_long,
                 pickle_sequence *, pickle_dictionary *, const pickle_global *, const pickle_call *, const pickle_reference *>;

/// A list, tuple or set.
struct pickle_sequence {
    enum class kind : std::uint8_t { list, tuple, set };
    kind type = kind::list;
    std::vector<pickle_value> items;
};

/// A dict, or the OrderedDict that state dicts are. In file order; keys are not compared with each other.
struct pickle_dictionary {
    std::vector<std::pair<pickle_value, pickle_value>> items;
};

/// A class or function: its name only.
struct pickle_global {
    std::string_view module;
    std::string_view name;

    bool is(std::string_view wanted_module, std::string_view wanted_name) const noexcept {
        return module == wanted_module && name == wanted_name;
    }
};

/// What Python would make by calling a class or function. It is never called; what is done to the result afterwards (items put
/// into it, its state) is dropped.
struct pickle_call {
    const pickle_global *function = nullptr;
    const pickle_sequence *arguments = nullptr; ///< a tuple
};

/// An object that the pickle refers to by a persistent id, such as PyTorch's storages.
struct pickle_reference {
    pickle_value id;
};

/// The alternative of that type, a node by its pointer; nullptr if the value is of another kind.
template <class T> const T *pickle_get(const pickle_value &value) noexcept {
    if constexpr (std::is_same_v<T, pickle_sequence> || std::is_same_v<T, pickle_dictionary>) {
        T *const *node = std::get_if<T *>(&value);
        return node != nullptr ? *node : nullptr;
    } else if constexpr (std::is_same_v<T, pickle_global> || std::is_same_v<T, pickle_call> ||
                         std::is_same_v<T, pickle_reference>) {
        const T *const *node = std::get_if<const T *>(&value);
        return node != nullptr ? *node : nullptr;
    } else {
        return std::get_if<T>(&value);
    }
}

/// The items of a tuple, also of one that was made into a torch.Size; nullptr for anything else.
inline const std::vector<pickle_value> *pickle_tuple(const pickle_value &value) noexcept {
    const pickle_value *inner = &value;
    if (const auto *call = pickle_get<pickle_call>(value);
        call != nullptr && call->function->is("torch", "Size") && call->arguments->items.size() == 1)
        inner = &call->arguments->items[0];
    const auto *sequence = pickle_get<pickle_sequence>(*inner);
    return sequence != nullptr && sequence->type == pickle_sequence::kind::tuple ? &sequence->items : nullptr;
}

/// `module.name`, cut to a length that messages can take: a file may repeat one long name many times.
inline std::string to_string(const pickle_global &global) {
    constexpr std::size_t enough = 100;
    return std::string(global.module.substr(0, enough)) + "." + std::string(global.name.substr(0, enough));
}

/// What a value is, in a few words, for messages.
inline std::string describe(const pickle_value &value) {
    constexpr std::array<std::string_view, std::variant_size_v<pickle_value>> names{
        "None",           "a boolean",  "an integer",   "a number", "a string",  "bytes",
        "a long integer", "a sequence", "a dictionary", "a class",  "an object", "a persistent id"};
    const auto *call = pickle_get<pickle_call>(value);
    return std::string(names[value.index()]) + (call != nullptr ? " of " + to_string(*call->function) : "");
}

/// Counts down the memory that parsing may take, since a byte of a pickle can ask for fifty.
class memory_budget {
  public:
    explicit memory_budget(std::size_t bytes) noexcept : left_(bytes) {}
    /// Throws `bad_format` if less is left.
    void spend(std::size_t bytes) {
        if (bytes > left_) throw error(error_kind::bad_format, "the pickle would need more memory than its size allows");
        left_ -= bytes;
    }

  private:
    std::size_t left_;
};

}}} // namespace fastvit::FASTVIT_ABI::io
