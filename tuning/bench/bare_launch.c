// bare_launch: see bare_launch.h. Metadata and workspace are read by libsage's own modules, so that both sides launch
// the same kernels on the same arguments; cubins are read and loaded without any of them. SPDX-License-Identifier:
// Apache-2.0
#include "bare_launch.h"
#include "context.h"
#include "safe_dir.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORD     "%127s" /* of describe; META_TEXT_MAX */
#define FILE_MAX (4 * META_TEXT_MAX)

// The kernels in the order of their launches, and the ends of their file names.
static const struct {
    enum sage_role role;
    const char *suffix;
} kernels[BARE_LAUNCHES] = {
    {SAGE_ROLE_QUANTISE_Q, "bf16"}, {SAGE_ROLE_QUANTISE_KV, "bf16"}, {SAGE_ROLE_ATTN_FWD, "bf16.none"}};

/* -- Recipe ---- */

static sage_status meta_load(sage_context *context, int dir, const char *stem, struct meta *out) {
    const struct safe_policy policy = {.any_owner = true, .follow = true};
    char name[FILE_MAX + 8];
    struct safe_why why;
    size_t bytes;
    snprintf(name, sizeof name, "%s.meta", stem);
    char *text = safe_file_read(context, dir, name, META_FILE_MAX, policy, &bytes, &why);
    if (!text) return context_error(context, SAGE_ERROR_IO, "%s", why.text);
    sage_status status = meta_read(context, text, bytes, out);
    context_free(context, text);
    return status;
}

static void kernel_fill(const char *kernel_dir, const char *stem, const struct meta *meta, struct bare_kernel *to) {
    snprintf(to->cubin_path, sizeof to->cubin_path, "%s/%s.cubin", kernel_dir, stem);
    snprintf(to->entry, sizeof to->entry, "%s", meta->entry);
    to->cubin_bytes = (uint64_t)meta->cubin_bytes;
    to->threads = (unsigned)meta->threads;
    to->smem_bytes = (unsigned)meta->smem_dynamic;
}

// *meta: of attn_fwd, which comes last; its geometry is that of all.
static sage_status kernels_read(sage_context *context, int dir, const char *kernel_dir, const char *describe,
                                struct bare_recipe *recipe, struct meta *meta) {
    char spec[META_TEXT_MAX + 1], variant[META_TEXT_MAX + 1], target[META_TEXT_MAX + 1], stem[FILE_MAX];
    if (sscanf(describe, WORD WORD WORD, spec, variant, target) != 3)
        return context_error(context, SAGE_ERROR_INTERNAL, "\"%s\" is not: spec variant target", describe);
    for (int i = 0; i < BARE_LAUNCHES; i++) {
        snprintf(stem, sizeof stem, "%s.%s.%s.%s.%s", spec, sage_role_text(kernels[i].role), variant, target,
                 kernels[i].suffix);
        SAGE_TRY(meta_load(context, dir, stem, meta));
        kernel_fill(kernel_dir, stem, meta, &recipe->kernel[i]);
    }
    if (meta->q_group == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_UNSUPPORTED, "%s needs a delta_s launch", describe);
}

static void grids_fill(const sage_attention_shape *shape, struct bare_recipe *recipe) {
    const struct workspace_layout *layout = &recipe->workspace;
    const int64_t heads_q = shape->batch * shape->heads_q, heads_kv = shape->batch * shape->heads_kv;
    const int64_t q_blocks = heads_q * layout->q_tile_count, k_blocks = heads_kv * layout->k_tile_count;
    recipe->kernel[0].grid = (unsigned)q_blocks;
    recipe->kernel[1].grid = (unsigned)(2 * (heads_kv * layout->splits + k_blocks)); // statistics and tiles of K and V
    recipe->kernel[2].grid = (unsigned)q_blocks;
}

bool bare_read(sage_context *context, const char *kernel_dir, const char *describe, const sage_attention_shape *shape,
               struct bare_recipe *out) {
    const struct safe_policy policy = {.any_owner = true, .follow = true};
    struct meta meta;
    struct safe_why why;
    int dir = safe_dir_open(AT_FDCWD, kernel_dir, policy, &why);
    if (dir < 0) return context_error(context, SAGE_ERROR_IO, "%s", why.text) == SAGE_OK;
    *out = (struct bare_recipe){0};
    sage_status status = kernels_read(context, dir, kernel_dir, describe, out, &meta);
    close(dir);
    if (status != SAGE_OK) return false;
    if (!workspace_layout_make(&meta, shape, &out->workspace))
        return context_error(context, SAGE_ERROR_UNSUPPORTED, "no workspace for this shape") == SAGE_OK;
    grids_fill(shape, out);
    return true;
}

/* -- Kernels ---- */

static bool check(struct device *device, driver_result result, const char *what, const struct bare_kernel *kernel) {
    if (result == DRIVER_SUCCESS) return true;
    snprintf(device->error, sizeof device->error, "%s: %s: error %d", kernel->cubin_path, what, result);
    return false;
}

// From malloc. NULL: device_error.
static void *cubin_read(struct device *device, const struct bare_kernel *kernel) {
    int file = open(kernel->cubin_path, O_RDONLY | O_CLOEXEC);
    void *cubin = file < 0 ? NULL : malloc(kernel->cubin_bytes);
    const bool whole = cubin && read(file, cubin, kernel->cubin_bytes) == (ssize_t)kernel->cubin_bytes;
    if (file >= 0) close(file);
    if (whole) return cubin;
    free(cubin);
    snprintf(device->error, sizeof device->error, "%s: cannot be read, or is shorter than its metadata say",
             kernel->cubin_path);
    return NULL;
}

static bool function_load(struct device *device, const struct bare_kernel *kernel, const void *cubin,
                          struct bare_call *call, int index) {
    const struct driver_api *api = call->api;
    driver_module *module = &call->launch[index].module;
    driver_function *function = &call->launch[index].function;
    return check(device, api->module_load_data(module, cubin), "cuModuleLoadData", kernel) &&
           check(device, api->module_get_function(function, *module, kernel->entry), "cuModuleGetFunction", kernel) &&
           check(device, api->func_set_attribute(*function, DRIVER_FUNCTION_MAX_DYNAMIC_SMEM, (int)kernel->smem_bytes),
                 "cuFuncSetAttribute", kernel);
}

static bool kernel_load(struct device *device, const struct bare_kernel *kernel, struct bare_call *call, int index) {
    void *cubin = cubin_read(device, kernel);
    const bool ok = cubin && function_load(device, kernel, cubin, call, index);
    free(cubin);
    call->launch[index].grid = kernel->grid;
    call->launch[index].threads = kernel->threads;
    call->launch[index].smem_bytes = kernel->smem_bytes;
    return ok;
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

/* -- Calls ---- */

bool bare_load(struct device *device, const struct bare_recipe *recipe, const sage_attention_args *args, float sm_scale,
               sage_stream stream, struct bare_call *out) {
    struct bare_call call = {.api = &device->driver.api, .stream = stream};
    bool ok = true;
    for (int i = 0; ok && i < BARE_LAUNCHES; i++) ok = kernel_load(device, &recipe->kernel[i], &call, i);
    if (!ok) {
        bare_unload(&call);
        return false;
    }
    args_fill(args, &recipe->workspace, sm_scale, &call.args);
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
