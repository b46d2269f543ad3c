// svg_plot: see svg_plot.h. SPDX-License-Identifier: Apache-2.0
#include "svg_plot.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Pixels of the view box.
enum {
    MARGIN_LEFT = 56,
    MARGIN_RIGHT = 12,
    PANEL_WIDTH = 330, /* of the plotting area */
    PANEL_HEIGHT = 200,
    TITLE_HEIGHT = 40,
    PANEL_TITLE = 26,
    PANEL_FOOT = 46,
    LEGEND_ROW = 20,
    LEGEND_COLUMN = 240,
    LEGEND_SAMPLE = 26,
    CAPTION_HEIGHT = 24,
    CELL_WIDTH = MARGIN_LEFT + PANEL_WIDTH + MARGIN_RIGHT,
    CELL_HEIGHT = PANEL_TITLE + PANEL_HEIGHT + PANEL_FOOT
};

// The colours of Okabe and Ito, which colour-blind readers tell apart, and which show on white and on black; yellow,
// which white swallows, is violet here, and black is grey. No var(): not every reader of SVG knows it.
static const char style[] =
    "<style>\n"
    "  svg { font: 12px system-ui, sans-serif; }\n"
    "  text { fill: #1f2328; }\n"
    "  .paper { fill: #ffffff; }\n"
    "  .grid { stroke: #d0d7de; stroke-width: 1; }\n"
    "  .axis { stroke: #1f2328; stroke-width: 1; }\n"
    "  .title { font-size: 16px; font-weight: 600; }\n"
    "  .panel { font-size: 13px; font-weight: 600; }\n"
    "  .small { font-size: 11px; }\n"
    "  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }\n"
    "  .dashed { stroke-dasharray: 5 4; }\n"
    "  .c0 { stroke: #0072b2; } .d0 { fill: #0072b2; } .c1 { stroke: #d55e00; } .d1 { fill: #d55e00; }\n"
    "  .c2 { stroke: #009e73; } .d2 { fill: #009e73; } .c3 { stroke: #cc79a7; } .d3 { fill: #cc79a7; }\n"
    "  .c4 { stroke: #e69f00; } .d4 { fill: #e69f00; } .c5 { stroke: #56b4e9; } .d5 { fill: #56b4e9; }\n"
    "  .c6 { stroke: #8250df; } .d6 { fill: #8250df; } .c7 { stroke: #848d97; } .d7 { fill: #848d97; }\n"
    "  .c8 { stroke: #a5673f; } .d8 { fill: #a5673f; } .c9 { stroke: #2bb5a8; } .d9 { fill: #2bb5a8; }\n"
    "  @media (prefers-color-scheme: dark) {\n"
    "    text { fill: #e6edf3; } .paper { fill: #0d1117; } .grid { stroke: #30363d; } .axis { stroke: #e6edf3; }\n"
    "  }\n"
    "</style>\n";

/* -- Text ---- */

void svg_escape(struct buf *out, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            buf_puts(out, "&amp;");
            break;
        case '<':
            buf_puts(out, "&lt;");
            break;
        case '>':
            buf_puts(out, "&gt;");
            break;
        case '"':
            buf_puts(out, "&quot;");
            break;
        default:
            if ((unsigned char)*text >= ' ') buf_append(out, text, 1); // XML knows no other control bytes
        }
    }
}

static void put_text(struct buf *out, double x, double y, const char *attributes, const char *text) {
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, attributes);
    svg_escape(out, text);
    buf_puts(out, "</text>\n");
}

static void put_rule(struct buf *out, double x1, double y1, double x2, double y2, const char *class) {
    buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class);
}

// 512 as "512", 131072 as "128K".
static void put_length(struct buf *out, double x) {
    if (x >= 1048576 && fmod(x, 1048576) == 0)
        buf_printf(out, "%.0fM", x / 1048576);
    else if (x >= 1024 && fmod(x, 1024) == 0)
        buf_printf(out, "%.0fK", x / 1024);
    else
        buf_printf(out, "%g", x);
}

/* -- Axes ---- */

static bool is_drawn(const struct svg_point *p) {
    return isfinite(p->x) && isfinite(p->y) && p->x > 0 && p->y >= 0;
}

// The least of 1, 2, 2.5, 5 times a power of ten that makes at most 6 steps up to y.
static double y_step(double y) {
    static const double nice[] = {1, 2, 2.5, 5, 10};
    if (!(y > 0)) return 1;
    const double power = pow(10, floor(log10(y / 6)));
    for (size_t i = 0; i < sizeof nice / sizeof nice[0]; i++)
        if (nice[i] * power * 6 >= y) return nice[i] * power;
    return 10 * power;
}

static void ends_of(const struct svg_plot *plot, struct svg_frame *out) {
    double least = INFINITY, most = 0, top = 0;
    for (int i = 0; i < plot->panels; i++)
        for (int s = 0; s < plot->panel[i].count; s++)
            for (int k = 0; k < plot->panel[i].series[s].points; k++) {
                const struct svg_point *p = &plot->panel[i].series[s].point[k];
                if (!is_drawn(p)) continue;
                least = fmin(least, p->x);
                most = fmax(most, p->x);
                top = fmax(top, p->y);
            }
    if (most == 0) least = most = 1;
    out->x_first = exp2(floor(log2(least) + 1e-9));
    out->x_last = exp2(ceil(log2(most) - 1e-9));
    if (out->x_last <= out->x_first) out->x_last = 2 * out->x_first;
    out->y_last = ceil(top / y_step(top) - 1e-9) * y_step(top);
    if (!(out->y_last > 0)) out->y_last = 1;
}

void svg_plot_frame(const struct svg_plot *plot, int panel, struct svg_frame *out) {
    ends_of(plot, out);
    out->left = (panel % plot->columns) * CELL_WIDTH + MARGIN_LEFT;
    out->top = TITLE_HEIGHT + (panel / plot->columns) * CELL_HEIGHT + PANEL_TITLE;
    out->width = PANEL_WIDTH;
    out->height = PANEL_HEIGHT;
}

double svg_frame_x(const struct svg_frame *f, double x) {
    return f->left + f->width * (log2(x) - log2(f->x_first)) / (log2(f->x_last) - log2(f->x_first));
}

double svg_frame_y(const struct svg_frame *f, double y) {
    return f->top + f->height * (1 - y / f->y_last);
}

static void put_x_axis(const struct svg_plot *plot, const struct svg_frame *f, struct buf *out) {
    const double bottom = f->top + f->height, octaves = log2(f->x_last / f->x_first);
    const double factor = exp2(ceil(octaves / 10)); // at most 11 ticks
    struct buf label = {0};
    for (double x = f->x_first; x <= f->x_last * 1.0001; x *= factor) {
        const double at = svg_frame_x(f, x);
        put_rule(out, at, f->top, at, bottom + 4, "grid");
        buf_clear(&label);
        put_length(&label, x);
        put_text(out, at, bottom + 18, " text-anchor=\"middle\" class=\"small\"", label.data);
    }
    put_rule(out, f->left, bottom, f->left + f->width, bottom, "axis");
    put_text(out, f->left + f->width / 2, bottom + 34, " text-anchor=\"middle\" class=\"small\"", plot->x_label);
    buf_free(&label);
}

static void put_y_axis(const struct svg_plot *plot, const struct svg_frame *f, struct buf *out) {
    const double step = y_step(f->y_last);
    struct buf label = {0};
    for (int i = 0; i * step <= f->y_last * 1.0001; i++) {
        const double at = svg_frame_y(f, i * step);
        if (i) put_rule(out, f->left - 4, at, f->left + f->width, at, "grid");
        buf_clear(&label);
        buf_printf(&label, "%g", i * step);
        put_text(out, f->left - 8, at + 4, " text-anchor=\"end\" class=\"small\"", label.data);
    }
    put_rule(out, f->left, f->top, f->left, f->top + f->height, "axis");
    buf_clear(&label);
    const double x = f->left - 42, y = f->top + f->height / 2;
    buf_printf(&label, " text-anchor=\"middle\" class=\"small\" transform=\"rotate(-90 %.1f %.1f)\"", x, y);
    put_text(out, x, y, label.data, plot->y_label);
    buf_free(&label);
}

/* -- Lines ---- */

static void put_dots(const struct svg_series *s, const struct svg_frame *f, struct buf *out) {
    for (int i = 0; i < s->points; i++) {
        const struct svg_point *p = &s->point[i];
        if (!is_drawn(p)) continue;
        buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" class=\"d%d\"><title>", svg_frame_x(f, p->x),
                   svg_frame_y(f, p->y), s->colour);
        svg_escape(out, s->name);
        buf_printf(out, ", %g: %.5g</title></circle>\n", p->x, p->y);
    }
}

static void put_series(const struct svg_series *s, const struct svg_frame *f, struct buf *out) {
    const char *before = "";
    buf_printf(out, "<polyline class=\"line c%d%s\" points=\"", s->colour, s->dashed ? " dashed" : "");
    for (int i = 0; i < s->points; i++) {
        if (!is_drawn(&s->point[i])) continue;
        buf_printf(out, "%s%.1f,%.1f", before, svg_frame_x(f, s->point[i].x), svg_frame_y(f, s->point[i].y));
        before = " ";
    }
    buf_puts(out, "\"/>\n");
    put_dots(s, f, out);
}

static void put_panel(const struct svg_plot *plot, int index, struct buf *out) {
    const struct svg_panel *panel = &plot->panel[index];
    struct svg_frame f;
    svg_plot_frame(plot, index, &f);
    put_text(out, f.left, f.top - 9, " class=\"panel\"", panel->title);
    put_x_axis(plot, &f, out);
    put_y_axis(plot, &f, out);
    for (int i = 0; i < panel->count; i++) put_series(&panel->series[i], &f, out);
}

/* -- Legend ---- */

struct legend {
    const struct svg_series **entry;
    int count;
};

static bool is_listed(const struct legend *legend, const char *name) {
    for (int i = 0; i < legend->count; i++)
        if (strcmp(legend->entry[i]->name, name) == 0) return true;
    return false;
}

static struct legend legend_of(const struct svg_plot *plot) {
    int most = 1;
    for (int i = 0; i < plot->panels; i++) most += plot->panel[i].count;
    struct legend legend = {.entry = xcalloc((size_t)most, sizeof *legend.entry)};
    for (int i = 0; i < plot->panels; i++)
        for (int s = 0; s < plot->panel[i].count; s++)
            if (!is_listed(&legend, plot->panel[i].series[s].name))
                legend.entry[legend.count++] = &plot->panel[i].series[s];
    return legend;
}

static int legend_columns(const struct svg_plot *plot) {
    const int columns = (plot->columns * CELL_WIDTH - MARGIN_LEFT) / LEGEND_COLUMN;
    return columns > 1 ? columns : 1;
}

static void put_legend(const struct legend *legend, int columns, double top, struct buf *out) {
    for (int i = 0; i < legend->count; i++) {
        const struct svg_series *s = legend->entry[i];
        const double x = MARGIN_LEFT + (i % columns) * LEGEND_COLUMN, y = top + (i / columns) * LEGEND_ROW;
        buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"line c%d%s\"/>\n", x, y,
                   x + LEGEND_SAMPLE, y, s->colour, s->dashed ? " dashed" : "");
        put_text(out, x + LEGEND_SAMPLE + 6, y + 4, "", s->name);
    }
}

/* -- Plot ---- */

void svg_panel_free(const struct svg_panel *panel) {
    for (int i = 0; i < panel->count; i++) {
        free((char *)(uintptr_t)panel->series[i].name);
        free((struct svg_point *)(uintptr_t)panel->series[i].point);
    }
    free((struct svg_series *)(uintptr_t)panel->series);
    free((char *)(uintptr_t)panel->title);
}

void svg_plot_print(const struct svg_plot *plot, struct buf *out) {
    struct legend legend = legend_of(plot);
    const int rows = (plot->panels + plot->columns - 1) / plot->columns, columns = legend_columns(plot);
    const int legend_top = TITLE_HEIGHT + rows * CELL_HEIGHT + LEGEND_ROW / 2;
    const int legend_height = (legend.count + columns - 1) / columns * LEGEND_ROW;
    const int width = plot->columns * CELL_WIDTH, height = legend_top + legend_height + CAPTION_HEIGHT;
    buf_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        width, height, width, height);
    buf_puts(out, "<title>");
    svg_escape(out, plot->title);
    buf_puts(out, "</title>\n");
    buf_puts(out, style);
    buf_printf(out, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", width, height);
    put_text(out, MARGIN_LEFT, 24, " class=\"title\"", plot->title);
    for (int i = 0; i < plot->panels; i++) put_panel(plot, i, out);
    put_legend(&legend, columns, legend_top, out);
    if (plot->caption) put_text(out, MARGIN_LEFT, height - 8, " class=\"small\"", plot->caption);
    buf_puts(out, "</svg>\n");
    free(legend.entry);
}
