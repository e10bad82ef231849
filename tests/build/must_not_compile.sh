#!/bin/sh
# must_not_compile.sh FILE COMPILER-COMMAND...: what must be refused is refused, where it stands and for the right reason.
#
# In FILE stands the wrong way to do each thing, and the right one:
#
#     #if defined(WRONG) // a part of the compiler's message, as a regular expression
#         one line that must not compile
#     #else
#         ...
#     #endif
#
# Without the macro the file must compile, so that nothing is refused because of something else that is broken.
set -u
file=$1
shift
"$@" -fsyntax-only "$file" || { echo "$file: the right ways do not compile"; exit 1; }
messages=$("$@" -fsyntax-only -DWRONG "$file" 2>&1)

failed=0 tried=0
for line in $(grep -n '^#if defined(WRONG) // ' "$file" | cut -d: -f1); do
    tried=$((tried + 1))
    reason=$(sed -n "${line}s|^#if defined(WRONG) // ||p" "$file")
    if ! printf '%s\n' "$messages" | grep -q "${file##*/}:$((line + 1)):[0-9]*: error: .*$reason"; then
        echo "$file:$((line + 1)): not refused with \"$reason\""
        failed=1
    fi
done
echo "$tried wrong ways tried"
if [ "$tried" = 0 ] || [ "$failed" = 1 ]; then
    printf '%s\n' "$messages"
    exit 1
fi
