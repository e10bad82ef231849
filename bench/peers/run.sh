#!/bin/sh
# run.sh [--variants t8,sa12@512:stages] [--threads 1,2] [--precision int8,bfloat16] [--pictures 640x480] [--embed N] [--rounds N]
# [--json FILE]: times this library beside ONNX Runtime, on the same seeded weights, and prints the tables; --help says more. Installs
# what it needs under build/peers/, and Debian packages where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
peers=$root/bench/peers
build=$root/build/peers
# shellcheck source=../../tools/dependencies.sh
. "$root/tools/dependencies.sh"

# Debian's modules are for Debian's Python, which need not be the first one.
find_python() {
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import numpy, onnx, PIL' 2>/dev/null && return
    done
    return 1
}
install_dependencies
if ! find_python; then
    install_packages python3-onnx python3-numpy python3-pil
    find_python
fi
have npm || install_packages npm
targets='make_checkpoint peer_fastvit'
case " $* " in
*' --embed'*) targets="$targets fastvit_cli" ;;
esac

{
    # Built as the release preset is: what users run.
    CXX=$(find_compiler) cmake -S "$peers" -B "$build/programs" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG"
    # shellcheck disable=SC2086 # a list of words
    cmake --build "$build/programs" --target $targets
    if ! cmp -s "$peers/package-lock.json" "$build/installed.json"; then
        cp "$peers/package.json" "$peers/package-lock.json" "$build/"
        # The runtime is inside the package; its install script would only fetch the parts for graphics cards.
        npm --prefix "$build" ci --ignore-scripts --no-audit --no-fund
        cp "$peers/package-lock.json" "$build/installed.json"
    fi
} >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec "$python" "$peers/compare.py" --programs "$build/programs/bin" --modules "$build" --data "$build/data" "$@"
