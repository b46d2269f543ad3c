// jit: emitted source -> cubin and metadata, through the cache, several kernels at once. In: metadata of the same text,
// compiled before, maybe for another GPU. Knows nothing of packs and requests.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_JIT_H
#define SAGE_JIT_H

#include "meta.h"

#define JIT_TARGET_BYTES 16

struct jit_kernel {
    const struct meta *meta;       /* in: what does not depend on the compiler is taken from it */
    const char *source;            /* in: its source_bytes bytes and a NUL, checked */
    char target[JIT_TARGET_BYTES]; /* in: "sm_100"; need not be meta's */
    struct sage_kernel_blob blob;  /* out; the caller's to free where status is OK */
    sage_status status;
    char why[1024]; /* what failed */
};

// Gets all kernels from the cache or compiles them, as many at once as there are CPUs. Returns the first status, in
// order, that is not OK, with its text set. Errors: those of key_compute, compile_source and cache_put;
// UNSUPPORTED (an NVRTC older than the target).
sage_status jit_all(sage_context *context, struct jit_kernel *kernels, int count);

#endif
