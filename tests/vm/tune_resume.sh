#!/bin/sh
# tune_resume: `sagegen tune` killed in the middle, and run again, gives the results of a run that was left alone, and
# measures nothing twice. On the PTX virtual machine, whose estimates do not vary.
# usage: tune_resume.sh <sagegen> <scratch folder>     exit status 77: no NVRTC     SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 scratch=$2
rm -rf "$scratch" && mkdir -p "$scratch"
"$sagegen" doctor > /dev/null 2>&1 || exit 77
tune() { # <journal> <output>
    exec "$sagegen" tune --device vm --spec int8_fp16_d64 --d 64 --n 256,1024 --batch 1 --heads 4 --io bf16 --jobs 2 \
        --journal "$scratch/$1" --out "$scratch/$1.wisdom" > "$scratch/$2" 2> "$scratch/$2.err"
}
lines() { grep -c "$1" "$scratch/$2"; }

(tune whole whole.out) || { cat "$scratch/whole.out.err"; exit 1; }
: > "$scratch/killed"
(tune killed killed.out) &
pid=$!
i=0
while [ "$(lines ' check ' killed)" -lt 2 ]; do
    i=$((i + 1))
    [ $i -gt 1200 ] && echo "nothing was checked in 60 s" && kill -9 $pid && exit 1
    sleep 0.05
done
kill -9 $pid
wait $pid 2> /dev/null
before=$(lines . killed)
[ "$before" -lt "$(lines . whole)" ] || { echo "it was done before it was killed"; exit 1; }
(tune killed resumed.out) || { cat "$scratch/resumed.out.err"; exit 1; }
sort "$scratch/whole" > "$scratch/whole.sorted"
sort "$scratch/killed" > "$scratch/killed.sorted"
cmp "$scratch/whole.sorted" "$scratch/killed.sorted" || { echo "the journals differ: lost or repeated measurements"; exit 1; }
cmp "$scratch/whole.wisdom" "$scratch/killed.wisdom" || { echo "the winners differ"; exit 1; }
(tune killed third.out) || exit 1
grep -q '^0 measurements in .*: the journal has them all' "$scratch/third.out" || { echo "a third run measured"; exit 1; }
