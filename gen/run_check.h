// run_check: how far O and LSE are from softmax attention in float64 on the same inputs, before any quantisation. In:
// host tensors. Out: metrics over all rows, or over evenly spread ones where all would take too long. Never prints.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_RUN_CHECK_H
#define SAGE_GEN_RUN_CHECK_H

#include "reference/metrics.h"
#include "run_input.h"

#define RUN_CHECK_COST 4e10 /* rows * keys * head dim that the float64 reference may take */

struct run_check_setup {
    const struct run_shape *shape;
    const struct tensor *input; /* [RUN_INPUTS]; elements that are not finite count as 0, as the kernels read them */
    const struct tensor *o;
    const struct tensor *lse; /* NULL: not compared */
    float sm_scale;           /* 0: 1 / sqrt(head dim) */
    bool causal;
    double cost; /* at most; RUN_CHECK_COST */
};

struct run_check {
    size_t rows, rows_all;
    struct metrics o;
    struct metrics lse; /* rows whose LSE is -infinity on both sides count as equal */
};

// The rows that a check takes: heads times rows of each.
void run_check_rows(const struct run_shape *shape, double cost, int *heads, size_t *rows);
bool run_check(const struct run_check_setup *setup, struct run_check *out, char *why, size_t why_bytes);

#endif
