#!/bin/sh
# fuzz.sh SECONDS [TARGET...]: builds the fuzz targets (tests/fuzz) with Clang and looks for inputs that break them, each target that
# long, one after the other; without names all of them. What is learned stays in build/fuzz/corpus, what is found in
# build/fuzz/findings, and then the exit status is 1: build/fuzz/bin/fuzz_TARGET FILE shows it again, and a copy in
# tests/fuzz/corpus/TARGET makes it a test for ever.
set -eu
cd "$(dirname "$0")/.."
. tools/dependencies.sh

case ${1-} in
'' | *[!0-9]*)
    echo "usage: fuzz.sh SECONDS [TARGET...]" >&2
    exit 2
    ;;
esac
seconds=$1
shift

has_libfuzzer() {
    printf '%s\n' 'extern "C" int LLVMFuzzerTestOneInput(const char *, unsigned long) { return 0; }' |
        clang++ -fsanitize=fuzzer,address,undefined -x c++ - -o build/fuzz/has_libfuzzer 2>/dev/null
}
mkdir -p build/fuzz
if ! has_libfuzzer; then
    install_clangs_sanitizers
    has_libfuzzer || {
        echo "clang++ -fsanitize=fuzzer does not link: the run-time libraries of Clang's sanitizers are missing" >&2
        exit 1
    }
fi
sh tools/build.sh fuzz

[ $# -gt 0 ] || set -- $(ls tests/fuzz | sed -n 's/_fuzz\.cpp$//p')
status=0
for target; do
    corpus=build/fuzz/corpus/$target
    findings=build/fuzz/findings/$target
    log=build/fuzz/$target.log
    mkdir -p "$corpus" "$findings"
    echo "== Fuzzing $target for $seconds s"
    # What is refused may take 64 MB, whatever the size: a single allocation beyond is a lie that somebody believed.
    build/fuzz/bin/fuzz_"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=128 \
        -artifact_prefix="$findings/" -print_final_stats=1 "$corpus" "tests/fuzz/corpus/$target" >"$log" 2>&1 &
    fuzzer=$!
    trap 'kill $fuzzer 2>/dev/null; exit 130' INT TERM
    waited=0
    while kill -0 $fuzzer 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        [ $((waited % 10)) -ne 0 ] || echo "$waited s: $(sed -n 's/.*\(cov: .*exec\/s: [0-9]*\).*/\1/p' "$log" | tail -n 1)"
    done
    trap - INT TERM
    if wait $fuzzer; then
        sed -n 's/^stat::number_of_executed_units: */inputs tried: /p' "$log"
    else
        status=1
        echo "Found, and kept in $findings:"
        tail -n 60 "$log"
    fi
done
exit $status
