// tiny_call: the attention call of launch_overhead and first_result: bf16, one head, so few queries and keys that the
// GPU never limits. In: an open device. Out: its tensors and workspace on the device. Never launches.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_BENCH_TINY_CALL_H
#define SAGE_BENCH_TINY_CALL_H

#include "device.h"

#define TINY_SM_SCALE 0.0883883461f /* 1 / sqrt(TINY_DIM), given to both sides, so that they agree to the bit */

enum {
    TINY_HEADS = 1,
    TINY_SEQ = 64, /* queries, and keys */
    TINY_DIM = 128,
    TINY_ELEMENTS = TINY_HEADS * TINY_SEQ * TINY_DIM,
    TINY_TENSOR_BYTES = 2 * TINY_ELEMENTS,
    TINY_UNWRITTEN = 0xffff /* an element of O before a kernel has written it: a NaN that none writes */
};

extern const sage_attention_desc tiny_desc;
extern const sage_attention_shape tiny_shape;

// O is TINY_UNWRITTEN, the workspace as it comes. False: device_error; *out then holds what was allocated.
// **Owner**: the caller, tiny_free, in any case.
bool tiny_make(struct device *device, sage_stream stream, uint64_t workspace_bytes, sage_attention_args *out);
void tiny_free(struct device *device, const sage_attention_args *args); // zeroed args are allowed
bool tiny_is_written(const uint16_t o[TINY_ELEMENTS]); // all of it; a stand-in for the driver runs no kernel

#endif
