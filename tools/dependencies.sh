# Functions for the project's scripts, to be sourced: finds what the build needs and installs what is missing. POSIX sh.

# What the build needs: a command or a header, and the package that has it in Debian and Ubuntu.
dependencies='
cmake cmake
ninja ninja-build
eigen3/Eigen/Core libeigen3-dev
gtest/gtest.h libgtest-dev
benchmark/benchmark.h libbenchmark-dev
CLI/CLI.hpp libcli11-dev
nlohmann/json.hpp nlohmann-json3-dev
simde/x86/avx512.h libsimde-dev
png.h libpng-dev
jpeglib.h libjpeg-dev
webp/demux.h libwebp-dev
gif_lib.h libgif-dev
tiffio.h libtiff-dev
'

# Prints a C++ compiler that is new enough, $CXX first; fails where there is none.
find_compiler() {
    for compiler in ${CXX:+"$CXX"} g++ g++-12 g++-13 g++-14 clang++ clang++-14; do
        # shellcheck disable=SC2086 # CXX may be "ccache g++"
        printf '%s\n' '#if !defined(__clang__) && __GNUC__ < 12 || defined(__clang__) && __clang_major__ < 14' '#error too old' \
            '#endif' '#include <span>' | $compiler -std=c++20 -x c++ -fsyntax-only - 2>/dev/null || continue
        echo "$compiler"
        return
    done
    echo "No C++ compiler: GCC 12, Clang 14 or a newer one is needed" >&2
    return 1
}

have() {
    case $1 in
    *.h | *.hpp | */*) [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] || ls /usr/include/*-linux-gnu/"$1" ;;
    *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

# Installs what is missing of what the build needs.
install_dependencies() {
    missing=$(echo "$dependencies" | while read -r thing package; do
        [ -z "$thing" ] || have "$thing" || echo "$package"
    done)
    find_compiler >/dev/null 2>&1 || missing="$(compiler_package) $missing"
    # shellcheck disable=SC2086 # package names
    [ -z "$missing" ] || install_packages $missing
}

# Ubuntu 22.04's default is GCC 11.
compiler_package() {
    if grep -q '^VERSION_CODENAME=jammy' /etc/os-release 2>/dev/null; then echo g++-12; else echo g++; fi
}

# Whether Clang's sanitizers are there.
clang_sanitizes() {
    echo 'int main() {}' | clang++ -fsanitize=address,undefined -x c++ - -o /dev/null 2>/dev/null
}

# Debian has the run-time libraries of Clang's sanitizers in a package of their own, older releases of Ubuntu have them with Clang.
install_clangs_sanitizers() {
    runtime=
    if apt-cache show libclang-rt-dev >/dev/null 2>&1; then runtime=libclang-rt-dev; fi
    # shellcheck disable=SC2086 # a package name or none
    install_packages clang $runtime
}

# Installs these Debian packages. Asks nothing; where it cannot install, it names them and ends the script.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "Missing. Install what these packages have in Debian, then run this again:" "$@" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root='sudo -n'
        if ! sudo -n true 2>/dev/null; then
            echo "Missing, and only root can install it. Run this again after: sudo apt-get install" "$@" >&2
            exit 1
        fi
    fi
    echo "Installing with apt-get:" "$@"
    $as_root apt-get -qq update
    # shellcheck disable=SC2086 # the words of a command
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >/dev/null
}
