// SPDX-License-Identifier: MIT
// The elements of a temporary tensor end with its expression: nothing that refers to them may outlive it.
#include "fastvit/postprocess.hpp"
#include "fastvit/tensor.hpp"

#include <span>
#include <utility>

using namespace fastvit;

tensor<float> make();
const tensor<float> make_constant();
void use(tensor_view<const float> view);
void use(std::span<const float> span);
void use(const float *data);

void view() {
#if defined(WRONG) // deleted
    const auto view = make().view();
#else
    const tensor<float> t = make();
    const auto view = t.view();
#endif
    use(view);
}

void range() {
#if defined(WRONG) // deleted
    for (const float x : make().span()) use(&x);
#else
    const tensor<float> t = make();
    for (const float x : t.span()) use(&x);
#endif
}

void constant() {
#if defined(WRONG) // deleted
    const auto span = make_constant().span();
#else
    const auto t = make_constant();
    const auto span = t.span();
#endif
    use(span);
}

void moved() {
    tensor<float> t = make();
#if defined(WRONG) // deleted
    const auto span = std::move(t).span();
#else
    const auto span = t.span();
#endif
    use(span);
}

void data() {
#if defined(WRONG) // deleted
    const float *const data = make().data();
#else
    const tensor<float> t = make();
    const float *const data = t.data();
#endif
    use(data);
}

void row() {
#if defined(WRONG) // deleted
    const auto row = make()[0];
#else
    const tensor<float> t = make();
    const auto row = t[0];
#endif
    use(row);
}

void conversion() {
#if defined(WRONG) // deleted
    const tensor_view<const float> view = softmax(make());
#else
    const tensor<float> t = softmax(make());
    const tensor_view<const float> view = t;
#endif
    use(view);
}

void conversion_to_mutable() {
#if defined(WRONG) // deleted
    const tensor_view<float> view = make();
#else
    tensor<float> t = make();
    const tensor_view<float> view = t;
#endif
    use(view);
}

void argument() {
#if defined(WRONG) // deleted
    use(make());
#else
    const tensor<float> t = make();
    use(t);
#endif
}
