// SPDX-License-Identifier: MIT
// The bytes are a pickle. Its storages, whatever their keys, are found in 64 KB.
#include "fastvit/io/pth.hpp"

#include "fuzz_target.hpp"

#include <array>
#include <span>

int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    using namespace fastvit::io;
    static constexpr std::array<std::byte, 65536> storage{};
    fuzz::bounded(size, 2, [&] {
        fuzz::accepts([&] {
            memory_budget budget = detail::pickle_budget(size);
            const pickle contents(std::as_bytes(std::span(data, size)), budget);
            fuzz::require(contents.size() <= size, "a pickle ends where its bytes do");
            for (const pickle_reference &reference : contents.references()) fuzz::accepts([&] { read_storage_id(reference.id); });
            const auto find = [](const torch_storage_id &id) { return detail::checked_storage(id, storage); };
            for (const stored_tensor &t :
                 read_state_dict(*find_state_dict(contents.root()).items, find, detail::most_tensor_bytes(size))) {
                fuzz::require(fuzz::inside(t.bytes, storage), "a tensor is inside its storage");
                if (is_floating(t.type)) (void)read_float(t);
            }
        });
    });
    return 0;
}
