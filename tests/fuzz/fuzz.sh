#!/bin/sh
# fuzz: runs every libFuzzer program of a folder, each for its share of some seconds, and says what it did. What fails is
# written beside the programs, as crash-<hash> and the like. Status 1: one of them failed.
# usage: fuzz.sh <folder of fuzz_*> <folder of corpora> <seconds>     SPDX-License-Identifier: Apache-2.0
set -eu
programs=$1 corpora=$2 seconds=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR="$scratch"
[ -w /dev/shm ] && export TMPDIR=$(mktemp -d -p /dev/shm) && trap 'rm -rf "$scratch" "$TMPDIR"' EXIT

count=0
for program in "$programs"/fuzz_*; do count=$((count + 1)); done
share=$((seconds / count))
[ "$share" -gt 0 ] || share=1

failed=0
for program in "$programs"/fuzz_*; do
    name=${program##*/fuzz_}
    mkdir -p "$scratch/$name"
    status=0
    "$program" -max_total_time="$share" -max_len=4096 -timeout=90 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$programs/" "$scratch/$name" "$corpora/$name" > "$scratch/log" 2>&1 || status=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log")
    if [ "$status" = 0 ]; then
        echo "fuzz_$name: $inputs inputs in $share s"
    else
        failed=1
        tail -n 60 "$scratch/log"
        echo "FAIL: fuzz_$name, status $status"
    fi
done
exit $failed
