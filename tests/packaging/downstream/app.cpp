// SPDX-License-Identifier: MIT
#include "fastvit/fastvit.hpp"

#include <iostream>

int main() {
    const fastvit::tensor<float> zeros(fastvit::shape{1, 3, 2, 2});
    std::cout << "fastvit " << FASTVIT_VERSION_MAJOR << '.' << FASTVIT_VERSION_MINOR << '.' << FASTVIT_VERSION_PATCH << ", "
              << zeros.dims().to_string() << '\n';
    return zeros.count() == 12 ? 0 : 1;
}
