// bench_view: see bench_view.h. SPDX-License-Identifier: Apache-2.0
#include "bench_view.h"

#include <stdlib.h>
#include <string.h>

/* -- Which group a record belongs to ---- */

// Whether another record of the same length has more batch x heads.
static bool is_small(const struct bench_records *records, const struct bench_record *record) {
    const struct bench_problem *own = &record->problem;
    for (int i = 0; i < records->count; i++) {
        const struct bench_problem *p = &records->item[i].problem;
        if (p->d == own->d && p->n == own->n && p->causal == own->causal &&
            (long long)p->batch * p->heads > (long long)own->batch * own->heads &&
            strcmp(records->item[i].gpu, record->gpu) == 0)
            return true;
    }
    return false;
}

static struct bench_group *group_of(struct bench_view *view, const struct bench_record *record, bool small) {
    const struct bench_problem *p = &record->problem;
    for (int i = 0; i < view->groups; i++) {
        struct bench_group *g = &view->group[i];
        if (g->d == p->d && g->causal == p->causal && g->small == small && strcmp(g->gpu, record->gpu) == 0) return g;
    }
    struct bench_group *new = &view->group[view->groups++];
    *new = (struct bench_group){.gpu = record->gpu, .d = p->d, .causal = p->causal, .small = small};
    return new;
}

/* -- Lines and columns ---- */

static struct bench_line line_of(const struct bench_record *record) {
    const bool both = bench_contender_bits(record->contender) == 16;
    return (struct bench_line){record->contender, both ? -1 : record->mode, record->kernel};
}

static int find_line(const struct bench_group *g, const struct bench_line *line) {
    for (int i = 0; i < g->lines; i++)
        if (g->line[i].contender == line->contender && g->line[i].mode == line->mode &&
            strcmp(g->line[i].kernel, line->kernel) == 0)
            return i;
    return -1;
}

static int find_column(const struct bench_group *g, const struct bench_problem *problem) {
    for (int i = 0; i < g->columns; i++)
        if (bench_problem_equal(&g->column[i], problem)) return i;
    return -1;
}

static int compare_lines(const void *left, const void *right) {
    const struct bench_line *a = left, *b = right;
    if (a->contender != b->contender) return a->contender - b->contender;
    const int by_kernel = strcmp(a->kernel, b->kernel);
    return by_kernel ? by_kernel : a->mode - b->mode;
}

static int compare_columns(const void *left, const void *right) {
    const struct bench_problem *a = left, *b = right;
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    return a->batch != b->batch ? a->batch - b->batch : a->heads - b->heads;
}

static void collect(struct bench_group *g, const struct bench_record *record) {
    const struct bench_line line = line_of(record);
    if (find_line(g, &line) < 0) g->line[g->lines++] = line;
    if (find_column(g, &record->problem) < 0) g->column[g->columns++] = record->problem;
}

// Of the two rows of a bf16 contender the one that was measured.
static void place(struct bench_group *g, const struct bench_record *record) {
    const struct bench_line line = line_of(record);
    const struct bench_record **cell = &g->cell[find_line(g, &line) * g->columns + find_column(g, &record->problem)];
    if (!*cell || (*cell)->ms == 0) *cell = record;
}

/* -- View ---- */

static int compare_groups(const void *left, const void *right) {
    const struct bench_group *a = left, *b = right;
    const int by_gpu = strcmp(a->gpu, b->gpu);
    if (by_gpu) return by_gpu;
    if (a->small != b->small) return a->small - b->small;
    return a->d != b->d ? a->d - b->d : a->causal - b->causal;
}

static void order(struct bench_group *g) {
    qsort(g->line, (size_t)g->lines, sizeof *g->line, compare_lines);
    qsort(g->column, (size_t)g->columns, sizeof *g->column, compare_columns);
    g->cell = xcalloc((size_t)g->lines * (size_t)g->columns, sizeof *g->cell);
}

static int count_gpus(const struct bench_view *view) {
    int count = 0;
    for (int i = 0; i < view->groups; i++) count += i == 0 || strcmp(view->group[i].gpu, view->group[i - 1].gpu) != 0;
    return count;
}

void bench_view_make(struct bench_view *view, const struct bench_records *records, bool large_only) {
    const size_t most = (size_t)records->count + 1;
    *view = (struct bench_view){.group = xcalloc(most, sizeof *view->group)};
    bool *small = xcalloc(most, sizeof *small);
    for (int i = 0; i < records->count; i++) small[i] = is_small(records, &records->item[i]);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < records->count; i++) {
            if (large_only && small[i]) continue;
            struct bench_group *g = group_of(view, &records->item[i], small[i]);
            if (!g->line) g->line = xcalloc(most, sizeof *g->line);
            if (!g->column) g->column = xcalloc(most, sizeof *g->column);
            if (pass == 0)
                collect(g, &records->item[i]);
            else
                place(g, &records->item[i]);
        }
        for (int i = 0; pass == 0 && i < view->groups; i++) order(&view->group[i]);
    }
    if (view->groups) qsort(view->group, (size_t)view->groups, sizeof *view->group, compare_groups);
    view->gpus = count_gpus(view);
    free(small);
}

void bench_view_free(struct bench_view *view) {
    for (int i = 0; i < view->groups; i++) {
        free(view->group[i].line);
        free(view->group[i].column);
        free(view->group[i].cell);
    }
    free(view->group);
    *view = (struct bench_view){0};
}

/* -- Groups ---- */

const struct bench_record *bench_group_cell(const struct bench_group *group, int line, int column) {
    return group->cell[line * group->columns + column];
}

double bench_group_tops(const struct bench_group *group, int line, int column) {
    const struct bench_record *record = bench_group_cell(group, line, column);
    return record ? record->tops : 0;
}

double bench_group_best(const struct bench_group *group, int bits, int mode, int column) {
    double best = 0;
    for (int i = 0; i < group->lines; i++) {
        const struct bench_line *line = &group->line[i];
        if (line->contender == BENCH_SAGEGEN || bench_contender_bits(line->contender) != bits) continue;
        if (line->mode >= 0 && line->mode != mode) continue;
        const double tops = bench_group_tops(group, i, column);
        if (tops > best) best = tops;
    }
    return best;
}

void bench_line_label(const struct bench_line *line, struct buf *out) {
    const bool own = line->contender == BENCH_SAGEGEN;
    buf_puts(out, own ? line->kernel : bench_contender_name(line->contender));
    if (line->mode >= 0) buf_puts(out, line->mode == BENCH_KERNEL ? " kernel" : " end to end");
}
