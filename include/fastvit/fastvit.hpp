// SPDX-License-Identifier: MIT
// fastvit: FastViT (arXiv 2303.14189) on CPUs. The one header that an application includes.
//
//     fastvit::model net = fastvit::model::open("fastvit_t8.safetensors");
//     fastvit::workspace space;
//     const fastvit::outputs &out = net.forward(picture, fastvit::preprocessing::imagenet(), space);   // out.logits: 1 x classes
#pragma once

#include "fastvit/architecture.hpp"
#include "fastvit/bundled.hpp"
#include "fastvit/checkpoint.hpp"
#include "fastvit/cost.hpp"
#include "fastvit/error.hpp"
#include "fastvit/executor.hpp"
#include "fastvit/isa.hpp"
#include "fastvit/labels.hpp"
#include "fastvit/model.hpp"
#include "fastvit/observer.hpp"
#include "fastvit/outputs.hpp"
#include "fastvit/picture.hpp"
#include "fastvit/postprocess.hpp"
#include "fastvit/preprocess.hpp"
#include "fastvit/preprocessing_config.hpp"
#include "fastvit/save.hpp"
#include "fastvit/tensor.hpp"
#include "fastvit/version.hpp"
#include "fastvit/workspace.hpp"
