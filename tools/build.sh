#!/bin/sh
# build.sh PRESET [-DNAME=VALUE...] [TARGET...]: installs what is missing, then configures and builds the preset, all of it or the
# targets named.
set -eu
cd "$(dirname "$0")/.."
. tools/dependencies.sh

preset=$1
shift
options=
targets=
for argument; do
    case $argument in
    -D*) options="$options $argument" ;;
    *) targets="$targets --target $argument" ;;
    esac
done

install_dependencies
CXX=$(find_compiler)
export CXX
echo "== Configuring $preset"
# shellcheck disable=SC2086 # lists of words
cmake --preset "$preset" $options
echo "== Building $preset"
# No more jobs than cores, as Ninja would have: compilers hardly wait for files, and compete for the caches (9% of the time).
# shellcheck disable=SC2086
cmake --build --preset "$preset" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" $targets
