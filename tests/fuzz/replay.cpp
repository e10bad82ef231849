// SPDX-License-Identifier: MIT
// replay_TARGET FILE-OR-DIRECTORY...: gives files to a fuzz target as a fuzzer would, without one: with any compiler, in any
// build. A finding ends the program; the last name that was printed is its file.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

namespace {

void replay(const std::filesystem::path &path) {
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    // Exactly as long as the file, so that the sanitizers see reads past it.
    const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
    bytes.copy(reinterpret_cast<char *>(exact.get()), bytes.size());
    LLVMFuzzerTestOneInput(exact.get(), bytes.size());
}

} // namespace

int main(int argc, char **argv) {
    std::size_t count = 0;
    for (int i = 1; i < argc; ++i) {
        if (std::filesystem::is_regular_file(argv[i])) {
            replay(argv[i]);
            ++count;
            continue;
        }
        for (const auto &entry : std::filesystem::recursive_directory_iterator(argv[i])) {
            if (!entry.is_regular_file()) continue;
            replay(entry.path());
            ++count;
        }
    }
    std::printf("%zu files\n", count);
    return count == 0;
}
