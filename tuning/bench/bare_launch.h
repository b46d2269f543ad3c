// bare_launch: one attention call as three launches straight through the driver, without libsage's checks: the
// yardstick of launch_overhead. In: the files of `sagegen --out`, and the call as libsage gets it. Out: launches, and
// nothing else per call. Only for int8_fp8 kernels without a mask (quantise_q, quantise_kv, attn_fwd) and for contiguous
// tensors. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_BENCH_BARE_LAUNCH_H
#define SAGE_BENCH_BARE_LAUNCH_H

#include "device.h"
#include "kernel_args.h"

enum { BARE_LAUNCHES = 3 };

struct bare_call {
    const struct driver_api *api;
    driver_stream stream;
    struct sage_kernel_args args;
    struct {
        unsigned grid, threads, smem_bytes;
        driver_module module;
        driver_function function;
    } launch[BARE_LAUNCHES];
};

// Loads the kernels of describe (sage_attention_plan_describe) for bf16 from kernel_dir, and fills their arguments for
// args. sm_scale: the plan's. False: sage_last_error(context) says why. The context of the device, which outlives *out,
// is current. **Owner**: the caller, bare_unload.
bool bare_make(sage_context *context, const struct device *device, const char *kernel_dir, const char *describe,
               const sage_attention_args *args, float sm_scale, sage_stream stream, struct bare_call *out);
// Launches; false if the driver refused one.
bool bare_run(struct bare_call *call);
void bare_unload(struct bare_call *call); // a zeroed call is allowed

#endif
