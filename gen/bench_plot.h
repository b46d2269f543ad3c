// bench_plot: records -> an SVG plot of TOPS over length, a panel for each head dim and mask, a line for each
// contender; dashed lines are end to end. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_PLOT_H
#define SAGE_GEN_BENCH_PLOT_H

#include "bench_view.h"

// False: there is nothing to draw.
bool bench_plot_print(const struct bench_records *records, struct buf *out);

#endif
