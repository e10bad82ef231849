#!/bin/sh
# debug_mode.sh COMPILER-COMMAND...: units with and without the standard library's debug mode, in which containers have another
# layout, do not link where one passes the library's types to the other; units that agree do. Both forms.
set -eu
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
printf '#include "fastvit/outputs.hpp"\nvoid take(const fastvit::outputs &) {}\n' >takes.cpp
printf '#include "fastvit/outputs.hpp"\nvoid take(const fastvit::outputs &);\nint main() { take({}); }\n' >gives.cpp
for form in -DFASTVIT_COMPILED -UFASTVIT_COMPILED; do
    for mode in -D_GLIBCXX_DEBUG -U_GLIBCXX_DEBUG; do
        for unit in takes gives; do "$@" $form $mode -c $unit.cpp -o $unit$mode.o; done
    done
    for takes in -D -U; do
        for gives in -D -U; do
            linked=no
            if "$@" takes${takes}_GLIBCXX_DEBUG.o gives${gives}_GLIBCXX_DEBUG.o -o program 2>errors; then linked=yes; fi
            expected=no
            if [ $takes = $gives ]; then expected=yes; fi
            if [ $linked != $expected ]; then
                echo "$form, $takes and $gives _GLIBCXX_DEBUG: linked: $linked, expected: $expected"
                cat errors
                exit 1
            fi
        done
    done
done
