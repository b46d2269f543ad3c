#!/bin/sh
# Quantisers of tuning points that are no default, on the PTX virtual machine: each pair of tile_q and tile_k of a few
# specs once, since nothing else of a point reaches a quantiser.
# usage: points.sh SAGEGEN     exit status 77: no NVRTC
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1
failed=0

points() { # SPEC ARCH
    tried=0
    for variant in $("$sagegen" list --spec "$1" --arch "$2" | awk '$4 == "yes" { split($3, part, "_") }
        $4 == "yes" && !seen[part[1] part[2]]++ { print $3 }'); do
        tried=$((tried + 1))
        said=$("$sagegen" verify --device vm --quick --only quantisers --seed 1 --threads 1 --spec "$1" --arch "$2" \
            --variant "$variant" --io bf16 --mask none 2>&1)
        status=$?
        [ $status -eq 77 ] && exit 77
        [ $status -eq 0 ] && continue
        echo "FAILED $1 $2 $variant: status $status"
        echo "$said" | grep -E 'FAIL|error:' | head -5
        failed=1
    done
    [ $tried -gt 1 ] || { echo "FAILED $1 $2: $tried points"; failed=1; }
    echo "$1 $2: $tried pairs of tiles"
}

points int8_fp8_d64 sm_90a
points int8_fp8_d128 sm_89
points int8_fp8_d256 sm_90a
points fp8_fp8_d64 sm_120a
points int8_fp16_d192x128 sm_86
points int8_fp16_d64 sm_80
points fp4_fp8_d64 sm_120a
exit $failed
