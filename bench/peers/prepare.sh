# Functions for the benchmarks' scripts, to be sourced after tools/dependencies.sh with $root, the project's directory. POSIX sh.

# Sets $python to one that has these modules. Debian's modules are for Debian's Python, which need not be the first one.
find_python() {
    for python in python3 /usr/bin/python3; do
        "$python" -c "import $1" 2>/dev/null && return
    done
    return 1
}

# require_python MODULES PACKAGE...: sets $python, and installs the packages where the modules, "numpy, onnx", are missing.
require_python() {
    modules=$1
    shift
    find_python "$modules" || { install_packages "$@" && find_python "$modules"; }
}

peers_build=$root/build/peers

# build_peers TARGET...: builds what runs this library beside others, in build/peers/programs/bin: as the release preset does, which is
# what users run.
build_peers() {
    CXX=$(find_compiler) cmake -S "$root/bench/peers" -B "$peers_build/programs" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG"
    cmake --build "$peers_build/programs" --target "$@"
}

# Installs ONNX Runtime in build/peers. Fails where it cannot be had, also in a condition, where `set -e` does not count.
install_onnxruntime() {
    lock=$root/bench/peers/package-lock.json
    cmp -s "$lock" "$peers_build/installed.json" && return
    have npm || install_packages npm || return
    # The runtime is inside the package; its install script would only fetch the parts for graphics cards.
    mkdir -p "$peers_build" &&
        cp "$root/bench/peers/package.json" "$lock" "$peers_build/" &&
        npm --prefix "$peers_build" ci --ignore-scripts --no-audit --no-fund &&
        cp "$lock" "$peers_build/installed.json"
}
