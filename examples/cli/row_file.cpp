// SPDX-License-Identifier: MIT
#include "cli/row_file.hpp"

#include "fastvit/platform/output_file.hpp"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

namespace cli {
namespace {

using fastvit::error;
using fastvit::error_kind;
using fastvit::index_type;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::size_t head_size = std::size_t{1} << 16;
constexpr std::size_t largest_header = 100'000'000; // more than that no reader of safetensors takes

/// A file's name may be any bytes; JSON is UTF-8.
std::string text_of(const json &value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string rows_name(const std::string &output) { return output + ".partial"; }
std::string list_name(const std::string &output) { return output + ".files.jsonl"; }
std::string partial_list_name(const std::string &output) { return list_name(output) + ".partial"; }

fastvit::platform::descriptor open_partial(const std::string &path) {
    fastvit::platform::descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (file.get() < 0) throw fastvit::platform::file_error(path, "cannot write", errno);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) throw fastvit::platform::file_error(path, "another run is writing this");
    return file;
}

std::size_t size_of(const fastvit::platform::descriptor &file, const std::string &path) {
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) throw fastvit::platform::file_error(path, "cannot inspect the file", errno);
    return static_cast<std::size_t>(status.st_size);
}

void truncate(const fastvit::platform::descriptor &file, std::size_t size, const std::string &path) {
    if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) throw fastvit::platform::file_error(path, "cannot write", errno);
}

void write_at(const fastvit::platform::descriptor &file, std::size_t at, std::span<const std::byte> bytes,
              const std::string &path) {
    while (!bytes.empty()) {
        const auto done = ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) throw fastvit::platform::file_error(path, "cannot write", errno);
        at += static_cast<std::size_t>(done);
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
}

void read_at(const fastvit::platform::descriptor &file, std::size_t at, std::span<std::byte> bytes, const std::string &path) {
    while (!bytes.empty()) {
        const auto done = ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) throw fastvit::platform::file_error(path, "cannot read", errno);
        if (done == 0) throw fastvit::platform::file_error(path, "the file has become shorter");
        at += static_cast<std::size_t>(done);
        bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
}

std::span<const std::byte> bytes_of(const std::string &text) { return std::as_bytes(std::span(text)); }

error of_another_run(const std::string &output) {
    return {error_kind::invalid_argument,
            {.problem = "this is left from a run with another model, other options or other pictures; remove it to start over",
             .file = rows_name(output)}};
}

} // namespace

row_file::row_file(const std::string &output, const std::string &job, const std::vector<std::string> &pictures)
    : output_(output), job_(job), data_(-1), list_(-1) {
    // What cannot be written in the end is said before the work.
    std::error_code ignored;
    const fs::file_status there = fs::status(output, ignored);
    if (fs::is_directory(there)) throw fastvit::platform::file_error(output, "cannot write: this is a directory");
    if (fs::exists(there) && !fs::is_regular_file(there))
        throw fastvit::platform::file_error(output, "cannot write: this is not a regular file");
    if (const fs::path folder = fs::path(output).parent_path(); !folder.empty() && !fs::is_directory(folder, ignored))
        throw fastvit::platform::file_error(output, "cannot write: there is no such folder");
    data_ = open_partial(rows_name(output));
    list_ = open_partial(partial_list_name(output));
    if (size_of(data_, rows_name(output)) < head_size) {
        truncate(data_, 0, rows_name(output));
        truncate(list_, 0, partial_list_name(output));
        write_head();
    } else {
        read_rests(pictures);
    }
}

void row_file::write_head() {
    json columns = json::array();
    for (const column &c : columns_) columns.push_back({{"name", c.name}, {"shape", c.dims}});
    std::string head = text_of({{"rows of", job_}, {"columns", columns}});
    if (head.size() >= head_size) throw error(error_kind::unsupported, {.problem = "the names are too long", .file = output_});
    head.resize(head_size - 1, ' ');
    write_at(data_, 0, bytes_of(head + '\n'), rows_name(output_));
}

void row_file::read_rests(const std::vector<std::string> &pictures) {
    std::string text(head_size, '\0');
    read_at(data_, 0, std::as_writable_bytes(std::span(text)), rows_name(output_));
    const json head = json::parse(text, nullptr, false);
    if (!head.is_object() || head.value("rows of", "") != job_ || !head.contains("columns")) throw of_another_run(output_);
    for (const json &c : head["columns"]) {
        column &added = columns_.emplace_back(column{c.at("name"), c.at("shape"), 1});
        for (const index_type dim : added.dims) added.floats *= static_cast<std::size_t>(dim);
        row_floats_ += added.floats;
    }
    // As many lines as are whole, and have their rows: the last of either may have been cut off.
    const std::size_t bytes = size_of(data_, rows_name(output_)) - head_size;
    const auto whole_rows = static_cast<index_type>(row_floats_ == 0 ? 0 : bytes / (row_floats_ * sizeof(float)));
    std::ifstream list(partial_list_name(output_), std::ios::binary);
    std::size_t kept = 0;
    for (std::string line; std::getline(list, line) && !list.eof(); kept += line.size() + 1) {
        const json entry = json::parse(line, nullptr, false);
        if (!entry.is_object()) break;
        const bool has_row = entry.contains("row");
        if (has_row && rows_ == whole_rows) break;
        const auto number = static_cast<std::size_t>(done());
        if (number == pictures.size() || entry.value("file", "") != json::parse(text_of(pictures[number])).get<std::string>())
            throw of_another_run(output_);
        ++(has_row ? rows_ : failed_);
    }
    truncate(list_, kept, partial_list_name(output_));
    truncate(data_, head_size + static_cast<std::size_t>(rows_) * row_floats_ * sizeof(float), rows_name(output_));
}

void row_file::add_line(const std::string &line) {
    const std::string path = partial_list_name(output_);
    write_at(list_, size_of(list_, path), bytes_of(line + '\n'), path);
}

void row_file::add(const kept_picture &picture) {
    if (columns_.empty()) {
        for (const kept_picture::result &r : picture.results) {
            const fastvit::shape &dims = r.values.dims();
            columns_.push_back({r.name, {dims.begin() + 1, dims.end()}, r.values.span().size()});
            row_floats_ += r.values.span().size();
        }
        write_head();
    }
    std::size_t at = head_size + static_cast<std::size_t>(rows_) * row_floats_ * sizeof(float);
    for (const kept_picture::result &r : picture.results) {
        write_at(data_, at, std::as_bytes(r.values.span()), rows_name(output_));
        at += r.values.span().size_bytes();
    }
    add_line(text_of({{"file", picture.file}, {"row", rows_}})); // after the row: a line promises one
    ++rows_;
}

void row_file::add_failure(const std::string &file, const error &problem) {
    add_line(text_of({{"file", file}, {"error", problem.what()}}));
    ++failed_;
}

void row_file::read_row(index_type row, std::size_t skip, std::span<float> values) const {
    const std::size_t at = head_size + (static_cast<std::size_t>(row) * row_floats_ + skip) * sizeof(float);
    read_at(data_, at, std::as_writable_bytes(values), rows_name(output_));
}

std::vector<std::string> row_file::names() const {
    std::vector<std::string> names;
    std::ifstream list(partial_list_name(output_), std::ios::binary);
    for (std::string line; std::getline(list, line);)
        if (const json entry = json::parse(line); entry.contains("row")) names.push_back(entry["file"]);
    return names;
}

void row_file::for_each_row(const std::function<void(const std::string &, std::span<const float>)> &visit) const {
    if (rows_ == 0) return;
    std::vector<float> values(columns_[0].floats);
    index_type row = 0;
    for (const std::string &name : names()) {
        read_row(row++, 0, values);
        visit(name, values);
    }
}

/// Version 1.0 of numpy's format.
std::string row_file::npy_header() const {
    std::string shape = std::to_string(rows_);
    for (const index_type dim : columns_[0].dims) shape += ", " + std::to_string(dim);
    std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
    constexpr std::size_t before = 10, aligned = 64;
    text.resize((before + text.size() + 1 + aligned - 1) / aligned * aligned - before - 1, ' ');
    text += '\n';
    const std::string size{static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
    return std::string("\x93NUMPY\x01\x00", 8) + size + text;
}

std::string row_file::safetensors_header() const {
    json header;
    if (const std::string files = text_of(names()); files.size() < largest_header / 2) header["__metadata__"]["files"] = files;
    std::size_t end = 0;
    for (const column &c : columns_) {
        std::vector<index_type> dims{rows_};
        dims.insert(dims.end(), c.dims.begin(), c.dims.end());
        const std::size_t begin = std::exchange(end, end + static_cast<std::size_t>(rows_) * c.floats * sizeof(float));
        header[c.name] = {{"dtype", "F32"}, {"shape", dims}, {"data_offsets", {begin, end}}};
    }
    std::string text = text_of(header);
    text.resize((text.size() + 7) / 8 * 8, ' '); // the data can be used where it is mapped
    const auto size = static_cast<std::uint64_t>(text.size());
    return std::string(reinterpret_cast<const char *>(&size), sizeof size) + text;
}

void row_file::finish() {
    if (rows_ > 0) {
        fastvit::platform::output_file file(output_);
        file.write(bytes_of(output_.ends_with(".npy") ? npy_header() : safetensors_header()));
        constexpr std::size_t at_once = std::size_t{1} << 18;
        std::vector<float> buffer;
        std::size_t skip = 0;
        const auto flush = [&] {
            file.write(std::as_bytes(std::span(buffer)));
            buffer.clear();
        };
        for (const column &c : columns_) {
            for (index_type row = 0; row < rows_; ++row) {
                buffer.resize(buffer.size() + c.floats);
                read_row(row, skip, std::span(buffer).last(c.floats));
                if (buffer.size() >= at_once) flush();
            }
            skip += c.floats;
        }
        flush();
        file.commit();
    }
    if (std::rename(partial_list_name(output_).c_str(), list_name(output_).c_str()) != 0)
        throw fastvit::platform::file_error(list_name(output_), "cannot rename the finished file", errno);
    ::unlink(rows_name(output_).c_str());
}

} // namespace cli
