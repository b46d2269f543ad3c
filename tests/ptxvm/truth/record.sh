#!/bin/sh
# Runs every case on this machine's GPU and on the virtual machine, groups side by side, and writes to OUT: report.txt
# (cases that fail or differ, what the structure probes say), truth.json (every case), h100.json (the record), dump.* (the
# outputs, a .tar.xz cut in pieces, for ptx_truth --replay). Usage: record.sh PTX_TRUTH CUDA_FOLDER PTX_FOLDER OUT
truth=$1 cuda=$2 ptx=$3 out=$4
work=$(mktemp -d) || exit 1
export CUDA_CACHE_DISABLE=1 truth cuda ptx work
groups="integer float half convert warp mma wgmma structure"

one() { # name, arguments: one process; a kernel that hangs ends with its process
    name=$1; shift
    timeout -k 2 50 "$truth" --gpu "$@" --dump "$work/$name.bin" --json "$work/$name.json" \
        --structure "$work/$name.structure" > "$work/$name.txt" 2>&1
    echo "$name: exit $?" >> "$work/$name.txt"
}
for group in $groups; do one "$group" --group "$group" & done
for program in "$cuda"/*.cu; do
    name=$(basename "$program" .cu)
    one "program_$name" --group program --cuda "$cuda" --ptx "$ptx" --only "$name" --all
done &
wait

replay=
for dump in "$work"/*.bin; do replay="$replay --replay $dump"; done
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2> /dev/null | head -1)
# shellcheck disable=SC2086
"$truth" --no-machine $replay --device "${device:-unknown GPU}" --cuda "$cuda" --ptx "$ptx" --record "$out/h100.json" > "$work/zz_record.txt" 2>&1
{
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    tail -qn 2 "$work"/*.txt
    grep -h '' "$work"/*.txt | grep -v '^pass' | cut -c1-400
    echo "---- passed, but not bit for bit, and programs"
    grep -h '^pass' "$work"/*.txt | cut -c1-250
    cat "$work"/*.structure
} > "$out/report.txt" 2>&1
{
    echo '{'
    for json in "$work"/*.json; do echo "\"$(basename "$json" .json)\":"; cat "$json"; echo ','; done
    echo '"end": []}'
} > "$out/truth.json"
(cd "$work" && tar cf - ./*.bin | xz -T0 -1 | split -b 15500000 - "$out/dump.")
head -60 "$out/report.txt" | cut -c1-200
ls -l "$out"
rm -rf "$work"
