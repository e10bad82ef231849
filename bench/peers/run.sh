#!/bin/sh
# run.sh [--variants t8,sa12@512:stages] [--threads 1,2] [--precision int8,bfloat16] [--pictures 640x480] [--embed N] [--rounds N]
# [--json FILE]: times this library beside ONNX Runtime, on the same seeded weights, and prints the tables; --help says more. Installs
# what it needs under build/peers/, and Debian packages where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../../tools/dependencies.sh
. "$root/tools/dependencies.sh"
# shellcheck source=prepare.sh
. "$root/bench/peers/prepare.sh"

install_dependencies
require_python 'numpy, onnx, PIL' python3-numpy python3-onnx python3-pil
targets='make_checkpoint peer_fastvit'
case " $* " in
*' --embed'*) targets="$targets fastvit_cli" ;;
esac
# shellcheck disable=SC2086 # a list of words
build_peers $targets >&2
install_onnxruntime >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec "$python" "$root/bench/peers/compare.py" --programs "$peers_build/programs/bin" --modules "$peers_build" \
    --data "$peers_build/data" "$@"
