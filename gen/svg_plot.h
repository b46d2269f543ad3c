// svg_plot: line plots as one self-contained SVG file: panels in a grid, all with the same axes (x logarithmic to base
// 2, y linear from 0), one legend. Follows the reader's light or dark scheme; no script, no font file. In: points. Out:
// text, the same bytes for the same points. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SVG_PLOT_H
#define SAGE_GEN_SVG_PLOT_H

#include "buf.h"
#include <stdbool.h>

enum { SVG_PLOT_COLOURS = 10 };

struct svg_point {
    double x, y; /* x > 0, y >= 0; other points are left out */
};

// One line. Those of one name are the same in every panel: colour, dashes, one entry of the legend.
struct svg_series {
    const char *name;
    int colour; /* 0...SVG_PLOT_COLOURS-1 */
    bool dashed;
    const struct svg_point *point; /* in the order of x */
    int points;
};

struct svg_panel {
    const char *title;
    const struct svg_series *series;
    int count;
};

struct svg_plot {
    const char *title, *caption; /* caption: small, at the bottom; NULL: none */
    const char *x_label, *y_label;
    const struct svg_panel *panel;
    int panels, columns; /* of the grid */
};

// Where things are. **Units** pixels of the view box, from its upper left corner.
struct svg_frame {
    double left, top, width, height; /* of a panel's plotting area */
    double x_first, x_last, y_last;  /* the axes' ends; y starts at 0 */
};

void svg_plot_frame(const struct svg_plot *plot, int panel, struct svg_frame *out);
double svg_frame_x(const struct svg_frame *frame, double x);
double svg_frame_y(const struct svg_frame *frame, double y);

// Text as XML and HTML have it.
void svg_escape(struct buf *out, const char *text);
// Frees the texts and points of a panel whose own they are.
void svg_panel_free(const struct svg_panel *panel);
void svg_plot_print(const struct svg_plot *plot, struct buf *out);

#endif
