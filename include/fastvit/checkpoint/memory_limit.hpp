// SPDX-License-Identifier: MIT
// How much memory a model's weights will take, before any is allocated: no file may ask for much more than its own size.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/part_memory.hpp"
#include "fastvit/checkpoint/state_dict.hpp"
#include "fastvit/kernels/channels.hpp"
#include "fastvit/parts/list.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace fastvit { inline namespace FASTVIT_ABI { namespace loading {

/// Adds up what the tensors of the parts it describes will take. A tensor that is not there, or of another shape or kind, takes
/// nothing: reading ends there.
class memory_counter final : public parts::archive {
  public:
    explicit memory_counter(const state_dict &dict) : dict_(dict) {}

    void tensor(std::string_view leaf, fastvit::tensor<float> &, const shape &dims) override { add(leaf, dims, false); }
    void matrix(std::string_view leaf, fastvit::tensor<float> &, const shape &dims) override {
        add(leaf, dims, dict_.is_quantised(full(leaf)));
    }
    void counter(std::string_view) override {}
    bool folded(const std::optional<reparam::conv> &) const override { return dict_.any_with_prefix(full("reparam_conv.")); }
    bool present(std::string_view name, bool) const override { return dict_.any_with_prefix(full(name) + "."); }

    /// A depthwise convolution with several outputs for each input pads its inputs instead of its outputs.
    void depthwise(const reparam::conv_shape &dims) override {
        packed_ += in_bytes((kernels::padded_channels(dims.in) - dims.in) * dims.multiplier() * (dims.taps() + 1));
    }

    void made(index_type floats) override { packed_ += in_bytes(floats); }

    /// The tensors since the last call are those of a Part. While it is packed, memory has all of them as in the file and as
    /// float32, and what folding the largest takes. A convolution is folded in double, two at a time.
    template <class Part> void end_part() {
        const std::uint64_t folding = std::max(static_cast<std::uint64_t>(largest_window_) * 2 * sizeof(double),
                                               static_cast<std::uint64_t>(largest_matrix_) * Part::fold_bytes);
        temporary_ = std::max(temporary_, part_ + folding);
        most_floats_ = std::max(most_floats_, floats_);
        part_ = 0;
        floats_ = 0;
        largest_window_ = largest_matrix_ = 0;
    }

    /// Bytes of the packed weights, of part_memory, which stays as large as the largest part made it, and of the other
    /// temporaries.
    std::uint64_t total() const noexcept { return packed_ + in_bytes(most_floats_) + temporary_; }
    /// Of the largest part's tensors, as part_memory counts them.
    index_type most_floats() const noexcept { return most_floats_; }

  private:
    static std::uint64_t in_bytes(index_type floats) noexcept { return static_cast<std::uint64_t>(floats) * sizeof(float); }

    void add(std::string_view leaf, const shape &dims, bool quantised) {
        const io::stored_tensor *const stored = dict_.find(full(leaf));
        // Without bytes for its elements, a tensor of an unknown type could claim any number of them.
        if (!stored || !(quantised || io::is_floating(stored->type)) || !(stored->dims == dims) || dims.count() == 0) return;
        const index_type rows = dims[0], columns = dims.count() / rows;
        // Outputs are padded: the rows, those of a transposed matrix in its columns.
        index_type packed = kernels::padded_channels(rows) * columns;
        if (dims.rank() == 2) packed = std::max(packed, rows * kernels::padded_channels(columns));
        packed_ += in_bytes(packed);
        const bool composed = dict_.is_composed(full(leaf)) && !quantised;
        if (composed || io::is_float_in_place(*stored))
            part_ += in_bytes(dims.count());
        else
            floats_ += part_memory::padded(dims.count());
        part_ += stored->bytes.size();
        if (composed) part_ += in_bytes(3 * dims.count()); // its second part, and sums in double
        index_type &largest = dims.rank() == 4 && dims[2] > 1 ? largest_window_ : largest_matrix_;
        largest = std::max(largest, dims.count());
    }

    const state_dict &dict_;
    std::uint64_t packed_ = 0, temporary_ = 0, part_ = 0; // bytes
    index_type floats_ = 0, most_floats_ = 0;
    index_type largest_window_ = 0, largest_matrix_ = 0; // elements
};

/// Bytes that making a model of a file of n bytes may take, if the smallest type of its elements has `element` bytes: the packed
/// float32 weights, and as much again where most of it is one matrix, which is read as float32 before it is packed, and the pages
/// of the file. 3 n of float32, 5 n of 16 bits, 9 n of a quantised file, and what small files need.
constexpr std::uint64_t most_memory(std::uint64_t n, std::size_t element) noexcept {
    return n * (2 * sizeof(float) / element + 1) + (std::uint64_t{64} << 20);
}

/// What the system and the allocator round up and keep, in huge pages of 2 MB and freed blocks of up to some MB: 19 MB were seen
/// beyond the estimate (MA36 in 16 bits, glibc).
inline constexpr std::uint64_t allocator_slack = std::uint64_t{32} << 20;

/// What making a model takes.
struct memory_need {
    std::uint64_t bytes;    ///< without allocator_slack
    index_type part_floats; ///< what part_memory needs for any part
};

inline memory_need memory_needed(const state_dict &dict, const architecture &net) {
    memory_counter count(dict);
    parts::for_each_part(net, [&]<class Part>(const parts::place &p, const typename Part::config &c) {
        typename Part::weights w;
        Part::describe(count.in(p.name), w, c);
        count.template end_part<Part>();
    });
    constexpr std::uint64_t list_entry = 512; // a tensor's name in two spellings, and where it is
    return {count.total() + list_entry * dict.source().tensors().size(), count.most_floats()};
}

/// Throws `unsupported` for a network whose weights would take more than most_memory(). Networks of a usual width take little
/// more than their float32 weights; but padding makes a layer with one output sixteen times as large, and views of one storage
/// can be a large network in a small file.
inline memory_need check_memory(const state_dict &dict, const architecture &net) {
    const memory_need need = memory_needed(dict, net);
    const std::uint64_t needed = need.bytes + allocator_slack;
    const std::uint64_t most = most_memory(dict.source().size_in_bytes(), dict.smallest_element());
    if (needed > most)
        throw error(error_kind::unsupported, {.problem = "the network would take more memory than the size of its file justifies",
                                              .expected = "at most " + std::to_string(most >> 20) + " MB",
                                              .found = std::to_string(needed >> 20) + " MB"});
    return need;
}

}}} // namespace fastvit::FASTVIT_ABI::loading
