#!/bin/sh
# precision.sh [--variants t8,ma36] [--svg FILE]: what bfloat16 and int8 lose in each variant, stage by stage, as `fastvit verify` says:
# the published networks with seeded weights on a random input. Prints a table and draws bench/precision.svg.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../tools/dependencies.sh
. "$root/tools/dependencies.sh"
# shellcheck source=peers/prepare.sh
. "$root/bench/peers/prepare.sh"
{
    sh "$root/tools/build.sh" release fastvit_cli
    build_peers make_checkpoint
} >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec python3 "$root/bench/precision.py" --program "$root/build/release/bin/fastvit" --make "$peers_build/programs/bin/make_checkpoint" "$@"
