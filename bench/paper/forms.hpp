// SPDX-License-Identifier: MIT
// Networks between the train-time and the folded form, to tell what each kind of folding is worth.
#pragma once

#include "fastvit/checkpoint.hpp"
#include "fastvit/checkpoint/archives.hpp"
#include "fastvit/checkpoint/recognise.hpp"
#include "fastvit/parts/list.hpp"

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace bench {

/// What of a network is left as it was trained. All else is folded.
struct left {
    bool skips = false;    ///< of RepMixer, pooling and the positional encoding
    bool branches = false; ///< of the MobileOne blocks and large kernels: those in RepMixer only beside its skip
    bool norms = false;    ///< and layer scales: of ConvFFN and attention

    friend bool operator==(const left &, const left &) = default;
};
inline constexpr left everything_left{true, true, true}, nothing_left{};

template <class Part> void fold_partly(typename Part::weights &w, const left &l) {
    namespace parts = fastvit::parts;
    if constexpr (std::is_same_v<Part, parts::position>) {
        if (!l.skips) Part::fold(w);
    } else if constexpr (!requires { w.ffn; }) {
        if (!l.branches) Part::fold(w);
    } else {
        if constexpr (std::is_same_v<Part, parts::rep_mixer_block>) {
            if (!l.skips)
                Part::reparameterize(w);
            else if (!l.branches)
                parts::reparameterize(w.mixer.mixer);
            if (!l.norms) parts::conv_ffn::fold(w.ffn, w.layer_scale);
        } else if constexpr (std::is_same_v<Part, parts::pooling_block>) {
            if (!l.skips)
                Part::fold(w);
            else if (!l.norms)
                parts::conv_ffn::fold(w.ffn, w.layer_scale_2);
        } else {
            if (!l.norms) Part::fold(w);
        }
    }
}

/// Calls visit.operator()<Part>(place, config, weights) for each part, partly folded.
template <class Visitor> void for_each_folded_part(const fastvit::checkpoint &source, const left &l, Visitor &&visit) {
    fastvit::loading::state_dict dict(source);
    const fastvit::architecture net = fastvit::loading::recognise(dict);
    fastvit::loading::reader reader(dict);
    fastvit::loading::for_each_read_part(
        reader, net, [&]<class Part>(const fastvit::parts::place &p, const typename Part::config &c, typename Part::weights &w) {
            fold_partly<Part>(w, l);
            visit.template operator()<Part>(p, c, w);
        });
}

/// Calls visit(listed_tensor) for each tensor of the network in that form. Folded pooling has none of its own.
template <class Visitor> void for_each_tensor(const fastvit::checkpoint &source, const left &l, Visitor &&visit) {
    for_each_folded_part(source, l, [&]<class Part>(const fastvit::parts::place &p, const typename Part::config &c, auto &w) {
        // The form of quantised checkpoints, whose matrices need not be quantised, is the one without norms.
        if constexpr (requires { w.ffn; }) w.ffn.balanced = !l.norms;
        fastvit::loading::lister list;
        const auto inside = list.in(p.name);
        if constexpr (std::is_same_v<Part, fastvit::parts::pooling_block>) {
            if (w.folded)
                fastvit::parts::conv_ffn::describe(list.in("mlp"), w.ffn, c);
            else
                Part::describe(inside, w, c);
        } else {
            Part::describe(inside, w, c);
        }
        for (const fastvit::loading::listed_tensor &t : list.list())
            if (t.values) visit(t);
    });
}

/// A checkpoint in that form, which the train-time graph runs as it is. Not of pooling whose skip is folded, for which there is
/// no tensor, nor of ConvMixer.
inline fastvit::checkpoint partly_folded(const fastvit::checkpoint &source, const left &l) {
    fastvit::checkpoint result;
    for_each_tensor(source, l, [&](const fastvit::loading::listed_tensor &t) { result.add(t.name, *t.values); });
    return result;
}

/// Trained parameters of that form: without the running statistics of BatchNorms.
inline double parameters(const fastvit::checkpoint &source, const left &l) {
    double count = 0;
    for_each_tensor(source, l, [&](const fastvit::loading::listed_tensor &t) {
        if (t.name.find(".running_") == t.name.npos) count += static_cast<double>(t.dims.count());
    });
    return count;
}

} // namespace bench
