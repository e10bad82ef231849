#!/bin/sh
# light.sh COMPILER-COMMAND...: what a unit sees of the library in its compiled form: no header that <bits/stdc++.h> does not bring,
# and no macro, new or changed, that does not begin with FASTVIT_.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
export LC_ALL=C

echo '#include <bits/stdc++.h>' >"$work/before.cpp"
printf '#include <bits/stdc++.h>\n#include "fastvit/fastvit.hpp"\n' >"$work/after.cpp"
for unit in before after; do
    "$@" -DFASTVIT_COMPILED -dM -E "$work/$unit.cpp" | sort >"$work/$unit.macros"
    "$@" -DFASTVIT_COMPILED -M "$work/$unit.cpp" | tr -s '\\ ' '\n' | grep '^/' | sort -u >"$work/$unit.headers"
done
grep -q 'FASTVIT_ABI' "$work/after.macros"
grep -q "^$root/include/fastvit/fastvit.hpp$" "$work/after.headers"

comm -3 "$work/before.macros" "$work/after.macros" | grep -v '^	#define FASTVIT_' >"$work/macros" || true
comm -13 "$work/before.headers" "$work/after.headers" | grep -v -e "^$root/include/fastvit/" -e "^$work/" >"$work/headers" || true
for what in macros headers; do
    [ -s "$work/$what" ] || continue
    echo "$(wc -l <"$work/$what") $what too many:"
    head -n 20 "$work/$what"
done
[ ! -s "$work/macros" ] && [ ! -s "$work/headers" ]
