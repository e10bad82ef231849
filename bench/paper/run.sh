#!/bin/sh
# run.sh [--quick] [--sections NAME,...]: repeats what FastViT's paper says on this machine, and makes the page
# build/paper/index.html. On an idle machine it takes about an hour, with --quick minutes; stopped, it goes on where it was, and
# `rm -r build/paper/data` makes it begin anew. Installs what it needs under build/, and Debian packages where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../../tools/dependencies.sh
. "$root/tools/dependencies.sh"
# shellcheck source=../peers/prepare.sh
. "$root/bench/peers/prepare.sh"

# What the sections that are named need, or all.
sections=accuracy,figure_1
previous=
for argument; do
    case $previous$argument in --sections?*) sections=${argument#--sections=} ;; esac
    previous=
    [ "$argument" != --sections ] || previous=$argument
done

install_dependencies
case $sections in
*accuracy* | *robustness* | *figure_1*)
    require_python 'numpy, scipy, PIL, jinja2, matplotlib, torch, torchvision' \
        python3-numpy python3-scipy python3-pil python3-jinja2 python3-matplotlib python3-torch python3-torchvision
    ;;
*) require_python 'numpy, PIL, jinja2, matplotlib' python3-numpy python3-pil python3-jinja2 python3-matplotlib ;;
esac
sh "$root/tools/build.sh" release bench_paper >&2
case $sections in
*figure_1*)
    build_peers make_checkpoint peer_fastvit >&2
    if ! install_onnxruntime >&2; then
        echo "Without ONNX Runtime, accuracy against latency (figure 1) is left out" >&2
        peers_build=
    fi
    ;;
esac
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec "$python" "$root/bench/paper/paper.py" --program "$root/build/release/bin/bench_paper" ${peers_build:+--peers "$peers_build"} \
    --out "$root/build/paper" "$@"
