#!/bin/sh
# run.sh [--quick] [--sections NAME,...]: repeats what FastViT's paper says on this machine, and makes the page
# build/paper/index.html. On an idle machine it takes an hour or two, with --quick minutes; stopped, it goes on where it was, and
# `rm -r build/paper/data` makes it begin anew. Installs what it needs under build/, and Debian packages where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../../tools/dependencies.sh
. "$root/tools/dependencies.sh"
# shellcheck source=../peers/prepare.sh
. "$root/bench/peers/prepare.sh"

install_dependencies
require_python 'numpy, scipy, PIL, jinja2, matplotlib, torch, torchvision' \
    python3-numpy python3-scipy python3-pil python3-jinja2 python3-matplotlib python3-torch python3-torchvision
sh "$root/tools/build.sh" release bench_paper >&2
build_peers make_checkpoint peer_fastvit >&2
install_onnxruntime >&2
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
exec "$python" "$root/bench/paper/paper.py" --program "$root/build/release/bin/bench_paper" --peers "$peers_build" \
    --out "$root/build/paper" "$@"
