// SPDX-License-Identifier: MIT
#include "image_file.hpp"

#include "fastvit/error.hpp"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

namespace examples {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

using byte_span = std::span<const std::uint8_t>;

void require_size(index_type height, index_type width) {
    if (height < 1 || width < 1)
        throw error(error_kind::bad_format,
                    "empty picture: " + std::to_string(width) + " x " + std::to_string(height) + " pixels");
    if (width > most_pixels / height)
        throw error(error_kind::unsupported, {.problem = "the picture is too large",
                                              .expected = "at most " + std::to_string(most_pixels) + " pixels",
                                              .found = std::to_string(width) + " x " + std::to_string(height)});
}

picture allocate(index_type height, index_type width) {
    require_size(height, width);
    picture p{.pixels = {}, .height = height, .width = width};
    p.pixels.resize(static_cast<std::size_t>(height * width * p.channels));
    return p;
}

// --- PNG ----------------------------------------------------------------------------------------------------------------

/// A libpng reader that takes its bytes from memory and keeps its complaints to itself.
///
/// libpng reports errors by longjmp, which must not skip a destructor: every call that may fail goes through attempt(), whose
/// argument holds no objects of its own.
class png_reader {
  public:
    explicit png_reader(byte_span bytes) : left_(bytes) {
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, fail, [](png_structp, png_const_charp) {});
        info_ = png_ ? png_create_info_struct(png_) : nullptr;
        if (!info_) {
            png_destroy_read_struct(&png_, nullptr, nullptr);
            throw std::bad_alloc();
        }
        png_set_read_fn(png_, this, read);
    }
    png_reader(const png_reader &) = delete;
    png_reader &operator=(const png_reader &) = delete;
    ~png_reader() { png_destroy_read_struct(&png_, &info_, nullptr); }

    /// Calls step(png, info); throws what libpng has to say if it fails.
    template <class Step> void attempt(Step step) {
        if (setjmp(png_jmpbuf(png_)) != 0) throw error(error_kind::bad_format, std::string("broken PNG: ") + message_.data());
        step(png_, info_);
    }

  private:
    [[noreturn]] static void fail(png_structp png, png_const_charp message) {
        auto &self = *static_cast<png_reader *>(png_get_error_ptr(png));
        std::snprintf(self.message_.data(), self.message_.size(), "%s", message);
        png_longjmp(png, 1);
    }
    static void read(png_structp png, png_bytep out, std::size_t size) {
        auto &self = *static_cast<png_reader *>(png_get_io_ptr(png));
        if (size > self.left_.size()) png_error(png, "the file ends too early");
        std::memcpy(out, self.left_.data(), size);
        self.left_ = self.left_.subspan(size);
    }

    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
    byte_span left_;
    std::array<char, 256> message_{};
};

picture decode_png(byte_span bytes) {
    png_reader reader(bytes);
    png_uint_32 width = 0, height = 0;
    int depth = 0;
    std::size_t row_bytes = 0;
    reader.attempt([&](png_structp png, png_infop info) {
        png_read_info(png, info);
        int colour = 0;
        png_get_IHDR(png, info, &width, &height, &depth, &colour, nullptr, nullptr, nullptr);
        if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
        if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
        png_set_strip_alpha(png); // after the palette, whose transparency comes out as alpha
        png_set_interlace_handling(png);
        png_read_update_info(png, info);
        row_bytes = png_get_rowbytes(png, info);
    });
    if (depth == 16)
        throw error(error_kind::unsupported,
                    {.problem = "PNG of 16 bits per channel", .expected = "8 bits or fewer", .found = "16"});
    picture p = allocate(static_cast<index_type>(height), static_cast<index_type>(width));
    if (row_bytes * height != p.pixels.size())
        throw error(error_kind::unsupported, "PNG of a kind that libpng does not turn into RGB");
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0; y < height; ++y) rows[y] = p.pixels.data() + y * row_bytes;
    reader.attempt([&](png_structp png, png_infop) {
        png_read_image(png, rows.data());
        png_read_end(png, nullptr);
    });
    return p;
}

// --- JPEG ---------------------------------------------------------------------------------------------------------------

picture decode_jpeg(byte_span bytes) {
    const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
    if (!decoder) throw std::bad_alloc();
    const auto require = [&](int status) {
        // Warnings count: TurboJPEG fills what is missing of a truncated file with grey and only warns.
        if (status != 0) throw error(error_kind::bad_format, std::string("broken JPEG: ") + tjGetErrorStr2(decoder.get()));
    };
    const auto size = static_cast<unsigned long>(bytes.size());
    int width = 0, height = 0, subsampling = 0, colours = 0;
    require(tjDecompressHeader3(decoder.get(), bytes.data(), size, &width, &height, &subsampling, &colours));
    if (width == 0) throw error(error_kind::bad_format, "broken JPEG: it ends before the picture begins");
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        throw error(error_kind::unsupported, {.problem = "colours of the JPEG", .expected = "grey or RGB", .found = "CMYK"});
    picture p = allocate(height, width);
    int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING; // the accurate transform is Pillow's choice too
#if defined(TJFLAG_LIMITSCANS)
    flags |= TJFLAG_LIMITSCANS; // a small file may ask for thousands of passes over a large picture
#endif
    require(tjDecompress2(decoder.get(), bytes.data(), size, p.pixels.data(), width, 0, height, TJPF_RGB, flags));
    return p;
}

// --- PPM and PGM --------------------------------------------------------------------------------------------------------

/// The next number of the header. Blanks and comments, from # to the end of the line, come before it.
index_type header_number(byte_span bytes, std::size_t &at) {
    const auto space = [](int c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    const auto digit = [](int c) { return c >= '0' && c <= '9'; };
    while (at < bytes.size() && (space(bytes[at]) || bytes[at] == '#')) {
        if (bytes[at] == '#')
            while (at + 1 < bytes.size() && bytes[at + 1] != '\n' && bytes[at + 1] != '\r') ++at;
        ++at;
    }
    if (at == bytes.size() || !digit(bytes[at])) throw error(error_kind::bad_format, "broken PPM header: a number is missing");
    index_type number = 0;
    for (; at < bytes.size() && digit(bytes[at]); ++at) number = std::min(number * 10 + (bytes[at] - '0'), 10 * most_pixels);
    return number;
}

picture decode_pnm(byte_span bytes) {
    const index_type channels = bytes[1] == '6' ? 3 : 1;
    std::size_t at = 2;
    const index_type width = header_number(bytes, at);
    const index_type height = header_number(bytes, at);
    const index_type most = header_number(bytes, at);
    if (most != 255)
        throw error(error_kind::unsupported,
                    {.problem = "largest value of the PPM", .expected = "255", .found = std::to_string(most)});
    require_size(height, width);
    const byte_span pixels = bytes.subspan(std::min(at + 1, bytes.size())); // one blank ends the header
    const auto expected = static_cast<std::size_t>(width * height * channels);
    if (pixels.size() < expected)
        throw error(error_kind::bad_format, {.problem = "the PPM ends too early",
                                             .expected = std::to_string(expected) + " bytes of pixels",
                                             .found = std::to_string(pixels.size())});
    picture p = allocate(height, width);
    for (std::size_t i = 0; i < p.pixels.size(); ++i) p.pixels[i] = pixels[channels == 3 ? i : i / 3];
    return p;
}

std::vector<std::uint8_t> read_file(const std::string &path) {
    const auto refused = [](const char *what) {
        return error(error_kind::io, std::string(what) + ": " + std::generic_category().message(errno));
    };
    const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file) throw refused("cannot open");
    constexpr std::size_t most = std::size_t{1} << 30, step = std::size_t{1} << 16;
    std::vector<std::uint8_t> bytes;
    for (std::size_t got = step; got == step;) {
        const std::size_t before = bytes.size();
        if (before > most) throw error(error_kind::unsupported, "the file is larger than 1 GiB");
        bytes.resize(before + step);
        got = std::fread(bytes.data() + before, 1, step, file.get());
        bytes.resize(before + got);
    }
    if (std::ferror(file.get())) throw refused("cannot read");
    return bytes;
}

} // namespace

picture decode_picture(byte_span bytes) {
    const auto begins = [&](std::string_view magic) {
        return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
    };
    if (begins("\x89PNG\r\n\x1a\n")) return decode_png(bytes);
    if (begins("\xff\xd8\xff")) return decode_jpeg(bytes);
    if (begins("P5") || begins("P6")) return decode_pnm(bytes);
    if (bytes.empty()) throw error(error_kind::bad_format, "the file is empty");
    std::string found = "the bytes";
    for (const std::uint8_t b : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
        constexpr const char *hex = "0123456789abcdef";
        found += {' ', hex[b >> 4], hex[b & 15]};
    }
    throw error(error_kind::unsupported,
                {.problem = "unknown kind of file", .expected = "PNG, JPEG, PPM (P6) or PGM (P5)", .found = found});
}

picture read_picture(const std::string &path) {
    try {
        return decode_picture(read_file(path));
    } catch (const error &e) {
        throw e.in_file(path);
    }
}

} // namespace examples
