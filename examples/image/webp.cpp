// SPDX-License-Identifier: MIT
#include "image/decoders.hpp"

#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

namespace examples {

using fastvit::index_type;

decoded_picture decode_webp(byte_span bytes) {
    const WebPData data{bytes.data(), bytes.size()};
    const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer *)> file(WebPDemux(&data), WebPDemuxDelete);
    if (!file) throw broken("WebP", "the container is damaged, or ends too early");
    decoded_picture result{
        .pixels = allocate(WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_HEIGHT), WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_WIDTH))};
    picture &canvas = result.pixels;

    // A still picture is an animation of one frame. The first covers black, and its transparency counts for nothing.
    WebPIterator frame;
    const int found = WebPDemuxGetFrame(file.get(), 1, &frame);
    const std::unique_ptr<WebPIterator, void (*)(WebPIterator *)> owner(&frame, WebPDemuxReleaseIterator);
    if (found == 0 || frame.complete == 0) throw broken("WebP", "there is no whole picture in it");
    const bool inside = frame.x_offset >= 0 && frame.y_offset >= 0 && frame.width <= canvas.width - frame.x_offset &&
                        frame.height <= canvas.height - frame.y_offset;
    int width = 0, height = 0;
    if (!inside || WebPGetInfo(frame.fragment.bytes, frame.fragment.size, &width, &height) == 0 || width != frame.width ||
        height != frame.height)
        throw broken("WebP", "the sizes in it contradict each other");
    const index_type stride = 3 * canvas.width, before = frame.y_offset * stride + frame.x_offset * 3;
    if (!WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, canvas.pixels.data() + before,
                           canvas.pixels.size() - static_cast<std::size_t>(before), static_cast<int>(stride)))
        throw broken("WebP", "the pixels are damaged, or end too early");

    WebPChunkIterator exif;
    if (WebPDemuxGetChunk(file.get(), "EXIF", 1, &exif) != 0)
        result.orientation = exif_orientation({exif.chunk.bytes, exif.chunk.size});
    WebPDemuxReleaseChunkIterator(&exif);
    return result;
}

} // namespace examples
