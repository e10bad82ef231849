// SPDX-License-Identifier: MIT
#include "image/decoders.hpp"

#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

namespace examples {
namespace {

/// A libpng reader that takes its bytes from memory and keeps its complaints to itself.
///
/// libpng reports errors by longjmp, which must not skip a destructor: every call that may fail goes through succeeds(), whose
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

    /// Calls step(png, info); false, and message(), if it fails.
    template <class Step> bool succeeds(Step step) {
        if (setjmp(png_jmpbuf(png_)) != 0) return false;
        step(png_, info_);
        return true;
    }
    template <class Step> void attempt(Step step) {
        if (!succeeds(step)) throw broken("PNG", message_.data());
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

} // namespace

decoded_picture decode_png(byte_span bytes) {
    png_reader reader(bytes);
    png_uint_32 width = 0, height = 0;
    int depth = 0, colour = 0;
    std::size_t row_bytes = 0;
    bool deep_grey = false;
    reader.attempt([&](png_structp png, png_infop info) {
        png_read_info(png, info);
        png_get_IHDR(png, info, &width, &height, &depth, &colour, nullptr, nullptr, nullptr);
        // Of grey with 16 bits Pillow keeps all, and convert("RGB") then cuts off at 255.
        deep_grey = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
        if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
        if (!deep_grey) {
            png_set_strip_16(png);
            if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
            png_set_strip_alpha(png); // after the palette, whose transparency comes out as alpha
        }
        png_set_interlace_handling(png);
        png_read_update_info(png, info);
        row_bytes = png_get_rowbytes(png, info);
        // Pillow does not look at the checksums of the pixels, whose compressed data has one of its own.
        png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    });
    decoded_picture result{.pixels = allocate(height, width)};
    std::vector<std::uint8_t> &pixels = result.pixels.pixels;
    const std::size_t stride = std::size_t{3} * width;
    if (row_bytes != (deep_grey ? std::size_t{2} * width : stride))
        throw fastvit::error(fastvit::error_kind::unsupported, "PNG of a kind that libpng does not turn into RGB");
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0; y < height; ++y) rows[y] = pixels.data() + y * stride;
    reader.attempt([&](png_structp png, png_infop) { png_read_image(png, rows.data()); });
    if (deep_grey)
        for (const png_bytep row : rows)
            for (std::size_t x = width; x-- > 0;)
                std::fill_n(row + 3 * x, 3, row[2 * x] != 0 ? std::uint8_t{255} : row[2 * x + 1]);
    // All pixels are there: what is wrong behind them does not matter, to Pillow either.
    (void)reader.succeeds([&](png_structp png, png_infop info) {
        png_read_end(png, info);
        png_bytep exif = nullptr;
        png_uint_32 size = 0;
        if (png_get_eXIf_1(png, info, &size, &exif) != 0) result.orientation = exif_orientation({exif, size});
    });
    return result;
}

void write_png(const std::string &path, const fastvit::picture_view &picture, std::span<const rgb_colour> colours) {
    const bool indexed = !colours.empty();
    if ((picture.channels != 1 && (indexed || picture.channels != 3)) || colours.size() > 256)
        throw fastvit::error(fastvit::error_kind::invalid_argument, {.problem = "this picture cannot be written as PNG",
                                                                     .expected = "grey, RGB, or a palette of at most 256 colours",
                                                                     .found = std::to_string(picture.channels) + " channels, " +
                                                                              std::to_string(colours.size()) + " colours",
                                                                     .file = path});
    // libpng's simplified interface: it needs no longjmp.
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(picture.width);
    image.height = static_cast<png_uint_32>(picture.height);
    image.format = indexed ? PNG_FORMAT_RGB_COLORMAP : picture.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    image.colormap_entries = static_cast<png_uint_32>(colours.size());
    if (!png_image_write_to_file(&image, path.c_str(), 0, picture.pixels, static_cast<png_int_32>(picture.row_stride),
                                 indexed ? colours.data() : nullptr))
        throw fastvit::error(fastvit::error_kind::io, {.problem = image.message, .file = path});
}

} // namespace examples
