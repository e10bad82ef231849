// SPDX-License-Identifier: MIT
// The definitions of checkpoint_editor.hpp.
#include "support/checkpoint_editor.hpp"

#include "fastvit/io/safetensors_writer.hpp"

#include "support/io_test_files.hpp"
#include "support/loader.hpp"
#include "support/translators.hpp"

#include <algorithm>
#include <stdexcept>

namespace fastvit_test {

namespace {

// A tensor that has no bytes stands for zeros, but for those of the type Q9, which no reader knows.
std::size_t size_of(const file_tensor &t) {
    if (t.type == "Q9") return t.bytes.size();
    return t.bytes.empty() ? static_cast<std::size_t>(t.dims.count()) * (t.type == "I64" ? 8 : 4) : t.bytes.size();
}

std::size_t size_of(const std::vector<file_tensor> &tensors) {
    std::size_t bytes = 0;
    for (const file_tensor &t : tensors) bytes += size_of(t);
    return bytes;
}

std::string header_of(const std::vector<file_tensor> &tensors) {
    std::string json = "{";
    std::size_t begin = 0;
    for (const file_tensor &t : tensors) {
        json += (json.size() > 1 ? ",\"" : "\"") + t.name + "\":{\"dtype\":\"" + t.type + "\",\"shape\":" + t.dims.to_string() +
                ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(begin + size_of(t)) + "]}";
        begin += size_of(t);
    }
    return io_test::safetensors(json + "}");
}

} // namespace

void file_tensor::reshape(const fastvit::shape &to) {
    const index_type size = type == "I64" ? 8 : type == "F16" ? 2 : 4;
    dims = to;
    bytes.resize(static_cast<std::size_t>(to.count() * size), '\0');
}

void file_tensor::transpose() {
    const std::string before = bytes;
    const auto rows = static_cast<std::size_t>(dims[0]), columns = static_cast<std::size_t>(dims[1]);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < columns; ++c) bytes.replace((c * rows + r) * 4, 4, before, (r * columns + c) * 4, 4);
    dims = {dims[1], dims[0]};
}

void file_tensor::fill(float value) {
    for (std::size_t i = 0; i < bytes.size(); i += 4) bytes.replace(i, 4, io_test::number(value));
}

file_of_tensors::file_of_tensors(const fastvit::checkpoint &source) {
    for (const fastvit::io::stored_tensor &t : source.tensors())
        tensors.push_back({t.name, t.type_name, t.dims, {reinterpret_cast<const char *>(t.bytes.data()), t.bytes.size()}});
}

file_of_tensors file_of_tensors::read(std::string_view name) {
    return file_of_tensors(fastvit::checkpoint::open(data / "checkpoints" / name));
}

std::vector<std::string> file_of_tensors::names() const {
    std::vector<std::string> all;
    for (const file_tensor &t : tensors) all.push_back(t.name);
    return all;
}

bool file_of_tensors::has(std::string_view name) const {
    return std::any_of(tensors.begin(), tensors.end(), [&](const file_tensor &t) { return t.name == name; });
}

file_tensor &file_of_tensors::at(std::string_view name) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const file_tensor &t) { return t.name == name; });
    if (found == tensors.end()) throw std::out_of_range("no tensor " + std::string(name));
    return *found;
}

void file_of_tensors::erase(std::string_view name) {
    std::erase_if(tensors, [&](const file_tensor &t) { return t.name == name; });
}

void file_of_tensors::rename(const std::function<std::string(const std::string &)> &f) {
    for (file_tensor &t : tensors) t.name = f(t.name);
}

file_of_tensors file_of_tensors::in_timm_spelling() const {
    file_of_tensors result = *this;
    const auto translator = translator_of(names());
    result.rename([&](const std::string &name) { return translator.to_canonical(name).value(); });
    return result;
}

file_of_tensors file_of_tensors::in_mobileclip_spelling(const fastvit::architecture &net) const {
    const std::string prefix = "image_encoder.model.";
    const auto translator = translator_of(net, fastvit::io::spelling::apple);
    file_of_tensors result = *this;
    result.erase("head.fc.bias");
    result.rename([&](const std::string &name) {
        if (name == "head.fc.weight") return prefix + "head.proj";
        std::string apple = translator.from_canonical(name);
        if (apple.find(".proj.0.se.") != apple.npos) {
            const std::string leaf = apple.substr(apple.rfind('.'));
            apple = apple.substr(0, apple.find(".se.")) + (name.find(".fc1.") != name.npos ? ".se.fc1" : ".se.fc2") + leaf;
        }
        return prefix + apple;
    });
    result.at(prefix + "head.proj").transpose();
    result.tensors.push_back({"text_encoder.projection_layer", "F32", {2, 3}, {}});
    result.tensors.push_back({"logit_scale", "F32", {}, {}});
    return result;
}

std::string file_of_tensors::bytes() const {
    std::string all = header_of(tensors);
    for (const file_tensor &t : tensors) all += t.bytes.empty() ? std::string(size_of(t), '\0') : t.bytes;
    return all;
}

fastvit::model file_of_tensors::load(const fastvit::model_options &options) const {
    const std::string file = bytes();
    return fastvit::model(fastvit::checkpoint::from_bytes(io_test::bytes_of(file), "net.safetensors"), options);
}

std::optional<fastvit::error> file_of_tensors::failure() const {
    try {
        load();
        return std::nullopt;
    } catch (const fastvit::error &e) {
        return e;
    }
}

void file_of_tensors::save_sparse(const std::filesystem::path &path) const {
    const std::string header = header_of(tensors);
    io_test::write_file(path, header);
    std::filesystem::resize_file(path, header.size() + size_of(tensors));
}

file_of_tensors file_of(const fastvit::architecture &net, fastvit::io::spelling spelling, bool folded) {
    const auto names = translator_of(net, spelling);
    file_of_tensors file;
    for (const network_tensor &t : tensors_of(net, folded))
        file.tensors.push_back(
            {names.from_canonical(t.name), t.name.ends_with("num_batches_tracked") ? "I64" : "F32", t.dims, {}});
    return file;
}

tensor_list list_of(const file_of_tensors &file) {
    tensor_list list;
    for (const file_tensor &t : file.tensors) list.add(t.name, t.dims);
    return list;
}

void save_checkpoint(const std::filesystem::path &path, const fastvit::checkpoint &source) {
    std::vector<fastvit::io::named_tensor> tensors;
    for (const fastvit::io::stored_tensor &t : source.tensors()) tensors.push_back({.name = t.name, .data = {}, .stored = &t});
    fastvit::io::save_safetensors(path, tensors);
}

} // namespace fastvit_test
