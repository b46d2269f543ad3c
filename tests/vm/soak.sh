#!/bin/sh
# soak: `sagegen verify --soak` on the PTX virtual machine: passes with the kernels as they are, fails where a bit of O or
# LSE depends on where the output lies, which no single call can tell, and gives the results so far when it is interrupted.
# usage: soak.sh <sagegen> <templates> <scratch folder>     exit status 77: no NVRTC     SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 templates=$2 scratch=$3
rm -rf "$scratch" && mkdir -p "$scratch"
fail() { echo "FAILED $*"; exit 1; }
soak() { # <name> <seconds> <words...>
    name=$1 seconds=$2
    shift 2
    exec "$sagegen" verify --device vm --quick --soak "$seconds" --seed 1 --threads 1 --spec int8_fp16_d64 --arch sm_80 --io fp16 \
        --mask none "$@" > "$scratch/$name" 2> "$scratch/$name.err"
}

(soak sound 2 --streams 3)
status=$?
[ $status -eq 77 ] && exit 77
[ $status -eq 0 ] || { cat "$scratch/sound" "$scratch/sound.err"; fail "status $status of sound kernels"; }
grep -Eq 'soak, all .* PASS  calls that went wrong, of [1-9][0-9]* in .* on 3 streams' "$scratch/sound" || fail "no calls"

planted() { # <name> <what the line says> <stage> <sed's script for it>
    cp -r "$templates" "$scratch/templates"
    sed -i "$4" "$scratch/templates/stage/$3.cu.tl"
    cmp -s "$templates/stage/$3.cu.tl" "$scratch/templates/stage/$3.cu.tl" && fail "$1: stage $3 has no such line"
    (SAGE_TEMPLATE_DIR=$scratch/templates soak "$1" 2)
    status=$?
    [ $status -eq 1 ] || { cat "$scratch/$1" "$scratch/$1.err"; fail "$1: status $status, expected 1"; }
    grep -Eq "soak call .* FAIL  stream [0-3], call [0-9]+, seed 1: $2 differ; again: sagegen verify .*--seed 1 " "$scratch/$1" ||
        { cat "$scratch/$1"; fail "$1: no such fault was told"; }
    grep -q 'soak, first call .* FAIL' "$scratch/$1" && fail "$1: the first calls fail already"
    rm -r "$scratch/templates"
}
planted o '[1-9][0-9]* of [0-9]+ values of O and 0 of [0-9]+ of LSE' epilogue_pair \
    's/const u32 pair = .*narrow2(first, second) : 0;/const u32 pair = (seen[m][h] ? narrow2(first, second) : 0) ^ (u32)((i64)args.o >> 8 \& 1);/'
planted lse '0 of [0-9]+ values of O and [1-9][0-9]* of [0-9]+ of LSE' epilogue \
    's/^\( *\)((float \*)args.lse)\[.*/&\n\1if ((i64)args.lse >> 8 \& 1) ((u32 *)args.lse)[(i64)head * args.seq_q + row] ^= 1;/'

soak stopped 600 --json &
pid=$!
i=0
until grep -q 'first calls' "$scratch/stopped.err"; do
    kill -0 $pid 2> /dev/null || fail "it ended by itself"
    i=$((i + 1))
    [ $i -gt 1200 ] && kill -9 $pid && fail "no first calls in 120 s"
    sleep 0.1
done
sleep 1
kill -TERM $pid # a shell's background process ignores SIGINT
wait $pid
status=$?
[ $status -eq 1 ] || fail "interrupted: status $status, expected 1"
grep -q 'interrupted' "$scratch/stopped.err" || fail "no word of the interruption"
[ "$(head -c 1 "$scratch/stopped")" = '[' ] && [ "$(tail -n 1 "$scratch/stopped")" = ']' ] || fail "no whole JSON array"
grep -q '"check": "soak, all".*"outcome": "PASS", "note": "calls that went wrong, of [1-9]' "$scratch/stopped" || fail "no sums"
