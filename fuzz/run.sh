#!/bin/sh
# Runs fuzz targets, each for MINUTES: `sh fuzz/run.sh MINUTES TARGET…`, or all of them without a name. See CONTRIBUTING.md.
#
# libFuzzer works with any compiler that LLVM's coverage pass is part of, so the toolchain is the repository's own. What it
# finds is kept in fuzz/findings/TARGET, and replayed by `cargo test -p descry-fuzz` from then on.
set -eu
cd "$(dirname "$0")/.."
minutes=$1
shift

host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$flag"
done
# Only what runs in the program is instrumented: with --target, build scripts and macros are not.
RUSTFLAGS=$flags cargo build --locked -p descry-fuzz --profile fuzz --target "$host" --target-dir target/fuzz
bin=target/fuzz/$host/fuzz

corpus=target/fuzz/corpus
"$bin/seeds" write target/fuzz/seeds
[ $# -gt 0 ] || set -- $("$bin/seeds" list | cut -d' ' -f1)

# Inputs that are read by path are written here, and removed even after a crash.
TMPDIR=$(mktemp -d /dev/shm/descry-fuzz.XXXXXX 2>/dev/null || mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT INT TERM

failed=
for target; do
    longest=$("$bin/seeds" list | sed -n "s/^$target //p")
    [ -n "$longest" ] || { echo "fuzz: there is no target $target" >&2; exit 2; }
    mkdir -p "$corpus/$target" "fuzz/findings/$target" target/fuzz/log
    words=target/fuzz/seeds/$target.dict
    [ -s "$words" ] || words=
    echo "fuzz: $target for $minutes minutes; log in target/fuzz/log/$target.txt" >&2
    DESCRY_FUZZ_TARGET=$target "$bin/fuzz" "$corpus/$target" "target/fuzz/seeds/$target" "fuzz/findings/$target" \
        -artifact_prefix="fuzz/findings/$target/" -max_total_time="$((minutes * 60))" -max_len="$longest" \
        -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 ${words:+-dict="$words"} ${FUZZ_ARGS:-} \
        >"target/fuzz/log/$target.txt" 2>&1 || failed="$failed $target"
    grep -E '^stat::number_of_executed_units|DONE|SUMMARY|panicked' "target/fuzz/log/$target.txt" >&2 || true
done
if [ -n "$failed" ]; then
    echo "fuzz: found something in:$failed. See fuzz/findings and target/fuzz/log." >&2
    exit 1
fi
