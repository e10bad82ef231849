// SPDX-License-Identifier: MIT
// See fastvit/save.hpp.
#pragma once

#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/memory_limit.hpp"
#include "fastvit/checkpoint/network_names.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/checkpoint/written_names.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/kernels/gemm/quantise.hpp"
#include "fastvit/platform/ieee_arithmetic.hpp"
#include "fastvit/reparam/half_precision.hpp"
#include "fastvit/save.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI {
namespace loading {

inline void check_savable(io::dtype type, const std::filesystem::path &path) {
    if (type != io::dtype::i8) io::detail::check_writable(type, path, "F32, F16, BF16 or I8");
}

/// A matrix in 8 bits, and the tensor that a file has of its bytes.
struct quantised_matrix {
    kernels::int8_matrix matrix;
    io::stored_tensor stored;
};

/// As int8 computes with it; null where int8 would not.
inline std::unique_ptr<quantised_matrix> quantise(const fastvit::tensor<float> &values, const shape &dims) {
    const index_type columns = dims[0], rows = dims.count() / columns;
    std::optional<kernels::int8_matrix> matrix = kernels::quantise_matrix(
        {.rows = rows, .columns = columns, .weights = values.data(), .row_step = 1, .column_step = rows});
    if (!matrix) return nullptr;
    auto result = std::make_unique<quantised_matrix>();
    result->matrix = std::move(*matrix);
    result->stored.type = io::dtype::i8;
    result->stored.dims = dims;
    result->stored.strides = io::contiguous_strides(dims);
    result->stored.bytes = std::as_bytes(std::span(result->matrix.bytes));
    return result;
}

/// A network of `source`, folded, with what belongs to it: in the official form, or in that of int8, its matrices quantised.
inline void save_folded_form(const checkpoint &source, const std::filesystem::path &path, io::dtype type,
                             const std::optional<std::string_view> &prefix) {
    check_savable(type, path);
    const platform::ieee_arithmetic arithmetic;
    const bool int8 = type == io::dtype::i8;
    std::vector<std::shared_ptr<void>> kept_parts;
    std::vector<std::unique_ptr<quantised_matrix>> matrices;
    lister list;
    std::vector<io::named_tensor> tensors;
    // BatchNorms that stay keep it, and strict loading asks for it even where an old checkpoint lacks it.
    constexpr std::array<std::byte, 8> zero{};
    io::stored_tensor no_batches;
    no_batches.type = io::dtype::i64;
    no_batches.bytes = zero;
    try {
        state_dict dict(source, prefix);
        const architecture net = recognise(dict);
        check_memory(dict, net);
        reader read(dict);
        for_each_read_part(read, net, [&]<class Part>(const parts::place &p, const typename Part::config &c, auto &w) {
            if constexpr (requires { Part::fold_for_int8(w); })
                int8 ? Part::fold_for_int8(w) : Part::reparameterize(w);
            else
                Part::reparameterize(w);
            const auto kept = std::make_shared<typename Part::weights>(std::move(w));
            Part::describe(list.in(p.name), *kept, c);
            kept_parts.push_back(kept);
        });
        dict.expect_all_used();
        const written_names written(source, dict.names());
        for (const listed_tensor &t : list.list()) {
            const io::stored_tensor *const stored = dict.find(t.name);
            // Folding for int8 changes tensors that keep their names.
            const bool as_stored = stored && !dict.is_composed(t.name) && !(int8 && t.values);
            io::named_tensor out{
                .name = written.of(dict.name_of(t.name)).value(), .data = {}, .stored = as_stored ? stored : nullptr};
            if (t.values && !as_stored) out.data = *t.values;
            // Anything but one integer is no count.
            if (!t.values && !(stored && stored->type == io::dtype::i64 && stored->dims.count() == 1)) out.stored = &no_batches;
            if (int8 && t.quantised == quantised_as::float16 && reparam::half_rounding::fits(*t.values))
                out.type = io::dtype::f16;
            if (int8 && t.quantised == quantised_as::int8)
                if (std::unique_ptr<quantised_matrix> q = quantise(*t.values, t.dims)) {
                    tensors.push_back(
                        {.name = out.name + std::string(scale_suffix), .data = {q->matrix.scales.data(), {t.dims[0]}}});
                    out.stored = &q->stored;
                    matrices.push_back(std::move(q));
                }
            tensors.push_back(std::move(out));
        }
        const auto add = [&](const io::stored_tensor &t) {
            if (std::optional<std::string> name = written.of(t.name))
                tensors.push_back({.name = std::move(*name), .data = {}, .stored = &t});
        };
        for (const io::stored_tensor *const t : dict.other_head()) add(*t);
        for (const io::stored_tensor &t : source.tensors())
            if (!dict.names().to_canonical(t.name)) add(t);
        io::save_safetensors(path, tensors, source.metadata(), int8 ? io::dtype::f32 : type);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

/// The scales of the quantised matrices of a checkpoint's network.
class scales_by_matrix {
  public:
    scales_by_matrix(const checkpoint &source, const io::name_translator &names) {
        std::map<std::string, const io::stored_tensor *, std::less<>> matrices;
        for (const io::stored_tensor &t : source.tensors())
            if (t.type == io::dtype::i8)
                if (std::optional<std::string> name = names.to_canonical(t.name)) matrices.emplace(std::move(*name), &t);
        if (matrices.empty()) return;
        for (const io::stored_tensor &t : source.tensors()) {
            const std::optional<std::string> name = names.to_canonical(t.name);
            if (!name || !name->ends_with(scales_of_weight)) continue;
            const auto matrix = matrices.find(std::string_view(*name).substr(0, name->size() - scale_suffix.size()));
            if (matrix == matrices.end()) continue;
            of_.emplace(matrix->second, &t);
            scales_.insert(&t);
        }
    }

    /// Null for other tensors.
    const io::stored_tensor *of(const io::stored_tensor &matrix) const {
        const auto at = of_.find(&matrix);
        return at == of_.end() ? nullptr : at->second;
    }
    bool is_one(const io::stored_tensor &t) const { return scales_.contains(&t); }

  private:
    std::map<const io::stored_tensor *, const io::stored_tensor *> of_;
    std::set<const io::stored_tensor *> scales_;
};

} // namespace loading

FASTVIT_FUNCTION void save_converted(const checkpoint &source, const std::filesystem::path &path, io::dtype type,
                                     const std::optional<std::string_view> &prefix) {
    if (type == io::dtype::i8) return loading::save_folded_form(source, path, type, prefix);
    loading::check_savable(type, path);
    try {
        loading::check_not_a_part(source);
        std::vector<io::named_tensor> tensors;
        if (!prefix && io::detail::find_signs(loading::outlines_of(source)).empty()) {
            for (const io::stored_tensor &t : source.tensors()) tensors.push_back({.name = t.name, .data = {}, .stored = &t});
        } else {
            const io::name_translator names = loading::names_of_network(source, prefix);
            const loading::written_names written(source, names);
            const loading::scales_by_matrix scales(source, names);
            for (const io::stored_tensor &t : source.tensors())
                if (std::optional<std::string> name = written.of(t.name); name && !scales.is_one(t))
                    tensors.push_back({.name = std::move(*name), .data = {}, .stored = &t, .scales = scales.of(t)});
        }
        io::save_safetensors(path, tensors, source.metadata(), type);
    } catch (const error &e) {
        throw e.in_file(source.file());
    }
}

FASTVIT_FUNCTION void save_folded(const checkpoint &source, const std::filesystem::path &path, io::dtype type,
                                  const std::optional<std::string_view> &prefix) {
    loading::save_folded_form(source, path, type, prefix);
}

}} // namespace fastvit::FASTVIT_ABI
