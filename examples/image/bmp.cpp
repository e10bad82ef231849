// SPDX-License-Identifier: MIT
// Windows bitmaps. No library of their own is well kept, and they are little more than their pixels.
#include "image/decoders.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

namespace examples {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

error bmp_ends() { return broken("BMP", "the file ends too early"); }

error unread(const char *what, std::uint32_t found) {
    return {error_kind::unsupported,
            {.problem = std::string(what) + " of the BMP that is not read", .found = std::to_string(found)}};
}

/// The little-endian numbers of the file.
class fields {
  public:
    explicit fields(byte_span bytes) : bytes_(bytes) {}
    std::uint32_t at(std::size_t offset, std::size_t size) const {
        if (offset > bytes_.size() || bytes_.size() - offset < size) throw bmp_ends();
        std::uint32_t value = 0;
        for (std::size_t i = size; i-- > 0;) value = value << 8 | bytes_[offset + i];
        return value;
    }
    byte_span from(std::size_t offset) const {
        if (offset > bytes_.size()) throw bmp_ends();
        return bytes_.subspan(offset);
    }

  private:
    byte_span bytes_;
};

/// Where a channel's bits are in a pixel; the widest that has Pillow's way to make bytes of them.
struct channel {
    unsigned shift = 0, bits = 8;

    std::uint8_t of(std::uint32_t pixel) const noexcept {
        const std::uint32_t most = (1u << bits) - 1;
        return static_cast<std::uint8_t>((pixel >> shift & most) * 255 / most);
    }
    /// None for a mask whose bits are not together, or are too many.
    static std::optional<channel> of_mask(std::uint32_t mask) noexcept {
        channel c{0, 0};
        while (mask != 0 && (mask >> c.shift & 1) == 0) ++c.shift;
        while (c.shift + c.bits < 32 && (mask >> (c.shift + c.bits) & 1) != 0) ++c.bits;
        const bool together = c.bits >= 1 && c.bits <= 8 && mask == ((1u << c.bits) - 1) << c.shift;
        return together ? std::optional(c) : std::nullopt;
    }
};

enum compression : std::uint32_t { none = 0, runs_of_bytes = 1, runs_of_halves = 2, bit_fields = 3, bit_fields_and_alpha = 6 };

struct bmp_header {
    index_type width = 0, height = 0;
    bool from_the_top = false;
    std::uint32_t bits = 0, compressed = none;
    std::array<channel, 3> channels{};
    palette colours = grey_ramp();
    std::size_t pixels = 0; ///< where they begin
};

bmp_header read_header(const fields &file) {
    bmp_header h;
    const std::uint32_t size = file.at(14, 4);
    const bool old = size == 12; // OS/2's
    std::size_t at = 14 + std::size_t{size};
    h.pixels = file.at(10, 4);
    h.width = old ? file.at(18, 2) : file.at(18, 4);
    h.height = old ? file.at(20, 2) : file.at(22, 4);
    if (!old && h.height >= index_type{0xff000000}) {
        h.height = (index_type{1} << 32) - h.height;
        h.from_the_top = true;
    }
    h.bits = file.at(old ? 24 : 28, 2);
    if (!old) h.compressed = file.at(30, 4);
    require_size(h.height, h.width);
    switch (h.bits) {
    case 1:
    case 4:
    case 8:
    case 24:
    case 32: h.channels = {channel{16, 8}, channel{8, 8}, channel{0, 8}}; break;
    case 16: h.channels = {channel{10, 5}, channel{5, 5}, channel{0, 5}}; break;
    default: throw unread("bits per pixel", h.bits);
    }

    if (h.compressed == bit_fields || h.compressed == bit_fields_and_alpha) {
        if (h.bits < 16) throw unread("bit fields", h.bits);
        if (file.at(54, 4) != 0 || file.at(58, 4) != 0 || file.at(62, 4) != 0) // all zero: as without
            for (std::size_t c = 0; c < 3; ++c) {
                const std::uint32_t mask = file.at(54 + 4 * c, 4);
                const auto found = channel::of_mask(mask);
                if (!found) throw unread("bit mask", mask);
                h.channels[c] = *found;
            }
        if (size == 40) at += h.compressed == bit_fields ? 12 : 16; // they follow the header
    } else if (h.compressed > runs_of_halves || (h.compressed == runs_of_bytes && h.bits != 8) ||
               (h.compressed == runs_of_halves && h.bits != 4)) {
        throw unread("compression", h.compressed);
    }

    if (h.bits <= 8) {
        std::uint32_t count = old ? 0 : file.at(46, 4);
        if (count == 0) count = 1u << h.bits;
        const std::size_t entry = old ? 3 : 4;
        const byte_span table = file.from(at);
        if (count > 65536 || table.size() / entry < count) throw bmp_ends();
        for (std::size_t i = 0; i < std::min<std::size_t>(count, h.colours.size()); ++i)
            for (std::size_t c = 0; c < 3; ++c) h.colours[i][c] = table[entry * i + 2 - c];
        if (h.pixels == at) h.pixels += entry * count; // some writers forget it
        at += entry * count;
    }
    if (h.pixels == 0) h.pixels = at;
    return h;
}

/// The indices of a picture compressed by runs, line after line.
std::vector<std::uint8_t> expand_runs(const bmp_header &h, byte_span data, std::size_t offset) {
    const auto width = static_cast<std::size_t>(h.width);
    const std::size_t count = width * static_cast<std::size_t>(h.height);
    const bool halves = h.compressed == runs_of_halves;
    std::vector<std::uint8_t> indices;
    // A pair of bytes stands for 255 pixels at the most, or skips 255 lines.
    indices.reserve(std::min(count, data.size() * 128));
    std::size_t at = 0, x = 0;
    const auto next = [&] {
        if (at == data.size()) throw bmp_ends();
        return data[at++];
    };
    const auto add = [&](std::size_t n, std::uint8_t value) {
        indices.insert(indices.end(), std::min(n, count - indices.size()), value);
    };
    while (indices.size() < count) {
        const std::size_t length = next();
        const std::uint8_t value = next();
        if (length > 0) { // a run, of two colours in turn where there are two in a byte; no longer than the line
            const std::size_t fits = std::min(length, width - std::min(x, width));
            for (std::size_t i = 0; halves && i < fits; ++i) add(1, i % 2 == 0 ? value >> 4 : value & 15);
            if (!halves) add(fits, value);
            x += fits;
        } else if (value == 0) { // the end of the line
            add((width - indices.size() % width) % width, 0);
            x = 0;
        } else if (value == 1) { // the end of the picture
            throw bmp_ends();
        } else if (value == 2) { // a step right and up
            const std::size_t right = next(), up = next();
            add(right + up * width, 0);
            x = indices.size() % width;
        } else { // as many pixels as they are
            for (std::size_t i = 0; i < value; ++i) {
                const std::uint8_t byte = halves && i % 2 == 1 ? data[at - 1] : next();
                add(1, !halves ? byte : i % 2 == 0 ? byte >> 4 : byte & 15);
            }
            x += value;
            if ((offset + at) % 2 != 0) ++at;
            at = std::min(at, data.size());
        }
    }
    return indices;
}

} // namespace

decoded_picture decode_bmp(byte_span bytes) {
    const fields file(bytes);
    const bmp_header h = read_header(file);
    byte_span data = file.from(h.pixels);
    std::vector<std::uint8_t> expanded;
    std::uint32_t bits = h.bits;
    const auto width = static_cast<std::size_t>(h.width), height = static_cast<std::size_t>(h.height);
    const bool runs = h.compressed == runs_of_bytes || h.compressed == runs_of_halves;
    if (runs) {
        expanded = expand_runs(h, data, h.pixels);
        data = expanded;
        bits = 8;
    }
    const std::size_t used = (width * bits + 7) / 8, stride = runs ? width : (width * bits + 31) / 32 * 4;
    if (data.size() < used || (data.size() - used) / stride < height - 1) throw bmp_ends(); // the last line needs no padding
    decoded_picture result{.pixels = allocate(h.height, h.width)};
    for (std::size_t y = 0; y < height; ++y) {
        const std::uint8_t *const line = data.data() + y * stride;
        std::uint8_t *out = result.pixels.pixels.data() + 3 * width * (h.from_the_top ? y : height - 1 - y);
        for (std::size_t x = 0; x < width; ++x, out += 3) {
            std::uint32_t pixel = 0;
            if (bits < 8) {
                const std::size_t bit = x * bits;
                pixel = line[bit / 8] >> (8 - bits - bit % 8) & ((1u << bits) - 1);
            } else {
                for (std::size_t i = bits / 8; i-- > 0;) pixel = pixel << 8 | line[x * bits / 8 + i];
            }
            if (bits <= 8)
                std::copy_n(h.colours[pixel].data(), 3, out);
            else
                for (std::size_t c = 0; c < 3; ++c) out[c] = h.channels[c].of(pixel);
        }
    }
    return result;
}

} // namespace examples
