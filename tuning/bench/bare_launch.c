// bare_launch: see bare_launch.h. Files, metadata and workspace are read by libsage's own modules, so that both sides
// launch the same kernels on the same arguments. SPDX-License-Identifier: Apache-2.0
#include "bare_launch.h"
#include "context.h"
#include "safe_dir.h"
#include "workspace.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define WORD     "%127s" /* of describe; META_TEXT_MAX */
#define FILE_MAX (4 * META_TEXT_MAX)

// The kernels in the order of their launches, and the ends of their file names.
static const struct {
    enum sage_role role;
    const char *suffix;
} kernels[BARE_LAUNCHES] = {{SAGE_ROLE_QUANTISE_Q, "bf16"}, {SAGE_ROLE_QUANTISE_KV, "bf16"}, {SAGE_ROLE_ATTN_FWD, "bf16.none"}};

/* -- Kernels ---- */

static char *file_read(sage_context *context, int dir, const char *stem, const char *extension, size_t bytes_max,
                       size_t *bytes) {
    const struct safe_policy policy = {.any_owner = true, .follow = true};
    char name[FILE_MAX + 8];
    struct safe_why why;
    snprintf(name, sizeof name, "%s.%s", stem, extension);
    char *data = safe_file_read(context, dir, name, bytes_max, policy, bytes, &why);
    if (!data) context_error(context, SAGE_ERROR_IO, "%s", why.text);
    return data;
}

static sage_status meta_load(sage_context *context, int dir, const char *stem, struct meta *out) {
    size_t bytes;
    char *text = file_read(context, dir, stem, "meta", META_FILE_MAX, &bytes);
    if (!text) return SAGE_ERROR_IO;
    sage_status status = meta_read(context, text, bytes, out);
    context_free(context, text);
    return status;
}

static sage_status function_load(sage_context *context, const struct meta *meta, const void *cubin,
                                 struct bare_call *call, int index) {
    const struct driver_api *api = call->api;
    driver_module *module = &call->launch[index].module;
    driver_function *function = &call->launch[index].function;
    SAGE_TRY(driver_check(context, api->module_load_data(module, cubin), "cuModuleLoadData"));
    SAGE_TRY(driver_check(context, api->module_get_function(function, *module, meta->entry), "cuModuleGetFunction"));
    call->launch[index].threads = (unsigned)meta->threads;
    call->launch[index].smem_bytes = (unsigned)meta->smem_dynamic;
    return driver_check(context,
                        api->func_set_attribute(*function, DRIVER_FUNCTION_MAX_DYNAMIC_SMEM, meta->smem_dynamic),
                        "cuFuncSetAttribute");
}

static sage_status kernel_load(sage_context *context, int dir, const char *stem, struct bare_call *call, int index,
                               struct meta *meta) {
    size_t bytes;
    SAGE_TRY(meta_load(context, dir, stem, meta));
    char *cubin = file_read(context, dir, stem, "cubin", (size_t)meta->cubin_bytes, &bytes);
    if (!cubin) return SAGE_ERROR_IO;
    sage_status status = meta_check_cubin(context, meta, cubin, bytes);
    if (status == SAGE_OK) status = function_load(context, meta, cubin, call, index);
    context_free(context, cubin);
    return status;
}

// *meta: of attn_fwd, which comes last; its geometry is that of all.
static sage_status kernels_load(sage_context *context, int dir, const char *describe, struct bare_call *call,
                                struct meta *meta) {
    char spec[META_TEXT_MAX + 1], variant[META_TEXT_MAX + 1], target[META_TEXT_MAX + 1], stem[FILE_MAX];
    if (sscanf(describe, WORD WORD WORD, spec, variant, target) != 3)
        return context_error(context, SAGE_ERROR_INTERNAL, "\"%s\" is not: spec variant target", describe);
    for (int i = 0; i < BARE_LAUNCHES; i++) {
        snprintf(stem, sizeof stem, "%s.%s.%s.%s.%s", spec, sage_role_text(kernels[i].role), variant, target,
                 kernels[i].suffix);
        SAGE_TRY(kernel_load(context, dir, stem, call, i, meta));
    }
    if (meta->q_group == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s needs a delta_s launch", describe);
}

/* -- Arguments ---- */

static void workspace_fill(void *workspace, const struct workspace_layout *layout, struct sage_kernel_args *to) {
#define FILL_REGION(name)                                                                                              \
    if (layout->region[WORKSPACE_##name].bytes != 0)                                                                   \
        to->name = (uint64_t)(uintptr_t)workspace + layout->region[WORKSPACE_##name].offset;
    WORKSPACE_REGIONS(FILL_REGION)
#undef FILL_REGION
}

#define FILL_TENSOR(letter)                                                                                            \
    do {                                                                                                               \
        to->letter = (uint64_t)(uintptr_t)from->letter.data;                                                           \
        to->letter##_stride_b = from->letter.stride_batch;                                                             \
        to->letter##_stride_h = from->letter.stride_head;                                                              \
        to->letter##_stride_n = from->letter.stride_seq;                                                               \
    } while (0)

static void args_fill(const sage_attention_args *from, const struct workspace_layout *layout, float sm_scale,
                      struct sage_kernel_args *to) {
    *to = (struct sage_kernel_args){.batch = (int32_t)from->shape.batch,
                                    .heads_q = (int32_t)from->shape.heads_q,
                                    .heads_kv = (int32_t)from->shape.heads_kv,
                                    .seq_q = (int32_t)from->shape.seq_q,
                                    .seq_k = (int32_t)from->shape.seq_k,
                                    .q_tile_count = (int32_t)layout->q_tile_count,
                                    .k_tile_count = (int32_t)layout->k_tile_count,
                                    .splits = (int32_t)layout->splits,
                                    .q_tile_launch = (int32_t)layout->q_tile_count,
                                    .vector_io = 15,
                                    .stats_lead = (int32_t)layout->stats_lead,
                                    .sm_scale = sm_scale};
    FILL_TENSOR(q);
    FILL_TENSOR(k);
    FILL_TENSOR(v);
    FILL_TENSOR(o);
    workspace_fill(from->workspace, layout, to);
    to->lse_bias = 0; // no LSE is asked for
}

static void grids_fill(const sage_attention_shape *shape, const struct workspace_layout *layout,
                       struct bare_call *call) {
    const int64_t heads_q = shape->batch * shape->heads_q, heads_kv = shape->batch * shape->heads_kv;
    const int64_t q_blocks = heads_q * layout->q_tile_count, k_blocks = heads_kv * layout->k_tile_count;
    call->launch[0].grid = (unsigned)q_blocks;
    call->launch[1].grid = (unsigned)(2 * (heads_kv * layout->splits + k_blocks)); /* statistics and tiles of K and V */
    call->launch[2].grid = (unsigned)q_blocks;
}

/* -- Calls ---- */

bool bare_make(sage_context *context, const struct device *device, const char *kernel_dir, const char *describe,
               const sage_attention_args *args, float sm_scale, sage_stream stream, struct bare_call *out) {
    const struct safe_policy policy = {.any_owner = true, .follow = true};
    struct bare_call call = {.api = &device->driver.api, .stream = stream};
    struct workspace_layout layout;
    struct meta meta;
    struct safe_why why;
    int dir = safe_dir_open(AT_FDCWD, kernel_dir, policy, &why);
    if (dir < 0) return context_error(context, SAGE_ERROR_IO, "%s", why.text) == SAGE_OK;
    bool ok = kernels_load(context, dir, describe, &call, &meta) == SAGE_OK;
    close(dir);
    if (ok && !workspace_layout_make(&meta, &args->shape, &layout))
        ok = context_error(context, SAGE_ERROR_UNSUPPORTED, "no workspace for this shape") == SAGE_OK;
    if (!ok) {
        bare_unload(&call);
        return false;
    }
    args_fill(args, &layout, sm_scale, &call.args);
    grids_fill(&args->shape, &layout, &call);
    *out = call;
    return true;
}

bool bare_run(struct bare_call *call) {
    void *params[] = {&call->args};
    driver_result result = DRIVER_SUCCESS;
    for (int i = 0; i < BARE_LAUNCHES; i++)
        result |=
            call->api->launch_kernel(call->launch[i].function, call->launch[i].grid, 1, 1, call->launch[i].threads, 1,
                                     1, call->launch[i].smem_bytes, call->stream, params, NULL);
    return result == DRIVER_SUCCESS;
}

void bare_unload(struct bare_call *call) {
    for (int i = 0; i < BARE_LAUNCHES; i++)
        if (call->launch[i].module) call->api->module_unload(call->launch[i].module);
}
