#!/bin/sh
# demo.sh: builds the command-line program and runs it on the model that comes with the library: what it is, that its two graphs
# agree, and the pictures beside this script classified, also as a page for a browser. On a bare Debian or Ubuntu it first installs
# what the build needs.
set -eu
cd "$(dirname "$0")/.."
sh tools/build.sh release fastvit_cli
fastvit=build/release/bin/fastvit

echo "== The model and the machine"
"$fastvit" info

echo "== The train-time graph and the folded graph"
"$fastvit" verify

echo "== The pictures"
"$fastvit" classify --names-are-labels --top-k 3 --html build/demo.html examples/pictures/*.png

echo "== Look at the page in a browser: $(pwd)/build/demo.html"
echo "== With a checkpoint of your own:"
echo "   $fastvit classify --model fastvit_t8.safetensors --labels imagenet.txt picture.jpg"
