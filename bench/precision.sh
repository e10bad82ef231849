#!/bin/sh
# precision.sh [--variants t8,ma36] [--svg FILE]: what bfloat16 and int8 lose in each variant, stage by stage, as `fastvit verify` says:
# the published networks with seeded weights on a random input. Prints a table and draws bench/precision.svg.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=../tools/dependencies.sh
. tools/dependencies.sh
{
    sh tools/build.sh release fastvit_cli
    CXX=$(find_compiler) cmake -S bench/peers -B build/peers/programs -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG"
    cmake --build build/peers/programs --target make_checkpoint
} >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec python3 bench/precision.py --program build/release/bin/fastvit --make build/peers/programs/make_checkpoint "$@"
