// SPDX-License-Identifier: MIT
#include "fastvit/io/pickle.hpp"

#include "support/pth_test_files.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

using fastvit::error_kind;
using namespace fastvit::io;
using namespace std::string_literals;
using io_test::expect_error;
using io_test::number;
namespace pk = io_test::pk;

// A pickle with its bytes, in a buffer of exactly their size.
struct parsed {
    explicit parsed(const std::string &file, std::size_t memory = 1 << 20)
        : bytes(file.begin(), file.end()), budget(memory), contents(std::as_bytes(std::span(bytes)), budget) {}
    std::vector<char> bytes;
    memory_budget budget;
    pickle contents;
};

parsed value(const std::string &opcodes) { return parsed(pk::proto2 + opcodes + ".", 32 << 20); }

template <class T> T scalar(const std::string &opcodes) {
    const parsed p = value(opcodes);
    const T *found = pickle_get<T>(p.contents.root());
    if (found == nullptr) {
        ADD_FAILURE() << "found " << describe(p.contents.root());
        return T{};
    }
    return *found;
}

std::vector<std::int64_t> items(const pickle_value &sequence) {
    std::vector<std::int64_t> result;
    for (const pickle_value &item : pickle_get<pickle_sequence>(sequence)->items)
        result.push_back(*pickle_get<std::int64_t>(item));
    return result;
}

void expect_refused(const std::string &opcodes, std::initializer_list<std::string_view> words,
                    error_kind code = error_kind::bad_format) {
    expect_error(code, words, [&] { parsed(pk::proto2 + opcodes); });
}

// --- what is read

TEST(pickle, reads_integers) {
    EXPECT_EQ(scalar<std::int64_t>("K\xff"), 255);
    EXPECT_EQ(scalar<std::int64_t>("M\xff\xff"), 65535);
    EXPECT_EQ(scalar<std::int64_t>("J\xff\xff\xff\xff"), -1);
    EXPECT_EQ(scalar<std::int64_t>("J\x01\0\0\x80"s), -2147483647);
    EXPECT_EQ(scalar<std::int64_t>("\x8a\0"s), 0);
    EXPECT_EQ(scalar<std::int64_t>("\x8a\x01\x80"), -128);
    EXPECT_EQ(scalar<std::int64_t>("\x8a\x02\x80\0"s), 128);
    EXPECT_EQ(scalar<std::int64_t>("\x8a\x05\0\0\0\0\x01"s), std::int64_t{1} << 32);
    EXPECT_EQ(scalar<std::int64_t>("\x8a\x08" + number(INT64_MIN)), INT64_MIN);
    EXPECT_EQ(scalar<std::int64_t>("\x8b\x01\0\0\0\x07"s), 7);
    EXPECT_EQ(scalar<pickle_long>("\x8a\x09" + std::string(9, 'x')).digits.size(), 9u);
}

TEST(pickle, reads_other_scalars) {
    EXPECT_EQ(scalar<bool>("\x88"), true);
    EXPECT_EQ(scalar<bool>("\x89"), false);
    scalar<pickle_none>("N");
    EXPECT_EQ(scalar<double>("G\x3f\xf8\0\0\0\0\0\0"s), 1.5);
    const auto text = [](const std::string &opcodes) {
        const parsed p = value(opcodes);
        return std::string(*pickle_get<std::string_view>(p.contents.root()));
    };
    EXPECT_EQ(text("X\x02\0\0\0ab"s), "ab");
    EXPECT_EQ(text("\x8c\x02"
                   "ab"),
              "ab");
    EXPECT_EQ(text("\x8d\x02\0\0\0\0\0\0\0ab"s), "ab");
    EXPECT_EQ(text("T\x02\0\0\0ab"s), "ab");
    EXPECT_EQ(text("U\x02"
                   "ab"),
              "ab");
    for (const std::string &bytes : {"B\x02\0\0\0ab"s, "C\x02"s + "ab", "\x8e\x02\0\0\0\0\0\0\0ab"s, "\x96\x02\0\0\0\0\0\0\0ab"s})
        EXPECT_EQ(scalar<std::span<const std::byte>>(bytes).size(), 2u);
}

TEST(pickle, reads_containers) {
    const auto of = [](const std::string &opcodes) { return items(value(opcodes).contents.root()); };
    using v = std::vector<std::int64_t>;
    EXPECT_EQ(of(")"), v{});
    EXPECT_EQ(of("K\x01\x85"), v{1});
    EXPECT_EQ(of("K\x01K\x02\x86"), (v{1, 2}));
    EXPECT_EQ(of("K\x01K\x02K\x03\x87"), (v{1, 2, 3}));
    EXPECT_EQ(of("(K\x01K\x02K\x03K\x04t"), (v{1, 2, 3, 4}));
    EXPECT_EQ(of("](K\x01K\x02"s + "eK\x03"s + "a"), (v{1, 2, 3}));
    EXPECT_EQ(of("\x8f(K\x01K\x02\x90"), (v{1, 2}));
    EXPECT_EQ(of("(K\x01K\x02\x91"), (v{1, 2}));
    EXPECT_EQ(of("]K\x05K\x06" + "0"s + "a"), v{5}); // POP
    EXPECT_EQ(of(")(K\x05K\x06" + "1"s), v{});       // POP_MARK

    const parsed p = value("}K\x01N"s + "s(K\x02NK\x01\x88u");
    const auto &dictionary = *pickle_get<pickle_dictionary>(p.contents.root());
    ASSERT_EQ(dictionary.items.size(), 3u);
    EXPECT_EQ(*pickle_get<std::int64_t>(dictionary.items[1].first), 2);
}

TEST(pickle, an_ordered_dict_is_a_dictionary_and_its_state_is_dropped) {
    const parsed p = value(pk::ordered_dict({pk::text("a"), pk::integer(1)}) + "}" + pk::text("_metadata") + "Nsb");
    EXPECT_EQ(pickle_get<pickle_dictionary>(p.contents.root())->items.size(), 1u);
}

TEST(pickle, reads_the_memo) {
    const auto of = [](const std::string &opcodes) { return items(value(opcodes).contents.root()); };
    using v = std::vector<std::int64_t>;
    EXPECT_EQ(of("(K\x07q\1K\x08r\x02\0\0\0h\1j\x02\0\0\0t"s), (v{7, 8, 7, 8}));
    EXPECT_EQ(of("(K\x07q\1K\x08q\1h\1t"), (v{7, 8, 8})); // the last one counts
    EXPECT_EQ(of("(K\x07\x94K\x08\x94h\0h\x01t"s), (v{7, 8, 7, 8}));
}

TEST(pickle, reads_frames_and_protocol_4) {
    const parsed p("\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x01m\x94\x8c\x01n\x94\x93\x94."s);
    const auto *global = pickle_get<pickle_global>(p.contents.root());
    ASSERT_NE(global, nullptr);
    EXPECT_EQ(global->module, "m");
    EXPECT_EQ(global->name, "n");
}

TEST(pickle, stops_at_its_end) {
    const std::string file = pk::proto2 + "K\x05.rest";
    EXPECT_EQ(parsed(file).contents.size(), file.size() - 4);
}

TEST(pickle, collects_persistent_ids) {
    const parsed p = value("(" + pk::text("id") + "Q" + "K\x01Qt");
    ASSERT_EQ(p.contents.references().size(), 2u);
    EXPECT_EQ(*pickle_get<std::int64_t>(p.contents.references()[1].id), 1);
}

TEST(pickle, a_class_is_its_name_and_is_never_run) {
    for (const char *const make : {"(K\x01tR", "(K\x01t\x81", "(K\x01t}\x92"}) {
        const parsed p = value(pk::global("os", "system") + make);
        const auto *call = pickle_get<pickle_call>(p.contents.root());
        ASSERT_NE(call, nullptr);
        EXPECT_TRUE(call->function->is("os", "system"));
        EXPECT_EQ(call->arguments->items.size(), 1u);
        EXPECT_EQ(describe(p.contents.root()), "an object of os.system");
    }
}

TEST(pickle, objects_take_items_and_state_and_drop_them) {
    const std::string object = pk::global("collections", "defaultdict") + ")R";
    for (const char *const more : {"K\x01K\x02s", "(K\x01K\x02u",
                                   "K\x01"
                                   "a",
                                   "(K\x01K\x02"
                                   "e",
                                   "}b", "(K\x01\x90"})
        EXPECT_NE(pickle_get<pickle_call>(value(object + more).contents.root()), nullptr) << more;
    // What a call gives can be called again: functools.partial does that.
    EXPECT_TRUE(pickle_get<pickle_call>(value(object + ")R").contents.root())->function->is("collections", "defaultdict"));
}

TEST(pickle, survives_values_in_circles) {
    const parsed p = value("]q\0h\0a"s);
    const auto *list = pickle_get<pickle_sequence>(p.contents.root());
    EXPECT_EQ(pickle_get<pickle_sequence>(list->items[0]), list);
}

TEST(pickle, survives_any_depth_that_memory_allows) {
    // Each list is put into the one before through the memo, on a stack two deep.
    std::string opcodes = "]q\0"s;
    for (int i = 0; i < 100000; ++i) opcodes += "]q\1a0h\1q\0"s;
    value("K\x01" + opcodes + "0");
}

// --- what is refused

TEST(pickle, refuses_other_protocols) {
    expect_error(error_kind::bad_format, {"begin with its protocol"}, [] { parsed("I1\n."); });
    expect_error(error_kind::unsupported, {"protocol", "expected 2 to 5, found 1"}, [] { parsed("\x80\x01K\x01."); });
    expect_error(error_kind::unsupported, {"found 6"}, [] { parsed("\x80\x06K\x01."); });
    expect_error(error_kind::bad_format, {"cut short"}, [] { parsed(""); });
    expect_error(error_kind::bad_format, {"cut short"}, [] { parsed("\x80"); });
}

TEST(pickle, refuses_every_opcode_that_is_not_allowed) {
    const std::string allowed =
        "(.01NJKMGX\x8a\x8b\x88\x89\x8c\x8dTUBC\x8e\x96]ae)t\x85\x86\x87}su\x8f\x90\x91qr\x94hjc\x93R\x81\x92"
        "bQ\x95";
    int refused = 0;
    for (int code = 0; code < 256; ++code) {
        if (allowed.find(static_cast<char>(code)) != std::string::npos) continue;
        expect_refused(std::string(1, static_cast<char>(code)) + ".", {"at byte 2", "opcode", "found " + std::to_string(code)},
                       error_kind::unsupported);
        ++refused;
    }
    EXPECT_EQ(refused, 256 - static_cast<int>(allowed.size()));
    for (const char c : "IFLSVPgpildo2"s) EXPECT_EQ(allowed.find(c), std::string::npos) << c;   // protocol 0, INST, OBJ, DUP
    for (const char c : "\x82\x83\x84\x97\x98"s) EXPECT_EQ(allowed.find(c), std::string::npos); // extensions, buffers
}

TEST(pickle, refuses_operands_cut_short) {
    const std::string operands[] = {"K",
                                    "M\x01",
                                    "J\x01\x01\x01",
                                    "G1234567",
                                    "\x8a",
                                    "\x8a\x05"
                                    "abcd",
                                    "\x8b\x01\0\0"s,
                                    "X\x05\0\0\0abcd"s,
                                    "X\xff\xff\xff\xff",
                                    "\x8c\x05"
                                    "abcd",
                                    "\x8d\x01\0\0\0\0\0\0\0"s,
                                    "\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
                                    "T\xff\xff\xff\xff",
                                    "U\x01",
                                    "B\xff\xff\xff\x7f",
                                    "C\x02x",
                                    "\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
                                    "\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
                                    "q",
                                    "r\x01\x01",
                                    "h",
                                    "j\x01",
                                    "cmodule",
                                    "cmodule\nname",
                                    "\x95\x01"};
    for (const std::string &operand : operands) expect_refused(operand, {"the pickle is cut short"});
}

TEST(pickle, refuses_a_stack_without_values) {
    for (const char *const code : {"0",    "a", "s",    "e",    "u", "\x90", "t",    "1",    "\x85",  "\x86",
                                   "\x87", "R", "\x81", "\x92", "b", "Q",    "\x93", "\x91", "q\x01", "\x94"}) {
        SCOPED_TRACE(code);
        expect_refused(code, {"bad pickle"});
        expect_refused("N"s + code, code[0] == '0' || code[0] == 'Q' || code[0] == '\x85' || code[0] == 'q' || code[0] == '\x94'
                                        ? std::initializer_list<std::string_view>{"cut short"}
                                        : std::initializer_list<std::string_view>{"bad pickle"});
        // Below a mark nothing can be reached.
        expect_refused("NNNN("s + code, {code[0] == 't' || code[0] == '1' || code[0] == '\x91' ? "cut short" : "bad pickle"});
    }
    expect_refused("(e", {"nothing to put the values into"});
    expect_refused("NN(u", {"items are set in None"});
    expect_refused("a", {"too few values"});
    expect_refused("t", {"no mark"});
}

TEST(pickle, refuses_an_end_with_no_value_or_several) {
    expect_refused(".", {"end with one value"});
    expect_refused("NN.", {"end with one value"});
    expect_refused("N(.", {"end with one value"});
}

TEST(pickle, refuses_values_in_the_wrong_place) {
    expect_refused(")Na.", {"added to a sequence"});
    expect_refused("NNa.", {"added to None"});
    expect_refused("](NNu.", {"set in a sequence"});
    expect_refused("}(Nu.", {"key has no value"});
    expect_refused("NNb.", {"a state is given to None"});
    expect_refused("N)R.", {"None is called"});
    expect_refused(pk::global("a", "b") + "]R.", {"not a tuple"});
    expect_refused(pk::global("a", "b") + "NR.", {"arguments are None"});
    expect_refused("NN\x93.", {"not a string"});
}

TEST(pickle, refuses_memo_keys_that_are_missing_or_absurd) {
    expect_refused("h\x05.", {"no key 5"});
    expect_refused("j\xff\xff\xff\xff.", {"no key 4294967295"});
    expect_refused("Nq\x02h\x01.", {"no key 1"});
    expect_refused("Nr\xff\xff\xff\xff.", {"key 4294967295 is out of proportion"});
}

TEST(pickle, limits_nesting_and_the_stack) {
    expect_refused(std::string(100000, '('), {"marks are nested"});
    expect_error(error_kind::bad_format, {"stack is too deep"}, [] { parsed(pk::proto2 + std::string(100000, ']'), 32 << 20); });
}

TEST(pickle, limits_the_memory) {
    const auto expect_over = [](const std::string &opcodes) {
        expect_error(error_kind::bad_format, {"more memory"}, [&] { parsed(pk::proto2 + opcodes, 1 << 20); });
    };
    const auto repeat = [](const std::string &part) {
        std::string result;
        for (int i = 0; i < 100000; ++i) result += part;
        return result;
    };
    for (const std::string part : {"}0", "]0", ")0", "Na", "NQ0",
                                   "N\x85"
                                   "0"}) {
        SCOPED_TRACE(part);
        expect_over("]" + repeat(part));
    }
    expect_over("}" + repeat("NNs"));
    expect_over("N" + repeat("\x94"));
    expect_over(repeat("c\n\n0"));
    expect_over(repeat("c\n\n)R0"));
}

// --- damage

const std::string sample =
    pk::proto2 +
    pk::dict({pk::text("a"), pk::tensor(pk::storage("FloatStorage", "0", 4), 0, {2, 2}, {2, 1}), pk::text("n"),
              pk::call(pk::global("argparse", "Namespace"), {}) + "}" + pk::text("lr") + "G????????sb"}) +
    "q\x01h\x01\x86.";

TEST(pickle, refuses_every_truncation) {
    parsed{sample};
    for (std::size_t length = 0; length < sample.size(); ++length)
        EXPECT_THROW(parsed{sample.substr(0, length)}, fastvit::error) << length;
}

TEST(pickle, survives_any_damage) {
    constexpr unsigned seed = 4711;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string damaged = sample;
        for (int k = static_cast<int>(random() % 4); k >= 0; --k)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        try {
            parsed{damaged};
        } catch (const fastvit::error &) {
            ++refused;
        }
    }
    EXPECT_GT(refused, 5000);
}

TEST(pickle, survives_random_opcodes) {
    constexpr unsigned seed = 99;
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const std::string codes = "((..01NK]ae)t\x85\x86\x87}su\x8f\x90\x91qhc\x93R\x81\x92"
                              "bQ\x94\n";
    for (int i = 0; i < 50000; ++i) {
        std::string file = pk::proto2 + "NN]}" + pk::global("a", "b") + ")";
        for (int k = 0; k < 30; ++k) {
            file += codes[random() % codes.size()];
            if (random() % 3 == 0) file += static_cast<char>(random() % 4);
        }
        try {
            parsed{file};
        } catch (const fastvit::error &) {
        }
    }
}

} // namespace
