#!/bin/sh
# What only a GPU can say of this tree, in stages that each fit a loan of ten minutes on an H100.
# usage: session.sh SAGEGEN FOLDER [STAGE...]      results go to FOLDER; stages: verify specs halves sanitize dependent random soak fp4 tune bench
# SOAK_SECONDS: of the stage soak (60)
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- verify specs halves sanitize dependent random soak fp4 tune bench
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$out"

tensors() { # Q, K, V of head dim $1
    python3 - "$out" "$1" <<'P'
import sys
import numpy as np
out, d = sys.argv[1], int(sys.argv[2])
r = np.random.default_rng(1)
for name, heads, rows in (("q", 4, 200), ("k", 2, 333), ("v", 2, 333)):
    np.save(f"{out}/{name}{d}.npy", r.standard_normal((2, heads, rows, d)).astype(np.float16))
P
}

run_verify() { # NAME WORDS...: records, and a line on the terminal
    name=$1
    shift
    "$sagegen" verify --device cuda --json "$@" > "$out/$name.json" 2> "$out/$name.err"
    echo "$name: exit $?; $(tail -1 "$out/$name.err" | cut -c1-160)"
}

sanitize() {
    for d in 64 128; do tensors $d; done
    for tool in memcheck racecheck initcheck synccheck; do
        for spec in int8_fp8_d128 int8_fp16_d64 fp8_fp8_d128; do
            d=${spec##*_d}
            for mask in "" --causal; do
                timeout 60 compute-sanitizer --tool $tool --error-exitcode 9 "$sagegen" run --spec $spec $mask --check \
                    --q "$out/q$d.npy" --k "$out/k$d.npy" --v "$out/v$d.npy" --out "$out/o.npy" > "$out/sanitize.log" 2>&1
                echo "$tool $spec ${mask:-full}: exit $? $(grep -E 'SUMMARY|rel L2' "$out/sanitize.log" | tr '\n' ' ')"
            done
        done
    done | tee "$out/sanitize.txt"
}

for stage; do
    echo "== $stage"
    case $stage in
    verify) run_verify verify ;;
    specs)
        words=
        for spec in "$here"/specs/*.yaml; do words="$words --spec $spec"; done
        run_verify specs --quick $words ;;
    halves) # tuning points with overlap qk: their values, and then their speed beside the others'
        run_verify halves_d128 --quick --arch native --spec int8_fp8_d128 --variant q128_k192_s2_w8_f16_qk
        run_verify halves_fp8 --quick --arch native --spec fp8_fp8_d128 --variant q128_k128_s3_w8_f16_qk
        run_verify halves_d64 --quick --arch native --spec int8_fp8_d64 --variant q192_k128_s3_w12_f16_qk
        run_verify halves_fp16 --quick --arch native --spec int8_fp16_d128 --variant q128_k128_s2_w8_qk
        for d in 128 64; do
            "$sagegen" tune --spec int8_fp8_d$d --spec fp8_fp8_d$d --spec int8_fp16_d$d --d $d --n 1024,8192 --mask full,causal --html "$out/halves$d.html"
        done > "$out/halves.txt" 2> "$out/halves.err"
        cat "$out/halves.txt" ;;
    sanitize) sanitize ;;
    dependent) # programmatic dependent launch: the same bits are checked by 'again', the order by every value
        SAGE_DEPENDENT_LAUNCH=1 run_verify dependent --quick --only gates --random 20 --arch native ;;
    random) run_verify random --quick --only gates --random 250 --arch native --io fp16 --spec int8_fp8_d128 --spec int8_fp16_d64 ;;
    soak) run_verify soak --soak "${SOAK_SECONDS:-60}" ;; # after verify, which leaves the kernels in the cache
    fp4) run_verify fp4 --full --only gates --io fp16 --arch sm_90 --spec fp4_d128 --spec fp4_d64 ;;
    tune)
        "$sagegen" tune --html "$out/tune.html" > "$out/tune.txt" 2> "$out/tune.err"
        echo "tune: exit $?"
        "$sagegen" tune --again > "$out/again.txt" 2>&1
        tail -3 "$out/again.txt"
        "$sagegen" wisdom export "$out/h100.txt" ;;
    bench)
        "$sagegen" bench --out "$out/h100.json" --plot "$out/h100.svg" > "$out/bench.txt" 2> "$out/bench.err"
        echo "bench: exit $?"
        cat "$out/bench.txt" ;;
    *) echo "no stage $stage" >&2; exit 2 ;;
    esac
done
