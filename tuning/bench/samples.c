// samples: see samples.h. SPDX-License-Identifier: Apache-2.0
#include "samples.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct summary summarise(const double *values, int count) {
    double sorted[SAMPLES_MAX];
    assert(count > 0 && count <= SAMPLES_MAX);
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    return (struct summary){(sorted[(count - 1) / 2] + sorted[count / 2]) / 2, sorted[0], sorted[count * 9 / 10]};
}
