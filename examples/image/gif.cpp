// SPDX-License-Identifier: MIT
#include "image/decoders.hpp"

#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace examples {
namespace {

using fastvit::index_type;

struct gif_source {
    byte_span left;
    bool exhausted = false; ///< more was asked for than there is

    static int read(GifFileType *gif, GifByteType *out, int size) {
        auto &self = *static_cast<gif_source *>(gif->UserData);
        const std::size_t got = std::min(self.left.size(), static_cast<std::size_t>(size));
        // Behind the pixels there may be nothing, not even the empty block that ends them; giflib wants to see it.
        if (got == 0 && size == 1 && !std::exchange(self.exhausted, true)) {
            *out = 0;
            return 1;
        }
        self.exhausted |= got < static_cast<std::size_t>(size);
        std::copy_n(self.left.data(), got, out);
        self.left = self.left.subspan(got);
        return static_cast<int>(got);
    }
};

} // namespace

decoded_picture decode_gif(byte_span bytes) {
    gif_source source{bytes};
    int problem = 0;
    const std::unique_ptr<GifFileType, void (*)(GifFileType *)> gif(DGifOpen(&source, gif_source::read, &problem),
                                                                    [](GifFileType *g) { DGifCloseFile(g, nullptr); });
    const auto what = [&](int code) {
        const char *const text = GifErrorString(code);
        return broken("GIF", source.exhausted ? "the file ends too early" : text ? text : "damaged");
    };
    if (!gif) throw what(problem);
    const auto require = [&](int status) {
        if (status == GIF_ERROR) throw what(gif->Error);
    };

    int transparent = 0; // the colour where the first frame leaves the canvas uncovered
    for (GifRecordType record = UNDEFINED_RECORD_TYPE; record != IMAGE_DESC_RECORD_TYPE;) {
        require(DGifGetRecordType(gif.get(), &record));
        if (record == TERMINATE_RECORD_TYPE) throw broken("GIF", "there is no picture in it");
        if (record != EXTENSION_RECORD_TYPE) continue;
        int code = 0;
        GifByteType *block = nullptr; // its first byte is its size
        require(DGifGetExtension(gif.get(), &code, &block));
        if (code == GRAPHICS_EXT_FUNC_CODE && block && block[0] >= 4 && (block[1] & 1) != 0) transparent = block[4];
        while (block) require(DGifGetExtensionNext(gif.get(), &block));
    }
    require(DGifGetImageDesc(gif.get()));
    const GifImageDesc &frame = gif->Image;
    require_size(frame.Height, frame.Width);

    palette colours = grey_ramp();
    if (const ColorMapObject *const map = frame.ColorMap ? frame.ColorMap : gif->SColorMap)
        for (int i = 0; i < std::min(map->ColorCount, 256); ++i)
            colours[static_cast<std::size_t>(i)] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
    // A frame that is larger than the canvas enlarges it.
    decoded_picture result{
        .pixels = allocate(std::max(gif->SHeight, frame.Top + frame.Height), std::max(gif->SWidth, frame.Left + frame.Width))};
    picture &canvas = result.pixels;
    const auto put = [&](index_type y, index_type x, int index) {
        std::copy_n(colours[static_cast<std::size_t>(index)].data(), 3, canvas.pixels.data() + 3 * (y * canvas.width + x));
    };
    for (index_type y = 0; y < canvas.height; ++y)
        for (index_type x = 0; x < canvas.width; ++x) put(y, x, transparent);

    std::vector<GifPixelType> line(static_cast<std::size_t>(frame.Width));
    struct pass {
        int first, step;
    };
    static constexpr pass interlaced[]{{0, 8}, {4, 8}, {2, 4}, {1, 2}}, plain[]{{0, 1}};
    for (const pass &p : frame.Interlace ? std::span<const pass>(interlaced) : std::span<const pass>(plain))
        for (int y = p.first; y < frame.Height; y += p.step) {
            const int status = DGifGetLine(gif.get(), line.data(), frame.Width);
            // The compressed pixels may end before the picture does: the rest stays uncovered.
            if (status == GIF_ERROR && gif->Error == D_GIF_ERR_EOF_TOO_SOON && !source.exhausted) return result;
            require(status);
            for (int x = 0; x < frame.Width; ++x) put(frame.Top + y, frame.Left + x, line[static_cast<std::size_t>(x)]);
        }
    return result;
}

} // namespace examples
