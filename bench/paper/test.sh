#!/bin/sh
# test.sh BENCH_PAPER OUT: makes the page of the smallest networks, to see that all of it is made, not how fast they are, and tests the
# corruptions. 77: not here.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../peers/prepare.sh
. "$root/bench/peers/prepare.sh"
find_python 'numpy, PIL, jinja2, matplotlib' || { echo "needs python3-matplotlib, python3-jinja2 and python3-pil"; exit 77; }
rm -rf "$2"
export PYTHONDONTWRITEBYTECODE=1 # the checkout stays clean
"$python" "$root/bench/paper/corruptions_test.py" || [ $? -eq 77 ]
"$python" "$root/bench/paper/measure_test.py"
make_page() { "$python" "$root/bench/paper/paper.py" --tiny --program "$1" --out "$2"; }
make_page "$1" "$2"
for text in '<svg' 'Token mixers' 'ConvMixer' 'Train-time against folded' 'Accuracy' 'Robustness' '<b class="undecided">'; do
    grep -q "$text" "$2/index.html" || { echo "the page lacks: $text"; exit 1; }
done
if grep -n '{[a-z_]*(' "$2/index.html"; then
    echo "the page has code where a number should be"
    exit 1
fi
# A second run measures nothing, and makes the same page.
cp "$2/index.html" "$2/first.html"
find "$2/data" -name '*.json' -exec touch -d 2000-01-01 '{}' +
make_page "$1" "$2"
[ -z "$(find "$2/data" -name '*.json' -newermt 2001-01-01)" ] || { echo "the second run has measured something again"; exit 1; }
cmp "$2/first.html" "$2/index.html"
# Nor does it need a command: a bare machine has a copy of the sources, and may have no git.
python=$(command -v "$python")
(PATH=/nonexistent && make_page "$1" "$2")
grep -q 'revision unknown' "$2/index.html" || { echo "the page has a revision without git"; exit 1; }
