// bench_plot: see bench_plot.h. SPDX-License-Identifier: Apache-2.0
#include "bench_plot.h"

#include "bench_table.h"
#include "svg_plot.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -- Names and colours ---- */

// A kernel has one name in all panels: its spec's, without the head dim.
static void series_name(const struct bench_line *line, struct buf *out) {
    struct buf label = {0};
    bench_line_label(line, &label);
    const char *dim = line->contender == BENCH_SAGEGEN ? strstr(label.data, "_d") : NULL;
    if (dim && dim[2] >= '0' && dim[2] <= '9') {
        buf_append(out, label.data, (size_t)(dim - label.data));
        buf_puts(out, dim + 2 + strcspn(dim + 2, " "));
    } else {
        buf_puts(out, label.data);
    }
    buf_free(&label);
}

// Families of the sagegen kernels, in the order in which they come.
struct families {
    char *name[SVG_PLOT_COLOURS];
    int count;
};

static int family_of(struct families *f, const char *kernel) {
    const char *dim = strstr(kernel, "_d");
    const size_t len = dim ? (size_t)(dim - kernel) : strlen(kernel);
    for (int i = 0; i < f->count; i++)
        if (strlen(f->name[i]) == len && strncmp(f->name[i], kernel, len) == 0) return i;
    if (f->count < SVG_PLOT_COLOURS) f->name[f->count] = xstrndup(kernel, len);
    return f->count < SVG_PLOT_COLOURS ? f->count++ : SVG_PLOT_COLOURS - 1;
}

static int colour_of(struct families *f, const struct bench_line *line) {
    static const int peers[BENCH_CONTENDERS] = {
        [BENCH_CUDNN_BF16] = 7, [BENCH_FA2_BF16] = 4, [BENCH_FA3_BF16] = 5,
        [BENCH_FA4_BF16] = 3,   [BENCH_FA3_FP8] = 8,  [BENCH_SAGEATTENTION] = 6};
    static const int own[] = {0, 1, 2, 9};
    if (line->contender != BENCH_SAGEGEN) return peers[line->contender];
    return own[family_of(f, line->kernel) % 4];
}

/* -- Panels ---- */

static struct svg_point *points_of(const struct bench_group *g, int line) {
    struct svg_point *points = xcalloc((size_t)g->columns, sizeof *points);
    for (int c = 0; c < g->columns; c++) {
        const double tops = bench_group_tops(g, line, c);
        points[c] = (struct svg_point){tops > 0 ? g->column[c].n : 0, tops};
    }
    return points;
}

static void make_panel(const struct bench_view *view, const struct bench_group *g, struct families *families,
                       struct svg_panel *out) {
    struct buf title = {0};
    buf_printf(&title, "d = %d, %scausal", g->d, g->causal ? "" : "not ");
    if (view->gpus > 1) buf_printf(&title, ", %s", g->gpu);
    struct svg_series *series = xcalloc((size_t)g->lines, sizeof *series);
    for (int i = 0; i < g->lines; i++) {
        struct buf name = {0};
        series_name(&g->line[i], &name);
        series[i] = (struct svg_series){.name = name.data,
                                        .colour = colour_of(families, &g->line[i]),
                                        .dashed = g->line[i].mode == BENCH_END_TO_END,
                                        .point = points_of(g, i),
                                        .points = g->columns};
    }
    *out = (struct svg_panel){title.data, series, g->lines};
}

static bool has_points(const struct bench_group *g) {
    for (int i = 0; i < g->lines * g->columns; i++)
        if (g->cell[i] && g->cell[i]->tops > 0) return true;
    return false;
}

bool bench_plot_print(const struct bench_records *records, struct buf *out) {
    struct bench_view view;
    bench_view_make(&view, records, true);
    struct svg_panel *panels = xcalloc((size_t)view.groups + 1, sizeof *panels);
    struct families families = {.count = 0};
    struct buf caption = {0};
    int count = 0;
    for (int i = 0; i < view.groups; i++)
        if (has_points(&view.group[i])) make_panel(&view, &view.group[i], &families, &panels[count++]);
    bench_table_machine(records, &caption);
    caption.data[caption.len - 1] = '\0'; // the line end
    const struct svg_plot plot = {.title = "Attention: TOPS over sequence length",
                                  .caption = caption.data,
                                  .x_label = "N (tokens)",
                                  .y_label = "TOPS",
                                  .panel = panels,
                                  .panels = count,
                                  .columns = count > 1 ? 2 : 1};
    if (count > 0) svg_plot_print(&plot, out);
    for (int i = 0; i < count; i++) svg_panel_free(&panels[i]);
    for (int i = 0; i < families.count; i++) free(families.name[i]);
    free(panels);
    buf_free(&caption);
    bench_view_free(&view);
    return count > 0;
}
