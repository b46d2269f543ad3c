// tiny_call: see tiny_call.h. SPDX-License-Identifier: Apache-2.0
#include "tiny_call.h"

const sage_attention_desc tiny_desc = {.size = sizeof tiny_desc,
                                       .dtype = SAGE_BF16,
                                       .head_dim_qk = TINY_DIM,
                                       .spec = "int8_fp8_d128",
                                       .sm_scale = TINY_SM_SCALE};
const sage_attention_shape tiny_shape = {1, TINY_HEADS, TINY_HEADS, TINY_SEQ, TINY_SEQ};

static bool upload_new(struct device *device, sage_stream stream, const uint16_t values[TINY_ELEMENTS], void **out) {
    return device_alloc(device, TINY_TENSOR_BYTES, out) &&
           device_upload(device, *out, values, TINY_TENSOR_BYTES, stream);
}

// bf16 of magnitude 0.5 to 2, either sign; other values for each salt.
static bool upload_input(struct device *device, sage_stream stream, unsigned salt, void **out) {
    uint16_t values[TINY_ELEMENTS];
    for (unsigned i = 0; i < TINY_ELEMENTS; i++) {
        const unsigned mixed = ((i + salt * TINY_ELEMENTS) * 2654435761u) >> 16;
        values[i] = (uint16_t)((mixed & 0x8000u) | (0x3f00u + (mixed & 0xffu)));
    }
    return upload_new(device, stream, values, out);
}

static bool upload_unwritten(struct device *device, sage_stream stream, void **out) {
    uint16_t values[TINY_ELEMENTS];
    for (int i = 0; i < TINY_ELEMENTS; i++) values[i] = TINY_UNWRITTEN;
    return upload_new(device, stream, values, out);
}

bool tiny_make(struct device *device, sage_stream stream, uint64_t workspace_bytes, sage_attention_args *out) {
    const sage_tensor contiguous = {NULL, TINY_ELEMENTS, TINY_SEQ * TINY_DIM, TINY_DIM};
    *out = (sage_attention_args){.size = sizeof *out, .shape = tiny_shape, .workspace_bytes = workspace_bytes};
    out->q = out->k = out->v = out->o = contiguous;
    return upload_input(device, stream, 0, &out->q.data) && upload_input(device, stream, 1, &out->k.data) &&
           upload_input(device, stream, 2, &out->v.data) && upload_unwritten(device, stream, &out->o.data) &&
           device_alloc(device, workspace_bytes, &out->workspace);
}

void tiny_free(struct device *device, const sage_attention_args *args) {
    void *const memory[] = {args->q.data, args->k.data, args->v.data, args->o.data, args->workspace};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) device_free(device, memory[i]);
}

bool tiny_is_written(const uint16_t o[TINY_ELEMENTS]) {
    bool written = true;
    for (int i = 0; i < TINY_ELEMENTS; i++) written &= o[i] != TINY_UNWRITTEN;
    return written;
}
