#!/bin/sh
# What only a GPU can say of this tree, in stages that each fit a loan of ten minutes on an H100.
# usage: session.sh SAGEGEN FOLDER [STAGE...]      results go to FOLDER
# stages: verify specs halves sanitize dependent random soak fp4 real drift tune bench; those before tune may run side by side
# SOAK_SECONDS: of the stage soak (60)     SANITIZE_TOOLS: of the stage sanitize (all four)
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- verify specs halves sanitize dependent random soak fp4 real drift tune bench
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$out"

tensors() { # Q, K, V of head dim $1: more keys than the slots of a ring hold at once
    python3 - "$out" "$1" <<'P'
import sys
import numpy as np
out, d = sys.argv[1], int(sys.argv[2])
r = np.random.default_rng(1)
for name, heads, rows in (("q", 4, 200), ("k", 2, 700), ("v", 2, 700)):
    np.save(f"{out}/{name}{d}.npy", r.standard_normal((2, heads, rows, d)).astype(np.float16))
P
}

run_verify() { # NAME WORDS...: records, and a line on the terminal
    name=$1
    shift
    "$sagegen" verify --device cuda --json "$@" > "$out/$name.json" 2> "$out/$name.err"
    echo "$name: exit $?; $(tail -1 "$out/$name.err" | cut -c1-160)"
}

sanitize() { # TOOL...
    for tool; do
        for spec in int8_fp8_d128 int8_fp8_d64 int8_fp8_d256 int8_fp16_d128 int8_fp16_d64 fp8_fp8_d128 fp4_d128 fp4_d64; do
            d=${spec##*_d} emulate=
            [ "${spec#fp4}" = "$spec" ] || emulate="--emulate fp4"
            for mask in "" --causal; do
                # shellcheck disable=SC2086
                timeout 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$sagegen" run --spec $spec $emulate $mask --check \
                    --q "$out/q$d.npy" --k "$out/k$d.npy" --v "$out/v$d.npy" --out "$out/o_$tool.npy" > "$out/sanitize_$tool.log" 2>&1
                rc=$?
                echo "$tool $spec ${mask:-full}: exit $rc $(grep -E 'SUMMARY|rel L2' "$out/sanitize_$tool.log" | tr '\n' ' ')"
                [ $rc = 0 ] || cp "$out/sanitize_$tool.log" "$out/failed_${tool}_$spec$mask.log"
            done
        done
    done
}

# FP4 emulated on Q, K, V of a real model (tests/data): its heads of 32, and neighbours joined to 64 and 128
real() {
    python3 - "$root/tests/data/minilm.safetensors" "$out" <<'P'
import json, struct, sys
import numpy as np
path, out = sys.argv[1:]
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8 : 8 + n])
for name, t in head.items():
    if name == "__metadata__":
        continue
    a, b = t["data_offsets"]
    x = np.frombuffer(data[8 + n + a : 8 + n + b], np.float16).reshape(t["shape"])  # [heads, tokens, 32]
    for join in (1, 2, 4):
        y = x.reshape(x.shape[0] // join, join, x.shape[1], 32).transpose(0, 2, 1, 3).reshape(x.shape[0] // join, x.shape[1], 32 * join)
        np.save(f"{out}/real_{name}_{32 * join}.npy", np.ascontiguousarray(y)[None])
P
    for layer in 0 3 5; do
        for d in 32 64 128; do
            for mask in "" --causal; do
                t=$out/real_layer$layer
                said=$("$sagegen" run --emulate fp4 --spec fp4_d$d $mask --q "$t.q_$d.npy" --k "$t.k_$d.npy" --v "$t.v_$d.npy" \
                    --out "$out/o_real.npy" --check 2>&1)
                echo "layer $layer d $d ${mask:-full}: exit $? $(echo "$said" | grep -E 'rel L2|error')"
            done
        done
    done
}

# FP4 emulated at growing lengths: operands are exact, sums are this GPU's
drift() {
    for n in 1024 8192 32768 131072; do
        python3 - "$out" $n <<'P'
import sys
import numpy as np
out, n = sys.argv[1], int(sys.argv[2])
r = np.random.default_rng(2)
for name in "qkv":
    np.save(f"{out}/drift_{name}.npy", r.standard_normal((1, 2, n, 128), dtype=np.float32).astype(np.float16))
P
        for mask in "" --causal; do
            said=$("$sagegen" run --emulate fp4 --spec fp4_d128 $mask --q "$out/drift_q.npy" --k "$out/drift_k.npy" --v "$out/drift_v.npy" \
                --out "$out/drift_o.npy" --check 2>&1)
            echo "$n keys ${mask:-full}: exit $? $(echo "$said" | grep -E 'rel L2|error')"
        done
    done
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
    sanitize)
        for d in 64 128 256; do tensors $d; done
        # shellcheck disable=SC2086
        sanitize ${SANITIZE_TOOLS:-memcheck racecheck initcheck synccheck} | tee "$out/sanitize_${SANITIZE_TOOLS:-all}.txt" ;;
    real) real | tee "$out/real.txt" ;;
    drift) drift | tee "$out/drift.txt" ;;
    dependent) # launches that wait for each other, as they do not by default: the same checks
        SAGE_DEPENDENT_LAUNCH=0 run_verify dependent --quick --only gates --random 20 --arch native ;;
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
