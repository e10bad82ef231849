// SPDX-License-Identifier: MIT
#include "image_file.hpp"

#include "image/decoders.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

namespace examples {
namespace {

using fastvit::error;
using fastvit::error_kind;

using decoder = decoded_picture (*)(byte_span);

/// The decoder for files that begin so; null if there is none.
decoder decoder_of(byte_span bytes) noexcept {
    const auto has = [&](std::size_t at, std::string_view magic) {
        return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
    };
    const auto is_one_of = [&](std::size_t at, std::string_view set) {
        return bytes.size() > at && set.find(static_cast<char>(bytes[at])) != set.npos;
    };
    using namespace std::string_view_literals;
    if (has(0, "\x89PNG\r\n\x1a\n")) return decode_png;
    if (has(0, "\xff\xd8\xff")) return decode_jpeg;
    if (has(0, "RIFF") && has(8, "WEBP")) return decode_webp;
    if (has(0, "GIF87a") || has(0, "GIF89a")) return decode_gif;
    for (const std::string_view magic : {"II*\0"sv, "MM\0*"sv, "II+\0"sv, "MM\0+"sv})
        if (has(0, magic)) return decode_tiff;
    // Two letters begin many a text: the sizes of the header that there are tell a bitmap, and a blank after the digit a PNM.
    if (has(0, "BM") && has(15, "\0\0\0"sv) && is_one_of(14, "\x0c\x28\x34\x38\x40\x6c\x7c")) return decode_bmp;
    if (has(0, "P") && is_one_of(1, "123456") && is_one_of(2, " \t\n\v\f\r#")) return decode_pnm;
    return nullptr;
}

} // namespace

bool begins_like_a_picture(byte_span bytes) noexcept { return decoder_of(bytes) != nullptr; }

picture decode_picture(byte_span bytes, camera_orientation orientation) {
    if (bytes.empty()) throw error(error_kind::bad_format, "the file is empty");
    if (const decoder decode = decoder_of(bytes)) {
        decoded_picture p = decode(bytes);
        return orientation == camera_orientation::applied ? upright(std::move(p.pixels), p.orientation) : std::move(p.pixels);
    }
    std::string found = "the bytes";
    for (const std::uint8_t b : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
        constexpr const char *hex = "0123456789abcdef";
        found += {' ', hex[b >> 4], hex[b & 15]};
    }
    throw error(
        error_kind::unsupported,
        {.problem = "unknown kind of file", .expected = "PNG, JPEG, WebP, GIF, TIFF, BMP, PBM, PGM or PPM", .found = found});
}

std::vector<std::uint8_t> read_bytes(const std::string &path) {
    const auto refused = [](const char *what) {
        return error(error_kind::io, std::string(what) + ": " + std::generic_category().message(errno));
    };
    const bool standard_input = path == "-";
    const std::unique_ptr<std::FILE, int (*)(std::FILE *)> file(
        standard_input ? stdin : std::fopen(path.c_str(), "rb"),
        standard_input ? [](std::FILE *) { return 0; } : [](std::FILE *f) { return std::fclose(f); });
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

picture read_picture(const std::string &path, camera_orientation orientation) {
    try {
        return decode_picture(read_bytes(path), orientation);
    } catch (const error &e) {
        throw e.in_file(path);
    }
}

} // namespace examples
