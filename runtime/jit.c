// jit: see the header. The cache key is that of the generator for the same text, target and NVRTC: one finds what the
// other made. SPDX-License-Identifier: Apache-2.0
#include "jit.h"
#include "cache.h"
#include "compile.h"
#include "context.h"
#include "key.h"
#include "nvrtc.h"
#include "parallel.h"
#include <stdio.h>
#include <string.h>

static const char source_name[] = "kernel.cu"; // as the generator calls it

// An entry of this key that is not of this text is somebody's mistake, and a miss.
static bool entry_get(sage_context *context, const struct jit_kernel *kernel, const char *key,
                      struct sage_kernel_blob *out) {
    struct cache_entry entry;
    struct meta meta;
    if (cache_get(context, key, 0, &entry) != SAGE_OK) return false;
    struct cache_files *files = &entry.files;
    bool good = meta_read(context, files->meta.data, files->meta.bytes, &meta) == SAGE_OK &&
                !strcmp(meta.entry, kernel->meta->entry) && !strcmp(meta.source_hash, kernel->meta->source_hash) &&
                !strcmp(meta.target, kernel->target) && !strcmp(meta.spec_hash, kernel->meta->spec_hash);
    if (good) {
        *out = (struct sage_kernel_blob){.meta = (char *)(uintptr_t)files->meta.data,
                                         .meta_len = files->meta.bytes,
                                         .cubin = (void *)(uintptr_t)files->cubin.data,
                                         .cubin_bytes = files->cubin.bytes};
        files->meta = files->cubin = (struct cache_bytes){0};
    }
    cache_entry_free(context, &entry);
    return good;
}

static void meta_of_result(const struct jit_kernel *kernel, const struct compile_result *result, struct meta *out) {
    *out = *kernel->meta;
    snprintf(out->target, sizeof out->target, "%s", kernel->target);
    out->registers = result->registers;
    out->spill_bytes = result->spill_bytes;
    out->local_bytes = result->stack_bytes;
    out->smem_static = result->smem_static;
    meta_set_files(out, kernel->source, (size_t)kernel->meta->source_bytes, result->ptx, result->ptx_bytes,
                   result->cubin, result->cubin_bytes);
}

// Caches the result, and moves it into *out.
static sage_status publish(sage_context *context, const struct jit_kernel *kernel, const char *key,
                           struct compile_result *result, struct sage_kernel_blob *out) {
    struct meta meta;
    struct sage_kernel_blob blob = {.cubin = result->cubin, .cubin_bytes = result->cubin_bytes};
    meta_of_result(kernel, result, &meta);
    SAGE_TRY(meta_write(context, &meta, &blob.meta, &blob.meta_len));
    const struct cache_files files = {.meta = {blob.meta, blob.meta_len},
                                      .cubin = {blob.cubin, blob.cubin_bytes},
                                      .source = {kernel->source, (size_t)kernel->meta->source_bytes},
                                      .ptx = {result->ptx, result->ptx_bytes},
                                      .log = {result->log, result->log_bytes}};
    sage_status status = cache_put(context, key, &files);
    if (status != SAGE_OK) {
        context_free(context, blob.meta);
        return status;
    }
    result->cubin = NULL;
    *out = blob;
    return SAGE_OK;
}

// Whether the NVRTC that there is knows the target; an older one than the GPU does not. Errors: UNSUPPORTED, so that
// other providers are asked.
static sage_status check_target(sage_context *context, const struct jit_kernel *kernel) {
    enum { ARCHS_MAX = 256 };
    const struct nvrtc_api *api;
    struct meta_target target;
    int archs[ARCHS_MAX], count = 0, major = 0, minor = 0;
    SAGE_TRY(nvrtc_load(context, &api));
    if (!meta_target_parse(kernel->target, &target) || api->get_arch_count(&count) != NVRTC_RESULT_SUCCESS ||
        count > ARCHS_MAX || api->get_archs(archs) != NVRTC_RESULT_SUCCESS)
        return SAGE_OK; // the compiler will say
    for (int i = 0; i < count; i++)
        if (archs[i] == target.sm) return SAGE_OK;
    api->version(&major, &minor);
    return context_error(context, SAGE_ERROR_UNSUPPORTED,
                         "NVRTC %d.%d does not know %s; install a newer one, or name it in SAGE_NVRTC", major, minor,
                         kernel->target);
}

static sage_status jit_one(sage_context *context, struct jit_kernel *kernel) {
    const struct compile_input input = {.source = kernel->source,
                                        .source_bytes = (size_t)kernel->meta->source_bytes,
                                        .name = source_name,
                                        .target = kernel->target};
    char key[KEY_BYTES];
    SAGE_TRY(key_compute(context, &input, key));
    if (entry_get(context, kernel, key, &kernel->blob)) return SAGE_OK;
    SAGE_TRY(check_target(context, kernel));
    context_log(context, SAGE_LOG_INFO, "compiling %s for %s", kernel->meta->entry, kernel->target);
    struct compile_result result = {0};
    sage_status status = compile_source(context, &input, &result);
    if (status == SAGE_OK) status = publish(context, kernel, key, &result, &kernel->blob);
    compile_result_free(context, &result);
    return status;
}

struct jit {
    sage_context *context;
    struct jit_kernel *kernels;
};

// An error's text belongs to the thread that has it, so it is carried over.
static void work(void *user, size_t index) {
    const struct jit *jit = user;
    struct jit_kernel *kernel = &jit->kernels[index];
    kernel->blob = (struct sage_kernel_blob){0};
    kernel->status = jit_one(jit->context, kernel);
    if (kernel->status != SAGE_OK) snprintf(kernel->why, sizeof kernel->why, "%s", sage_last_error(jit->context));
}

sage_status jit_all(sage_context *context, struct jit_kernel *kernels, int count) {
    struct jit jit = {context, kernels};
    parallel_for((size_t)count, 0, work, &jit);
    for (int i = 0; i < count; i++)
        if (kernels[i].status != SAGE_OK) return context_error(context, kernels[i].status, "%s", kernels[i].why);
    return SAGE_OK;
}
