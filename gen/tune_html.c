// tune_html: the report of `sagegen tune`: one self-contained HTML file: summary, plots of the gain over length, the
// table, what was left out and why. The same bytes for the same results. SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include "svg_plot.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PANELS_MOST = 64, SERIES_MOST = 16 };

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>sagegen tune</title>\n<style>\n"
    "  :root { color-scheme: light dark; }\n"
    "  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }\n"
    "  table { border-collapse: collapse; font-size: 13px; }\n"
    "  th, td { padding: 0.15rem 0.6rem; text-align: left; border-bottom: 1px solid #8884; }\n"
    "  td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }\n"
    "  tr.faster td { font-weight: 600; }\n"
    "  .estimate { border: 2px solid #d55e00; padding: 0.5rem 1rem; }\n"
    "  svg { max-width: 100%; height: auto; }\n"
    "</style>\n</head>\n<body>\n";

/* -- Plots: a panel for each head dim, mask and grid; a line for each spec and io ---- */

static bool same_panel(const struct tune_task *a, const struct tune_task *b) {
    const struct bench_problem *p = &a->problem, *q = &b->problem;
    return p->d == q->d && p->causal == q->causal && p->batch == q->batch && p->heads == q->heads;
}

static bool same_line(const struct tune_task *a, const struct tune_task *b) {
    return same_panel(a, b) && a->spec == b->spec && a->io == b->io;
}

static double gain_of(const struct tune_command *c, const struct tune_task *t) {
    const int winner = tune_winner(&c->work, t);
    const double usual = (double)tune_best_time(&t->candidate[0]).ns;
    return winner >= 0 && usual > 0 ? usual / (double)tune_best_time(&t->candidate[winner]).ns : -1;
}

static int by_length(const void *left, const void *right) {
    const struct svg_point *a = left, *b = right;
    return (a->x > b->x) - (a->x < b->x);
}

// Colours by spec; fp16 is dashed.
static int colour_of(const struct tune_command *c, const struct tune_task *t) {
    for (int i = 0; i < c->specs.count; i++)
        if (c->specs.item[i] == t->spec) return i % SVG_PLOT_COLOURS;
    return 0;
}

static void make_line(const struct tune_command *c, const struct tune_task *first, struct svg_series *out) {
    struct svg_point *points = xcalloc((size_t)c->work.tasks, sizeof *points);
    struct buf name = {0};
    int count = 0;
    for (int i = 0; i < c->work.tasks; i++)
        if (same_line(first, &c->work.task[i]))
            points[count++] = (struct svg_point){c->work.task[i].problem.n, gain_of(c, &c->work.task[i])};
    qsort(points, (size_t)count, sizeof *points, by_length);
    buf_printf(&name, "%s %s", first->spec->spec.name, spec_io_text(first->io));
    *out = (struct svg_series){.name = name.data,
                               .colour = colour_of(c, first),
                               .dashed = first->io == SPEC_IO_FP16,
                               .point = points,
                               .points = count};
}

static bool is_first(const struct tune_command *c, int task,
                     bool (*same)(const struct tune_task *, const struct tune_task *)) {
    for (int i = 0; i < task; i++)
        if (same(&c->work.task[i], &c->work.task[task])) return false;
    return true;
}

static void make_panel(const struct tune_command *c, const struct tune_task *first, struct svg_panel *out) {
    struct svg_series *series = xcalloc(SERIES_MOST, sizeof *series);
    const struct bench_problem *p = &first->problem;
    struct buf title = {0};
    int count = 0;
    for (int i = 0; i < c->work.tasks && count < SERIES_MOST; i++)
        if (same_panel(first, &c->work.task[i]) && is_first(c, i, same_line))
            make_line(c, &c->work.task[i], &series[count++]);
    buf_printf(&title, "d = %d, %scausal, %d x %d heads", p->d, p->causal ? "" : "not ", p->batch, p->heads);
    *out = (struct svg_panel){title.data, series, count};
}

static void put_plots(const struct tune_command *c, struct buf *out) {
    struct svg_panel panel[PANELS_MOST];
    struct buf caption = {0};
    int count = 0;
    for (int i = 0; i < c->work.tasks && count < PANELS_MOST; i++)
        if (is_first(c, i, same_panel)) make_panel(c, &c->work.task[i], &panel[count++]);
    tune_machine_text(c, &caption);
    const struct svg_plot plot = {.title = "Time of the default variant over that of the winner",
                                  .caption = caption.data,
                                  .x_label = "N (tokens)",
                                  .y_label = "gain",
                                  .panel = panel,
                                  .panels = count,
                                  .columns = count > 1 ? 2 : 1};
    svg_plot_print(&plot, out);
    for (int i = 0; i < count; i++) svg_panel_free(&panel[i]);
    buf_free(&caption);
}

/* -- Tables ---- */

static void put_row(const struct tune_command *c, const struct tune_task *t, struct buf *out) {
    const int winner = tune_winner(&c->work, t);
    const double gain = gain_of(c, t);
    struct buf text = {0};
    tune_task_text(t, &text);
    buf_puts(out, winner > 0 ? "<tr class=\"faster\"><td>" : "<tr><td>");
    svg_escape(out, text.data);
    buf_printf(out, "</td><td>%s</td><td class=\"n\">%.4f</td>", tune_set_of(&c->work, t, 0)->name,
               (double)tune_best_time(&t->candidate[0]).ns / 1e6);
    if (winner >= 0)
        buf_printf(out, "<td>%s</td><td class=\"n\">%.4f</td><td class=\"n\">%.3f</td></tr>\n",
                   tune_set_of(&c->work, t, winner)->name, (double)tune_best_time(&t->candidate[winner]).ns / 1e6,
                   gain > 0 ? gain : 1);
    else
        buf_puts(out, "<td>none</td><td></td><td></td></tr>\n");
    buf_free(&text);
}

static void put_results(const struct tune_command *c, struct buf *out) {
    buf_puts(out, "<h2>Winners</h2>\n<table>\n<tr><th>problem</th><th>default</th><th class=\"n\">ms</th>"
                  "<th>winner</th><th class=\"n\">ms</th><th class=\"n\">gain</th></tr>\n");
    for (int i = 0; i < c->work.tasks; i++) put_row(c, &c->work.task[i], out);
    buf_puts(out, "</table>\n");
}

static void put_out_row(struct buf *out, const char *variant, const char *of, enum tune_fault fault, const char *why) {
    buf_printf(out, "<tr><td>%s</td><td>", variant);
    svg_escape(out, of);
    buf_printf(out, "</td><td>%s</td><td>", tune_fault_word(fault));
    svg_escape(out, why);
    buf_puts(out, "</td></tr>\n");
}

static void put_left_out(const struct tune_command *c, struct buf *out) {
    struct buf of = {0};
    buf_puts(out, "<h2>Left out</h2>\n<table>\n<tr><th>variant</th><th>of</th><th></th><th>why</th></tr>\n");
    for (int i = 0; i < c->work.pruned_count; i++) {
        const struct tune_pruned *p = &c->work.pruned[i];
        buf_clear(&of);
        buf_printf(&of, "%s %s %s", p->spec, p->target, p->problem);
        put_out_row(out, p->variant, of.data, p->fault, p->why);
    }
    for (int i = 0; i < c->work.sets; i++) {
        const struct tune_set *s = &c->work.set[i];
        if (s->fault == TUNE_FINE) continue;
        buf_clear(&of);
        buf_printf(&of, "%s %s %s", s->spec->spec.name, spec_io_text(s->io), spec_mask_text(s->mask));
        put_out_row(out, s->name, of.data, s->fault, s->why);
    }
    for (int i = 0; i < c->work.tasks; i++)
        for (int k = 0; k < c->work.task[i].count; k++) {
            const struct tune_candidate *own = &c->work.task[i].candidate[k];
            if (own->fault == TUNE_FINE) continue;
            buf_clear(&of);
            tune_task_text(&c->work.task[i], &of);
            put_out_row(out, tune_set_of(&c->work, &c->work.task[i], k)->name, of.data, own->fault, own->why);
        }
    buf_puts(out, "</table>\n");
    buf_free(&of);
}

void tune_html_print(const struct tune_command *c, struct buf *out) {
    struct tune_summary s;
    struct buf machine = {0};
    tune_summary_make(c, &s);
    tune_machine_text(c, &machine);
    buf_puts(out, head);
    buf_printf(out, "<h1>sagegen tune</h1>\n<p%s>", tune_is_estimate(c) ? " class=\"estimate\"" : "");
    svg_escape(out, machine.data);
    buf_printf(out,
               "</p>\n<p>%d of %d problems decided; %d have a faster variant than the default; gain %.3f in the "
               "geometric mean, %.3f at most.</p>\n",
               s.decided, c->work.tasks, s.other, s.gain_mean, s.gain_most);
    put_plots(c, out);
    put_results(c, out);
    put_left_out(c, out);
    buf_puts(out, "</body>\n</html>\n");
    buf_free(&machine);
}
