// SPDX-License-Identifier: MIT
// The list of a model's layers ends with it.
#include "fastvit/model.hpp"

using fastvit::model;

void use(const fastvit::layer_precision &layer);

void layers() {
#if defined(WRONG) // deleted
    for (const auto &layer : model::open("file").layers()) use(layer);
#else
    const model net = model::open("file");
    for (const auto &layer : net.layers()) use(layer);
#endif
}
