#!/bin/sh
# interrupt: Ctrl-C of a running `sagegen verify --json` gives the results so far, whole JSON, and exit status 1.
# usage: interrupt.sh <sagegen> <scratch folder>     exit status 77: no NVRTC     SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 scratch=$2
rm -rf "$scratch" && mkdir -p "$scratch"
"$sagegen" verify --device vm --quick --json --threads 1 --spec int8_fp16_d64 > "$scratch/out" 2> "$scratch/err" &
pid=$!
i=0
while ! grep -q '^\[ *1/' "$scratch/err"; do # the first kernel set is done
    if ! kill -0 $pid 2> /dev/null; then
        wait $pid
        status=$?
        cat "$scratch/err"
        [ $status -eq 77 ] && exit 77
        echo "it ended by itself, with status $status"
        exit 1
    fi
    i=$((i + 1))
    [ $i -gt 1200 ] && echo "no kernel set was done in 120 s" && kill -9 $pid && exit 1
    sleep 0.1
done
kill -TERM $pid # a shell's background process ignores SIGINT
wait $pid
status=$?
[ $status -eq 1 ] || { echo "exit status $status, expected 1"; exit 1; }
grep -q 'interrupted' "$scratch/err" || { echo "no word of the interruption"; exit 1; }
[ "$(head -c 1 "$scratch/out")" = '[' ] && [ "$(tail -n 1 "$scratch/out" | tail -c 2)" = ']' ] || { echo "no whole JSON array"; exit 1; }
grep -q '"outcome"' "$scratch/out" || { echo "no results"; exit 1; }
