// SPDX-License-Identifier: MIT
// Reading Python pickles, protocols 2 to 5, without Python: a stack machine that builds plain data and runs nothing.
// https://github.com/python/cpython/blob/main/Lib/pickletools.py describes the opcodes.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/byte_reader.hpp"
#include "fastvit/io/pickle_value.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// One pickle and all that it holds. Not copyable: the values point into it.
class pickle {
  public:
    /// Parses the pickle at the front of `bytes`, which must outlive this object; what follows it is not looked at. Memory is
    /// taken from `budget`. Throws `bad_format`, and `unsupported` for opcodes that no PyTorch file has.
    pickle(std::span<const std::byte> bytes, memory_budget &budget) : in_(bytes, "the pickle"), budget_(&budget) {
        if (in_.number<std::uint8_t>() != proto) throw wrong("it does not begin with its protocol");
        const auto protocol = in_.number<std::uint8_t>();
        if (protocol < 2 || protocol > 5)
            throw error(error_kind::unsupported,
                        {.problem = "the pickle's protocol", .expected = "2 to 5", .found = std::to_string(protocol)});
        for (auto code = in_.number<std::uint8_t>(); code != stop; code = in_.number<std::uint8_t>()) run(code);
        if (stack_.size() != 1 || !marks_.empty()) throw wrong("it does not end with one value");
        root_ = stack_[0];
    }
    pickle(const pickle &) = delete;
    pickle &operator=(const pickle &) = delete;

    const pickle_value &root() const noexcept { return root_; }
    /// All persistent ids, in file order.
    const std::deque<pickle_reference> &references() const noexcept { return references_; }
    /// How many bytes the pickle takes.
    std::size_t size() const noexcept { return in_.position(); }

  private:
    enum opcode : std::uint8_t {
        mark = '(',
        stop = '.',
        pop = '0',
        pop_mark = '1',
        none = 'N',
        new_true = 0x88,
        new_false = 0x89,
        bin_int = 'J',
        bin_int1 = 'K',
        bin_int2 = 'M',
        long1 = 0x8a,
        long4 = 0x8b,
        bin_float = 'G',
        bin_unicode = 'X',
        short_bin_unicode = 0x8c,
        bin_unicode8 = 0x8d,
        bin_string = 'T',
        short_bin_string = 'U',
        bin_bytes = 'B',
        short_bin_bytes = 'C',
        bin_bytes8 = 0x8e,
        bytearray8 = 0x96,
        empty_list = ']',
        append = 'a',
        appends = 'e',
        empty_tuple = ')',
        tuple = 't',
        tuple1 = 0x85,
        tuple2 = 0x86,
        tuple3 = 0x87,
        empty_dict = '}',
        set_item = 's',
        set_items = 'u',
        empty_set = 0x8f,
        add_items = 0x90,
        frozen_set = 0x91,
        bin_put = 'q',
        long_bin_put = 'r',
        memoize = 0x94,
        bin_get = 'h',
        long_bin_get = 'j',
        global = 'c',
        stack_global = 0x93,
        reduce = 'R',
        new_object = 0x81,
        new_object_ex = 0x92,
        build = 'b',
        bin_persistent_id = 'Q',
        proto = 0x80,
        frame = 0x95,
    };

    // The stack of an ordinary pickle is a few thousand deep: Python writes containers in batches of 1000.
    static constexpr std::size_t deepest_stack = 65536;
    static constexpr std::size_t deepest_marks = 1000;

    error wrong(std::string problem) const {
        return {error_kind::bad_format, "bad pickle at byte " + std::to_string(in_.position()) + ": " + std::move(problem)};
    }

    void run(std::uint8_t code) {
        switch (code) {
        case mark: return push_mark();
        case pop: return drop();
        case pop_mark: return stack_.resize(pop_to_mark());
        case none: return push(pickle_none{});
        case new_true: return push(true);
        case new_false: return push(false);
        case bin_int: return push(std::int64_t{in_.number<std::int32_t>()});
        case bin_int1: return push(std::int64_t{in_.number<std::uint8_t>()});
        case bin_int2: return push(std::int64_t{in_.number<std::uint16_t>()});
        case long1: return push_long(in_.bytes(in_.number<std::uint8_t>()));
        case long4: return push_long(in_.bytes(in_.number<std::uint32_t>()));
        case bin_float: return push(read_big_endian_double());
        case bin_unicode:
        case bin_string: return push(in_.text(in_.number<std::uint32_t>()));
        case short_bin_unicode:
        case short_bin_string: return push(in_.text(in_.number<std::uint8_t>()));
        case bin_unicode8: return push(in_.text(in_.number<std::uint64_t>()));
        case bin_bytes: return push(in_.bytes(in_.number<std::uint32_t>()));
        case short_bin_bytes: return push(in_.bytes(in_.number<std::uint8_t>()));
        case bin_bytes8:
        case bytearray8: return push(in_.bytes(in_.number<std::uint64_t>()));
        case empty_list: return push_sequence(pickle_sequence::kind::list, stack_.size());
        case empty_tuple: return push_sequence(pickle_sequence::kind::tuple, stack_.size());
        case empty_set: return push_sequence(pickle_sequence::kind::set, stack_.size());
        case tuple: return push_sequence(pickle_sequence::kind::tuple, pop_to_mark());
        case tuple1: return push_sequence(pickle_sequence::kind::tuple, below_top(1));
        case tuple2: return push_sequence(pickle_sequence::kind::tuple, below_top(2));
        case tuple3: return push_sequence(pickle_sequence::kind::tuple, below_top(3));
        case frozen_set: return push_sequence(pickle_sequence::kind::set, pop_to_mark());
        case append: return add_to_sequence(below_top(1));
        case appends:
        case add_items: return add_to_sequence(pop_to_mark());
        case empty_dict: return push(make<pickle_dictionary>(dictionaries_));
        case set_item: return add_to_dictionary(below_top(2));
        case set_items: return add_to_dictionary(pop_to_mark());
        case bin_put: return put(in_.number<std::uint8_t>());
        case long_bin_put: return put(in_.number<std::uint32_t>());
        case memoize: return put(memo_.size());
        case bin_get: return get(in_.number<std::uint8_t>());
        case long_bin_get: return get(in_.number<std::uint32_t>());
        case global: return push_global();
        case stack_global: return push_stack_global();
        case reduce:
        case new_object: return call();
        case new_object_ex: drop(); return call(); // without the keyword arguments
        case build: return build_state();
        case bin_persistent_id: return push(make<pickle_reference>(references_, take()));
        // A frame only groups what follows for reading ahead.
        case frame: in_.number<std::uint64_t>(); return;
        default: break;
        }
        throw error(error_kind::unsupported, {.problem = "bad pickle at byte " + std::to_string(in_.position() - 1),
                                              .expected = "an opcode that PyTorch files have",
                                              .found = std::to_string(code)});
    }

    // --- the stack

    // Twice the size, because a vector that grows has up to as much room again.
    static constexpr std::size_t item_cost = 2 * sizeof(pickle_value);

    void push(pickle_value value) {
        if (stack_.size() == deepest_stack) throw wrong("the stack is too deep");
        stack_.push_back(value);
    }
    void push_mark() {
        if (marks_.size() == deepest_marks) throw wrong("too many marks are nested");
        marks_.push_back(stack_.size());
    }
    // The position of the first of the top `count` values. Those below the last mark cannot be reached.
    std::size_t below_top(std::size_t count) const {
        if (count > stack_.size() - (marks_.empty() ? 0 : marks_.back())) throw wrong("the stack has too few values");
        return stack_.size() - count;
    }
    // The position of the first value above the last mark, which is removed.
    std::size_t pop_to_mark() {
        if (marks_.empty()) throw wrong("there is no mark");
        const std::size_t first = marks_.back();
        marks_.pop_back();
        return first;
    }
    pickle_value take() {
        const pickle_value value = stack_[below_top(1)];
        stack_.pop_back();
        return value;
    }
    void drop() { stack_.resize(below_top(1)); }
    // The value below those from `first` on.
    pickle_value &target(std::size_t first) {
        if (first == (marks_.empty() ? 0 : marks_.back())) throw wrong("there is nothing to put the values into");
        return stack_[first - 1];
    }

    // --- values

    template <class Node, class... Arguments> Node *make(std::deque<Node> &arena, Arguments... arguments) {
        budget_->spend(sizeof(Node));
        return &arena.emplace_back(Node{arguments...});
    }

    void push_long(std::span<const std::byte> digits) {
        if (digits.size() > sizeof(std::int64_t)) return push(pickle_long{digits});
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < digits.size(); ++i) value |= std::to_integer<std::uint64_t>(digits[i]) << (8 * i);
        // The sign is that of the last byte.
        const std::size_t missing = 64 - 8 * digits.size();
        const bool empty = digits.empty();
        push(empty ? std::int64_t{0} : static_cast<std::int64_t>(value << missing) >> missing);
    }

    double read_big_endian_double() {
        std::uint64_t bits = 0;
        for (const std::byte b : in_.bytes(sizeof bits)) bits = bits << 8 | std::to_integer<std::uint64_t>(b);
        return std::bit_cast<double>(bits);
    }

    // Of the values from `first` on.
    void push_sequence(pickle_sequence::kind type, std::size_t first) {
        auto *sequence = make<pickle_sequence>(sequences_);
        sequence->type = type;
        move_items(*sequence, first);
        push(sequence);
    }
    void move_items(pickle_sequence &sequence, std::size_t first) {
        budget_->spend((stack_.size() - first) * item_cost);
        sequence.items.insert(sequence.items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
        stack_.resize(first);
    }
    void add_to_sequence(std::size_t first) {
        const pickle_value &to = target(first);
        if (auto *const *sequence = std::get_if<pickle_sequence *>(&to);
            sequence != nullptr && (*sequence)->type != pickle_sequence::kind::tuple)
            return move_items(**sequence, first);
        if (pickle_get<pickle_call>(to) == nullptr) throw wrong("values are added to " + describe(to));
        stack_.resize(first);
    }
    void add_to_dictionary(std::size_t first) {
        const pickle_value &to = target(first);
        if ((stack_.size() - first) % 2 != 0) throw wrong("a dictionary's key has no value");
        if (auto *const *dictionary = std::get_if<pickle_dictionary *>(&to)) {
            budget_->spend((stack_.size() - first) * item_cost);
            for (std::size_t i = first; i < stack_.size(); i += 2) (*dictionary)->items.emplace_back(stack_[i], stack_[i + 1]);
        } else if (pickle_get<pickle_call>(to) == nullptr) {
            throw wrong("items are set in " + describe(to));
        }
        stack_.resize(first);
    }

    void push_global() {
        const std::string_view module = in_.line();
        const std::string_view name = in_.line();
        push(static_cast<const pickle_global *>(make<pickle_global>(globals_, module, name)));
    }
    void push_stack_global() {
        const pickle_value name = take();
        const pickle_value module = take();
        const auto *name_text = pickle_get<std::string_view>(name);
        const auto *module_text = pickle_get<std::string_view>(module);
        if (name_text == nullptr || module_text == nullptr) throw wrong("a class's name is not a string");
        push(static_cast<const pickle_global *>(make<pickle_global>(globals_, *module_text, *name_text)));
    }

    // The one call that has a meaning here is that of OrderedDict, because items are put into the result.
    void call() {
        const pickle_value arguments = take();
        const pickle_value callee = take();
        const auto *tuple_items = pickle_get<pickle_sequence>(arguments);
        if (tuple_items == nullptr || tuple_items->type != pickle_sequence::kind::tuple)
            throw wrong("arguments are " + describe(arguments) + ", not a tuple");
        const auto *function = pickle_get<pickle_global>(callee);
        if (const auto *made = pickle_get<pickle_call>(callee)) function = made->function; // such as functools.partial
        if (function == nullptr) throw wrong(describe(callee) + " is called");
        if (function->is("collections", "OrderedDict") && tuple_items->items.empty())
            return push(make<pickle_dictionary>(dictionaries_));
        push(static_cast<const pickle_call *>(make<pickle_call>(calls_, function, tuple_items)));
    }

    // An OrderedDict's state is the attribute _metadata, an object's are its fields: nothing that is needed.
    void build_state() {
        take();
        const pickle_value &to = stack_[below_top(1)];
        if (pickle_get<pickle_call>(to) == nullptr && pickle_get<pickle_dictionary>(to) == nullptr)
            throw wrong("a state is given to " + describe(to));
    }

    // --- the memo

    void put(std::size_t key) {
        // Pickle writers count keys up from 0 or 1, and each takes an opcode.
        if (key > in_.position()) throw wrong("the memo's key " + std::to_string(key) + " is out of proportion");
        const pickle_value &value = stack_[below_top(1)];
        if (key >= memo_.size()) {
            budget_->spend((key + 1 - memo_.size()) * 2 * sizeof(std::optional<pickle_value>));
            memo_.resize(key + 1);
        }
        memo_[key] = value;
    }
    void get(std::size_t key) {
        if (key >= memo_.size() || !memo_[key]) throw wrong("the memo has no key " + std::to_string(key));
        push(*memo_[key]);
    }

    byte_reader in_;
    memory_budget *budget_;
    std::vector<pickle_value> stack_;
    std::vector<std::size_t> marks_;
    std::vector<std::optional<pickle_value>> memo_;
    // The arena: nodes stay where they are, and go all at once, without recursion.
    std::deque<pickle_sequence> sequences_;
    std::deque<pickle_dictionary> dictionaries_;
    std::deque<pickle_global> globals_;
    std::deque<pickle_call> calls_;
    std::deque<pickle_reference> references_;
    pickle_value root_;
};

}}} // namespace fastvit::FASTVIT_ABI::io
