// metrics: one pass of sums, then the three numbers.
// SPDX-License-Identifier: Apache-2.0
#include "metrics.h"
#include <math.h>

struct sums {
    double oo, rr, or, dd, max_abs;
};

static void sums_add(struct sums *s, double o, double r) {
    double d = fabs(o - r);
    s->oo += o * o;
    s->rr += r * r;
    s->or += o * r;
    s->dd += d * d;
    if (!(d <= s->max_abs)) s->max_abs = d;
}

static struct metrics metrics_from_sums(const struct sums *s) {
    if (isnan(s->dd)) return (struct metrics){NAN, NAN, NAN};
    struct metrics m = {.max_abs = s->max_abs};
    m.rel_l2 = s->dd == 0 ? 0 : sqrt(s->dd) / sqrt(s->rr);
    if (s->oo == 0 && s->rr == 0)
        m.cosine = 1;
    else if (s->oo > 0 && s->rr > 0)
        m.cosine = s->or / (sqrt(s->oo) * sqrt(s->rr));
    return m;
}

struct metrics metrics_compare(const double *o, const double *reference, size_t n) {
    struct sums s = {0};
    for (size_t i = 0; i < n; i++) sums_add(&s, o[i], reference[i]);
    return metrics_from_sums(&s);
}

struct metrics metrics_compare_float(const float *o, const double *reference, size_t n) {
    struct sums s = {0};
    for (size_t i = 0; i < n; i++) sums_add(&s, (double)o[i], reference[i]);
    return metrics_from_sums(&s);
}
