#!/bin/sh
# Kernels with one line of synchronisation taken out, on the PTX virtual machine: each must fail, by a finding that names
# a template. usage: planted.sh SAGEGEN TEMPLATES SCRATCH     exit status 77: no NVRTC
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1
templates=$2
scratch=$3
failed=0
number=0

only=gates
# The finding, the spec, its target, the template, and which line to take out: a pattern, and which of its matches (1).
planted() {
    number=$((number + 1))
    dir=$scratch/$number
    rm -rf "$dir"
    mkdir -p "$dir"
    cp -r "$templates" "$dir/templates"
    line=$(grep -n "$5" "$templates/$4" | sed -n "${6:-1}p" | cut -d: -f1)
    if [ -z "$line" ]; then
        echo "FAILED $4: no line '$5'"
        failed=1
        return
    fi
    sed -i "${line}s,^ *,// ," "$dir/templates/$4"
    status=0
    SAGE_TEMPLATE_DIR=$dir/templates "$sagegen" verify --device vm --quick --only $only --seed 1 --threads 1 --spec "$2" --arch "$3" \
        --io fp16 --mask none >"$dir/out" 2>"$dir/err" || status=$?
    [ "$status" -eq 77 ] && exit 77
    if [ "$status" -eq 1 ] && grep -q "^templates/[a-z0-9_/.]*:[0-9]*: error: $1" "$dir/err"; then
        echo "ok     $2 $3 without $4:$line: $(grep -c '^templates/' "$dir/err") findings"
        rm -rf "$dir"
    else
        echo "FAILED $2 $3 without $4:$line: status $status, no '$1'; see $dir"
        failed=1
    fi
}

race='race on shared memory'
planted "$race" int8_fp16_d64 sm_80 stage/load_mma_wait.cu.tl '^cp_async_wait<stages'
planted "$race" int8_fp16_d64 sm_80 stage/load_mma_wait.cu.tl '^__syncthreads();  .*everybody'
planted "$race" int8_fp16_d64 sm_80 attn_fwd_mma.cu.tl '^    __syncthreads'
planted "mbarrier misuse" int8_fp8_d64 sm_90a stage/load_tile_sm90.cu.tl 'mbar_wait(k_empty'
planted "$race" int8_fp8_d64 sm_90a stage/load_tile_sm90.cu.tl 'mbar_wait(v_empty'
planted "mbarrier misuse" int8_fp8_d64 sm_90a stage/load_tile_sm90.cu.tl 'mbar_wait(q_empty'
planted "read of memory that nobody wrote" int8_fp8_d64 sm_90a attn_fwd_sm90.cu.tl 'mbar_wait(q_full'
planted "$race" int8_fp8_d64 sm_90a stage/loop_serial_sm90.cu.tl 'mbar_wait(k_full + 8'
planted "$race" int8_fp8_d64 sm_90a stage/loop_serial_sm90.cu.tl 'mbar_wait(v_full'
# a slot is freed too early: the producer arrives once too often, or writes under a product; by the compiler, which is first
planted "\(mbarrier misuse\|$race\)" int8_fp8_d64 sm_90a stage/pass_tiles_sm90.cu.tl 'mbar_wait(k_full'
planted "$race" int8_fp8_d64 sm_90a stage/pass_tiles_sm90.cu.tl 'mbar_wait(v_full'
planted "deadlock" int8_fp8_d64 sm_90a stage/pass_tiles_sm90.cu.tl 'mbar_arrive(k_empty'
planted "async-proxy access" int8_fp8_d64 sm_90a stage/barriers_sm90.cu.tl '^fence_proxy_async'
planted "$race" int8_fp8_d64 sm_89 stage/quant_qk.cu.tl '^__syncthreads'
planted "$race" int8_fp8_d64 sm_89 stage/stats_part.cu.tl '^__syncthreads'
planted "mbarrier misuse" fp8_fp4_d64 sm_120a stage/load_sm120.cu.tl 'mbar_wait(empty'
planted "$race" fp4_fp8_d64 sm_120a stage/loop_ahead_sm120.cu.tl 'mbar_wait(full + 8 \* slot_next'
planted "$race" fp4_d64 sm_120a stage/quant_fp4.cu.tl '^__syncthreads' 3
planted "read of memory that nobody wrote" fp4_d64 sm_120a delta_s.cu.tl '^    __syncthreads'

# Blocks that wait for what others made: the machine runs 16 of a quantiser side by side, in an order of its own.
only=quantisers
unwritten='read of memory that nobody wrote: [0-9]* bytes at global'
planted "$unwritten" int8_fp8_d64 sm_89 stage/quant_qk.cu.tl 'count_wait'
planted "$unwritten" int8_fp8_d64 sm_89 stage/quant_v.cu.tl 'count_wait'
planted "$unwritten" fp4_d64 sm_120a stage/quant_k_mean.cu.tl 'count_wait'
planted "$unwritten" fp4_d64 sm_120a stage/quant_v_fp4.cu.tl 'count_wait'
diffused=$(dirname "$0")/../gpu/specs/int8_fp8_v_diffused.yaml
planted "$race" "$diffused" sm_90a stage/quant_v_diffused.cu.tl '^__syncthreads' 1
planted "$race" "$diffused" sm_90a stage/quant_v_diffused.cu.tl '^__syncthreads' 2
planted "warp diverged where convergence is required" int8_fp8_d64 sm_89 stage/stats_part.cu.tl 'count_set'
only=properties
planted "$unwritten" int8_fp8_d64 sm_89 stage/quant_lse_bias.cu.tl 'count_wait'
exit $failed
