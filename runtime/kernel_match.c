// kernel_match: see the header. Kernels are compared by their metadata alone, never by names.
// SPDX-License-Identifier: Apache-2.0
#include "kernel_match.h"
#include "context.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Matching -------------------------------------------------------------------------------------------------------
 */

// A spec that was asked for by name may be safe in itself, or be there in its safe form alone; a family is searched for
// the fast kernel, which another provider, or another family, may have.
static bool safe_matches(const struct meta *meta, const struct sage_kernel_request *request) {
    return request->safe ? meta->safe != 0 : meta->safe == 0 || request->spec;
}

static bool matches(const struct meta *meta, const struct sage_kernel_request *request) {
    if (request->spec ? strcmp(meta->spec, request->spec) != 0
                      : !request->family || strcmp(meta->family, request->family) != 0)
        return false;
    if (meta->head_dim_qk != request->head_dim_qk || meta->head_dim_v != request->head_dim_v) return false;
    if (strcmp(meta->io, meta_io_text(request->io)) != 0 || !safe_matches(meta, request)) return false;
    return meta_role(meta) != SAGE_ROLE_ATTN_FWD || !strcmp(meta->mask, meta_mask_text(request->mask));
}

static bool is_wished(const struct meta *meta, const struct sage_kernel_wish *wish) {
    return wish->variant && strcmp(meta->variant, wish->variant) == 0 &&
           strcmp(meta->spec_hash, wish->spec_hash) == 0 && strcmp(meta->target, wish->target) == 0;
}

static sage_status rows_add(sage_context *context, struct kernel_rows *rows, const struct kernel_row *row) {
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 16;
        struct kernel_row *bigger = context_alloc(context, capacity * sizeof *bigger);
        if (!bigger) return SAGE_ERROR_OUT_OF_MEMORY;
        if (rows->count) memcpy(bigger, rows->row, rows->count * sizeof *bigger);
        context_free(context, rows->row);
        rows->row = bigger;
        rows->capacity = capacity;
    }
    rows->row[rows->count++] = *row;
    return SAGE_OK;
}

sage_status kernel_rows_offer(sage_context *context, struct kernel_rows *rows,
                              const struct sage_kernel_request *request, const struct meta *meta, int rank,
                              const char *name) {
    if (!matches(meta, request)) return SAGE_OK;
    if (rank == 0) rows->other_gpu = true;
    if (rank == 0) return SAGE_OK;
    struct kernel_row row = {.meta = *meta,
                             .rank = rank,
                             .exact = (meta->safe != 0) == request->safe,
                             .wished = is_wished(meta, &request->wish)};
    snprintf(row.name, sizeof row.name, "%s", name);
    return rows_add(context, rows, &row);
}

static int compare_rows(const void *a, const void *b) {
    return strcmp(((const struct kernel_row *)a)->name, ((const struct kernel_row *)b)->name);
}

void kernel_rows_sort(struct kernel_rows *rows) {
    if (rows->count) qsort(rows->row, rows->count, sizeof *rows->row, compare_rows);
}

void kernel_rows_free(sage_context *context, struct kernel_rows *rows) {
    context_free(context, rows->row);
    rows->row = NULL;
    rows->count = rows->capacity = 0;
}

/* -- Choosing -------------------------------------------------------------------------------------------------------
 */

// Kernels that exchange workspace images must come from one expansion of one spec.
static bool belong_together(const struct meta *a, const struct meta *b) {
    return !strcmp(a->spec, b->spec) && !strcmp(a->spec_hash, b->spec_hash) && !strcmp(a->variant, b->variant) &&
           !strcmp(a->target, b->target) && !strcmp(a->sagegen, b->sagegen) && a->safe == b->safe;
}

// Fills picked with the rows of the set led by `attention`; returns the first role that is missing, or SAGE_ROLE_COUNT.
static enum sage_role complete(const struct kernel_rows *rows, const struct kernel_row *attention,
                               const struct kernel_row *picked[SAGE_ROLE_COUNT]) {
    enum sage_role missing = SAGE_ROLE_COUNT;
    for (int role = SAGE_ROLE_COUNT - 1; role >= 0; role--) {
        picked[role] = NULL;
        if (!meta_role_needed(&attention->meta, (enum sage_role)role)) continue;
        for (size_t i = 0; i < rows->count && !picked[role]; i++) {
            const struct kernel_row *row = &rows->row[i];
            if (meta_role(&row->meta) == (enum sage_role)role && belong_together(&row->meta, &attention->meta))
                picked[role] = row;
        }
        if (!picked[role]) missing = (enum sage_role)role;
    }
    return missing;
}

static sage_status nothing_fits(sage_context *context, const char *where, const struct kernel_rows *rows,
                                const struct sage_kernel_request *request, enum sage_role missing) {
    const char *name = request->spec ? request->spec : request->family ? request->family : "(no name)";
    if (missing != SAGE_ROLE_COUNT)
        return context_error(context, SAGE_ERROR_NOT_FOUND, "%s: %s lacks its %s kernel%s%s", where, name,
                             sage_role_text(missing), rows->damaged[0] ? "; damaged: " : "", rows->damaged);
    return context_error(context, SAGE_ERROR_NOT_FOUND,
                         "%s: no kernel %s with head dims %d and %d, %s, mask %s%s%s%s%s", where, name,
                         request->head_dim_qk, request->head_dim_v, meta_io_text(request->io),
                         meta_mask_text(request->mask), request->safe ? ", safe" : "",
                         rows->other_gpu ? ", for this GPU" : "", rows->damaged[0] ? "; damaged: " : "", rows->damaged);
}

static bool is_better(const struct kernel_row *row, const struct kernel_row *best) {
    if (!best) return true;
    if (row->exact != best->exact) return row->exact;
    return row->rank != best->rank ? row->rank > best->rank : row->wished && !best->wished;
}

sage_status kernel_rows_choose(sage_context *context, const char *where, const struct kernel_rows *rows,
                               const struct sage_kernel_request *request,
                               const struct kernel_row *picked[SAGE_ROLE_COUNT]) {
    const struct kernel_row *best = NULL;
    enum sage_role missing = SAGE_ROLE_COUNT;
    for (size_t i = 0; i < rows->count; i++) {
        const struct kernel_row *row = &rows->row[i];
        if (meta_role(&row->meta) != SAGE_ROLE_ATTN_FWD || !is_better(row, best)) continue;
        enum sage_role lacks = complete(rows, row, picked);
        if (lacks == SAGE_ROLE_COUNT)
            best = row;
        else
            missing = lacks;
    }
    if (!best) return nothing_fits(context, where, rows, request, missing);
    complete(rows, best, picked);
    return SAGE_OK;
}

/* -- Reading --------------------------------------------------------------------------------------------------------
 */

sage_status kernel_set_read(sage_context *context, const struct kernel_row *const *picked, kernel_read *read,
                            void *user, struct sage_kernel_set *out) {
    struct sage_kernel_set set = {0};
    sage_status status = SAGE_OK;
    for (int role = 0; role < SAGE_ROLE_COUNT && status == SAGE_OK; role++)
        if (picked[role]) status = read(context, user, picked[role], &set.kernel[role]);
    if (status == SAGE_OK)
        *out = set;
    else
        kernel_set_free(context, &set);
    return status;
}
