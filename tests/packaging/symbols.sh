#!/bin/sh
# symbols.sh OBJECT: of the functions and variables that this unit in the header-only form shares with other units of a program,
# the linker keeps one. They have the library's tag in their names, so that only units of the same flags share them, or are the
# standard library's, and then they do not compute with floating-point numbers.
set -eu
export LC_ALL=C
shared=$(nm "$1" | awk '$2 ~ /^[WVu]$/ && $3 !~ /^DW\.ref\.__gxx_personality|^__clang_call_terminate$/ { print $3 }')
tagged=$(echo "$shared" | grep -cE '7fastvit[0-9]+v[0-9]+_[0-9]+')
others=$(echo "$shared" | grep -vE '7fastvit[0-9]+v[0-9]+_[0-9]+')

# St and the abbreviations Sa, Ss and so on stand for std, n and d for its operators new and delete in given memory; unit_result is
# the test's.
strange=$(echo "$others" | grep -vE '^_Z(n[aw]mPv$|dlPvS_$|(T[ISV]|GV|Z)*(N[OKR]*)?(S[abdiost]|9__gnu_cxx|11unit_result))' || true)
float='^_ZSt[0-9]+(min|max|minmax|clamp|lerp|midpoint|accumulate|reduce|inner_product|abs|fabs|sqrt|cbrt|exp|exp2|log|pow|fma|hypot|floor|ceil|round|trunc|rint|nearbyint|isnan|isinf|isfinite|signbit)(I[^v]*[fd]|[fd]+$)'
computing=$(echo "$others" | grep -E "$float" || true)

echo "$tagged symbols with the tag, $(echo "$others" | wc -l) of the standard library"
[ "$tagged" -gt 100 ]
[ -z "$strange$computing" ] || { echo "$strange" "$computing" && exit 1; }
