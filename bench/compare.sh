#!/bin/sh
# compare.sh BASE [--filter REGEX] [--rounds N] [--min-time SECONDS] [--bound 1.02] [--instructions]: is the working tree slower than
# the revision BASE? Builds bench_latency of both, BASE in a worktree under build/compare/, runs them in turn, and prints the ratio of
# each benchmark. Fails if one is over the bound. compare.py does the measuring. Installs what is missing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../tools/dependencies.sh
. "$root/tools/dependencies.sh"
have python3 || install_packages python3

case ${1-} in
-h | --help) exec python3 "$root/bench/compare.py" --help ;;
'' | -*)
    echo 'compare.sh: the first argument is a revision, such as main (see compare.sh --help)' >&2
    exit 2
    ;;
esac
revision=$(git -C "$root" rev-parse --verify --quiet "$1^{commit}") || {
    echo "compare.sh: $1 is not a revision" >&2
    exit 2
}
shift
case " $* " in
*' --instructions '*) have valgrind || install_packages valgrind ;;
esac

base=$root/build/compare/base
{
    # Kept, so that the next comparison builds only what differs. Without .git inside, git would look for it further up.
    if [ -e "$base/.git" ]; then
        git -C "$base" checkout --quiet --force --detach "$revision"
    else
        git -C "$root" worktree add --force --detach "$base" "$revision"
    fi
    for tree in "$base" "$root"; do sh "$tree/tools/build.sh" release bench_latency; done
} >&2
exec python3 "$root/bench/compare.py" "$base/build/release/bin/bench_latency" "$root/build/release/bin/bench_latency" "$@"
