// provider: where a context gets kernels from. Providers are asked in order (packs, kernel_dir, sources of packs, then the generator if
// registered); the first that has the whole set answers. Internal to libsage and libsagegen; not installed.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PROVIDER_H
#define SAGE_PROVIDER_H

#include "sage.h"
#include <stdbool.h>

enum sage_role { SAGE_ROLE_QUANTISE_Q, SAGE_ROLE_QUANTISE_KV, SAGE_ROLE_DELTA_S, SAGE_ROLE_ATTN_FWD, SAGE_ROLE_COUNT };
const char *sage_role_text(enum sage_role role); // "quantise_q" ...

// The tuning point that wisdom names: of the spec of that hash, for that target. A provider that has the spec but not the
// point, or another form of the spec, gives what it would give without a wish.
struct sage_kernel_wish {
    const char *variant; /* NULL: no wish */
    const char *spec_hash, *target;
};

// What is wanted: a spec by exact name, or a family and head dims.
struct sage_kernel_request {
    const char *spec;   /* exact name, or NULL */
    const char *family; /* "int8_fp8"; used where spec is NULL */
    int head_dim_qk, head_dim_v;
    sage_dtype io;
    sage_mask mask;
    bool safe;
    int sm; /* of the GPU: 90 */
    struct sage_kernel_wish wish;
};

// One kernel: metadata text and cubin, both owned by the context's allocator (context_free).
struct sage_kernel_blob {
    char *meta;
    size_t meta_len;
    void *cubin;
    size_t cubin_bytes;
};

// The kernels that a plan needs, all of one spec, variant and target; roles that the spec does not need have cubin NULL.
struct sage_kernel_set {
    struct sage_kernel_blob kernel[SAGE_ROLE_COUNT];
};

struct sage_provider {
    const char *name;
    void *user;
    // Whether get would find or make the set, without compiling. NOT_FOUND or UNSUPPORTED with a reason set on the context; asks no GPU.
    sage_status (*supports)(sage_context *context, void *user, const struct sage_kernel_request *request);
    // Fills *out. NOT_FOUND or UNSUPPORTED: the next provider is asked. Any other error ends the search. Must be callable from many threads.
    sage_status (*get)(sage_context *context, void *user, const struct sage_kernel_request *request, struct sage_kernel_set *out);
    void (*destroy)(sage_context *context, void *user);
};

// Appends a provider. Not thread-safe against plan creation: call it right after the context was made. Copied.
sage_status context_add_provider(sage_context *context, const struct sage_provider *provider);
void kernel_set_free(sage_context *context, struct sage_kernel_set *set);

#endif
