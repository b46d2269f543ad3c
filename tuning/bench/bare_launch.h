// bare_launch: one attention call as three launches straight through the driver, without libsage's checks: the
// yardstick of launch_overhead and first_result. In: the files of `sagegen --out`, and the call as libsage gets it.
// Out: launches, and nothing else per call. Only for int8_fp8 kernels without a mask (quantise_q, quantise_kv,
// attn_fwd) and for contiguous tensors. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_BENCH_BARE_LAUNCH_H
#define SAGE_BENCH_BARE_LAUNCH_H

#include "device.h"
#include "kernel_args.h"
#include "workspace.h"
#include <limits.h>

enum { BARE_LAUNCHES = 3 };

struct bare_kernel {
    char cubin_path[PATH_MAX];
    char entry[META_TEXT_MAX + 1];
    uint64_t cubin_bytes;
    unsigned grid, threads, smem_bytes;
};

// What an application without libsage has in its own source: all that a call of one shape must know of its kernels.
// Plain data, which another process may be handed.
struct bare_recipe {
    struct bare_kernel kernel[BARE_LAUNCHES]; /* in the order of their launches */
    struct workspace_layout workspace;
};

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

// Reads the metadata in kernel_dir of the bf16 kernels of describe (sage_attention_plan_describe). context: for memory
// and errors alone. False: sage_last_error(context) says why.
bool bare_read(sage_context *context, const char *kernel_dir, const char *describe, const sage_attention_shape *shape,
               struct bare_recipe *out);
// Loads the cubins, and fills the kernels' arguments for args, whose workspace has recipe->workspace.bytes. sm_scale:
// the plan's. False: device_error(device) says why. The context of the device, which outlives *out, is current.
// **Owner**: the caller, bare_unload.
bool bare_load(struct device *device, const struct bare_recipe *recipe, const sage_attention_args *args, float sm_scale,
               sage_stream stream, struct bare_call *out);
// Launches; false if the driver refused one.
bool bare_run(struct bare_call *call);
void bare_unload(struct bare_call *call); // a zeroed call is allowed

#endif
