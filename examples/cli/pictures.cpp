// SPDX-License-Identifier: MIT
#include "cli/pictures.hpp"

#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"
#include "fastvit/platform/text_file.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;
namespace fs = std::filesystem;

/// Whether a file of a folder is to be read. One that cannot even be opened is: reading it will say why.
bool looks_like_a_picture(const fs::path &file) {
    std::array<char, examples::kind_bytes> begin;
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return true;
    stream.read(begin.data(), begin.size());
    return examples::begins_like_a_picture(
        {reinterpret_cast<const std::uint8_t *>(begin.data()), static_cast<std::size_t>(stream.gcount())});
}

struct folder_contents {
    std::vector<std::string> pictures, others;
};

folder_contents contents_of(const std::string &folder) {
    folder_contents found;
    std::error_code problem;
    fs::directory_iterator at(folder, problem);
    for (; !problem && at != fs::directory_iterator(); at.increment(problem)) {
        // Hidden files are leftovers, such as macOS's ._NAME.jpg and .DS_Store, and no one misses them.
        if (at->path().filename().string().starts_with('.')) continue;
        std::error_code ignored;
        const bool picture = at->is_regular_file(ignored) && looks_like_a_picture(at->path());
        (picture ? found.pictures : found.others).push_back(at->path().string() + (at->is_directory(ignored) ? "/" : ""));
    }
    if (problem)
        throw error(error_kind::io, error::parts{.problem = "cannot read the folder: " + problem.message(), .file = folder});
    if (found.pictures.empty()) throw error(error_kind::io, error::parts{.problem = "no picture in this folder", .file = folder});
    std::sort(found.pictures.begin(), found.pictures.end());
    std::sort(found.others.begin(), found.others.end());
    return found;
}

const std::string standard_input_name = "the standard input";

std::vector<std::uint8_t> read_named(const std::string &path) {
    try {
        return examples::read_bytes(path);
    } catch (const error &e) {
        throw e.in_file(path == "-" ? standard_input_name : path);
    }
}

} // namespace

picture_list::picture_list(const picture_options &options)
    : orientation_(options.exif ? examples::camera_orientation::applied : examples::camera_orientation::ignored) {
    for (const std::string &name : options.pictures) {
        if (name != "-") {
            add(name);
            continue;
        }
        std::vector<std::uint8_t> bytes = read_named("-");
        if (examples::begins_like_a_picture(bytes)) {
            standard_input_ = std::move(bytes);
            files_.push_back("-");
        } else {
            add_lines(bytes, standard_input_name);
        }
    }
    if (options.list) add_lines(read_named(*options.list), *options.list == "-" ? standard_input_name : *options.list);
    const auto count = static_cast<index_type>(files_.size());
    const auto [number, of] = options.part;
    files_.erase(files_.begin() + count * number / of, files_.end());
    files_.erase(files_.begin(), files_.begin() + count * (number - 1) / of);
}

void picture_list::add_lines(const std::vector<std::uint8_t> &bytes, const std::string &name) {
    try {
        std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
        text = fastvit::platform::plain_text(text, text.size());
        bool any = false;
        while (!text.empty()) {
            const std::size_t end = std::min(text.find('\n'), text.size());
            std::string_view line = text.substr(0, end);
            if (line.ends_with('\r')) line.remove_suffix(1);
            if (!line.empty()) add(std::string(line));
            any |= !line.empty();
            text.remove_prefix(std::min(end + 1, text.size()));
        }
        if (!any) throw error(error_kind::bad_format, "the list is empty");
    } catch (const error &e) {
        throw e.in_file(name);
    }
}

void picture_list::add(const std::string &name) {
    std::error_code ignored;
    if (!fs::is_directory(name, ignored)) return files_.push_back(name);
    try {
        add_folder(name);
    } catch (const error &) {
        files_.push_back(name); // read() will say why
    }
}

void picture_list::add_folder(const std::string &folder) {
    folder_contents found = contents_of(folder);
    files_.insert(files_.end(), found.pictures.begin(), found.pictures.end());
    skipped_.insert(skipped_.end(), found.others.begin(), found.others.end());
}

std::string picture_list::skipped() const {
    if (skipped_.empty()) return {};
    return std::to_string(skipped_.size()) + (skipped_.size() == 1 ? " entry of a folder is" : " entries of folders are") +
           " no picture, and skipped: " + fastvit::io::first_of_list(skipped_, 20);
}

examples::picture picture_list::read(index_type number) const {
    const std::string &file = files_[static_cast<std::size_t>(number)];
    if (file == "-") return examples::decode_picture(standard_input_, orientation_);
    std::error_code ignored;
    if (fs::is_directory(file, ignored)) contents_of(file);
    return examples::read_picture(file, orientation_);
}

} // namespace cli
