// kernel_meta: struct plan + compiler's counts -> struct meta. Reads no file, writes no text.
// In: a plan and what it was compiled to. Out: the metadata, or whether metadata from a cache belong to a plan.
// SPDX-License-Identifier: Apache-2.0
#include "kernel_meta.h"

#include "kernel_args.h"
#include "version.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SET_TEXT(field, text) snprintf(out->field, sizeof out->field, "%.*s", META_TEXT_MAX, text)

/* -- Fields ------------------------------------------------------------ */

void kernel_meta_family(const char *spec_name, char *out) {
    size_t len = strlen(spec_name);
    for (const char *at = strstr(spec_name, "_d"); at; at = strstr(at + 1, "_d"))
        if (isdigit((unsigned char)at[2])) len = (size_t)(at - spec_name);
    snprintf(out, SPEC_NAME_MAX + 1, "%.*s", (int)len, spec_name);
}

static void fill_identity(struct meta *out, const struct plan *plan) {
    char family[SPEC_NAME_MAX + 1];
    kernel_meta_family(plan->spec_name, family);
    SET_TEXT(role, plan->role);
    SET_TEXT(entry, plan->entry);
    SET_TEXT(spec, plan->spec_name);
    SET_TEXT(family, family);
    SET_TEXT(variant, plan->variant);
    SET_TEXT(target, plan->target);
    SET_TEXT(io, plan->io);
    SET_TEXT(mask, plan->mask);
    SET_TEXT(qk_format, plan->qk_format);
    SET_TEXT(v_format, plan->v_format);
    SET_TEXT(sagegen, SAGEGEN_VERSION);
    snprintf(out->spec_hash, sizeof out->spec_hash, "%016" PRIx64, plan->spec->hash);
}

static void fill_plan(struct meta *out, const struct plan *plan) {
    const bool attention = strcmp(plan->role, sage_role_text(SAGE_ROLE_ATTN_FWD)) == 0;
    out->safe = plan->safe;
    out->args_bytes = (int)sizeof(struct sage_kernel_args);
    out->threads = plan->threads;
    out->dependent_launch = plan->dependent_launch;
    out->persistent = attention && plan->persistent;
    out->smem_dynamic = attention ? plan->smem_bytes : 0;
    out->head_dim_qk = plan->head_dim_qk;
    out->head_dim_v = plan->head_dim_v;
    out->d_qk = plan->d_qk;
    out->d_v = plan->d_v;
    out->tile_q = plan->tile_q;
    out->tile_k = plan->tile_k;
    out->q_tile_bytes = plan->q_tile_bytes;
    out->k_tile_bytes = plan->k_tile_bytes;
    out->v_tile_bytes = plan->v_tile_bytes;
    out->stats_width = plan->stats_width;
    out->smooth_k = plan->smooth_k;
    out->q_group = plan->q_group;
    out->delta_groups = plan->delta_groups;
}

void kernel_meta_fill(struct meta *out, const struct plan *plan, const char *source, size_t source_bytes,
                      const struct compile_result *result) {
    *out = (struct meta){.smem_static = result->smem_static,
                         .registers = result->registers,
                         .spill_bytes = result->spill_bytes,
                         .local_bytes = result->stack_bytes};
    fill_identity(out, plan);
    fill_plan(out, plan);
    meta_set_files(out, source, source_bytes, result->ptx, result->ptx_bytes, result->cubin, result->cubin_bytes);
}

/* -- Check ------------------------------------------------------------- */

bool kernel_meta_matches(const struct meta *meta, const struct plan *plan) {
    struct meta expected = {.registers = meta->registers};
    fill_identity(&expected, plan);
    fill_plan(&expected, plan);
    return strcmp(meta->entry, expected.entry) == 0 && strcmp(meta->role, expected.role) == 0 &&
           strcmp(meta->spec_hash, expected.spec_hash) == 0 && strcmp(meta->sagegen, expected.sagegen) == 0 &&
           strcmp(meta->mask, expected.mask) == 0 && meta->safe == expected.safe &&
           meta->args_bytes == expected.args_bytes && meta->threads == expected.threads &&
           meta->smem_dynamic == expected.smem_dynamic && meta->k_tile_bytes == expected.k_tile_bytes &&
           meta->v_tile_bytes == expected.v_tile_bytes;
}
