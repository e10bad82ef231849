// SPDX-License-Identifier: MIT
// The one unit of the compiled form: everything that the public headers declare. Compile it with FASTVIT_COMPILED defined, as all
// units of the program.
#if !defined(FASTVIT_COMPILED)
#error "fastvit/source.cpp belongs to the compiled form: define FASTVIT_COMPILED for all units of the program"
#endif

#include "fastvit/impl/bundled.hpp"
#include "fastvit/impl/checkpoint.hpp"
#include "fastvit/impl/cost.hpp"
#include "fastvit/impl/executor.hpp"
#include "fastvit/impl/io/stored_tensor.hpp"
#include "fastvit/impl/kernels/registry.hpp"
#include "fastvit/impl/labels.hpp"
#include "fastvit/impl/model.hpp"
#include "fastvit/impl/postprocess.hpp"
#include "fastvit/impl/preprocess.hpp"
#include "fastvit/impl/preprocessing_config.hpp"
#include "fastvit/impl/save.hpp"
#include "fastvit/impl/workspace.hpp"
