#!/bin/sh
# precision.sh [--variants t8,ma36] [--svg FILE]: what bfloat16 and int8 lose in each variant, stage by stage, as `fastvit verify` says:
# the published networks with seeded weights on a random input. Prints a table and draws bench/precision.svg.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../tools/dependencies.sh
. "$root/tools/dependencies.sh"
programs=$root/build/peers/programs
{
    sh "$root/tools/build.sh" release fastvit_cli
    CXX=$(find_compiler) cmake -S "$root/bench/peers" -B "$programs" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG"
    cmake --build "$programs" --target make_checkpoint
} >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec python3 "$root/bench/precision.py" --program "$root/build/release/bin/fastvit" --make "$programs/make_checkpoint" "$@"
