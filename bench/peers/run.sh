#!/bin/sh
# run.sh [--variants t8,ma36] [--threads 1,2] [--precision int8,bfloat16] [--size 256] [--rounds N] [--json FILE]: times this library beside ONNX Runtime, on the
# same seeded weights, and prints the tables. Installs what it needs under build/peers/, and Debian packages where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
peers=$root/bench/peers
build=$root/build/peers
# shellcheck source=../../tools/dependencies.sh
. "$root/tools/dependencies.sh"

# Debian's modules are for Debian's Python, which need not be the first one.
find_python() {
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import numpy, onnx' 2>/dev/null && return
    done
    return 1
}
install_dependencies
if ! find_python; then
    install_packages python3-onnx python3-numpy
    find_python
fi
if ! have node || ! have npm; then install_packages nodejs npm; fi

{
    # Built as the release preset is: what users run.
    CXX=$(find_compiler) cmake -S "$peers" -B "$build/programs" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG"
    cmake --build "$build/programs"
    if ! cmp -s "$peers/package-lock.json" "$build/installed.json"; then
        cp "$peers/package.json" "$peers/package-lock.json" "$build/"
        # The runtime is inside the package; its install script would only fetch the parts for graphics cards.
        npm --prefix "$build" ci --ignore-scripts --no-audit --no-fund
        cp "$peers/package-lock.json" "$build/installed.json"
    fi
} >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec "$python" "$peers/compare.py" --programs "$build/programs" --modules "$build" --data "$build/data" "$@"
