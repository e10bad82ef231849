// SPDX-License-Identifier: MIT
#include "cli/report.hpp"

#include "fastvit/platform/output_file.hpp"

#include "cli/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string_view>

namespace cli {
namespace {

using fastvit::index_type;

std::string percent(double probability) { return fixed(100 * probability, 1); }

/// A Windows bitmap of 24 bits: every browser shows one, and it takes no library to write.
std::vector<std::uint8_t> bitmap(const fastvit::tensor<std::uint8_t> &rgb) {
    constexpr index_type header = 54;
    const index_type height = rgb.dim(0), width = rgb.dim(1);
    const index_type row = (3 * width + 3) / 4 * 4; // rows begin at multiples of four bytes
    std::vector<std::uint8_t> file(header + height * row);
    const auto put = [&](index_type at, index_type value, int bytes) {
        for (int i = 0; i < bytes; ++i) file[at + i] = static_cast<std::uint8_t>(value >> 8 * i & 255);
    };
    put(0, 'B' | 'M' << 8, 2);
    put(2, static_cast<index_type>(file.size()), 4);
    put(10, header, 4);
    put(14, 40, 4); // of the rest of the header
    put(18, width, 4);
    put(22, height, 4);
    put(26, 1, 2); // planes
    put(28, 24, 2);
    for (index_type y = 0; y < height; ++y) // from the bottom, blue green red
        for (index_type x = 0; x < width; ++x)
            for (index_type c = 0; c < 3; ++c) file[header + (height - 1 - y) * row + 3 * x + c] = rgb(y, x, 2 - c);
    return file;
}

constexpr std::string_view page_head = R"(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fastvit</title>
<style>
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: 1rem; border: 1px solid #8886; border-radius: .5rem; }
figure img { display: block; width: 12rem; max-width: 100%; margin: 0 auto .75rem; image-rendering: pixelated; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
small { font-weight: 400; opacity: .7; }
table { width: 100%; border-spacing: 0 .2rem; font-size: .9rem; }
td:nth-child(1) { width: 40%; overflow-wrap: anywhere; }
td:nth-child(3) { width: 4rem; text-align: right; font-variant-numeric: tabular-nums; }
.bar { height: .8rem; border-radius: .2rem; background: #888; }
tr:first-child .bar { background: #2a7de1; }
.wrong { border-color: #d33; }
</style>
)";

std::string figure(const classified &picture) {
    const std::string name = escape_html(printable(std::filesystem::path(picture.file).filename().string()));
    std::string html = picture.matches == false ? "<figure class=\"wrong\">\n" : "<figure>\n";
    html += "<img alt=\"" + name + "\" src=\"data:image/bmp;base64," + base64(bitmap(picture.seen)) + "\">\n";
    html += "<figcaption>" + name + " <small>" + fixed(picture.milliseconds, 2) + " ms</small></figcaption>\n<table>\n";
    for (const answer &a : picture.answers)
        html += "<tr><td>" + escape_html(printable(a.name())) +
                "</td><td><div class=\"bar\" style=\"width: " + percent(a.probability) + "%\"></div></td><td>" +
                percent(a.probability) + " %</td></tr>\n";
    return html + "</table>\n</figure>\n";
}

} // namespace

bool named_after(const std::string &file, const std::string &label) {
    const std::string stem = std::filesystem::path(file).stem().string();
    if (label.empty() || !stem.starts_with(label)) return false;
    return stem.find_first_not_of("0123456789_-", label.size()) == stem.npos;
}

std::string count_matches(const std::vector<classified> &pictures) {
    const auto asked = std::count_if(pictures.begin(), pictures.end(), [](const classified &p) { return p.matches.has_value(); });
    if (asked == 0) return {};
    const auto right = std::count_if(pictures.begin(), pictures.end(), [](const classified &p) { return p.matches == true; });
    return std::to_string(right) + " of " + std::to_string(asked) + " pictures are named after the first answer.";
}

void print_text(std::ostream &out, const classified &picture) {
    out << printable(picture.file) << "  (" << fixed(picture.milliseconds, 2) << " ms)\n";
    for (const answer &a : picture.answers) {
        const std::string share = percent(a.probability);
        out << std::string(7 - std::min<std::size_t>(share.size(), 7), ' ') << share << " %  " << printable(a.name()) << '\n';
    }
}

void print_json(std::ostream &out, const std::vector<classified> &pictures) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const classified &picture : pictures) {
        nlohmann::ordered_json entry{{"file", picture.file}, {"milliseconds", picture.milliseconds}};
        for (const answer &a : picture.answers) {
            nlohmann::ordered_json one{{"class", a.number}, {"probability", a.probability}};
            if (!a.label.empty()) one["label"] = a.label;
            entry["answers"].push_back(std::move(one));
        }
        if (picture.matches) entry["matches"] = *picture.matches;
        list.push_back(std::move(entry));
    }
    // A file's name may be any bytes; JSON is UTF-8.
    out << list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
}

void save_html(const std::string &path, const std::string &heading, const std::vector<classified> &pictures) {
    fastvit::platform::output_file file(path);
    const auto write = [&](std::string_view text) { file.write(std::as_bytes(std::span(text))); };
    write(page_head);
    write("<h1>" + escape_html(heading) + "</h1>\n<p>" + escape_html(count_matches(pictures)) +
          " The pictures are shown as the network sees them.</p>\n<main>\n");
    for (const classified &picture : pictures) write(figure(picture));
    write("</main>\n</html>\n");
    file.commit();
}

} // namespace cli
