// SPDX-License-Identifier: MIT
#include "image/decoders.hpp"

#include <jpeglib.h> // after cstdio, which it needs

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>

namespace examples {
namespace {

/// A libjpeg decompressor that takes its bytes from memory and keeps its complaints to itself.
///
/// Errors come by longjmp, as libpng's do. Warnings are none: phones and webcams write files that libjpeg warns of, and Pillow
/// reads them without a word. What is missing is found as Pillow finds it: the source says that there is no more for now, instead
/// of making up an end, and libjpeg then stops before the first row that it cannot make.
class jpeg_reader {
  public:
    explicit jpeg_reader(byte_span bytes) {
        info_.err = jpeg_std_error(&errors_);
        errors_.error_exit = [](j_common_ptr info) {
            auto &self = *static_cast<jpeg_reader *>(info->client_data);
            info->err->format_message(info, self.message_.data());
            std::longjmp(self.jump_, 1);
        };
        errors_.emit_message = [](j_common_ptr, int) {};
        errors_.output_message = [](j_common_ptr) {};
        info_.client_data = this;
        attempt([](j_decompress_ptr info) { jpeg_create_decompress(info); });
        source_.next_input_byte = bytes.data();
        source_.bytes_in_buffer = bytes.size();
        source_.init_source = [](j_decompress_ptr) {};
        source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };
        source_.skip_input_data = [](j_decompress_ptr info, long size) {
            const std::size_t skipped = std::min(info->src->bytes_in_buffer, static_cast<std::size_t>(std::max(size, 0L)));
            info->src->next_input_byte += skipped;
            info->src->bytes_in_buffer -= skipped;
        };
        source_.resync_to_restart = jpeg_resync_to_restart;
        source_.term_source = [](j_decompress_ptr) {};
        info_.src = &source_;
        // A small file may ask for thousands of passes over a large picture.
        progress_.progress_monitor = [](j_common_ptr info) {
            auto &self = *static_cast<jpeg_reader *>(info->client_data);
            constexpr int most_scans = 500;
            if (self.info_.input_scan_number <= most_scans) return;
            std::snprintf(self.message_.data(), self.message_.size(), "more than %d scans", most_scans);
            std::longjmp(self.jump_, 1);
        };
        info_.progress = &progress_;
    }
    jpeg_reader(const jpeg_reader &) = delete;
    jpeg_reader &operator=(const jpeg_reader &) = delete;
    ~jpeg_reader() { jpeg_destroy_decompress(&info_); }

    /// Calls step(info), whose return value is not zero unless data is missing; throws what libjpeg has to say if it fails.
    template <class Step> void attempt(Step step) {
        if (setjmp(jump_) != 0) throw broken("JPEG", message_.data());
        step(&info_);
    }

    const jpeg_decompress_struct &info() const noexcept { return info_; }

  private:
    jpeg_decompress_struct info_{};
    jpeg_error_mgr errors_{};
    jpeg_source_mgr source_{};
    jpeg_progress_mgr progress_{};
    std::jmp_buf jump_{};
    std::array<char, JMSG_LENGTH_MAX> message_{};
};

int orientation_of(const jpeg_decompress_struct &info) noexcept {
    for (jpeg_saved_marker_ptr marker = info.marker_list; marker; marker = marker->next)
        if (const byte_span data(marker->data, marker->data_length); data.size() > 6 && std::equal(&data[0], &data[6], "Exif\0"))
            return exif_orientation(data);
    return 1;
}

} // namespace

decoded_picture decode_jpeg(byte_span bytes) {
    jpeg_reader reader(bytes);
    const auto require = [](bool complete) {
        if (!complete) throw broken("JPEG", "the file ends too early");
    };
    int status = JPEG_SUSPENDED;
    reader.attempt([&](j_decompress_ptr info) {
        jpeg_save_markers(info, JPEG_APP0 + 1, 0xffff); // EXIF's
        status = jpeg_read_header(info, TRUE);
    });
    require(status == JPEG_HEADER_OK);
    const jpeg_decompress_struct &info = reader.info();
    if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4)
        throw fastvit::error(
            fastvit::error_kind::unsupported,
            {.problem = "colours of the JPEG", .expected = "1, 3 or 4 components", .found = std::to_string(info.num_components)});
    decoded_picture result{.pixels = allocate(info.image_height, info.image_width), .orientation = orientation_of(info)};
    // The accurate transform and smooth upsampling are libjpeg's usual ones, and so Pillow's.
    const bool inks = info.num_components == 4;
    boolean started = FALSE;
    reader.attempt([&](j_decompress_ptr d) {
        d->out_color_space = inks ? JCS_CMYK : JCS_RGB;
        started = jpeg_start_decompress(d);
    });
    require(started == TRUE);
    const std::size_t width = info.image_width;
    std::vector<std::uint8_t> row(inks ? 4 * width : 0);
    for (std::size_t y = 0; y < info.output_height; ++y) {
        std::uint8_t *const out = result.pixels.pixels.data() + 3 * y * width;
        JSAMPROW into = inks ? row.data() : out;
        JDIMENSION rows = 0;
        reader.attempt([&](j_decompress_ptr d) { rows = jpeg_read_scanlines(d, &into, 1); });
        require(rows == 1);
        for (std::uint8_t &ink : row) ink = static_cast<std::uint8_t>(255 - ink); // Adobe's files, and so all, have them inverted
        for (std::size_t x = 0; inks && x < width; ++x) cmyk_to_rgb(row.data() + 4 * x, out + 3 * x);
    }
    // All rows are there: an end that is missing does not matter, to Pillow either.
    reader.attempt([](j_decompress_ptr d) { jpeg_finish_decompress(d); });
    return result;
}

} // namespace examples
