// pack_provider: see the header. Asks kernel_match which kernels answer; reads those alone; keeps nothing between
// calls. SPDX-License-Identifier: Apache-2.0
#include "pack_provider.h"
#include "context.h"
#include "jit.h"
#include "kernel_match.h"
#include "nvrtc.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Which ----------------------------------------------------------------------------------------------------------
 */

// How well text suits the GPU; 0: not at all. Text for this GPU or its family comes first; else text for any GPU from
// its own on (a target without suffix), for the newest.
static int source_rank(const char *text, int sm) {
    struct meta_target target;
    const int native = meta_target_rank(text, sm);
    if (native > 0) return INT_MAX / 2 + native;
    return meta_target_parse(text, &target) && target.suffix == 0 && target.sm < sm ? target.sm : 0;
}

static int rank_of(const sage_context *context, const struct pack_kernel *kernel, enum pack_part part, int sm) {
    const struct driver *driver = context_driver(context);
    const struct meta *meta = &kernel->meta;
    if (driver && meta->smem_static + meta->smem_dynamic > driver->smem_optin_bytes) return 0;
    return part == PACK_PART_CUBIN ? meta_target_rank(meta->target, sm) : source_rank(meta->target, sm);
}

// The names of the rows are indices, which read_cubin and read_source take back.
static sage_status find(sage_context *context, const struct pack *pack, enum pack_part part,
                        const struct sage_kernel_request *request, struct kernel_rows *rows,
                        const struct kernel_row *picked[SAGE_ROLE_COUNT]) {
    for (int i = 0; i < pack->count; i++) {
        const struct pack_kernel *kernel = &pack->kernel[i];
        char name[16];
        if (kernel->bytes[part] == 0) continue;
        snprintf(name, sizeof name, "%08d", i);
        SAGE_TRY(kernel_rows_offer(context, rows, request, &kernel->meta, rank_of(context, kernel, part, request->sm),
                                   name));
    }
    return kernel_rows_choose(context, pack->path, rows, request, picked);
}

/* -- Cubins ---------------------------------------------------------------------------------------------------------
 */

static sage_status read_cubin(sage_context *context, void *user, const struct kernel_row *row,
                              struct sage_kernel_blob *out) {
    char *cubin;
    SAGE_TRY(meta_write(context, &row->meta, &out->meta, &out->meta_len));
    SAGE_TRY(pack_read(context, user, atoi(row->name), PACK_PART_CUBIN, &cubin));
    out->cubin = cubin;
    out->cubin_bytes = (size_t)row->meta.cubin_bytes;
    return SAGE_OK;
}

static sage_status cubins_answer(sage_context *context, struct pack *pack, const struct sage_kernel_request *request,
                                 struct sage_kernel_set *out) {
    struct kernel_rows rows = {0};
    const struct kernel_row *picked[SAGE_ROLE_COUNT];
    sage_status status = find(context, pack, PACK_PART_CUBIN, request, &rows, picked);
    if (status == SAGE_OK && out) status = kernel_set_read(context, picked, read_cubin, pack, out);
    kernel_rows_free(context, &rows);
    return status;
}

static sage_status cubins_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    return cubins_answer(context, user, request, NULL);
}

static sage_status cubins_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                              struct sage_kernel_set *out) {
    return cubins_answer(context, user, request, out);
}

/* -- Sources --------------------------------------------------------------------------------------------------------
 */

// Without NVRTC the next provider, or another family, may still have kernels.
static sage_status need_nvrtc(sage_context *context, const struct pack *pack, int sm) {
    struct nvrtc_info info;
    char reason[CONTEXT_ERROR_BYTES];
    sage_status status = nvrtc_find(context, &info);
    if (status != SAGE_ERROR_NO_NVRTC) return status;
    snprintf(reason, sizeof reason, "%s", sage_last_error(context));
    return context_error(context, SAGE_ERROR_NOT_FOUND, "%s has sources alone for sm_%d: %.1500s", pack->path, sm,
                         reason);
}

// The target to compile for: the text's own where the GPU runs it, else the GPU.
static void target_for(const struct meta *meta, int sm, char out[JIT_TARGET_BYTES]) {
    if (meta_target_rank(meta->target, sm) > 0)
        snprintf(out, JIT_TARGET_BYTES, "%s", meta->target);
    else
        snprintf(out, JIT_TARGET_BYTES, "sm_%d", sm);
}

// The sources that were picked, one after the other; role[i] is the role of kernel[i].
struct pack_jit {
    struct jit_kernel kernel[SAGE_ROLE_COUNT];
    int role[SAGE_ROLE_COUNT];
    int count;
};

static sage_status sources_read(sage_context *context, const struct pack *pack, const struct kernel_row *const *picked,
                                int sm, struct pack_jit *jit) {
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        if (!picked[role]) continue;
        struct jit_kernel *kernel = &jit->kernel[jit->count];
        char *source;
        SAGE_TRY(pack_read(context, pack, atoi(picked[role]->name), PACK_PART_SOURCE, &source));
        kernel->meta = &picked[role]->meta;
        kernel->source = source;
        target_for(kernel->meta, sm, kernel->target);
        jit->role[jit->count++] = role;
    }
    return SAGE_OK;
}

static sage_status sources_compile(sage_context *context, const struct pack *pack,
                                   const struct kernel_row *const *picked, int sm, struct sage_kernel_set *out) {
    struct pack_jit jit = {.count = 0};
    struct sage_kernel_set set = {0};
    sage_status status = sources_read(context, pack, picked, sm, &jit);
    if (status == SAGE_OK) status = jit_all(context, jit.kernel, jit.count);
    for (int i = 0; i < jit.count; i++) {
        set.kernel[jit.role[i]] = jit.kernel[i].blob;
        context_free(context, (void *)(uintptr_t)jit.kernel[i].source);
    }
    if (status == SAGE_OK)
        *out = set;
    else
        kernel_set_free(context, &set);
    return status;
}

static sage_status sources_answer(sage_context *context, struct pack *pack, const struct sage_kernel_request *request,
                                  struct sage_kernel_set *out) {
    struct kernel_rows rows = {0};
    const struct kernel_row *picked[SAGE_ROLE_COUNT];
    sage_status status = find(context, pack, PACK_PART_SOURCE, request, &rows, picked);
    if (status == SAGE_OK) status = need_nvrtc(context, pack, request->sm);
    if (status == SAGE_OK && out) status = sources_compile(context, pack, picked, request->sm, out);
    kernel_rows_free(context, &rows);
    return status;
}

static sage_status sources_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    return sources_answer(context, user, request, NULL);
}

static sage_status sources_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                               struct sage_kernel_set *out) {
    return sources_answer(context, user, request, out);
}

/* -- The context's packs --------------------------------------------------------------------------------------------
 */

sage_status packs_add(sage_context *context, const char *const *paths) {
    struct pack **end = &context->packs;
    for (int i = 0; paths[i]; i++) {
        if (i == CONTEXT_PACKS_MAX)
            return context_error(context, SAGE_ERROR_UNSUPPORTED, "options.packs: at most %d packs", CONTEXT_PACKS_MAX);
        SAGE_TRY(pack_open(context, paths[i], end));
        const struct sage_provider provider = {"pack", *end, cubins_supports, cubins_get, NULL};
        SAGE_TRY(context_add_provider(context, &provider));
        end = &(*end)->next;
    }
    return SAGE_OK;
}

static bool has_sources(const struct pack *pack) {
    for (int i = 0; i < pack->count; i++)
        if (pack->kernel[i].bytes[PACK_PART_SOURCE] > 0) return true;
    return false;
}

sage_status packs_add_sources(sage_context *context) {
    for (struct pack *pack = context->packs; pack; pack = pack->next) {
        const struct sage_provider provider = {"pack sources", pack, sources_supports, sources_get, NULL};
        if (has_sources(pack)) SAGE_TRY(context_add_provider(context, &provider));
    }
    return SAGE_OK;
}

void packs_close(sage_context *context) {
    while (context->packs) {
        struct pack *pack = context->packs;
        context->packs = pack->next;
        pack_close(context, pack);
    }
}
