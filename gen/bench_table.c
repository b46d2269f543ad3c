// bench_table: see bench_table.h. Cells are texts; widths are known when all are. SPDX-License-Identifier: Apache-2.0
#include "bench_table.h"

#include <stdlib.h>
#include <string.h>

/* -- A grid of texts ---- */

struct grid {
    struct buf *cell;
    int columns, cells, capacity;
};

static struct buf *grid_next(struct grid *g) {
    g->cell = xgrown(g->cell, g->cells, &g->capacity, sizeof *g->cell);
    buf_puts(&g->cell[g->cells], "");
    return &g->cell[g->cells++];
}

static void grid_free(struct grid *g) {
    for (int i = 0; i < g->cells; i++) buf_free(&g->cell[i]);
    free(g->cell);
}

static int grid_width(const struct grid *g, int column) {
    size_t width = 0;
    for (int i = column; i < g->cells; i += g->columns)
        if (g->cell[i].len > width) width = g->cell[i].len;
    return (int)width;
}

static void grid_print(const struct grid *g, struct buf *out) {
    for (int i = 0; i < g->cells; i++) {
        const int column = i % g->columns, width = grid_width(g, column);
        if (column == 0)
            buf_printf(out, "%-*s", width, g->cell[i].data);
        else
            buf_printf(out, "  %*s", width, g->cell[i].data);
        if (column == g->columns - 1) buf_puts(out, "\n");
    }
}

static void grid_print_markdown(const struct grid *g, struct buf *out) {
    for (int i = 0; i < g->cells; i++) {
        buf_printf(out, i % g->columns ? " %s |" : "| %s |", g->cell[i].data);
        if (i % g->columns < g->columns - 1) continue;
        buf_puts(out, "\n");
        if (i >= g->columns) continue;
        buf_puts(out, "|---|");
        for (int c = 1; c < g->columns; c++) buf_puts(out, "---:|");
        buf_puts(out, "\n");
    }
}

/* -- Rows ---- */

static void put_head(const struct bench_group *g, struct grid *out) {
    buf_puts(grid_next(out), "TOPS");
    for (int c = 0; c < g->columns; c++) {
        const struct bench_problem *p = &g->column[c];
        struct buf *cell = grid_next(out);
        if (g->small)
            buf_printf(cell, "%dx%dx%d", p->batch, p->heads, p->n);
        else
            buf_printf(cell, "%d", p->n);
    }
}

static void put_change(const struct bench_record *record, const struct bench_records *old, struct buf *out) {
    const struct bench_record *before = old ? bench_records_find(old, record, true) : NULL;
    if (before && before->tops > 0 && record->tops > 0)
        buf_printf(out, " %+.1f%%", 100 * (record->tops / before->tops - 1));
}

static void put_line(const struct bench_group *g, int line, const struct bench_records *old, struct grid *out) {
    bench_line_label(&g->line[line], grid_next(out));
    for (int c = 0; c < g->columns; c++) {
        const struct bench_record *record = bench_group_cell(g, line, c);
        struct buf *cell = grid_next(out);
        if (!record || record->tops == 0) {
            buf_puts(cell, "-");
            continue;
        }
        buf_printf(cell, "%.*f", record->tops < 10 ? 1 : 0, record->tops);
        put_change(record, old, cell);
    }
}

static void put_ratio(const struct bench_group *g, int line, int bits, bool markdown, struct grid *out) {
    const int mode = g->line[line].mode;
    bool any = false;
    for (int c = 0; c < g->columns; c++)
        any |= bench_group_best(g, bits, mode, c) > 0 && bench_group_tops(g, line, c) > 0;
    if (!any) return;
    struct buf *label = grid_next(out);
    buf_puts(label, markdown ? "*" : "");
    bench_line_label(&g->line[line], label);
    buf_printf(label, " / best %s%s", bits == 16 ? "bf16" : "8-bit peer", markdown ? "*" : "");
    for (int c = 0; c < g->columns; c++) {
        const double best = bench_group_best(g, bits, mode, c), own = bench_group_tops(g, line, c);
        struct buf *cell = grid_next(out);
        if (best > 0 && own > 0)
            buf_printf(cell, "%.2f", own / best);
        else
            buf_puts(cell, "-");
    }
}

static void put_group(const struct bench_group *g, const struct bench_table_options *options, struct buf *out) {
    struct grid grid = {.columns = g->columns + 1};
    put_head(g, &grid);
    for (int i = 0; i < g->lines; i++) put_line(g, i, options->old, &grid);
    for (int bits = 16; bits >= 8; bits -= 8)
        for (int i = 0; i < g->lines; i++)
            if (g->line[i].contender == BENCH_SAGEGEN) put_ratio(g, i, bits, options->markdown, &grid);
    if (options->markdown)
        grid_print_markdown(&grid, out);
    else
        grid_print(&grid, out);
    grid_free(&grid);
}

static void put_title(const struct bench_view *view, const struct bench_group *g, struct buf *out) {
    buf_printf(out, "d = %d, %scausal", g->d, g->causal ? "" : "not ");
    if (g->small) buf_puts(out, ", small grids (batch x heads x N)");
    if (view->gpus > 1) buf_printf(out, ", %s", g->gpu);
    buf_puts(out, ":\n\n");
}

/* -- What was not measured ---- */

static bool is_told_already(const struct bench_group *g, int cell) {
    for (int i = 0; i < cell; i++)
        if (g->cell[i] && g->cell[i]->contender == g->cell[cell]->contender &&
            strcmp(g->cell[i]->kernel, g->cell[cell]->kernel) == 0 &&
            strcmp(g->cell[i]->reason, g->cell[cell]->reason) == 0)
            return true;
    return false;
}

static void put_reasons(const struct bench_group *g, struct buf *out) {
    const size_t before = out->len;
    for (int i = 0; i < g->lines * g->columns; i++) {
        const struct bench_record *record = g->cell[i];
        if (!record || record->ms > 0 || is_told_already(g, i)) continue;
        if (out->len == before) buf_puts(out, "\n");
        buf_printf(out, "- %s", bench_contender_name(record->contender));
        if (record->contender == BENCH_SAGEGEN) buf_printf(out, " %s", record->kernel);
        buf_printf(out, ", N = %d: %s\n", record->problem.n, record->reason);
    }
}

/* -- Machine ---- */

static void put_same(const struct bench_records *records, size_t member, const char *before, struct buf *out) {
    const char *first = NULL;
    bool several = false;
    for (int i = 0; i < records->count; i++) {
        char *const *text = (char *const *)((const char *)&records->item[i] + member);
        if ((*text)[0] && !first) first = *text;
        several |= (*text)[0] && strcmp(first, *text) != 0;
    }
    if (first) buf_printf(out, "%s%s%s", out->len ? ", " : "", before, several ? "several" : first);
}

// The versions of the peers, each once.
static void put_versions(const struct bench_records *records, struct buf *out) {
    for (int c = 0; c < BENCH_CONTENDERS; c++)
        for (int i = 0; i < records->count; i++) {
            const struct bench_record *record = &records->item[i];
            if (record->contender != c || c == BENCH_SAGEGEN || !record->version[0]) continue;
            if (!out->data || !strstr(out->data, record->version))
                buf_printf(out, "%s%s", out->len ? ", " : "", record->version);
            break;
        }
}

void bench_table_machine(const struct bench_records *records, struct buf *out) {
    struct buf line = {0};
    put_same(records, offsetof(struct bench_record, gpu), "", &line);
    put_same(records, offsetof(struct bench_record, driver), "driver ", &line);
    put_same(records, offsetof(struct bench_record, nvrtc), "NVRTC ", &line);
    put_versions(records, &line);
    put_same(records, offsetof(struct bench_record, commit), "commit ", &line);
    put_same(records, offsetof(struct bench_record, date), "", &line);
    buf_append(out, line.data, line.len);
    buf_puts(out, "\n");
    buf_free(&line);
}

void bench_table_print(const struct bench_records *records, const struct bench_table_options *options,
                       struct buf *out) {
    struct bench_view view;
    bench_view_make(&view, records, false);
    if (!options->markdown) bench_table_machine(records, out);
    for (int i = 0; i < view.groups; i++) {
        if (!options->markdown || i) buf_puts(out, "\n");
        if (!options->markdown || view.groups > 1) put_title(&view, &view.group[i], out);
        put_group(&view.group[i], options, out);
        put_reasons(&view.group[i], out);
    }
    bench_view_free(&view);
}
