// SPDX-License-Identifier: MIT
// The archives that parts describe their tensors to: one reads a checkpoint, one lists names and shapes.
#pragma once

#include "fastvit/base/is_finite.hpp"
#include "fastvit/checkpoint/state_dict.hpp"
#include "fastvit/parts/list.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Reads each tensor that is described, as float32, in place where it can: the checkpoint must outlive the parts. Copies are in
/// a part_memory of `part_floats` as far as it has room, and the reader must outlive those, too. A block is folded if its folded
/// convolution is there. Throws `missing_tensor`, `shape_mismatch`, `bad_value` and `unsupported`, with the name as the file
/// spells it.
class reader final : public parts::archive {
  public:
    explicit reader(state_dict &dict, index_type part_floats = 0) : dict_(dict), memory_(part_floats) {}

    void tensor(std::string_view leaf, fastvit::tensor<float> &out, const shape &dims) override { read(leaf, out, dims, false); }
    void matrix(std::string_view leaf, fastvit::tensor<float> &out, const shape &dims) override { read(leaf, out, dims, true); }

    void variance(std::string_view leaf, fastvit::tensor<float> &out, const shape &dims) override {
        tensor(leaf, out, dims);
        for (const float v : out.span())
            if (!(v >= 0) || !is_finite(v))
                throw error(error_kind::bad_value, {.problem = "a variance",
                                                    .expected = "a finite number, not negative",
                                                    .found = std::to_string(v),
                                                    .tensor = dict_.name_of(full(leaf)),
                                                    .file = dict_.source().file()});
    }

    void counter(std::string_view leaf) override { dict_.use(full(leaf)); }
    bool folded(const std::optional<reparam::conv> &) const override { return dict_.any_with_prefix(full("reparam_conv.")); }
    bool present(std::string_view name, bool) const override { return dict_.any_with_prefix(full(name) + "."); }

    /// Nobody needs the tensors that were read since the last call any more: their memory is used again, and
    /// checkpoint::drop_pages() takes those of the file.
    void end_part() {
        memory_.clear();
        dict_.source().drop_pages(std::exchange(read_, {}));
    }

  private:
    void read(std::string_view leaf, fastvit::tensor<float> &out, const shape &dims, bool may_be_quantised) {
        const std::string name = full(leaf);
        const io::stored_tensor *const stored = dict_.use(name);
        if (!stored)
            throw error(error_kind::missing_tensor, {.problem = "this tensor is missing",
                                                     .expected = "shape " + dims.to_string(),
                                                     .tensor = dict_.names().from_canonical(name),
                                                     .file = dict_.source().file()});
        if (!may_be_quantised || stored->type != io::dtype::i8)
            io::check_floating(*stored);
        else if (!dict_.is_quantised(name))
            throw error(error_kind::missing_tensor, {.problem = "the scales of a quantised weight are missing",
                                                     .expected = "shape " + shape{dims[0]}.to_string(),
                                                     .tensor = stored->name + std::string(scale_suffix),
                                                     .file = dict_.source().file()});
        if (!(stored->dims == dims))
            throw error(error_kind::shape_mismatch, {.problem = "wrong shape",
                                                     .expected = dims.to_string(),
                                                     .found = stored->dims.to_string(),
                                                     .tensor = stored->name,
                                                     .file = dict_.source().file()});
        out = dict_.read(name, memory_);
        read_.push_back(stored);
    }

    state_dict &dict_;
    part_memory memory_;
    std::vector<const io::stored_tensor *> read_;
};

/// Calls visit.operator()<Part>(place, config, weights) for each part of the network. Only one part's weights are in memory at a
/// time.
template <class Visitor> void for_each_read_part(reader &read, const architecture &net, Visitor &&visit) {
    parts::for_each_part(net, [&]<class Part>(const parts::place &p, const typename Part::config &c) {
        typename Part::weights w;
        Part::describe(read.in(p.name), w, c);
        visit.template operator()<Part>(p, c, w);
    });
}

/// How a quantised checkpoint holds a tensor, unless that would lose too much.
enum class quantised_as { float32, float16, int8 };

/// A tensor that a network has.
struct listed_tensor {
    std::string name; ///< canonical
    shape dims;
    const fastvit::tensor<float> *values; ///< null for num_batches_tracked, and where the list is of names only
    quantised_as quantised = quantised_as::float32;
};

/// Lists the tensors of the parts it describes.
class lister final : public parts::archive {
  public:
    /// The names of a network without weights, in the form given.
    explicit lister(bool folded) : without_weights_(true), folded_(folded) {}
    /// The tensors of parts that are there: in the form they have.
    lister() = default;

    void tensor(std::string_view leaf, fastvit::tensor<float> &values, const shape &dims) override {
        list_.push_back({full(leaf), dims, without_weights_ ? nullptr : &values});
    }
    void matrix(std::string_view leaf, fastvit::tensor<float> &values, const shape &dims) override {
        tensor(leaf, values, dims);
        list_.back().quantised = quantised_as::int8;
    }
    void kernel(std::string_view leaf, fastvit::tensor<float> &values, const shape &dims) override {
        tensor(leaf, values, dims);
        list_.back().quantised = quantised_as::float16;
    }
    void counter(std::string_view leaf) override { list_.push_back({full(leaf), shape{}, nullptr}); }
    bool folded(const std::optional<reparam::conv> &conv) const override { return without_weights_ ? folded_ : conv.has_value(); }
    bool present(std::string_view, bool held) const override { return !without_weights_ && held; }

    const std::vector<listed_tensor> &list() const noexcept { return list_; }

  private:
    bool without_weights_ = false;
    bool folded_ = false;
    std::vector<listed_tensor> list_;
};

/// Every tensor of a network in one form, num_batches_tracked included, in the order in which the network runs.
inline std::vector<listed_tensor> tensors_of(const architecture &net, bool folded) {
    lister list(folded);
    parts::for_each_part(net, [&]<class Part>(const parts::place &p, const typename Part::config &c) {
        typename Part::weights w;
        Part::describe(list.in(p.name), w, c);
    });
    return list.list();
}

}}} // namespace fastvit::FASTVIT_ABI::loading
