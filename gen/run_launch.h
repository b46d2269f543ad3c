// run_launch: one attention call on a device: memory, uploads, the launch, downloads, times. In: host tensors in the io
// type and a plan. Out: O and LSE on the host, the overflow flags, median times. Reads no file, prints nothing.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_RUN_LAUNCH_H
#define SAGE_GEN_RUN_LAUNCH_H

#include "device.h"
#include "run_input.h"

struct run_call {
    const sage_attention_plan *plan;
    const sage_context *context; /* for its error texts */
    const struct run_shape *shape;
    const struct tensor *input; /* [RUN_INPUTS], io type, contiguous */
    struct tensor *o;           /* made by run_output_create; filled */
    struct tensor *lse;         /* made by run_lse_create; filled; NULL: not wanted */
    int repeat;                 /* timed calls; 0: no times */
};

struct run_times {
    uint32_t overflow; /* SAGE_OVERFLOW_* */
    uint64_t workspace_bytes;
    double attend_ms; /* median; attention on quantised operands alone */
    double run_ms;    /* median; quantisation included */
};

// **Errors** false with a sentence in why; o and lse then hold nothing of use.
bool run_launch(struct device *device, const struct run_call *call, struct run_times *out, char *why, size_t why_bytes);

#endif
