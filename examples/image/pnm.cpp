// SPDX-License-Identifier: MIT
// PBM, PGM and PPM, in digits and in bytes.
#include "image/decoders.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace examples {
namespace {

using fastvit::error_kind;
using fastvit::index_type;

/// What stands in the file after the two letters, number by number.
class pnm_text {
  public:
    explicit pnm_text(byte_span bytes) : bytes_(bytes) {}

    /// The next number. Blanks and comments, from # to the end of the line, come before it.
    index_type number(const char *where) {
        skip_blanks();
        if (at_ == bytes_.size() || !digit(bytes_[at_])) throw broken("PNM", std::string("a number is missing in the ") + where);
        index_type value = 0;
        for (; at_ < bytes_.size() && digit(bytes_[at_]); ++at_)
            value = std::min(value * 10 + (bytes_[at_] - '0'), 10 * most_pixels);
        return value;
    }
    /// The next digit: those of a bitmap need no blanks between them.
    int bit() {
        skip_blanks();
        if (at_ == bytes_.size() || (bytes_[at_] != '0' && bytes_[at_] != '1'))
            throw broken("PNM", "a pixel is missing, or no 0 or 1");
        return bytes_[at_++] - '0';
    }
    /// All that is left, after the one blank that ends the header.
    byte_span rest() const { return bytes_.subspan(std::min(at_ + 1, bytes_.size())); }

  private:
    static bool blank(int c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }
    static bool digit(int c) noexcept { return c >= '0' && c <= '9'; }
    void skip_blanks() noexcept {
        for (; at_ < bytes_.size() && (blank(bytes_[at_]) || bytes_[at_] == '#'); ++at_)
            if (bytes_[at_] == '#')
                while (at_ + 1 < bytes_.size() && bytes_[at_ + 1] != '\n' && bytes_[at_ + 1] != '\r') ++at_;
    }

    byte_span bytes_;
    std::size_t at_ = 2;
};

void require_bytes(std::size_t found, std::size_t expected) {
    if (found < expected)
        throw fastvit::error(error_kind::bad_format, {.problem = "the PNM ends too early",
                                                      .expected = std::to_string(expected) + " bytes of pixels",
                                                      .found = std::to_string(found)});
}

} // namespace

decoded_picture decode_pnm(byte_span bytes) {
    const char kind = static_cast<char>(bytes[1]);
    const bool in_digits = kind <= '3', bitmap = kind == '1' || kind == '4', colour = kind == '3' || kind == '6';
    pnm_text text(bytes);
    const index_type width = text.number("header"), height = text.number("header");
    const index_type most = bitmap ? 1 : text.number("header");
    if (most < 1 || most > 65535)
        throw fastvit::error(error_kind::bad_format,
                             {.problem = "largest value of the PNM", .expected = "1 to 65535", .found = std::to_string(most)});
    require_size(height, width);
    const auto columns = static_cast<std::size_t>(width), rows = static_cast<std::size_t>(height);
    const std::size_t channels = colour ? 3 : 1, size = most > 255 ? 2 : 1,
                      row_bits = columns * channels * (bitmap ? 1 : 8 * size);
    const std::size_t row_bytes = in_digits ? columns * channels : (row_bits + 7) / 8; // at least, in digits
    const byte_span data = text.rest();
    require_bytes(data.size(), row_bytes * rows);

    // As Pillow has it: two-byte grey becomes a number up to 65535, which convert("RGB") cuts off at 255.
    const double scale = !colour && most > 255 ? 65535 : 255;
    const auto byte_of = [&](index_type value) {
        const double scaled = std::nearbyint(static_cast<double>(value) / static_cast<double>(most) * scale);
        return static_cast<std::uint8_t>(std::min(scaled, 255.0));
    };
    const auto sample = [&](std::size_t y, std::size_t i) -> std::uint8_t {
        if (in_digits && bitmap) return text.bit() != 0 ? 0 : 255;
        if (in_digits) {
            const index_type value = text.number("pixels");
            if (value > most) throw broken("PNM", "a pixel is above the largest value that the header names");
            return byte_of(value);
        }
        const std::uint8_t *const row = data.data() + y * row_bytes;
        if (bitmap) return (row[i / 8] >> (7 - i % 8) & 1) != 0 ? 0 : 255;
        if (most == 255) return row[i];
        return byte_of(size == 1 ? row[i] : row[2 * i] << 8 | row[2 * i + 1]);
    };
    decoded_picture result{.pixels = allocate(height, width)};
    std::uint8_t *out = result.pixels.pixels.data();
    for (std::size_t y = 0; y < rows; ++y)
        for (std::size_t i = 0; i < columns * channels; ++i)
            if (const std::uint8_t value = sample(y, i); colour)
                *out++ = value;
            else
                out = std::fill_n(out, 3, value);
    return result;
}

} // namespace examples
