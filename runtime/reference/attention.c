// attention: gathers the sampled rows of one head at a time and runs the online softmax with exact P.
// SPDX-License-Identifier: Apache-2.0
#include "attention.h"
#include "attend.h"
#include "tensor.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXACT_TILE = 64 };
static const double log2_e = 1.4426950408889634074;

double attention_sm_scale(const struct attention_problem *p) {
    return p->sm_scale != 0 ? p->sm_scale : 1 / sqrt((double)p->dim_qk);
}

size_t attention_visible(const struct attention_problem *p, size_t row) {
    if (!p->causal) return p->seq_k;
    size_t end = row + 1 + p->seq_k;
    return end > p->seq_q ? end - p->seq_q : 0;
}

bool attention_check(const struct attention_problem *p, const struct attention_sample *samples, size_t count, char *why,
                     size_t why_bytes) {
    if (p->heads_q < 1 || p->heads_kv < 1 || p->heads_q % p->heads_kv)
        return tensor_fail(why, why_bytes, "%d key heads do not divide %d query heads", p->heads_kv, p->heads_q);
    if (p->dim_qk < 1 || p->dim_v < 1)
        return tensor_fail(why, why_bytes, "head dims %d and %d must be positive", p->dim_qk, p->dim_v);
    for (size_t i = 0; i < count; i++)
        if (samples[i].head < 0 || samples[i].head >= p->heads_q || samples[i].row >= p->seq_q)
            return tensor_fail(why, why_bytes, "sample %zu: head %d, row %zu is outside the tensor", i, samples[i].head,
                               samples[i].row);
    return true;
}

// i-th of n values spread over [0, count).
static size_t spread(size_t i, size_t n, size_t count) {
    return n < 2 ? count / 2 : i * (count - 1) / (n - 1);
}

void attention_spread(const struct attention_problem *p, int heads, size_t rows, struct attention_sample *samples) {
    for (int h = 0; h < heads; h++)
        for (size_t r = 0; r < rows; r++)
            samples[(size_t)h * rows + r] = (struct attention_sample){
                .head = (int)spread((size_t)h, (size_t)heads, (size_t)p->heads_q), .row = spread(r, rows, p->seq_q)};
}

// Samples of one head, which begin the list.
static bool exact_head(const struct attention_problem *p, const struct attention_sample *samples, size_t count,
                       int threads, double *o, double *lse, char *why, size_t why_bytes) {
    const struct attend_rule exact = {.p = P_EXACT, .tile_k = EXACT_TILE};
    size_t dim = (size_t)p->dim_qk, head = (size_t)samples[0].head, head_kv = head / (size_t)(p->heads_q / p->heads_kv);
    float *q = malloc(count * dim * sizeof *q);
    size_t *visible = malloc(count * sizeof *visible);
    bool ok = q && visible;
    for (size_t i = 0; ok && i < count; i++) {
        memcpy(q + i * dim, p->q + (head * p->seq_q + samples[i].row) * dim, dim * sizeof *q);
        visible[i] = attention_visible(p, samples[i].row);
    }
    struct attend_operands in = {
        .q = q, .rows = count, .keys = p->seq_k, .dim_qk = p->dim_qk, .dim_v = p->dim_v, .visible = visible};
    in.k = p->k + head_kv * p->seq_k * dim;
    in.v = p->v + head_kv * p->seq_k * (size_t)p->dim_v;
    in.score_scale = attention_sm_scale(p) * log2_e;
    ok = ok ? attend_quantised(&in, &exact, threads, o, lse, why, why_bytes)
            : tensor_fail(why, why_bytes, "out of memory");
    free(q);
    free(visible);
    return ok;
}

bool attention_exact(const struct attention_problem *p, const struct attention_sample *samples, size_t count,
                     int threads, double *o, double *lse, char *why, size_t why_bytes) {
    if (!attention_check(p, samples, count, why, why_bytes)) return false;
    for (size_t first = 0, last; first < count; first = last) {
        for (last = first + 1; last < count && samples[last].head == samples[first].head;) last++;
        double *lse_at = lse ? lse + first : NULL;
        if (!exact_head(p, samples + first, last - first, threads, o + first * (size_t)p->dim_v, lse_at, why,
                        why_bytes))
            return false;
    }
    return true;
}
