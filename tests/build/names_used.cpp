// SPDX-License-Identifier: MIT
// The library after every header of the standard library and of POSIX, with their macros, and used as by an application that
// takes all names as they are. names.sh looks at every name; this at how they are used.
// clang-format off
#include "posix_headers.hpp"

#include "fastvit/fastvit.hpp"
// clang-format on

using namespace std;
using namespace fastvit;

string best_class(const char *file, const picture_view &picture) try {
    const model net = model::open(file);
    thread_pool threads;
    workspace space(threads);
    const preprocessing how = preprocessing::imagenet();
    const outputs &out = net.forward(preprocess(picture, how), space, output_kind::logits | output_kind::embedding);
    const tensor<float> probabilities = softmax(out.logits[0]), unit = l2_normalized(out.embedding);
    const shape dims{1, 2, 3};
    const index_type n = dims.count();
    const vector<ranked_value> best = top_k(probabilities, n);
    return read_labels("labels.txt")[static_cast<size_t>(best[0].index)] + to_string(unit(0, 0)) + to_string(1);
} catch (const error &e) {
    return e.code() == error_kind::io ? e.what() : string(to_string(e.code()));
}
