// SPDX-License-Identifier: MIT
// What a file is if it is not a checkpoint, judged by its first bytes, and what to do with it. Only messages depend on it.
#pragma once

#include "fastvit/base/config.hpp"
#include "fastvit/base/text.hpp"
#include "fastvit/error.hpp"
#include "fastvit/io/byte_reader.hpp"
#include "fastvit/io/stored_tensor.hpp"
#include "fastvit/io/zip_directory.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace fastvit { inline namespace FASTVIT_ABI { namespace io {

namespace detail {

/// Formats that begin, at an offset, with bytes of their own.
struct file_signature {
    std::size_t offset;
    std::string_view bytes;
    const char *meaning;
};
inline constexpr std::array<file_signature, 17> file_signatures{{
    {0, "version https://git-lfs", "a Git LFS pointer, not the file that it stands for; fetch that with `git lfs pull`"},
    {257, "ustar", "a tar archive; unpack it (tar xf) and open the checkpoint in it"},
    {0, "\x1f\x8b", "compressed with gzip; unpack it (gunzip; tar xzf for a .tar.gz) and open what is in it"},
    {0, "BZh", "compressed with bzip2; unpack it (bunzip2) and open what is in it"},
    {0, "\x28\xb5\x2f\xfd", "compressed with zstd; unpack it (unzstd) and open what is in it"},
    {0, "\xfd\x37zXZ", "compressed with xz; unpack it (unxz) and open what is in it"},
    {0, "7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it and open the checkpoint in it"},
    {0, "Rar!\x1a\x07", "a RAR archive; unpack it and open the checkpoint in it"},
    {0, "GGUF", "a GGUF file of llama.cpp; open the checkpoint that it was made from (safetensors or .pth)"},
    {4, "TFL3", "a TensorFlow Lite model; open the PyTorch checkpoint that it was made from"},
    {0, "\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes; open a PyTorch checkpoint (safetensors or .pth)"},
    {0, "\x93NUMPY", "a NumPy array; open a PyTorch checkpoint (safetensors or .pth)"},
    {0, "%PDF-", "a PDF document; open a PyTorch checkpoint (safetensors or .pth)"},
    {0, "\x89PNG\r\n", "a picture (PNG), where a checkpoint (safetensors or .pth) is wanted"},
    {0, "\xff\xd8\xff", "a picture (JPEG), where a checkpoint (safetensors or .pth) is wanted"},
    {0,
     "\x7f"
     "ELF",
     "a program or library (ELF), where a checkpoint (safetensors or .pth) is wanted"},
    {0, "PAR1", "a Parquet table; open a PyTorch checkpoint (safetensors or .pth)"},
}};

inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

/// The fields of a protocol buffer's message, as far as they can be read. ONNX and Core ML files are such messages, without a
/// magic number.
class protobuf_fields {
  public:
    explicit protobuf_fields(std::span<const std::byte> message) : rest_(message) {}

    struct field {
        std::uint64_t number = 0;
        unsigned wire_type = 0;
        std::uint64_t value = 0;     ///< of a varint
        std::string_view bytes = {}; ///< of a field with a length, as much of it as is there
    };

    /// The next field; nullopt at the end or where there is no field.
    std::optional<field> next() {
        const auto key = varint();
        if (!key || *key >> 3 == 0 || *key >> 3 > 536870911) return std::nullopt;
        field f{.number = *key >> 3, .wire_type = static_cast<unsigned>(*key & 7)};
        std::uint64_t length = 0;
        switch (f.wire_type) {
        case 0: {
            const auto value = varint();
            if (!value) return std::nullopt;
            f.value = *value;
            return f;
        }
        case 1: length = 8; break;
        case 5: length = 4; break;
        case 2: {
            const auto declared = varint();
            if (!declared) return std::nullopt;
            length = *declared;
            break;
        }
        default: return std::nullopt;
        }
        const auto there = static_cast<std::size_t>(std::min<std::uint64_t>(length, rest_.size()));
        f.bytes = as_text(rest_.first(there));
        rest_ = rest_.subspan(there);
        return f;
    }

  private:
    std::optional<std::uint64_t> varint() {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < 10 && i < rest_.size(); ++i) {
            const auto byte = std::to_integer<std::uint64_t>(rest_[i]);
            value |= (byte & 127) << (7 * i);
            if (byte < 128) {
                rest_ = rest_.subspan(i + 1);
                return value;
            }
        }
        return std::nullopt;
    }

    std::span<const std::byte> rest_;
};

/// ONNX's ModelProto and Core ML's Model both begin with a small version. After it, ONNX has the producer's name and the graph;
/// Core ML a description, which is a message, and the model with a number from 200 on.
inline const char *model_in_protobuf(std::span<const std::byte> file) {
    protobuf_fields fields(file);
    const auto version = fields.next();
    if (!version || version->number != 1 || version->wire_type != 0 || version->value == 0 || version->value > 100)
        return nullptr;
    constexpr const char *onnx = "an ONNX model; open the PyTorch checkpoint that it was exported from";
    constexpr const char *core_ml = "a Core ML model; open the PyTorch checkpoint that it was converted from";
    constexpr int most = 64;
    for (int i = 0; i < most; ++i) {
        const auto f = fields.next();
        if (!f) return nullptr;
        if (f->wire_type != 2) continue;
        if (f->number == 7) return onnx;
        if (f->number == 2 && !f->bytes.empty() && static_cast<unsigned char>(f->bytes[0]) < 0x20) return core_ml;
        if (f->number >= 200) return core_ml;
    }
    return nullptr;
}

/// Whether a name in a zip archive's directory ends so, whatever else is wrong with the archive.
template <class Test> bool any_zip_name(std::span<const std::byte> file, Test test) {
    try {
        const zip_directory where = find_zip_directory(file);
        byte_reader central(file.subspan(static_cast<std::size_t>(where.offset), static_cast<std::size_t>(where.size)), "zip");
        while (central.left() != 0) {
            central.bytes(28);
            const auto name = central.number<std::uint16_t>();
            const std::uint64_t more = std::uint64_t{central.number<std::uint16_t>()} + central.number<std::uint16_t>();
            central.bytes(12);
            if (test(central.text(name))) return true;
            central.bytes(more);
        }
    } catch (const error &) { // it is cut short
    }
    return false;
}

inline const char *kind_of_zip(std::span<const std::byte> file) {
    const auto any = [&](auto test) { return any_zip_name(file, test); };
    if (any([](std::string_view n) { return n.ends_with("/constants.pkl") || n.find("/code/__torch__") != n.npos; }))
        return "a TorchScript archive; in Python, save its weights: torch.save(torch.jit.load(FILE).state_dict(), NEW)";
    if (any([](std::string_view n) { return n.find(".mlpackage/") != n.npos || n.find("com.apple.CoreML/") != n.npos; }))
        return "a Core ML package in a zip archive; open the PyTorch checkpoint that it was converted from";
    if (any([](std::string_view n) { return n.find("serialized_exported_program") != n.npos || n.ends_with("archive_format"); }))
        return "a torch.export program; in Python, save its weights: torch.save(torch.export.load(FILE).state_dict, NEW)";
    if (any([](std::string_view n) { return n.ends_with("/data.pkl"); })) return nullptr; // PyTorch's
    if (any([](std::string_view n) { return n.ends_with(".h5"); }))
        return "a Keras model; open a PyTorch checkpoint (safetensors or .pth)";
    if (any([](std::string_view n) { return n.ends_with(".npy"); }))
        return "NumPy arrays (.npz); open a PyTorch checkpoint (safetensors or .pth)";
    if (any([](std::string_view n) {
            return n.ends_with(".safetensors") || n.ends_with(".pth") || n.ends_with(".pt") || n.ends_with(".bin") ||
                   n.ends_with(".ckpt") || n.ends_with(".tar");
        }))
        return "a zip archive with a checkpoint in it; unpack it (unzip) and open that";
    return nullptr;
}

/// Text in a language of tags, JSON, or plain; nullptr for what is no text.
inline const char *kind_of_text(std::string_view text) {
    constexpr std::size_t enough = 1024;
    const bool whole = text.size() <= enough;
    text = text.substr(0, enough);
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    const std::string_view words = text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    const auto begins = [&](std::string_view tag) {
        return words.size() >= tag.size() && std::equal(tag.begin(), tag.end(), words.begin(), [](char a, char b) {
                   return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + ('a' - 'A')) : b);
               });
    };
    if (begins("<!doctype html") || begins("<html") || begins("<head") || begins("<!--"))
        return "an HTML page: the answer of a web site, not the file; download the file itself";
    if (begins("<?xml") || begins("<error")) return "XML, such as a server's refusal; download the file itself";

    const std::size_t valid = find_invalid_utf8(text);
    if (text.size() - valid > (whole ? 0U : 3U)) return nullptr; // where it was cut, a character may be in halves
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 && !(c >= '\t' && c <= '\r') && c != 0x1b; };
    if (text.empty() || std::any_of(text.begin(), text.end(), is_control)) return nullptr;
    if (words.empty()) return "a file of white space";
    if (words[0] == '{' || words[0] == '[') return "JSON, such as a configuration; open the checkpoint beside it";
    return "a text file; open a checkpoint (safetensors or .pth)";
}

/// A tar archive from before `ustar` has only a checksum: the sum of the header's bytes, with spaces in its own place.
inline bool is_old_tar(std::span<const std::byte> file) {
    constexpr std::size_t header = 512, sum_at = 148, sum_size = 8;
    if (file.size() < header) return false;
    std::uint64_t sum = 0, claimed = 0;
    for (std::size_t i = 0; i < header; ++i)
        sum += i >= sum_at && i < sum_at + sum_size ? std::uint64_t{' '} : std::to_integer<std::uint64_t>(file[i]);
    bool digits = false;
    for (std::size_t i = sum_at; i < sum_at + sum_size; ++i) {
        const auto c = std::to_integer<char>(file[i]);
        if (c >= '0' && c <= '7') {
            claimed = claimed * 8 + static_cast<std::uint64_t>(c - '0');
            digits = true;
        } else if (digits || c != ' ') {
            break;
        }
    }
    return digits && claimed == sum;
}

} // namespace detail

/// What the bytes are, and what to do; nullptr if they may be a checkpoint, or are unknown.
inline const char *foreign_kind(std::span<const std::byte> file) {
    const std::string_view text = detail::as_text(file);
    for (const detail::file_signature &s : detail::file_signatures)
        if (text.size() > s.offset && text.substr(s.offset).starts_with(s.bytes)) return s.meaning;
    if (text.starts_with("PK\x03\x04")) return detail::kind_of_zip(file);
    if (text.starts_with("\x80") && text.size() > 1 && text[1] >= 2 && text[1] <= 5)
        return "a Python pickle that torch.save did not write; in Python, load it and torch.save its state dict";
    if (const char *const kind = detail::kind_of_text(text)) return kind;
    if (detail::is_old_tar(file)) return detail::file_signatures[1].meaning;
    return detail::model_in_protobuf(file);
}

/// What a folder that was given as a checkpoint is, and what to open instead.
inline std::string kind_of_folder(const std::filesystem::path &folder) {
    std::error_code ignored;
    const auto has = [&](const char *name) { return std::filesystem::exists(folder / name, ignored); };
    if (has("Manifest.json") || folder.extension() == ".mlpackage" || folder.extension() == ".mlmodelc" || has("coremldata.bin"))
        return "a Core ML package; open the PyTorch checkpoint that it was converted from";
    if (has("saved_model.pb")) return "a TensorFlow model; open a PyTorch checkpoint (safetensors or .pth)";
    for (const char *const name : {"model.safetensors.index.json", "model.safetensors", "open_clip_model.safetensors",
                                   "pytorch_model.bin.index.json", "pytorch_model.bin", "open_clip_pytorch_model.bin"})
        if (has(name)) return "a folder; open " + std::string(name) + " in it";
    if (has(".metadata"))
        return "a distributed PyTorch checkpoint; convert it (python -m torch.distributed.checkpoint.format_utils "
               "dcp_to_torch "
               "FOLDER FILE) and open that";
    if (has("zero_to_fp32.py")) return "a DeepSpeed checkpoint; run the zero_to_fp32.py in it and open what that writes";
    if (has("adapter_config.json"))
        return "a folder with adapters (LoRA); merge them into their network (peft: model.merge_and_unload()) and save that";
    return "a directory, not a file; open the checkpoint in it";
}

}}} // namespace fastvit::FASTVIT_ABI::io
