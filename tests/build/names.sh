#!/bin/sh
# names.sh COMPILER-COMMAND...: no name in namespace fastvit is one of the standard library's or of POSIX, so that
# `using namespace fastvit; using namespace std;` is ambiguous nowhere.
#
# The names are read out of the headers: none can be forgotten. For each, a using-declaration of the same name in :: and in std::
# is compiled, and must be an error.
set -eu
cd "$(dirname "$0")/../.."

# Functions that the library adds overloads to, for types of its own.
overloaded="to_string"

# Our format has what stands directly in a namespace in the first column, and everything inside it further right.
# shellcheck disable=SC2016 # the program is awk's
names=$(find include/fastvit -name '*.hpp' | sort | xargs awk '
    function found(name) { if (name !~ /^(FASTVIT_.*|static_assert|requires)$/) print name }
    FNR == 1 { inside = level = 0 }
    # namespace fastvit { inline namespace FASTVIT_ABI { namespace io {
    /^namespace fastvit \{ inline namespace FASTVIT_ABI \{/ {
        if (sub(/^.*FASTVIT_ABI \{ namespace /, "")) { sub(/[^a-z0-9_].*/, ""); found($0) } else level = 1
        inside = level
        next
    }
    /^\}\} \/\/ namespace fastvit::FASTVIT_ABI$/ {
        if (inside != level) print FILENAME ":" FNR ":_a_namespace_within_ends_without_its_comment"
        inside = level = 0
    }
    /^\} \/\/ namespace [a-z_]+$/ || (/^\}$/ && only_forward) { inside = level }
    !/^(class|struct) [a-z_]+;$/ { only_forward = 0 }
    !inside || /^([ #}\/]|$)/ { next }
    # A namespace of its own within ours, whose names are not looked at.
    /^namespace / { found($2); inside = 0; only_forward = 1; next }
    {
        line = $0
        sub(/\/\/.*/, "", line)
        if (line ~ /operator/) next
        sub(/^template <.*> (requires .* )?(class|struct) /, "class ", line)
        gsub(/\[\[[a-z_]*\]\] /, "", line)
        if (match(line, /^(requires .* )?(class|struct|enum class|enum|concept) [a-z0-9_]+/)) {
            line = substr(line, RSTART, RLENGTH); sub(/.* /, "", line); found(line)
        } else if (line ~ /^using .*;/) {
            sub(/ =.*|;.*/, "", line); sub(/^using (.*::)?/, "", line); found(line)
        } else if (match(line, /^[^=(]*[a-z0-9_ &*:~]\(/)) { # a function; what has a class before it is a member
            line = substr(line, 1, RLENGTH - 1)
            if (match(line, /[ &*][a-z0-9_]+$/)) found(substr(line, RSTART + 1))
        } else if (match(line, /[a-z0-9_]+(\[\])?( =|\{|;)/)) { # a variable
            line = substr(line, RSTART, RLENGTH); sub(/[^a-z0-9_].*/, "", line); found(line)
        }
    }
    ' | sort -u | tr '\n' ' ')
case $names in
*:*) echo "$names" | tr ' ' '\n' | grep : && exit 1 ;;
esac
for name in index_type model workspace tensor softmax preprocess bundled_model_path variant_table; do
    case " $names" in
    *" $name "*) ;;
    *) echo "$name was not found in the headers: does this script still read them?" && exit 1 ;;
    esac
done

{
    echo '#include "posix_headers.hpp"'
    for name in $names; do
        case " $overloaded " in
        *" $name "*) echo && echo ;;
        *) echo "namespace fastvit_test { using ::$name; }" && echo "namespace fastvit_test { using std::$name; }" ;;
        esac
    done
} | { "$@" -Itests/build -fsyntax-only -x c++ - 2>&1 || true; } | awk -v names="$names" -v overloaded=" $overloaded " '
    { text = text $0 "\n" }
    /^<stdin>:[0-9]+:[0-9]+: error: (.*has not been declared|no member named)/ { split($0, part, ":"); refused[part[2]] = 1 }
    END {
        count = split(names, name, " ")
        for (i = 1; i <= count; ++i)
            if (!index(overloaded, " " name[i] " ")) {
                if (!(2 * i in refused)) { print "fastvit::" name[i] ": POSIX has a " name[i]; failed = 1 }
                if (!(2 * i + 1 in refused)) { print "fastvit::" name[i] ": there is a std::" name[i]; failed = 1 }
            }
        print count " names looked at"
        if (failed) print substr(text, 1, 2000)
        exit failed
    }'
