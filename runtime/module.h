// module: one cubin loaded on the context's GPU, with its one function ready to launch. Loaded once per context however
// many plans use it. In: metadata and cubin. Out: struct module. Never compiles. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_MODULE_H
#define SAGE_MODULE_H

#include "driver.h"
#include "meta.h"

struct module {
    struct module *next; /* list of the context */
    int references;
    char cubin_hash[META_TEXT_MAX + 1];
    char entry[META_TEXT_MAX + 1];
    driver_module handle;
    driver_function function;
    bool dependent_launch; /* waits for the launches before it by itself */
    unsigned threads;      /* per block */
    unsigned smem_dynamic; /* bytes */
};

// Loads the cubin, or takes another reference on it. Checks the cubin against its metadata, the target against the GPU,
// and args_bytes against struct sage_kernel_args. Does not disturb a capture that another thread runs. Errors: CORRUPT,
// UNSUPPORTED, NO_DEVICE, CUDA, OUT_OF_MEMORY. Threads: any.
sage_status module_acquire(sage_context *context, const struct meta *meta, const void *cubin, size_t cubin_bytes,
                           struct module **out);
// Unloads it with the last reference. NULL is allowed.
void module_release(sage_context *context, struct module *module);
// Unloads what is left, for sage_context_destroy.
void module_release_all(sage_context *context);

#endif
