// samples: the clock and the summaries of the programs beside it. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_BENCH_SAMPLES_H
#define SAGE_BENCH_SAMPLES_H

enum { SAMPLES_MAX = 128 };

struct summary {
    double median, min, p90; /* of an even number: the mean of the two in the middle */
};

// Microseconds of the system's monotonic clock, which all processes share.
double now_us(void);
// count: 1 to SAMPLES_MAX; values stay in their order.
struct summary summarise(const double *values, int count);

#endif
