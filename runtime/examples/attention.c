// attention: O = softmax(Q K^T / sqrt(128)) V of fp16 tensors [1][8][1000][128] on GPU 0, from the context to the
// result. A real program already has its tensors, stream and memory; it needs only the five calls of run_attention().
// Link libsagegen and libsage. Starts anywhere; without an NVIDIA driver it says so and ends with status 1.
// SPDX-License-Identifier: Apache-2.0
#include "sage.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADS = 8, SEQ = 1000, DIM = 128, ELEMENTS = HEADS * SEQ * DIM, TENSOR_BYTES = 2 * ELEMENTS };

// The driver calls of this example, looked up by name so that it builds without CUDA. A CUdeviceptr is a 64-bit
// address.
static int (*cu_init)(unsigned), (*cu_retain)(void **, int), (*cu_set_current)(void *), (*cu_alloc)(void **, size_t);
static int (*cu_upload)(void *, const void *, size_t), (*cu_download)(void *, const void *, size_t), (*cu_free)(void *);

static void open_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *primary;
    void *calls[] = {&cu_init, &cu_retain, &cu_set_current, &cu_alloc, &cu_upload, &cu_download, &cu_free};
    const char *names[] = {"cuInit",          "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemAlloc_v2",
                           "cuMemcpyHtoD_v2", "cuMemcpyDtoH_v2",          "cuMemFree_v2"};
    for (int i = 0; driver && i < 7; i++) *(void **)calls[i] = dlsym(driver, names[i]);
    if (driver && !cu_init(0) && !cu_retain(&primary, 0) && !cu_set_current(primary)) return;
    fprintf(stderr, "no NVIDIA driver or no GPU\n");
    exit(1);
}

static void *device_memory(size_t bytes, const void *contents) {
    void *memory = NULL;
    if (!cu_alloc(&memory, bytes) && (!contents || !cu_upload(memory, contents, bytes))) return memory;
    fprintf(stderr, "no device memory\n");
    exit(1);
}

static void check(const sage_context *context, sage_status status) {
    if (status == SAGE_OK) return;
    fprintf(stderr, "%s: %s\n", sage_status_text(status), sage_last_error(context));
    exit(1);
}

static void run_attention(void *q, void *k, void *v, void *o) {
    sage_context *context = NULL;
    check(NULL, sage_context_create(NULL, &context)); // once per GPU
    check(context, sage_use_generator(context));
    const sage_attention_desc desc = {.size = sizeof desc, .dtype = SAGE_FP16, .head_dim_qk = DIM};
    sage_attention_plan *plan = NULL;
    check(context, sage_attention_plan_create(context, &desc, &plan)); // compiles the first time; keep the plan
    printf("kernel: %s\n", sage_attention_plan_describe(plan));

    sage_attention_args args = {.size = sizeof args, .shape = {1, HEADS, HEADS, SEQ, SEQ}};
    const sage_tensor contiguous = {NULL, ELEMENTS, SEQ * DIM, DIM};
    args.q = args.k = args.v = args.o = contiguous;
    args.q.data = q, args.k.data = k, args.v.data = v, args.o.data = o;
    args.workspace_bytes = sage_attention_workspace_bytes(plan, &args.shape);
    args.workspace = device_memory(args.workspace_bytes, NULL);
    check(context, sage_attention_run(plan, &args, NULL)); // launches only, on the default stream

    static uint16_t result[ELEMENTS]; // the copy waits for the launches
    if (cu_download(result, o, TENSOR_BYTES)) check(context, SAGE_ERROR_CUDA);
    printf("o[0][0][0][0...1] = 0x%04x 0x%04x (0x3c00 0xc000: 1.0 -2.0 is exact)\n", result[0], result[1]);
    cu_free(args.workspace);
    sage_attention_plan_destroy(plan);
    sage_context_destroy(context);
}

int main(void) {
    static uint16_t q[ELEMENTS], k[ELEMENTS], v[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
        q[i] = (uint16_t)(0x3000 + i * 37 % 2048); // 0.125 ... 0.5
        k[i] = (uint16_t)(0xb000 + i * 59 % 2048); // -0.125 ... -0.5
        v[i] = i % 2 == 0 ? 0x3c00 : 0xc000;       // every key has the same value, so O is that value
    }
    open_driver();
    run_attention(device_memory(TENSOR_BYTES, q), device_memory(TENSOR_BYTES, k), device_memory(TENSOR_BYTES, v),
                  device_memory(TENSOR_BYTES, NULL));
    return 0;
}
