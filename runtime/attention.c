// attention: the public attention calls. A plan is a set of loaded kernels and their geometry; a call checks its
// arguments, lays out the workspace, fills the one parameter struct, and launches. Nothing is launched before
// everything is checked; nothing here allocates or waits once the plan is made.
// SPDX-License-Identifier: Apache-2.0
#include "context.h"
#include "kernel_args.h"
#include "launch.h"
#include "select.h"
#include "workspace.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CALL_GRID_MAX ((int64_t)INT32_MAX) /* blocks of one launch */

struct sage_attention_plan {
    sage_context *context;
    sage_attention_desc desc;               /* defaults filled in; spec is NULL, meta has it */
    struct meta meta;                       /* of attn_fwd; its geometry is that of every role */
    struct module *module[SAGE_ROLE_COUNT]; /* NULL: the spec does not need it */
    char describe[3 * META_TEXT_MAX + 8];
};

/* -- Plans ---- */

sage_status sage_attention_supports(sage_context *context, const sage_attention_desc *desc, char *why, size_t n) {
    sage_attention_desc filled;
    if (context == NULL) {
        if (why != NULL && n > 0) snprintf(why, n, "context is NULL");
        return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT, "context is NULL");
    }
    sage_status status = desc == NULL ? context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "desc is NULL")
                                      : select_check_desc(context, desc, &filled);
    if (status == SAGE_OK) status = select_supports(context, &filled);
    if (why != NULL && n > 0) snprintf(why, n, "%s", status == SAGE_OK ? "" : sage_last_error(context));
    const bool passed_on =
        status == SAGE_OK || status == SAGE_ERROR_INVALID_ARGUMENT || status == SAGE_ERROR_OUT_OF_MEMORY;
    return passed_on ? status : SAGE_ERROR_UNSUPPORTED;
}

// Members that every role of a set must agree on: the quantisers write what attn_fwd reads.
// clang-format off
#define PLAN_GEOMETRY(X)                                                                                               \
    X(head_dim_qk) X(head_dim_v) X(d_qk) X(d_v) X(tile_q) X(tile_k) X(q_tile_bytes) X(k_tile_bytes) X(v_tile_bytes)    \
    X(stats_width) X(smooth_k) X(q_group) X(delta_groups)
// clang-format on

static sage_status geometry_check(sage_context *context, const struct meta *role, const struct meta *attend) {
#define PLAN_GEOMETRY_ROW(name) {#name, role->name, attend->name},
    const struct {
        const char *name;
        int here, there;
    } rows[] = {PLAN_GEOMETRY(PLAN_GEOMETRY_ROW)};
#undef PLAN_GEOMETRY_ROW
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].here != rows[i].there)
            return context_error(context, SAGE_ERROR_CORRUPT, "%s %s: the %s kernel has %s = %d, attn_fwd has %d",
                                 attend->spec, attend->variant, role->role, rows[i].name, rows[i].here, rows[i].there);
    if (strcmp(role->spec, attend->spec) == 0 && strcmp(role->io, attend->io) == 0) return SAGE_OK;
    return context_error(context, SAGE_ERROR_CORRUPT, "the %s kernel is of %s (%s), attn_fwd of %s (%s)", role->role,
                         role->spec, role->io, attend->spec, attend->io);
}

// Whether attn_fwd is what the plan asked for (or safer), and its query chunks are whole tiles.
static sage_status attend_check(sage_context *context, const sage_attention_desc *desc, const struct meta *meta) {
    const char *io = meta_io_text(desc->dtype), *mask = meta_mask_text(desc->mask);
    const int safe = (desc->flags & SAGE_FLAG_SAFE) != 0;
    if (desc->spec != NULL && strcmp(meta->spec, desc->spec) != 0)
        return context_error(context, SAGE_ERROR_CORRUPT, "asked for the spec %s, got kernels of %s", desc->spec,
                             meta->spec);
    if (meta->head_dim_qk != desc->head_dim_qk || meta->head_dim_v != desc->head_dim_v || strcmp(meta->io, io) != 0 ||
        strcmp(meta->mask, mask) != 0 || meta->safe < safe)
        return context_error(
            context, SAGE_ERROR_CORRUPT,
            "asked for head dims %d and %d, %s, mask %s, safe %d; got a kernel for %d and %d, %s, mask %s, safe %d",
            desc->head_dim_qk, desc->head_dim_v, io, mask, safe, meta->head_dim_qk, meta->head_dim_v, meta->io,
            meta->mask, meta->safe);
    int64_t chunk_rows = (int64_t)meta->q_group * meta->delta_groups;
    if (meta->q_group != 0 && (chunk_rows == 0 || chunk_rows % meta->tile_q != 0))
        return context_error(context, SAGE_ERROR_CORRUPT,
                             "%s %s: a chunk of %d groups of %d query rows is not a whole number of tiles of %d rows",
                             meta->spec, meta->variant, meta->delta_groups, meta->q_group, meta->tile_q);
    return SAGE_OK;
}

static sage_status role_read(sage_context *context, const struct sage_kernel_set *set, enum sage_role role,
                             struct meta *out) {
    const struct sage_kernel_blob *blob = &set->kernel[role];
    SAGE_TRY(meta_read(context, blob->meta, blob->meta_len, out));
    if (meta_role(out) == role) return SAGE_OK;
    return context_error(context, SAGE_ERROR_CORRUPT, "asked for the %s kernel, got %s", sage_role_text(role),
                         out->role);
}

static sage_status role_load(sage_attention_plan *plan, const struct sage_kernel_set *set, enum sage_role role) {
    const struct sage_kernel_blob *blob = &set->kernel[role];
    struct meta meta;
    if (!meta_role_needed(&plan->meta, role)) return SAGE_OK;
    if (blob->cubin == NULL)
        return context_error(plan->context, SAGE_ERROR_CORRUPT, "%s %s: the %s kernel is missing", plan->meta.spec,
                             plan->meta.variant, sage_role_text(role));
    SAGE_TRY(role_read(plan->context, set, role, &meta));
    SAGE_TRY(geometry_check(plan->context, &meta, &plan->meta));
    return module_acquire(plan->context, &meta, blob->cubin, blob->cubin_bytes, &plan->module[role]);
}

static sage_status plan_load(sage_attention_plan *plan, const struct sage_kernel_set *set) {
    if (set->kernel[SAGE_ROLE_ATTN_FWD].cubin == NULL)
        return context_error(plan->context, SAGE_ERROR_CORRUPT, "the provider's kernel set has no attn_fwd kernel");
    SAGE_TRY(role_read(plan->context, set, SAGE_ROLE_ATTN_FWD, &plan->meta));
    SAGE_TRY(attend_check(plan->context, &plan->desc, &plan->meta));
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) SAGE_TRY(role_load(plan, set, (enum sage_role)role));
    snprintf(plan->describe, sizeof plan->describe, "%s %s %s%s", plan->meta.spec, plan->meta.variant,
             plan->meta.target, plan->meta.safe ? " safe" : "");
    plan->desc.spec = NULL;
    return SAGE_OK;
}

static sage_status plan_make(sage_context *context, const sage_attention_desc *desc, sage_attention_plan **out) {
    struct sage_kernel_set set;
    sage_attention_plan *plan = context_alloc_zeroed(context, sizeof *plan);
    if (plan == NULL) return SAGE_ERROR_OUT_OF_MEMORY;
    plan->context = context;
    plan->desc = *desc;
    sage_status status = select_get(context, desc, &set);
    if (status == SAGE_OK) {
        status = plan_load(plan, &set);
        kernel_set_free(context, &set);
    }
    if (status == SAGE_OK)
        *out = plan;
    else
        sage_attention_plan_destroy(plan);
    return status;
}

sage_status sage_attention_plan_create(sage_context *context, const sage_attention_desc *desc,
                                       sage_attention_plan **out) {
    sage_attention_desc filled;
    SAGE_TRY(select_check_call(context, desc, out, &filled));
    return plan_make(context, &filled, out);
}

void sage_attention_plan_destroy(sage_attention_plan *plan) {
    if (plan == NULL) return;
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) module_release(plan->context, plan->module[role]);
    context_free(plan->context, plan);
}

const char *sage_attention_plan_describe(const sage_attention_plan *plan) {
    return plan == NULL ? "" : plan->describe;
}

/* -- Workspace ---- */

static sage_status layout_make(const sage_attention_plan *plan, const sage_attention_shape *shape,
                               struct workspace_layout *out) {
    char why[256];
    if (workspace_check_shape(shape, why) != NULL)
        return context_error(plan->context, SAGE_ERROR_INVALID_ARGUMENT, "%s", why);
    if (workspace_layout_make(&plan->meta, shape, out)) return SAGE_OK;
    return context_error(plan->context, SAGE_ERROR_UNSUPPORTED,
                         "the workspace of this shape does not fit 63 bits of bytes");
}

size_t sage_attention_workspace_bytes(const sage_attention_plan *plan, const sage_attention_shape *shape) {
    struct workspace_layout layout;
    if (plan == NULL || shape == NULL || layout_make(plan, shape, &layout) != SAGE_OK) return 0;
    return layout.bytes;
}

static sage_status workspace_check(const sage_attention_plan *plan, const sage_attention_args *args,
                                   const struct workspace_layout *layout) {
    if (args->workspace == NULL)
        return context_error(plan->context, SAGE_ERROR_WORKSPACE,
                             "args.workspace is NULL; this call needs %" PRIu64 " bytes", layout->bytes);
    if ((uintptr_t)args->workspace % WORKSPACE_ALIGNMENT != 0)
        return context_error(plan->context, SAGE_ERROR_WORKSPACE, "args.workspace = %p is not a multiple of %d bytes",
                             args->workspace, WORKSPACE_ALIGNMENT);
    if (args->workspace_bytes < layout->bytes)
        return context_error(plan->context, SAGE_ERROR_WORKSPACE,
                             "args.workspace_bytes = %zu is too small; this shape needs %" PRIu64,
                             args->workspace_bytes, layout->bytes);
    return SAGE_OK;
}

/* -- Arguments ---- */

// What a call does with the tensors: run is both.
enum call_parts { CALL_QUANTISE = 1, CALL_ATTEND = 2, CALL_RUN = 3 };

// One tensor of a call, with the extents that the shape gives it.
struct tensor_view {
    const char *name;
    const sage_tensor *tensor;
    int64_t batch, heads, seq; /* 0 in any: the tensor has no elements, and its pointer is not looked at */
    int dim;
    bool output;
};

static bool view_is_empty(const struct tensor_view *view) {
    return view->batch == 0 || view->heads == 0 || view->seq == 0;
}

// Refuses strides that the kernels cannot compute addresses from. elements: from the first to one past the last.
static sage_status strides_check(sage_context *context, const struct tensor_view *view) {
    const struct {
        const char *name;
        int64_t stride, count;
    } rows[] = {{"batch", view->tensor->stride_batch, view->batch},
                {"head", view->tensor->stride_head, view->heads},
                {"seq", view->tensor->stride_seq, view->seq}};
    int64_t elements = view->dim, bytes, address = (int64_t)(uintptr_t)view->tensor->data;
    bool overflow = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t span;
        if (rows[i].stride < 0)
            return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                                 "args.%s.stride_%s = %" PRId64 " is negative; strides must be 0 or more", view->name,
                                 rows[i].name, rows[i].stride);
        if (view->output && rows[i].count > 1 && rows[i].stride < view->dim)
            return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                                 "args.%s.stride_%s = %" PRId64 " makes rows of %d elements overlap in the output",
                                 view->name, rows[i].name, rows[i].stride, view->dim);
        overflow |= __builtin_mul_overflow(rows[i].count - 1, rows[i].stride, &span);
        overflow |= __builtin_add_overflow(elements, span, &elements);
    }
    overflow |=
        __builtin_mul_overflow(elements, (int64_t)2, &bytes) || __builtin_add_overflow(address, bytes, &address);
    if (!overflow) return SAGE_OK;
    return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                         "args.%s: strides %" PRId64 ", %" PRId64 ", %" PRId64
                         " reach beyond 64-bit addresses for this shape",
                         view->name, rows[0].stride, rows[1].stride, rows[2].stride);
}

static sage_status tensor_check(sage_context *context, const struct tensor_view *view) {
    if (view_is_empty(view)) return SAGE_OK;
    if (view->tensor->data == NULL)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "args.%s.data is NULL", view->name);
    if ((uintptr_t)view->tensor->data % 2 != 0)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                             "args.%s.data = %p is not a multiple of the element size (2 bytes)", view->name,
                             view->tensor->data);
    return strides_check(context, view);
}

// Whether every row starts at a multiple of 16 bytes, so that kernels may move 8 elements at once.
static bool tensor_is_vector(const struct tensor_view *view) {
    const sage_tensor *t = view->tensor;
    return !view_is_empty(view) && (uintptr_t)t->data % 16 == 0 && (view->batch == 1 || t->stride_batch % 8 == 0) &&
           (view->heads == 1 || t->stride_head % 8 == 0) && (view->seq == 1 || t->stride_seq % 8 == 0);
}

// O must not lie on an input: kernels write it while others still read.
static sage_status alias_check(sage_context *context, const struct tensor_view view[4]) {
    for (int i = 0; i < 3; i++)
        if (!view_is_empty(&view[i]) && view[i].tensor->data == view[3].tensor->data)
            return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                                 "args.o.data = %p is also args.%s.data; the output must not overlap an input",
                                 view[3].tensor->data, view[i].name);
    return SAGE_OK;
}

static sage_status extra_check(const sage_attention_plan *plan, const char *name, const void *pointer, const char *flag,
                               unsigned bit) {
    if (pointer == NULL) return SAGE_OK;
    if ((plan->desc.flags & bit) == 0)
        return context_error(plan->context, SAGE_ERROR_INVALID_ARGUMENT,
                             "args.%s is given, but the plan was made without %s in desc.flags", name, flag);
    if ((uintptr_t)pointer % 4 == 0) return SAGE_OK;
    return context_error(plan->context, SAGE_ERROR_INVALID_ARGUMENT, "args.%s = %p is not a multiple of 4 bytes", name,
                         pointer);
}

/* -- Calls ---- */

// A checked call, ready to launch.
struct call {
    const sage_attention_plan *plan;
    sage_stream stream;
    bool empty;                    /* no query rows: nothing to launch */
    int64_t grid[SAGE_ROLE_COUNT]; /* blocks of one launch; 0: not launched. delta_s and attn_fwd: of one full chunk */
    int64_t chunk_tiles;           /* q tiles of one attn_fwd launch, per head */
    int launches;                  /* so far */
    struct sage_kernel_args args;
};

static void args_fill_workspace(struct sage_kernel_args *args, void *workspace, const struct workspace_layout *layout) {
    const uint64_t base = (uint64_t)(uintptr_t)workspace;
#define ARGS_FILL_REGION(name)                                                                                         \
    args->name = layout->region[WORKSPACE_##name].bytes == 0 ? 0 : base + layout->region[WORKSPACE_##name].offset;
    WORKSPACE_REGIONS(ARGS_FILL_REGION)
#undef ARGS_FILL_REGION
}

// Tensors that this call does not touch stay null, so that a kernel that reads one anyway faults.
#define ARGS_FILL_TENSOR(args, letter, view)                                                                           \
    do {                                                                                                               \
        if (view_is_empty(view)) break;                                                                                \
        (args)->letter = (uint64_t)(uintptr_t)(view)->tensor->data;                                                    \
        (args)->letter##_stride_b = (view)->tensor->stride_batch;                                                      \
        (args)->letter##_stride_h = (view)->tensor->stride_head;                                                       \
        (args)->letter##_stride_n = (view)->tensor->stride_seq;                                                        \
    } while (0)

static void args_fill(const sage_attention_plan *plan, const sage_attention_args *given,
                      const struct tensor_view view[4], const struct workspace_layout *layout,
                      struct sage_kernel_args *args) {
    args_fill_workspace(args, given->workspace, layout);
    if ((plan->desc.flags & SAGE_FLAG_LSE) == 0) args->lse_bias = 0; // spares the quantiser the product with mean(K)
    ARGS_FILL_TENSOR(args, q, &view[0]);
    ARGS_FILL_TENSOR(args, k, &view[1]);
    ARGS_FILL_TENSOR(args, v, &view[2]);
    ARGS_FILL_TENSOR(args, o, &view[3]);
    args->lse = (uint64_t)(uintptr_t)given->lse;
    args->flags = (uint64_t)(uintptr_t)given->overflow_flags;
    args->batch = (int32_t)given->shape.batch;
    args->heads_q = (int32_t)given->shape.heads_q;
    args->heads_kv = (int32_t)given->shape.heads_kv;
    args->seq_q = (int32_t)given->shape.seq_q;
    args->seq_k = (int32_t)given->shape.seq_k;
    args->q_tile_count = (int32_t)layout->q_tile_count;
    args->k_tile_count = (int32_t)layout->k_tile_count;
    args->splits = (int32_t)layout->splits;
    args->q_tile_first = 0;
    args->q_tile_launch = (int32_t)layout->q_tile_count;
    for (int i = 0; i < 4; i++) args->vector_io |= tensor_is_vector(&view[i]) ? 1 << i : 0;
    args->stats_lead = (int32_t)layout->stats_lead;
    args->sm_scale = plan->desc.sm_scale;
}

// heads * each, but never more than one above what a launch takes, so that sums cannot wrap.
static int64_t blocks(int64_t heads, int64_t each) {
    int64_t product;
    return __builtin_mul_overflow(heads, each, &product) || product > CALL_GRID_MAX ? CALL_GRID_MAX + 1 : product;
}

// Pieces of work of quantise_kv: parts of statistics, tiles, and tiles of Q where smoothing has to be given back to LSE.
static int64_t kv_pieces(const struct call *call) {
    const struct sage_kernel_args *args = &call->args;
    const int64_t heads_q = (int64_t)args->batch * args->heads_q, heads_kv = (int64_t)args->batch * args->heads_kv;
    const int64_t parts = call->plan->meta.stats_width != 0 ? args->splits : 0;
    if (args->seq_k == 0) return 0;
    return 2 * blocks(heads_kv, parts + args->k_tile_count) +
           (args->lse_bias != 0 ? blocks(heads_q, args->q_tile_count) : 0);
}

// Fills grid and chunk_tiles, for all roles; heads are counted over the batch.
static void call_fill_grids(struct call *call, enum call_parts parts) {
    const struct sage_kernel_args *args = &call->args;
    const struct meta *meta = &call->plan->meta;
    const int64_t heads_q = (int64_t)args->batch * args->heads_q;
    const int64_t q_tiles = args->q_tile_count, k_tiles = args->k_tile_count;
    const int64_t chunk = meta->q_group == 0 ? q_tiles : (int64_t)meta->delta_groups * meta->q_group / meta->tile_q;
    call->chunk_tiles = chunk < q_tiles ? chunk : q_tiles;
    if ((parts & CALL_QUANTISE) != 0) {
        call->grid[SAGE_ROLE_QUANTISE_Q] = blocks(heads_q, q_tiles);
        call->grid[SAGE_ROLE_QUANTISE_KV] = kv_pieces(call);
    }
    if ((parts & CALL_ATTEND) != 0) {
        if (meta->q_group != 0) call->grid[SAGE_ROLE_DELTA_S] = blocks(heads_q, k_tiles);
        call->grid[SAGE_ROLE_ATTN_FWD] = blocks(heads_q, call->chunk_tiles);
    }
}

static sage_status call_check_grids(const struct call *call) {
    const struct sage_kernel_args *args = &call->args;
    for (int role = 0; role < SAGE_ROLE_COUNT; role++)
        if (call->grid[role] > CALL_GRID_MAX)
            return context_error(
                call->plan->context, SAGE_ERROR_UNSUPPORTED,
                "shape (batch %d, heads_q %d, heads_kv %d, seq_q %d, seq_k %d) needs more than %" PRId64
                " blocks of the %s kernel; split the batch",
                args->batch, args->heads_q, args->heads_kv, args->seq_q, args->seq_k, CALL_GRID_MAX,
                sage_role_text((enum sage_role)role));
    return SAGE_OK;
}

// Checks everything there is to check, and fills *call. Tensors that parts do not touch count as empty.
static sage_status call_make(const sage_attention_plan *plan, const sage_attention_args *given, enum call_parts parts,
                             struct call *call) {
    const sage_attention_shape *shape = &given->shape;
    const bool reads = (parts & CALL_QUANTISE) != 0, writes = (parts & CALL_ATTEND) != 0;
    const int64_t batch_in = reads ? shape->batch : 0, batch_out = writes ? shape->batch : 0;
    const struct tensor_view view[4] = {
        {"q", &given->q, batch_in, shape->heads_q, shape->seq_q, plan->desc.head_dim_qk, false},
        {"k", &given->k, batch_in, shape->heads_kv, shape->seq_k, plan->desc.head_dim_qk, false},
        {"v", &given->v, batch_in, shape->heads_kv, shape->seq_k, plan->desc.head_dim_v, false},
        {"o", &given->o, batch_out, shape->heads_q, shape->seq_q, plan->desc.head_dim_v, true},
    };
    struct workspace_layout layout;
    SAGE_TRY(layout_make(plan, shape, &layout));
    SAGE_TRY(extra_check(plan, "lse", given->lse, "SAGE_FLAG_LSE", SAGE_FLAG_LSE));
    SAGE_TRY(extra_check(plan, "overflow_flags", given->overflow_flags, "SAGE_FLAG_OVERFLOW", SAGE_FLAG_OVERFLOW));
    call->empty = shape->batch == 0 || shape->seq_q == 0;
    if (call->empty) return SAGE_OK;
    for (int i = 0; i < 4; i++) SAGE_TRY(tensor_check(plan->context, &view[i]));
    SAGE_TRY(alias_check(plan->context, view));
    args_fill(plan, given, view, &layout, &call->args);
    call_fill_grids(call, parts);
    SAGE_TRY(call_check_grids(call));
    return workspace_check(plan, given, &layout);
}

/* -- Launches ---- */

static sage_status launch_role(struct call *call, enum sage_role role, int64_t grid) {
    if (grid == 0) return SAGE_OK;
    const bool early = call->launches++ > 0;
    return launch_kernel(call->plan->context, call->plan->module[role], grid, &call->args, early, call->stream);
}

// Blocks of one attn_fwd launch over `tiles` query tiles.
static int64_t attend_blocks(const struct call *call, int64_t tiles) {
    const int64_t processors = call->plan->context->driver.multiprocessors;
    return call->plan->meta.persistent != 0 && processors < tiles ? processors : tiles;
}

// One chunk of query tiles after the other: delta_s holds the corrections of one chunk, and the stream keeps the order.
// Without delta_s there is one chunk.
static sage_status launch_attend(struct call *call) {
    struct sage_kernel_args *args = &call->args;
    const int64_t heads_q = (int64_t)args->batch * args->heads_q;
    for (int64_t first = 0; first < args->q_tile_count; first += call->chunk_tiles) {
        int64_t rest = args->q_tile_count - first, tiles = rest < call->chunk_tiles ? rest : call->chunk_tiles;
        args->q_tile_first = (int32_t)first;
        args->q_tile_launch = (int32_t)tiles;
        SAGE_TRY(launch_role(call, SAGE_ROLE_DELTA_S, call->grid[SAGE_ROLE_DELTA_S]));
        SAGE_TRY(launch_role(call, SAGE_ROLE_ATTN_FWD, attend_blocks(call, heads_q * tiles)));
    }
    return SAGE_OK;
}

static sage_status launch_parts(struct call *call, enum call_parts parts) {
    SAGE_TRY(launch_role(call, SAGE_ROLE_QUANTISE_Q, call->grid[SAGE_ROLE_QUANTISE_Q]));
    SAGE_TRY(launch_role(call, SAGE_ROLE_QUANTISE_KV, call->grid[SAGE_ROLE_QUANTISE_KV]));
    return (parts & CALL_ATTEND) != 0 ? launch_attend(call) : SAGE_OK;
}

static sage_status call_run(const sage_attention_plan *plan, const sage_attention_args *given, sage_stream stream,
                            enum call_parts parts) {
    const size_t oldest_bytes = offsetof(sage_attention_args, workspace_bytes) + sizeof(size_t); // of the first version
    sage_attention_args args;
    bool pushed;
    struct call call = {.plan = plan, .stream = stream};
    if (plan == NULL) return context_error(NULL, SAGE_ERROR_INVALID_ARGUMENT, "plan is NULL");
    if (given == NULL) return context_error(plan->context, SAGE_ERROR_INVALID_ARGUMENT, "args is NULL");
    SAGE_TRY(select_read_struct(plan->context, "args", given, oldest_bytes, sizeof args, &args));
    SAGE_TRY(call_make(plan, &args, parts, &call));
    if (call.empty) return SAGE_OK;
    SAGE_TRY(driver_enter(plan->context, &pushed));
    sage_status status = launch_parts(&call, parts);
    driver_leave(plan->context, pushed);
    return status;
}

sage_status sage_attention_run(const sage_attention_plan *plan, const sage_attention_args *args, sage_stream stream) {
    return call_run(plan, args, stream, CALL_RUN);
}

sage_status sage_attention_quantise(const sage_attention_plan *plan, const sage_attention_args *args,
                                    sage_stream stream) {
    return call_run(plan, args, stream, CALL_QUANTISE);
}

sage_status sage_attention_attend(const sage_attention_plan *plan, const sage_attention_args *args,
                                  sage_stream stream) {
    return call_run(plan, args, stream, CALL_ATTEND);
}
