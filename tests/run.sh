#!/bin/sh
# run.sh [CTEST-ARGUMENTS]: builds the project and runs all its tests. On a bare Debian or Ubuntu it first installs what they need.
# `sh tests/run.sh -R tensor` runs the tests with "tensor" in their names.
set -eu
cd "$(dirname "$0")/.."
sh tools/build.sh release
echo "== Testing"
ctest --preset release --parallel "$(nproc)" "$@"
