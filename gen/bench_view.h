// bench_view: records as they are shown: a group for each GPU, head dim and mask, its columns the lengths, its lines
// the contenders. What the table prints and the plot draws. In: sorted records, borrowed. Out: groups. Prints nothing.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_BENCH_VIEW_H
#define SAGE_GEN_BENCH_VIEW_H

#include "bench_record.h"

// A contender that computes in bf16 has one line: its modes are the same. mode -1: both.
struct bench_line {
    int contender, mode;
    const char *kernel;
};

struct bench_group {
    const char *gpu;
    int d;
    bool causal;
    bool small; /* not the largest batch x heads of their lengths: small grids */
    struct bench_problem *column;
    struct bench_line *line;
    const struct bench_record **cell; /* [line][column]; NULL: none */
    int columns, lines;
};

struct bench_view {
    struct bench_group *group;
    int groups, gpus;
};

// large_only: without small grids.
void bench_view_make(struct bench_view *view, const struct bench_records *records, bool large_only);
void bench_view_free(struct bench_view *view);

const struct bench_record *bench_group_cell(const struct bench_group *group, int line, int column);
double bench_group_tops(const struct bench_group *group, int line, int column); // 0: none
// The most TOPS that a contender of so many bits has in a column, sagegen aside; of 8 bits in this mode. 0: none.
double bench_group_best(const struct bench_group *group, int bits, int mode, int column);
// "cudnn_bf16", "fa3_fp8 end to end", "int8_fp8_d128 kernel"
void bench_line_label(const struct bench_line *line, struct buf *out);

#endif
