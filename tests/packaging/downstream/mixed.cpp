// SPDX-License-Identifier: MIT
#include "mixed.hpp"

#include <iostream>

std::string use_fastvit_avx2();

int main() {
    const std::string plain = use_fastvit();
    std::cout << plain << '\n';
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    const std::string avx2 = use_fastvit_avx2();
    std::cout << avx2 << '\n';
    return plain != avx2 ? 0 : 1;
}
