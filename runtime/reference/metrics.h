// metrics: how far an output is from its reference. In: two arrays. Out: three numbers. A NaN in either array makes
// every number NaN, so that a comparison `error <= bound` fails. No allocation.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_REFERENCE_METRICS_H
#define SAGE_REFERENCE_METRICS_H

#include <stddef.h>

struct metrics {
    double rel_l2;  /* |O - R| / |R|; 0 where both are zero, infinity where only R is */
    double cosine;  /* 1 where both are zero, 0 where one is */
    double max_abs; /* largest |O - R| */
};

struct metrics metrics_compare(const double *o, const double *reference, size_t n);
struct metrics metrics_compare_float(const float *o, const double *reference, size_t n);

#endif
