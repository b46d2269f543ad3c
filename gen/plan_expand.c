// plan_expand: hands a plan to the template engine: every PLAN_* field as a binding, the argument struct and the shared-memory map as rows.
// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include "kernel_args.h"
#include "version.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BINDINGS_MAX 128
#define MAP_ROWS_MAX 8

/* ---- the argument struct --------------------------------------------------------------------------------------------------------- */

#define ARG_CUDA_ptr "u64"
#define ARG_CUDA_i64 "i64"
#define ARG_CUDA_i32 "i32"
#define ARG_CUDA_f32 "float"
#define ARG_ROW(kind, name, help) {ARG_CUDA_##kind, #name, help, offsetof(struct sage_kernel_args, name)},

struct arg_row {
    const char *type, *name, *help;
    size_t offset; /* bytes */
};

static const struct arg_row arg_rows[] = {SAGE_KERNEL_ARGS(ARG_ROW)};
#define ARG_COUNT (sizeof arg_rows / sizeof arg_rows[0])

static const char *const arg_columns[] = {"type", "name", "help", "offset", NULL};
static const char *const map_columns[] = {"text", NULL};

/* ---- bindings -------------------------------------------------------------------------------------------------------------------- */

struct bindings {
    struct expand_binding item[BINDINGS_MAX];
    int count;
    char offsets[ARG_COUNT][16];
    const char *arg_cells[ARG_COUNT * 4];
    char map_text[MAP_ROWS_MAX][160];
    const char *map_cells[MAP_ROWS_MAX];
    int map_rows;
    char spec_hash[17];
};

static void bind_int(struct bindings *b, const char *name, int64_t value)
{
    b->item[b->count++] = (struct expand_binding){.name = name, .kind = EXPAND_INT, .number = value};
}

static void bind_bool(struct bindings *b, const char *name, bool value)
{
    b->item[b->count++] = (struct expand_binding){.name = name, .kind = EXPAND_BOOL, .number = value};
}

static void bind_real(struct bindings *b, const char *name, double value)
{
    b->item[b->count++] = (struct expand_binding){.name = name, .kind = EXPAND_REAL, .real = value};
}

static void bind_text(struct bindings *b, const char *name, const char *value)
{
    b->item[b->count++] = (struct expand_binding){.name = name, .kind = EXPAND_TEXT, .text = value};
}

static void bind_args(struct bindings *b)
{
    for (size_t i = 0; i < ARG_COUNT; i++) {
        snprintf(b->offsets[i], sizeof b->offsets[i], "%zu", arg_rows[i].offset);
        const char **cell = &b->arg_cells[4 * i];
        cell[0] = arg_rows[i].type;
        cell[1] = arg_rows[i].name;
        cell[2] = arg_rows[i].help;
        cell[3] = b->offsets[i];
    }
    b->item[b->count++] =
        (struct expand_binding){.name = "kernel_args", .kind = EXPAND_ROWS, .number = ARG_COUNT, .columns = arg_columns, .cells = b->arg_cells};
    bind_int(b, "args_bytes", sizeof(struct sage_kernel_args));
}

static void map_row(struct bindings *b, const char *name, int offset, int bytes, const char *what)
{
    snprintf(b->map_text[b->map_rows], sizeof b->map_text[0], "%-8s offset %6d  %6d bytes  %s", name, offset, bytes, what);
    b->map_cells[b->map_rows] = b->map_text[b->map_rows];
    b->map_rows++;
}

// The shared-memory table of the attention kernel's head comment.
static void bind_smem_map(struct bindings *b, const struct plan *p)
{
    char what[128];
    snprintf(what, sizeof what, "[%d][%d] %s, panels of %d bytes, swizzled", p->tile_q, p->d_qk, p->qk_format, p->qk_panel_bytes);
    map_row(b, "Q", p->smem_q, p->q_tile_bytes, what);
    // slots that lie together repeat every smem_k_stride bytes: the table has the first
    const int slots = p->smem_v < p->smem_k + p->smem_k_stride ? 1 : p->stages;
    snprintf(what, sizeof what, "%d x [%d][%d] %s, panels of %d bytes, swizzled; scales", p->stages, p->tile_k, p->d_qk, p->qk_format, p->qk_panel_bytes);
    map_row(b, "K", p->smem_k, slots == 1 ? p->k_tile_bytes : slots * p->smem_k_stride, what);
    snprintf(what, sizeof what, "%d x [%d][%d] %s transposed, panels of %d bytes, swizzled%s", p->stages, p->d_v, p->tile_k, p->v_format,
             p->v_panel_bytes, p->sum_in_pv ? "; 8 rows of ones" : "");
    map_row(b, "V", p->smem_v, slots == 1 ? p->v_tile_bytes : slots * p->smem_v_stride, what);
    if (p->q_group) {
        snprintf(what, sizeof what, "%d x [%d][%d][2][2] fp32, units of the score accumulator", p->stages, p->tile_q / p->q_group, p->tile_k / 2);
        map_row(b, "delta_s", p->smem_delta, slots == 1 ? p->delta_tile_bytes : slots * p->smem_delta_stride, what);
    }
    if (p->smem_master > p->smem_ones) map_row(b, "ones", p->smem_ones, 1024, "8 rows of ones for the row sum");
    if (p->flush_tiles > 1) {
        map_row(b, "master", p->smem_master, p->tile_q * p->d_v * 4, "O in fp32 up to the last flush: [warpgroup][d_v / 8][thread][4]");
        snprintf(what, sizeof what, "[row] the maximum that master is relative to%s", p->tail_in_k ? "; it and what follows: in slot 0 of K, behind its scales" : "");
        map_row(b, "flushed", p->smem_flushed, p->tile_q * 4, what);
    }
    if (p->smem_barriers > p->smem_tile) map_row(b, "tile", p->smem_tile, p->smem_barriers - p->smem_tile, "2 x: q_tile, head, batch, q_head, kv_index, key tiles");
    if (p->barrier_bytes > 0) map_row(b, "barriers", p->smem_barriers, p->barrier_bytes, "mbarriers, table below");
    b->item[b->count++] =
        (struct expand_binding){.name = "smem_map", .kind = EXPAND_ROWS, .number = b->map_rows, .columns = map_columns, .cells = b->map_cells};
}

static void bind_plan(struct bindings *b, const struct plan *plan)
{
#define BIND_INT(name, help) bind_int(b, #name, plan->name);
#define BIND_BOOL(name, help) bind_bool(b, #name, plan->name);
#define BIND_REAL(name, help) bind_real(b, #name, plan->name);
#define BIND_TEXT(name, help) bind_text(b, #name, plan->name);
    PLAN_INTS(BIND_INT)
    PLAN_BOOLS(BIND_BOOL)
    PLAN_REALS(BIND_REAL)
    PLAN_TEXTS(BIND_TEXT)
    bind_text(b, "variant", plan->variant);
    bind_text(b, "entry", plan->entry);
    bind_text(b, "maths", plan->maths);
    bind_text(b, "sagegen_version", SAGEGEN_VERSION);
    snprintf(b->spec_hash, sizeof b->spec_hash, "%016" PRIx64, plan->spec->hash);
    bind_text(b, "spec_hash", b->spec_hash);
    b->item[b->count++] = (struct expand_binding){
        .name = "scale_search", .kind = EXPAND_F32_LIST, .number = plan->spec->scale_search.count, .floats = plan->spec->scale_search.item};
    bind_args(b);
    bind_smem_map(b, plan);
}

/* ---- expand ---------------------------------------------------------------------------------------------------------------------- */

static struct diag_loc field_where(void *user, const char *field)
{
    return spec_where(user, field);
}

bool plan_expand(const struct plan *plan, const char *template_dir, struct diag *d, struct expansion *out)
{
    struct bindings *b = xcalloc(1, sizeof *b);
    bind_plan(b, plan);
    struct spec *spec = (struct spec *)(uintptr_t)plan->spec; // the callback takes void *; the spec is only read
    const struct expand_env env = {
        .bindings = b->item, .binding_count = b->count, .where = field_where, .user = spec, .template_dir = template_dir};
    const bool ok = expand_template(plan->skeleton, &env, d, out);
    free(b);
    return ok;
}
