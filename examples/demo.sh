#!/bin/sh
# demo.sh: builds the command-line program and lets it name what is in the pictures beside this script, with the bundled model. It
# shows each picture's answers and time, that the model's two graphs agree, and leaves a page for a browser. On a bare Debian or
# Ubuntu it first installs what the build needs.
set -eu
cd "$(dirname "$0")/.."
sh tools/build.sh release fastvit_cli
fastvit=build/release/bin/fastvit

echo "== The model and the machine"
"$fastvit" info

echo "== The train-time graph and the folded graph"
"$fastvit" verify

echo "== The pictures"
"$fastvit" classify --top-k 3 --names-are-labels --html build/demo.html examples/pictures/*.png

echo "== Look at it in a browser: $(pwd)/build/demo.html"
