// sass_print: reports on SASS as text for people and JSON for programs. Prints nothing itself: appends to a buffer.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SASS_PRINT_H
#define SAGE_GEN_SASS_PRINT_H

#include "sass_report.h"
#include "table.h"

// A report and what is known of the kernel besides its SASS.
struct sass_view {
    struct sass_report report;
    char spec[128], target[32], io[16], mask[16], variant[64]; /* "" where not known */
    int registers, spill_bytes, local_bytes;                   /* -1: not known */
    int scores;            /* that a thread makes in an iteration of the main loop; 0: no main loop */
    bool scores_estimated; /* from the exponentials, since no tile is known */
    char *complaint;       /* what ptxas said about serialised wgmma; NULL: nothing. Owned */
};

double sass_view_per_score(const struct sass_view *view, int slots); /* 0 without scores */

// One row for each kernel.
void sass_print_summary(const struct sass_view *view, int count, struct buf *out);
// Everything about one kernel: loops, classes, pipes, what branches skip, wgmma.
void sass_print_detail(const struct sass_view *view, struct buf *out);
// The main loop, instruction by instruction: '|' is the steady way, '.' is skipped.
void sass_print_annotated(const struct sass_view *view, struct buf *out);
// {"kernels": [a flat object each], "details": [...]}
json_t *sass_print_json(const struct sass_view *view, int count);

#endif
