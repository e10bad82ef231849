#!/bin/sh
# demo.sh: builds the command-line program and runs it: what is in a checkpoint, that its two graphs agree, and the pictures beside
# this script classified, also as a page for a browser. On a bare Debian or Ubuntu it first installs what the build needs.
set -eu
cd "$(dirname "$0")/.."
sh tools/build.sh release fastvit_cli
fastvit=build/release/bin/fastvit
# A network of ten classes whose parameters are seeded random numbers: it shows that everything runs, not what a picture shows.
model=tests/data/checkpoints/tiny.safetensors

echo "== The model and the machine"
"$fastvit" info --model "$model" --size 96

echo "== The train-time graph and the folded graph"
"$fastvit" verify --model "$model" --size 96

echo "== The pictures"
"$fastvit" classify --model "$model" --size 96 --crop-pct 1 --top-k 3 --html build/demo.html examples/pictures/*.png

echo "== This model's parameters are random numbers, so its answers mean nothing. With a checkpoint of your own:"
echo "   $fastvit classify --model fastvit_t8.safetensors --labels imagenet.txt picture.jpg"
echo "== Look at the page in a browser: $(pwd)/build/demo.html"
