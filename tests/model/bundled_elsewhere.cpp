// SPDX-License-Identifier: MIT
// A unit of bundled_test that is built with another directory.
#undef FASTVIT_DATA_DIR
#define FASTVIT_DATA_DIR FASTVIT_TEST_DATA "/bundled"
#include "fastvit/bundled.hpp"

#include <string>
#include <vector>

std::vector<std::string> labels_elsewhere() { return fastvit::bundled_labels(); }
std::string model_path_elsewhere() { return fastvit::bundled_model_path().string(); }
