#!/usr/bin/env bash
# Fuzzing guided by coverage: run.sh SECONDS TARGET..., the seconds divided among the targets. Begins with valid files, and with
# what earlier runs left in corpus/. Ends at the first input that does harm, and tells how to run that again.
set -euo pipefail

cd "$(dirname "$0")"
total=$1
shift
seconds=$((total / $#))
echo "fuzz: with cargo-fuzz, guided by coverage, ${seconds} s each: $*"
echo '      our own mutator, which needs no nightly toolchain: cargo test -p hayrick-volume --test fuzz'
cargo +nightly fuzz build
for target in "$@"; do
    mkdir -p "corpus/$target"
    # Some input that is valid is longer than what libFuzzer would try on its own account; 0 seconds would be for ever.
    FUZZ_SEEDS="$PWD/corpus/$target" cargo +nightly fuzz run "$target" -- \
        -max_total_time=$((seconds > 0 ? seconds : 1)) -max_len=1048576 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 \
        -print_final_stats=1
done
echo "fuzz: no input did harm"
