#!/bin/sh
# layers.sh: no include points up, and the library's go round in no circle, in which a header that is included alone, header-only,
# would find bodies before what they need. layers.txt, beside this script, has the layers. Paths are from the root.
set -eu
list=$(cd "$(dirname "$0")" && pwd)/layers.txt
cd "$(dirname "$0")/../.."

files=$(mktemp)
pairs=$(mktemp)
trap 'rm -f "$files" "$pairs"' EXIT
find include examples tests bench -name '*.hpp' -o -name '*.cpp' -o -name '*.inl' | sort >"$files"
xargs grep -Hn '^#include "' <"$files" | awk -v list="$list" -v files="$files" -v pairs="$pairs" '
    # The line of the list that a file belongs to; 0 if there is none.
    function layer(path,   at) {
        for (at = path; !(at in number) && sub(/\/[^\/]*$/, "", at);) {}
        if (at in number) { used[at] = 1; return number[at] }
        return sub(/^include\/fastvit\/impl\//, "include/fastvit/", path) ? layer(path) : 0
    }
    # The file that an include in `from` means: beside it, or below one of the include directories.
    function resolved(from, name,   beside) {
        beside = from
        sub(/[^\/]*$/, "", beside)
        if ((beside name) in exists) return beside name
        if (("include/" name) in exists) return "include/" name
        if (("examples/" name) in exists) return "examples/" name
        if (("tests/" name) in exists) return "tests/" name
        if (("bench/" name) in exists) return "bench/" name
        return ""
    }
    function base_name(path) { sub(/.*\//, "", path); return path }
    # A header and its bodies are one.
    function whole(path) { sub(/^include\/fastvit\/impl\//, "include/fastvit/", path); return path }
    function complain(text) { print text; failed = 1 }
    BEGIN {
        while ((getline line <list) > 0)
            if (line !~ /^(#|$)/) { number[line] = ++layers; name_of[layers] = line }
        while ((getline line <files) > 0) exists[line] = 1
        for (path in exists)
            if (!layer(path)) complain(path ": belongs to no line of tests/build/layers.txt")
    }
    {
        split($0, part, ":")
        from = part[1]
        name = $0
        sub(/^[^"]*"/, "", name)
        sub(/".*/, "", name)
        to = resolved(from, name)
        if (to == "") { complain(from ":" part[2] ": there is no " name); next }
        ++includes
        if (from ~ /^include\// && whole(from) != whole(to)) print whole(from), whole(to) >pairs
        # What makes the header-only form: the bodies at the end of what declares them.
        if (to ~ /^include\/fastvit\/impl\// && base_name(to) == base_name(from)) next
        if (layer(to) > layer(from))
            complain(from ":" part[2] ": includes " name ", which is higher: " name_of[layer(to)] " stands on " name_of[layer(from)])
    }
    END {
        for (path in number)
            if (!(path in used)) complain("tests/build/layers.txt: nothing belongs to " path)
        if (!includes) complain("no include found")
        print includes + 0 " includes looked at"
        exit failed
    }'
tsort "$pairs" >"$files" # names a circle and fails
