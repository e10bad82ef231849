// SPDX-License-Identifier: MIT
#include "cli/pictures.hpp"

#include "fastvit/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string_view>
#include <system_error>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> extensions{".png", ".jpg", ".jpeg", ".ppm", ".pgm"};

bool looks_like_a_picture(const fs::directory_entry &entry) {
    std::error_code ignored;
    std::string extension = entry.path().extension().string();
    for (char &c : extension)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    // Hidden files are leftovers, such as macOS's ._NAME.jpg, which are no pictures.
    return std::find(extensions.begin(), extensions.end(), extension) != extensions.end() &&
           !entry.path().filename().string().starts_with('.') && entry.is_regular_file(ignored);
}

std::vector<std::string> pictures_in(const std::string &folder) {
    std::vector<std::string> files;
    std::error_code problem;
    fs::directory_iterator at(folder, problem);
    for (; !problem && at != fs::directory_iterator(); at.increment(problem))
        if (looks_like_a_picture(*at)) files.push_back(at->path().string());
    if (problem)
        throw error(error_kind::io, error::parts{.problem = "cannot read the folder: " + problem.message(), .file = folder});
    if (files.empty())
        throw error(
            error_kind::io,
            error::parts{.problem = "no picture in this folder", .expected = "*.png, jpg, jpeg, ppm or pgm", .file = folder});
    std::sort(files.begin(), files.end());
    return files;
}

void add_lines(std::istream &list, std::vector<std::string> &lines) {
    for (std::string line; std::getline(list, line);) {
        if (line.ends_with('\r')) line.pop_back();
        if (!line.empty()) lines.push_back(std::move(line));
    }
}

std::vector<std::string> lines_of(const std::string &path) {
    const std::string name = path == "-" ? "the standard input" : path;
    std::vector<std::string> lines;
    std::error_code ignored;
    // A stream opens a directory and then reads nothing from it.
    if (path != "-" && fs::is_directory(path, ignored))
        throw error(error_kind::io, error::parts{.problem = "cannot read a list: this is a directory", .file = name});
    errno = 0;
    std::ifstream file;
    if (path != "-") file.open(path);
    std::istream &list = path == "-" ? std::cin : file;
    if (list) add_lines(list, lines);
    if (list.bad() || !list.eof())
        throw error(
            error_kind::io,
            error::parts{.problem = "cannot read: " + std::generic_category().message(errno ? errno : EIO), .file = name});
    if (lines.empty()) throw error(error_kind::bad_format, error::parts{.problem = "a list without a line", .file = name});
    return lines;
}

} // namespace

std::vector<std::string> list_pictures(const picture_options &options) {
    std::vector<std::string> named = options.pictures, files;
    if (options.list) {
        const std::vector<std::string> listed = lines_of(*options.list);
        named.insert(named.end(), listed.begin(), listed.end());
    }
    for (const std::string &name : named) {
        std::error_code ignored;
        if (!fs::is_directory(name, ignored)) {
            files.push_back(name);
            continue;
        }
        try {
            const std::vector<std::string> inside = pictures_in(name);
            files.insert(files.end(), inside.begin(), inside.end());
        } catch (const error &) {
            files.push_back(name); // read_listed() will say why
        }
    }
    return files;
}

examples::picture read_listed(const std::string &file) {
    std::error_code ignored;
    if (fs::is_directory(file, ignored)) pictures_in(file);
    return examples::read_picture(file);
}

} // namespace cli
