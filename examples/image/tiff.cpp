// SPDX-License-Identifier: MIT
#include "image/decoders.hpp"

#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

namespace examples {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;

/// The file in memory, as libtiff wants to read it, and the first thing that libtiff has to say against it.
struct tiff_source {
    byte_span bytes;
    std::uint64_t at = 0;
    std::array<char, 256> message{};

    static tiff_source &of(thandle_t handle) { return *static_cast<tiff_source *>(handle); }

    static tmsize_t read(thandle_t handle, void *out, tmsize_t size) {
        tiff_source &self = of(handle);
        if (self.at > self.bytes.size() || size < 0) return 0;
        const std::size_t got = std::min(self.bytes.size() - static_cast<std::size_t>(self.at), static_cast<std::size_t>(size));
        std::copy_n(self.bytes.data() + self.at, got, static_cast<std::uint8_t *>(out));
        self.at += got;
        return static_cast<tmsize_t>(got);
    }
    static toff_t seek(thandle_t handle, toff_t offset, int whence) {
        tiff_source &self = of(handle);
        self.at = whence == SEEK_SET ? offset : whence == SEEK_CUR ? self.at + offset : self.bytes.size() + offset;
        return self.at;
    }
    static int map(thandle_t handle, void **base, toff_t *size) { // libtiff only reads there, but its types do not say so
        *base = const_cast<std::uint8_t *>(of(handle).bytes.data());
        *size = of(handle).bytes.size();
        return 1;
    }
    static void complain(thandle_t handle, const char *, const char *format, std::va_list arguments) {
        if (handle && of(handle).message[0] == '\0')
            std::vsnprintf(of(handle).message.data(), of(handle).message.size(), format, arguments);
    }
};

class tiff_reader {
  public:
    explicit tiff_reader(byte_span bytes) : source_{bytes} {
        // libtiff's handlers are the whole program's.
        [[maybe_unused]] static const bool quiet = [] {
            TIFFSetWarningHandler(nullptr);
            TIFFSetErrorHandler(nullptr);
            TIFFSetErrorHandlerExt(tiff_source::complain);
            return true;
        }();
        tiff_.reset(TIFFClientOpen(
            "picture", "r", &source_, tiff_source::read, [](thandle_t, void *, tmsize_t) -> tmsize_t { return 0; },
            tiff_source::seek, [](thandle_t) { return 0; }, [](thandle_t h) -> toff_t { return tiff_source::of(h).bytes.size(); },
            tiff_source::map, [](thandle_t, void *, toff_t) {}));
        require(tiff_ != nullptr);
    }

    TIFF *get() const noexcept { return tiff_.get(); }
    void require(bool success) const {
        if (!success) throw broken("TIFF", source_.message[0] != '\0' ? source_.message.data() : "the file ends too early");
    }
    std::uint16_t tag(std::uint32_t name, std::uint16_t otherwise) const {
        std::uint16_t value = otherwise;
        return TIFFGetFieldDefaulted(get(), name, &value) == 1 ? value : otherwise;
    }
    std::uint32_t size(std::uint32_t name) const {
        std::uint32_t value = 0;
        require(TIFFGetField(get(), name, &value) == 1);
        return value;
    }

  private:
    tiff_source source_;
    std::unique_ptr<TIFF, void (*)(TIFF *)> tiff_{nullptr, TIFFClose};
};

/// How the samples of a pixel are stored.
struct tiff_layout {
    std::uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT, colours = PHOTOMETRIC_MINISWHITE;
    bool premultiplied = false;

    int channels() const noexcept { return colours == PHOTOMETRIC_SEPARATED ? 4 : colours == PHOTOMETRIC_RGB ? 3 : 1; }

    void require_readable() const {
        const bool grey = colours == PHOTOMETRIC_MINISBLACK || colours == PHOTOMETRIC_MINISWHITE;
        const bool whole = format == SAMPLEFORMAT_UINT;
        const bool small =
            whole && (bits == 1 || bits == 2 || bits == 4) && samples == 1 && (grey || colours == PHOTOMETRIC_PALETTE);
        const bool bytes = whole && bits == 8 && (grey || channels() > 1 || colours == PHOTOMETRIC_PALETTE);
        const bool wide = whole && bits == 16 && (grey || channels() > 1);
        const bool numbers = grey && samples == 1 &&
                             ((format == SAMPLEFORMAT_INT && (bits == 16 || bits == 32)) || (whole && bits == 32) ||
                              (format == SAMPLEFORMAT_IEEEFP && bits == 32));
        if ((!small && !bytes && !wide && !numbers) || samples < channels())
            throw error(error_kind::unsupported,
                        {.problem = "layout of the TIFF that is not read",
                         .expected = "grey, palette, RGB, CMYK or JPEG's colours, of 1 to 16 bits",
                         .found = "photometric interpretation " + std::to_string(colours) + ", " + std::to_string(samples) +
                                  " samples of " + std::to_string(bits) + " bits"});
    }

    /// A sample as a byte: of 16 bits the upper half, but grey is cut off at 255, as Pillow's convert("RGB") does.
    std::uint8_t byte_at(const std::uint8_t *row, std::size_t sample) const noexcept {
        const auto load = [&](auto number) {
            std::memcpy(&number, row + sample * sizeof number, sizeof number);
            return number;
        };
        const auto cut = [](auto number) {
            // Written so that what is no number becomes 0.
            return static_cast<std::uint8_t>(number > 0 ? number >= 255 ? 255 : static_cast<int>(number) : 0);
        };
        if (format == SAMPLEFORMAT_IEEEFP) return cut(load(float{}));
        if (format == SAMPLEFORMAT_INT) return bits == 16 ? cut(load(std::int16_t{})) : cut(load(std::int32_t{}));
        if (bits == 32) return cut(load(std::int32_t{}));
        if (bits == 16 && channels() == 1) return cut(load(std::uint16_t{}));
        if (bits == 16) return static_cast<std::uint8_t>(load(std::uint16_t{}) >> 8);
        if (bits == 8) return row[sample];
        const std::size_t bit = sample * bits;
        return static_cast<std::uint8_t>(row[bit / 8] >> (8 - bits - bit % 8) & ((1u << bits) - 1));
    }
};

/// Samples to red, green and blue.
class tiff_pixels {
  public:
    tiff_pixels(const tiff_reader &file, const tiff_layout &layout) : layout_(layout) {
        const std::size_t entries = std::size_t{1} << std::min<std::uint16_t>(layout.bits, 8);
        if (layout.colours == PHOTOMETRIC_PALETTE) {
            std::uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
            file.require(TIFFGetField(file.get(), TIFFTAG_COLORMAP, &red, &green, &blue) == 1);
            for (std::size_t i = 0; i < entries; ++i)
                table_[i] = {static_cast<std::uint8_t>(red[i] >> 8), static_cast<std::uint8_t>(green[i] >> 8),
                             static_cast<std::uint8_t>(blue[i] >> 8)};
        } else if (layout.bits <= 8) {
            for (std::size_t i = 0; i < entries; ++i) {
                const std::size_t level = i * 255 / (entries - 1);
                table_[i].fill(static_cast<std::uint8_t>(layout.colours == PHOTOMETRIC_MINISWHITE ? 255 - level : level));
            }
        }
    }

    void put(const std::array<std::uint8_t, 4> &samples, std::uint8_t *rgb) const noexcept {
        if (layout_.channels() == 4) return cmyk_to_rgb(samples.data(), rgb);
        if (layout_.channels() == 1) return void(std::copy_n(table_[samples[0]].data(), 3, rgb));
        const int alpha = layout_.premultiplied ? samples[3] : 255;
        for (std::size_t c = 0; c < 3; ++c)
            rgb[c] = static_cast<std::uint8_t>(alpha == 255 ? samples[c]
                                               : alpha == 0 ? 0
                                                            : std::min(samples[c] * 255 / alpha, 255));
    }

  private:
    tiff_layout layout_;
    palette table_ = grey_ramp();
};

/// Strips are tiles as wide as the picture.
struct tiff_blocks {
    bool tiled;
    std::uint32_t width, height; ///< of a block, in pixels
    std::size_t bytes, row_bytes;
};

tiff_blocks blocks_of(const tiff_reader &file, std::uint32_t picture_width, std::uint32_t picture_height) {
    TIFF *const tiff = file.get();
    tiff_blocks b{.tiled = TIFFIsTiled(tiff) != 0, .width = picture_width, .height = picture_height, .bytes = 0, .row_bytes = 0};
    if (b.tiled) {
        b.width = file.size(TIFFTAG_TILEWIDTH);
        b.height = file.size(TIFFTAG_TILELENGTH);
    } else {
        std::uint32_t rows = 0;
        TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &rows);
        b.height = std::min(rows, picture_height);
    }
    require_size(b.height, b.width);
    const tmsize_t bytes = b.tiled ? TIFFTileSize(tiff) : TIFFVStripSize(tiff, b.height);
    const tmsize_t row = b.tiled ? TIFFTileRowSize(tiff) : TIFFScanlineSize(tiff);
    constexpr tmsize_t most = tmsize_t{1} << 30;
    file.require(bytes > 0 && row > 0);
    if (bytes > most)
        throw error(error_kind::unsupported,
                    {.problem = "parts of the TIFF", .expected = "at most 1 GiB each", .found = std::to_string(bytes)});
    b.bytes = static_cast<std::size_t>(bytes);
    b.row_bytes = static_cast<std::size_t>(row);
    return b;
}

/// Reads block after block, of pictures whose channels are apart plane after plane.
void read_blocks(const tiff_reader &file, const tiff_layout &layout, picture &p) {
    const tiff_blocks blocks = blocks_of(file, static_cast<std::uint32_t>(p.width), static_cast<std::uint32_t>(p.height));
    const tiff_pixels pixels(file, layout);
    const bool apart = file.tag(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_SEPARATE && layout.samples > 1;
    const auto used = static_cast<std::size_t>(layout.premultiplied ? 4 : layout.channels());
    const std::size_t planes = apart ? used : 1, in_block = apart ? 1 : layout.samples;
    // Whatever libtiff says of sizes, no row is read beyond its end.
    file.require(blocks.row_bytes >= (std::size_t{blocks.width} * in_block * layout.bits + 7) / 8 &&
                 blocks.bytes / blocks.row_bytes >= blocks.height);
    std::vector<std::vector<std::uint8_t>> data(planes, std::vector<std::uint8_t>(blocks.bytes));
    for (std::uint32_t top = 0; top < p.height; top += blocks.height)
        for (std::uint32_t left = 0; left < p.width; left += blocks.width) {
            const auto rows = std::min<index_type>(blocks.height, p.height - top);
            const auto columns = static_cast<std::size_t>(std::min<index_type>(blocks.width, p.width - left));
            for (std::size_t plane = 0; plane < planes; ++plane) {
                const auto sample = static_cast<std::uint16_t>(plane);
                // The last strip may be shorter.
                const auto expected =
                    static_cast<tmsize_t>(blocks.tiled ? blocks.bytes : blocks.row_bytes * static_cast<std::size_t>(rows));
                const tmsize_t got = blocks.tiled
                                         ? TIFFReadEncodedTile(file.get(), TIFFComputeTile(file.get(), left, top, 0, sample),
                                                               data[plane].data(), expected)
                                         : TIFFReadEncodedStrip(file.get(), TIFFComputeStrip(file.get(), top, sample),
                                                                data[plane].data(), expected);
                file.require(got == expected);
            }
            for (index_type y = 0; y < rows; ++y) {
                std::uint8_t *out = p.pixels.data() + 3 * ((top + y) * p.width + left);
                for (std::size_t x = 0; x < columns; ++x, out += 3) {
                    std::array<std::uint8_t, 4> samples{};
                    for (std::size_t c = 0; c < used; ++c)
                        samples[c] = layout.byte_at(data[apart ? c : 0].data() + static_cast<std::size_t>(y) * blocks.row_bytes,
                                                    apart ? x : x * in_block + c);
                    pixels.put(samples, out);
                }
            }
        }
}

/// Brightness and colours apart, and not by JPEG, whose decoder makes RGB of them: libtiff has a converter, which Pillow uses
/// too.
void read_brightness_and_colours(const tiff_reader &file, picture &p) {
    std::array<char, 1024> problem{}; // as long as libtiff wants it
    TIFFRGBAImage image;
    if (TIFFRGBAImageOK(file.get(), problem.data()) == 0 || TIFFRGBAImageBegin(&image, file.get(), 1, problem.data()) == 0)
        throw error(error_kind::unsupported, {.problem = "layout of the TIFF that is not read", .found = problem.data()});
    const std::unique_ptr<TIFFRGBAImage, void (*)(TIFFRGBAImage *)> owner(&image, TIFFRGBAImageEnd);
    image.req_orientation = image.orientation; // upright() does it
    std::vector<std::uint32_t> raster(static_cast<std::size_t>(p.height * p.width));
    file.require(
        TIFFRGBAImageGet(&image, raster.data(), static_cast<std::uint32_t>(p.width), static_cast<std::uint32_t>(p.height)) != 0);
    std::uint8_t *out = p.pixels.data();
    for (const std::uint32_t pixel : raster) {
        *out++ = static_cast<std::uint8_t>(TIFFGetR(pixel));
        *out++ = static_cast<std::uint8_t>(TIFFGetG(pixel));
        *out++ = static_cast<std::uint8_t>(TIFFGetB(pixel));
    }
}

} // namespace

decoded_picture decode_tiff(byte_span bytes) {
    const tiff_reader file(bytes);
    decoded_picture result{.pixels = allocate(file.size(TIFFTAG_IMAGELENGTH), file.size(TIFFTAG_IMAGEWIDTH))};
    tiff_layout layout{.bits = file.tag(TIFFTAG_BITSPERSAMPLE, 1),
                       .samples = file.tag(TIFFTAG_SAMPLESPERPIXEL, 1),
                       .format = file.tag(TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT),
                       .colours = file.tag(TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISWHITE)};
    std::uint16_t extra = 0, *kinds = nullptr;
    if (layout.colours == PHOTOMETRIC_RGB && layout.samples > 3 &&
        TIFFGetField(file.get(), TIFFTAG_EXTRASAMPLES, &extra, &kinds) == 1 && extra > 0)
        layout.premultiplied = kinds[0] == EXTRASAMPLE_ASSOCALPHA;
    const bool jpeg = file.tag(TIFFTAG_COMPRESSION, COMPRESSION_NONE) == COMPRESSION_JPEG &&
                      file.tag(TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) == PLANARCONFIG_CONTIG;
    if (layout.colours == PHOTOMETRIC_YCBCR && !jpeg) {
        read_brightness_and_colours(file, result.pixels);
    } else {
        if (layout.colours == PHOTOMETRIC_YCBCR) {
            file.require(TIFFSetField(file.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB) == 1);
            layout.colours = PHOTOMETRIC_RGB;
        }
        layout.require_readable();
        read_blocks(file, layout, result.pixels);
    }
    const int orientation = file.tag(TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
    if (orientation >= 1 && orientation <= 8) result.pixels = upright(std::move(result.pixels), orientation);
    return result;
}

} // namespace examples
