// SPDX-License-Identifier: MIT
// JSON, strictly and from front to back: the headers of safetensors files, configurations and labels.
//
// A general library will not do, because it accepts what a loader of untrusted files must refuse. It keeps the first or the last
// of duplicate names, so two programs see two different files; it reads -1, 1.0 and 1e3 as numbers that a cast makes into sizes;
// it builds a tree many times larger than the text; and it recurses as deep as the text does. Here the caller says what must come
// next: the nesting is the caller's, and only what it asks for is kept.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

/// Reads one JSON text from front to back. Every function skips white space first and throws `bad_format`, with the offset, if
/// what comes is not what it reads.
class json_reader {
  public:
    /// No size or offset in a header is larger: 2^48 bytes are beyond any file, and up to there doubles are exact.
    static constexpr std::uint64_t largest_integer = std::uint64_t{1} << 48;
    /// Bytes of an object's key. Keys go into messages, and a message is copied more than once.
    static constexpr std::size_t longest_key = 4096;
    /// Arrays and objects inside one another, in a value that is skipped.
    static constexpr int deepest = 64;

    /// Throws `bad_format` unless `text`, which must outlive the reader, is UTF-8. `where` says in messages whose text it is,
    /// such as " in the header".
    explicit json_reader(std::string_view text, std::string_view where = "") : text_(text), where_(where) {
        at_ = find_invalid_utf8(text);
        if (at_ != text.size()) throw wrong("UTF-8", "a byte that is not");
        at_ = 0;
    }

    /// An object: calls member(key) for each member, in order; it must read the value. Keys are not compared with each other.
    template <class Member> void object(Member member) {
        expect('{', "an object");
        if (accept('}')) return;
        do {
            const std::string key = string(longest_key);
            expect(':', "':'");
            member(key);
        } while (accept(','));
        expect('}', "',' or '}'");
    }

    /// An array: calls element() for each element, in order; it must read it.
    template <class Element> void array(Element element) {
        expect('[', "an array");
        if (accept(']')) return;
        do element();
        while (accept(','));
        expect(']', "',' or ']'");
    }

    /// A string, unescaped, of at most that many bytes.
    std::string string(std::size_t longest = std::string_view::npos) {
        expect('"', "a string");
        std::string result;
        // Unescaped, it is not longer; growing it later would take three times its memory for a moment.
        std::size_t close = at_;
        while (close < text_.size() && text_[close] != '"') close += text_[close] == '\\' ? 2 : 1;
        result.reserve(std::min(std::min(close, text_.size()) - at_, longest));
        for (;;) {
            const std::size_t begin = at_;
            while (at_ != text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
                   static_cast<unsigned char>(text_[at_]) >= 0x20)
                ++at_;
            if (at_ - begin > longest - result.size())
                throw wrong("a string of at most " + std::to_string(longest) + " bytes", "a longer one");
            result.append(text_, begin, at_ - begin);
            if (at_ == text_.size()) throw wrong("'\"'", here());
            if (text_[at_] != '"' && text_[at_] != '\\') throw wrong("an escaped control character", "a bare one");
            if (text_[at_++] == '"') return result;
            escape(result);
            if (result.size() > longest) throw wrong("a string of at most " + std::to_string(longest) + " bytes", "a longer one");
        }
    }

    /// A natural number up to largest_integer, written in digits alone.
    std::uint64_t integer() {
        constexpr const char *natural = "a natural number up to 2^48";
        skip_space();
        if (at_ == text_.size() || !is_digit(text_[at_])) throw wrong(natural, here());
        const bool leading_zero = text_[at_] == '0';
        const std::size_t begin = at_;
        std::uint64_t value = 0;
        for (; at_ != text_.size() && is_digit(text_[at_]); ++at_) {
            value = value * 10 + static_cast<std::uint64_t>(text_[at_] - '0');
            if (value > largest_integer) throw wrong(natural, "a larger one");
        }
        if (leading_zero && at_ - begin > 1) throw wrong(natural, "a leading zero");
        if (at_ != text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) throw wrong(natural, here());
        return value;
    }

    /// Any number that a double can hold.
    double number() {
        skip_space();
        const std::size_t begin = at_;
        skip_number();
        double value = 0;
        const auto [end, code] = std::from_chars(text_.data() + begin, text_.data() + at_, value);
        if (code != std::errc{} || end != text_.data() + at_) throw wrong("a number that a double can hold", "another");
        return value;
    }

    /// Reads `null`, if that comes next.
    bool null() {
        skip_space();
        if (!text_.substr(at_).starts_with("null")) return false;
        at_ += 4;
        return true;
    }

    /// `true` or `false`.
    bool boolean() {
        skip_space();
        for (const std::string_view word : {"true", "false"})
            if (text_.substr(at_).starts_with(word)) {
                at_ += word.size();
                return word == "true";
            }
        throw wrong("true or false", here());
    }

    /// Whether an array, an object, a string or a natural number comes next.
    bool at_array() noexcept { return at('['); }
    bool at_object() noexcept { return at('{'); }
    bool at_string() noexcept { return at('"'); }
    bool at_digit() noexcept {
        skip_space();
        return at_ != text_.size() && is_digit(text_[at_]);
    }

    /// A value of any kind, not looked at, but checked like the others.
    void skip() { skip(deepest); }

    /// The end of the text.
    void end() {
        skip_space();
        if (at_ != text_.size()) throw wrong("nothing after the closing brace", here());
    }

  private:
    static constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

    void skip_space() noexcept {
        while (at_ != text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
    }
    bool at(char c) noexcept {
        skip_space();
        return at_ != text_.size() && text_[at_] == c;
    }
    bool accept(char c) noexcept {
        if (!at(c)) return false;
        ++at_;
        return true;
    }
    void expect(char c, const char *meaning) {
        if (!accept(c)) throw wrong(meaning, here());
    }

    void skip(int depth) {
        const bool array_comes = at('['), object_comes = at('{');
        if ((array_comes || object_comes) && depth == 0)
            throw wrong("at most " + std::to_string(deepest) + " arrays and objects inside one another", "another");
        if (array_comes) return array([&] { skip(depth - 1); });
        if (object_comes) return object([&](const std::string &) { skip(depth - 1); });
        if (at_string()) return void(string());
        for (const std::string_view word : {"null", "true", "false"})
            if (text_.substr(at_).starts_with(word)) return void(at_ += word.size());
        skip_number();
    }

    // JSON's grammar, which from_chars() does not hold to: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
    void skip_number() {
        const auto digits = [&] {
            if (at_ == text_.size() || !is_digit(text_[at_])) throw wrong("a number", here());
            while (at_ != text_.size() && is_digit(text_[at_])) ++at_;
        };
        const auto next_is = [&](std::string_view set) { return at_ != text_.size() && set.find(text_[at_]) != set.npos; };
        if (next_is("-")) ++at_;
        const bool leading_zero = next_is("0");
        const std::size_t begin = at_;
        digits();
        if (leading_zero && at_ - begin > 1) throw wrong("a number", "a leading zero");
        if (next_is(".")) {
            ++at_;
            digits();
        }
        if (next_is("eE")) {
            ++at_;
            if (next_is("+-")) ++at_;
            digits();
        }
    }

    void escape(std::string &result) {
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        if (at_ == text_.size()) throw wrong("an escape", here());
        if (const auto i = letters.find(text_[at_]); i != std::string_view::npos) {
            result += meanings[i];
            ++at_;
            return;
        }
        if (text_[at_] != 'u') throw wrong("an escape", here());
        ++at_;
        std::uint32_t unit = hex4();
        if (unit >= 0xdc00 && unit <= 0xdfff) throw wrong("a character", "half a surrogate pair");
        if (unit >= 0xd800 && unit <= 0xdbff) {
            if (text_.substr(at_, 2) != "\\u") throw wrong("the second half of a surrogate pair", here());
            at_ += 2;
            const std::uint32_t second = hex4();
            if (second < 0xdc00 || second > 0xdfff) throw wrong("the second half of a surrogate pair", "something else");
            unit = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
        }
        append_utf8(result, unit);
    }

    std::uint32_t hex4() {
        std::uint32_t value = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char c = at_ == text_.size() ? '\0' : text_[at_];
            if (is_digit(c))
                value = value * 16 + static_cast<std::uint32_t>(c - '0');
            else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                value = value * 16 + static_cast<std::uint32_t>((c | 0x20) - 'a' + 10);
            else
                throw wrong("four hexadecimal digits", here());
        }
        return value;
    }

    std::string here() const { return at_ == text_.size() ? "the end" : std::string{'\'', text_[at_], '\''}; }

    error wrong(std::string expected, std::string found) const {
        return {error_kind::bad_format,
                {.problem = "bad JSON" + std::string(where_) + " at byte " + std::to_string(at_),
                 .expected = std::move(expected),
                 .found = std::move(found)}};
    }

    std::string_view text_, where_;
    std::size_t at_ = 0;
};

}}} // namespace fastvit::FASTVIT_ABI::io
