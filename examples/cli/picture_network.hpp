// SPDX-License-Identifier: MIT
// Runs a network on pictures, several at a time, with results in the order of the pictures.
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/error.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/io/safetensors_writer.hpp"
#include "fastvit/picture.hpp"

#include "cli/commands.hpp"
#include "cli/in_order.hpp"
#include "cli/progress.hpp"
#include "image_file.hpp"

#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cli {

/// What a command wants to know of each picture.
struct wanted_results {
    bool logits = false, embedding = false, stem = false, stages = false, final_conv = false;
    bool unit_length = false; ///< the logits or the embedding, alone, divided by their Euclidean length
    bool times = false;       ///< how long the forward pass takes: the first one, which takes longer, is then repeated
    bool labels = false;      ///< those of a configuration beside the checkpoint
};

/// The results for one picture. Valid until the same thread looks at its next picture.
struct sight {
    const std::string &file;
    const examples::picture &picture;
    const fastvit::tensor<float> &input;                ///< of the network
    std::span<const fastvit::io::named_tensor> results; ///< of a batch of one
    double milliseconds;                                ///< of the forward pass
};

class picture_network {
  public:
    /// Throws for a list of pictures or a model that cannot be used, and a network without what is wanted.
    picture_network(const model_file &model, const picture_options &options, const wanted_results &wanted);
    ~picture_network();

    const fastvit::architecture &net() const;
    const fastvit::preprocessing &preprocessing() const;
    const std::vector<std::string> &pictures() const;
    /// One for each class, from a configuration beside the checkpoint; empty if there are none.
    const std::vector<std::string> &labels() const;
    /// `fastvit: fastvit_t8, 256 x 256, float32, avx2, 4 threads`
    std::string description() const;

    /// Calls make(sight) for each picture from number `first` on, on any thread, and deliver() with what it returns, one at a
    /// time, in the order of the pictures. A picture that cannot be used, also one for which `make` throws fastvit::error, is
    /// reported on the standard error and given to fail(file, problem) in its place. `prints`: deliver() writes to the standard
    /// output. Returns the exit status, which says whether anything failed or was skipped.
    template <class Make, class Deliver, class Fail>
    int look_at_all(bool prints, fastvit::index_type first, Make make, Deliver deliver, Fail fail) {
        struct outcome {
            fastvit::index_type number;
            std::optional<std::invoke_result_t<Make, const sight &>> made;
            std::optional<fastvit::error> problem;
        };
        int status = report_skipped() ? 1 : 0;
        const auto count = static_cast<fastvit::index_type>(pictures().size()) - first;
        progress_bar progress(count, prints);
        in_order(
            threads(), count,
            [&](fastvit::index_type index, int worker) -> outcome {
                const fastvit::index_type number = first + index;
                try {
                    return {number, make(look_at(number, worker)), {}};
                } catch (const fastvit::error &e) {
                    return {number, {}, e};
                }
            },
            [&](outcome &&o) {
                if (o.made) {
                    deliver(std::move(*o.made));
                } else {
                    const std::string &file = pictures()[static_cast<std::size_t>(o.number)];
                    progress.hide();
                    std::cerr << "fastvit: " << o.problem->in_file(file).what() << '\n';
                    fail(file, *o.problem);
                    status = 1;
                }
                progress.step();
            });
        return status;
    }

  private:
    sight look_at(fastvit::index_type number, int worker);
    bool report_skipped() const;
    fastvit::executor &threads();

    struct state;
    std::unique_ptr<state> state_;
};

} // namespace cli
