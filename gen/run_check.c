// run_check: see run_check.h. A batch is more heads to the reference; layouts become [head][row][dim] floats here.
// SPDX-License-Identifier: Apache-2.0
#include "run_check.h"
#include "buf.h"
#include "reference/attention.h"
#include <math.h>
#include <stdlib.h>

struct check {
    const struct run_check_setup *setup;
    struct tensor in[RUN_INPUTS], o; /* f32, [batch][heads][seq][dim] */
    struct attention_problem problem;
    struct attention_sample *samples;
    size_t count;
    double *o_exact, *o_run, *lse_exact, *lse_run; /* of the samples */
};

/* -- Rows ---- */

static double at_least_1(double x) {
    return x < 1 ? 1 : x;
}

void run_check_rows(const struct run_shape *shape, double cost, int *heads, size_t *rows) {
    const sage_attention_shape *e = &shape->extent;
    const double all_heads = (double)e->batch * (double)e->heads_q, seq = (double)e->seq_q;
    const double affordable = at_least_1(floor(cost / at_least_1((double)e->seq_k * shape->dim_qk)));
    *heads = (int)all_heads;
    *rows = (size_t)e->seq_q;
    if (all_heads * seq <= affordable) return;
    if (all_heads > affordable) *heads = (int)affordable;
    *rows = (size_t)at_least_1(floor(affordable / *heads));
}

/* -- Operands ---- */

static bool widen(const struct run_shape *shape, const struct tensor *t, int64_t heads, int64_t seq, int dim,
                  struct tensor *out, char *why, size_t why_bytes) {
    const struct tensor view = run_view(shape, t, heads, seq, dim);
    return tensor_convert(&view, FORMAT_F32, out, why, why_bytes);
}

static void zero_not_finite(struct tensor *t) {
    float *values = t->data;
    const size_t count = tensor_count(t);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) values[i] = 0;
}

static bool widen_all(struct check *c, char *why, size_t why_bytes) {
    const struct run_shape *shape = c->setup->shape;
    const struct tensor *in = c->setup->input;
    const sage_attention_shape *e = &shape->extent;
    if (!widen(shape, &in[RUN_Q], e->heads_q, e->seq_q, shape->dim_qk, &c->in[RUN_Q], why, why_bytes) ||
        !widen(shape, &in[RUN_K], e->heads_kv, e->seq_k, shape->dim_qk, &c->in[RUN_K], why, why_bytes) ||
        !widen(shape, &in[RUN_V], e->heads_kv, e->seq_k, shape->dim_v, &c->in[RUN_V], why, why_bytes) ||
        !widen(shape, c->setup->o, e->heads_q, e->seq_q, shape->dim_v, &c->o, why, why_bytes))
        return false;
    for (int i = 0; i < RUN_INPUTS; i++) zero_not_finite(&c->in[i]);
    return true;
}

static void fill_problem(struct check *c) {
    const struct run_shape *shape = c->setup->shape;
    const sage_attention_shape *e = &shape->extent;
    c->problem = (struct attention_problem){.q = c->in[RUN_Q].data,
                                            .k = c->in[RUN_K].data,
                                            .v = c->in[RUN_V].data,
                                            .heads_q = (int)(e->batch * e->heads_q),
                                            .heads_kv = (int)(e->batch * e->heads_kv),
                                            .seq_q = (size_t)e->seq_q,
                                            .seq_k = (size_t)e->seq_k,
                                            .dim_qk = shape->dim_qk,
                                            .dim_v = shape->dim_v,
                                            .sm_scale = (double)c->setup->sm_scale,
                                            .causal = c->setup->causal};
}

/* -- Comparison ---- */

static void sample(struct check *c) {
    int heads;
    size_t rows;
    const size_t dim = (size_t)c->problem.dim_v;
    run_check_rows(c->setup->shape, c->setup->cost, &heads, &rows);
    c->count = (size_t)heads * rows;
    c->samples = xcalloc(c->count + 1, sizeof *c->samples);
    c->o_exact = xcalloc(c->count * dim + 1, sizeof(double));
    c->o_run = xcalloc(c->count * dim + 1, sizeof(double));
    c->lse_exact = xcalloc(c->count + 1, sizeof(double));
    c->lse_run = xcalloc(c->count + 1, sizeof(double));
    attention_spread(&c->problem, heads, rows, c->samples);
}

// What the kernels gave for the samples. LSE is [batch][heads][seq] in every layout.
static void gather(struct check *c) {
    const size_t dim = (size_t)c->problem.dim_v;
    const float *o = c->o.data, *lse = c->setup->lse ? c->setup->lse->data : NULL;
    for (size_t i = 0; i < c->count; i++) {
        const size_t row = (size_t)c->samples[i].head * c->problem.seq_q + c->samples[i].row;
        for (size_t d = 0; d < dim; d++) c->o_run[i * dim + d] = (double)o[row * dim + d];
        if (lse) c->lse_run[i] = (double)lse[row];
        if (isinf(c->lse_exact[i]) && lse && isinf(lse[row]) && lse[row] < 0) c->lse_exact[i] = c->lse_run[i] = 0;
    }
}

static bool compare(struct check *c, struct run_check *out, char *why, size_t why_bytes) {
    sample(c);
    if (c->count && !attention_exact(&c->problem, c->samples, c->count, 0, c->o_exact, c->lse_exact, why, why_bytes))
        return false;
    gather(c);
    *out = (struct run_check){.rows = c->count, .rows_all = (size_t)c->problem.heads_q * c->problem.seq_q};
    out->o = metrics_compare(c->o_run, c->o_exact, c->count * (size_t)c->problem.dim_v);
    if (c->setup->lse) out->lse = metrics_compare(c->lse_run, c->lse_exact, c->count);
    return true;
}

static void check_free(struct check *c) {
    for (int i = 0; i < RUN_INPUTS; i++) tensor_free(&c->in[i]);
    tensor_free(&c->o);
    free(c->samples);
    free(c->o_exact);
    free(c->o_run);
    free(c->lse_exact);
    free(c->lse_run);
}

bool run_check(const struct run_check_setup *setup, struct run_check *out, char *why, size_t why_bytes) {
    struct check c = {.setup = setup};
    bool ok = widen_all(&c, why, why_bytes);
    if (ok) {
        fill_problem(&c);
        ok = compare(&c, out, why, why_bytes);
    }
    check_free(&c);
    return ok;
}
