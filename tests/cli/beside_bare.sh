#!/bin/sh
# launch_overhead and first_result, end to end: kernels by the stand-in of NVRTC, launched by that of the driver, which
# runs none, so that both must say so and fail. Of preprocess, that it refuses a driver without copies. What they
# measure is seen on a GPU alone.
# usage: beside_bare.sh <sagegen> <launch_overhead> <first_result> <preprocess> <fake_cuda.so> <fake_nvrtc.so> <scratch>
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1 launch_overhead=$2 first_result=$3 preprocess=$4 scratch=$7
export SAGE_DRIVER="$5" SAGE_NVRTC="$6" SAGE_CACHE_DIR="$scratch/cache" SAGE_WISDOM=none
failed=0
fail() { echo "FAIL: $*"; failed=1; }
rm -rf "$scratch" && mkdir -p "$scratch" && cd "$scratch" || exit 1

make() { "$sagegen" "$@" > made 2>&1 || { cat made; exit 1; }; }
kernels="--spec int8_fp8_d128 --io bf16 --mask none"
make $kernels --arch sm_90a --out kernels
make pack $kernels --arch sm_90a -o cubins.sagepack
make pack $kernels --arch sm_89 --sources -o sources.sagepack
make pack $kernels --arch sm_90 -o other.sagepack

# expect STATUS "text on standard error" COMMAND...
expect() {
    status=$1 text=$2
    shift 2
    "$@" > out 2> err
    got=$?
    [ $got = "$status" ] || { fail "$*: exit status $got, not $status"; cat out err; }
    grep -qF -- "$text" err || { fail "$*: no \"$text\" on standard error"; cat err; }
}
shows() { grep -qE -- "$1" out || { fail "no \"$1\" on standard output"; cat out; }; }

stand_in="no kernel wrote O: not a real driver, and the times are those of its stand-in"
expect 1 "launch_overhead: $stand_in" "$launch_overhead" kernels
shows "sage_attention_run  *[0-9.]+ "
expect 1 "No such file" "$launch_overhead" nowhere

expect 1 "first_result: $stand_in" "$first_result" kernels --pack cubins.sagepack --sources sources.sagepack
shows "^Fake GPU 0, int8_fp8_d128 .* sm_90a$"
shows "O is the same in all, checksum [0-9a-f]{16}$"
for way in "bare driver calls" "kernel folder" "cubins of a pack" "sources of a pack, warm cache"; do
    [ "$(grep -c "$way  *[0-9]" out)" = 2 ] || { fail "not two lines of '$way'"; cat out; }
done
[ "$(grep -c "added to bare" out)" = 6 ] || { fail "not six differences"; cat out; }

expect 1 "$stand_in" "$first_result" kernels --limit 0 --json
shows '"processes_of_each": 3,'
shows '"output_written": false'
shows '"start_to_result": \{$'
shows '"driver_open_to_result": \{$'
shows '"folder": .*"folder_added": \{"median": -?[0-9.]+, "min": -?[0-9.]+, "p90": -?[0-9.]+\}'
grep -q sources out && fail "a way that was not asked for"

expect 1 "No such file" "$first_result" nowhere
expect 1 "other.sagepack has other kernels than kernels" "$first_result" kernels --pack other.sagepack
expect 1 "kernel folder: the process failed" env FAKE_CUDA_ILLEGAL=quantise_kv "$first_result" kernels
expect 2 "one KERNEL_DIR is needed" "$first_result"
expect 2 "--processes 2: a number from 3 to 128" "$first_result" kernels --processes 2
expect 1 "preprocess: the driver has no cuMemcpyDtoDAsync_v2" "$preprocess" kernels
expect 2 "usage: preprocess KERNEL_DIR [--json]" "$preprocess"
"$first_result" --help > out || fail "--help fails"
shows "^usage: first_result KERNEL_DIR"
exit $failed
