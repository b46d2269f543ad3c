// verify_properties: what must hold whatever the values: repeatability, layouts, streams, masks, powers of two, special
// inputs, flags. Most compare one call with another, without a reference. SPDX-License-Identifier: Apache-2.0
#include "verify.h"

#include "reference/formats.h"
#include "verify_compare.h"
#include "verify_data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Inputs that may be changed ---- */

struct tensors {
    sage_attention_shape shape;
    float *q, *k, *v;
    size_t q_count, k_count, v_count;
};

static float *copy(const float *x, size_t n) {
    float *out = xmalloc((n + 1) * sizeof *out);
    memcpy(out, x, n * sizeof *out);
    return out;
}

static struct tensors make(struct verify_session *s, sage_attention_shape shape, enum random_kind kind) {
    const struct plan *p = &s->unit->plan;
    const struct verify_inputs_key key = {.kind = kind,
                                          .io = verify_io_format(s),
                                          .shape = shape,
                                          .dim_qk = p->head_dim_qk,
                                          .dim_v = p->head_dim_v,
                                          .seed = s->options->seed + 31,
                                          .sample_heads = 1,
                                          .sample_rows = 1};
    const struct verify_inputs *in = verify_data_inputs(s->data, &key);
    struct tensors t = {.shape = shape};
    t.q_count = verify_count(&shape, 'q', p);
    t.k_count = verify_count(&shape, 'k', p);
    t.v_count = verify_count(&shape, 'v', p);
    t.q = copy(in->q, t.q_count);
    t.k = copy(in->k, t.k_count);
    t.v = copy(in->v, t.v_count);
    return t;
}

static void tensors_free(struct tensors *t) {
    free(t->q);
    free(t->k);
    free(t->v);
}

static struct verify_call call_of(const struct tensors *t) {
    return (struct verify_call){.shape = t->shape, .q = t->q, .k = t->k, .v = t->v};
}

static struct attention_problem problem_of(const struct verify_session *s, const struct tensors *t, double sm_scale) {
    return (struct attention_problem){.q = t->q,
                                      .k = t->k,
                                      .v = t->v,
                                      .heads_q = (int)(t->shape.batch * t->shape.heads_q),
                                      .heads_kv = (int)(t->shape.batch * t->shape.heads_kv),
                                      .seq_q = (size_t)t->shape.seq_q,
                                      .seq_k = (size_t)t->shape.seq_k,
                                      .dim_qk = s->unit->plan.head_dim_qk,
                                      .dim_v = s->unit->plan.head_dim_v,
                                      .sm_scale = sm_scale,
                                      .causal = s->unit->mask == SPEC_MASK_CAUSAL};
}

static size_t o_count(const struct verify_session *s, const struct verify_call *call) {
    return verify_count(&call->shape, 'o', &s->unit->plan);
}

static size_t lse_count(const struct verify_call *call) {
    return (size_t)(call->shape.batch * call->shape.heads_q * call->shape.seq_q);
}

/* -- Comparing two calls ---- */

// Elements of O and LSE whose bits differ.
static double differing(const struct verify_session *s, const struct verify_call *a, const struct verify_call *b) {
    size_t wrong = 0;
    for (size_t i = 0; i < o_count(s, a); i++) wrong += a->o_bits[i] != b->o_bits[i];
    for (size_t i = 0; i < lse_count(a); i++) wrong += memcmp(&a->lse[i], &b->lse[i], sizeof(float)) != 0;
    return (double)wrong;
}

static void check_same(struct verify_session *s, const char *check, const struct verify_call *a,
                       const struct verify_call *b) {
    char shape[64], note[96];
    double wrong = differing(s, a, b);
    verify_shape_text(b, shape);
    snprintf(note, sizeof note, "elements of O and LSE that differ, of %zu", o_count(s, a) + lse_count(a));
    verify_check(s, check, shape, wrong, 0, note);
}

// |a * factor - b| / |b| of O.
static double relative(const struct verify_session *s, const struct verify_call *a, double factor,
                       const struct verify_call *b) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < o_count(s, a); i++) {
        double x = (double)a->o[i] * factor - (double)b->o[i], y = (double)b->o[i];
        error += x * x;
        norm += y * y;
    }
    return error == 0 ? 0 : sqrt(error / norm);
}

static void check_relative(struct verify_session *s, const char *check, const struct verify_call *a, double factor,
                           const struct verify_call *b, double bound, const char *note) {
    char shape[64];
    verify_shape_text(b, shape);
    verify_check(s, check, shape, relative(s, a, factor, b), bound, note);
}

static void gate2_of(struct verify_session *s, const struct verify_call *call, const struct attention_problem *p,
                     const char *suffix) {
    struct attention_sample *sample;
    // Where P is coarse a score next to a rounding boundary moves a row by a step of its format: the machine's problems
    // are small enough for all rows.
    size_t count = verify_samples(p, 2, s->options->vm ? 0 : 48, &sample);
    verify_gate2(s, call, p, sample, count, suffix);
    free(sample);
}

/* -- The same call again, otherwise ---- */

static sage_attention_shape usual(const struct verify_session *s) {
    return verify_sizes(s->options)->usual;
}

// The plain run that others are compared with. false: recorded.
static bool plain(struct verify_session *s, const struct tensors *t, struct verify_call *out) {
    *out = call_of(t);
    return verify_call_run(s, out, "plain run");
}

static void property_repeat(struct verify_session *s) {
    static const struct {
        const char *check;
        enum verify_mode mode;
        enum verify_layout layout;
        bool own_stream;
    } others[] = {
        {"same again", MODE_RUN, LAYOUT_BHND, false},
        {"same on a stream", MODE_RUN, LAYOUT_BHND, true},
        {"same in a graph", MODE_GRAPH, LAYOUT_BHND, true},
        {"same in two steps", MODE_TWO_STEP, LAYOUT_BHND, false},
        {"same, late lse", MODE_LATE_LSE, LAYOUT_BHND, true},
        {"same bnhd", MODE_RUN, LAYOUT_BNHD, false},
        {"same fused", MODE_RUN, LAYOUT_FUSED, false},
        {"same odd strides", MODE_RUN, LAYOUT_ODD, true},
    };
    struct tensors t = make(s, usual(s), RANDOM_OUTLIER);
    struct verify_call first;
    bool ok = plain(s, &t, &first);
    for (size_t i = 0; ok && i < sizeof others / sizeof others[0]; i++) {
        struct verify_call call = call_of(&t);
        call.mode = others[i].mode;
        call.layout = others[i].layout;
        call.own_stream = others[i].own_stream;
        ok = verify_call_run(s, &call, others[i].check);
        if (ok) check_same(s, others[i].check, &first, &call);
        verify_call_free(&call);
    }
    verify_call_free(&first);
    tensors_free(&t);
}

// Swaps key a with key b of every head, of K and V.
static void swap_keys(struct tensors *t, const struct plan *p, int64_t a, int64_t b) {
    for (int64_t h = 0; h < t->shape.batch * t->shape.heads_kv; h++) {
        float *k = t->k + h * t->shape.seq_k * p->head_dim_qk, *v = t->v + h * t->shape.seq_k * p->head_dim_v;
        for (int c = 0; c < p->head_dim_qk; c++) {
            float x = k[a * p->head_dim_qk + c];
            k[a * p->head_dim_qk + c] = k[b * p->head_dim_qk + c];
            k[b * p->head_dim_qk + c] = x;
        }
        for (int c = 0; c < p->head_dim_v; c++) {
            float x = v[a * p->head_dim_v + c];
            v[a * p->head_dim_v + c] = v[b * p->head_dim_v + c];
            v[b * p->head_dim_v + c] = x;
        }
    }
}

static double permuted_bound(const struct verify_unit *unit) {
    return unit->plan.fp4 ? 0.6 : unit->spec.p_format == SPEC_FORMAT_FP16 ? 0.05 : 0.12;
}

// Keys 2i and 2i + 1 share every scale and tile: only the order of sums changes. Across tiles, scales change too, so
// that two results may be as far apart as each is from the truth.
static void property_permute(struct verify_session *s) {
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    struct verify_call first, pairs, all;
    if (s->unit->mask == SPEC_MASK_NONE && plain(s, &t, &first)) {
        for (int64_t i = 0; i + 1 < usual(s).seq_k; i += 2) swap_keys(&t, &s->unit->plan, i, i + 1);
        if (plain(s, &t, &pairs))
            check_relative(s, "permute pairs", &first, 1, &pairs,
                           (s->unit->plan.pv4 ? 3 : 1) * verify_gate2_bound(s->unit), "O, relative");
        for (int64_t i = 0; i < usual(s).seq_k; i++) swap_keys(&t, &s->unit->plan, i, (i * 7919 + 13) % usual(s).seq_k);
        if (!s->dead && plain(s, &t, &all)) {
            const struct attention_problem p = problem_of(s, &t, 0);
            verify_exact(s, &all, &p, SIZE_MAX, "permuted, exact");
            check_relative(s, "permute all", &first, 1, &all, permuted_bound(s->unit), "O, relative; scales differ");
            verify_call_free(&all);
        }
        verify_call_free(&pairs);
        verify_call_free(&first);
    }
    tensors_free(&t);
}

/* -- Values that are not finite, flags ---- */

static void property_future(struct verify_session *s) {
    enum { FUTURE = 40 };
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    struct tensors zeroed = make(s, usual(s), RANDOM_NORMAL);
    const size_t dims[2] = {(size_t)s->unit->plan.head_dim_qk, (size_t)s->unit->plan.head_dim_v};
    float *const bad[2] = {t.k, t.v}, *const zero[2] = {zeroed.k, zeroed.v};
    const size_t heads = (size_t)(usual(s).batch * usual(s).heads_kv), n = (size_t)usual(s).seq_k;
    for (int tensor = 0; tensor < 2; tensor++)
        for (size_t h = 0; h < heads; h++)
            for (size_t i = (h * n + n - FUTURE) * dims[tensor]; i < (h + 1) * n * dims[tensor]; i++) {
                bad[tensor][i] = i % 3 ? NAN : INFINITY;
                zero[tensor][i] = 0.0f;
            }
    struct verify_call with_nan, with_zero;
    const struct attention_problem p = problem_of(s, &zeroed, 0);
    if (plain(s, &t, &with_nan) && plain(s, &zeroed, &with_zero)) {
        check_same(s, "NaN read as 0", &with_zero, &with_nan);
        if (p.causal) verify_exact(s, &with_nan, &p, n - FUTURE, "NaN in the future");
        verify_call_free(&with_zero);
    }
    verify_call_free(&with_nan);
    tensors_free(&t);
    tensors_free(&zeroed);
}

static void property_flags(struct verify_session *s) {
    const sage_attention_shape shape = {1, 2, 1, 70, 150};
    for (unsigned planted = 0; planted < 8 && !s->dead; planted++) {
        struct tensors t = make(s, shape, RANDOM_NORMAL);
        char note[64], text[64];
        if (planted & SAGE_OVERFLOW_Q) t.q[t.q_count - 1] = NAN;
        if (planted & SAGE_OVERFLOW_K) t.k[t.k_count / 2] = INFINITY;
        if (planted & SAGE_OVERFLOW_V) t.v[3] = -INFINITY;
        struct verify_call call;
        if (plain(s, &t, &call)) {
            verify_shape_text(&call, text);
            snprintf(note, sizeof note, "flags 0x%x, planted 0x%x", call.flags, planted);
            verify_check(s, "overflow flags", text, call.flags == planted ? 0 : 1, 0, note);
        }
        verify_call_free(&call);
        tensors_free(&t);
    }
}

/* -- Special values ---- */

static void fill_constant(float *x, size_t rows, size_t dim, const float *row) {
    for (size_t i = 0; i < rows; i++) memcpy(x + i * dim, row, dim * sizeof *x);
}

// Rows that see half of the keys or more: with few keys, P's own rounding does not average out.
static double constant_v_error(const struct verify_session *s, const struct verify_call *call, const float *v) {
    size_t dim = (size_t)s->unit->plan.head_dim_v, n = (size_t)call->shape.seq_q;
    double error = 0, norm = 0;
    for (size_t row = 0; row < lse_count(call); row++)
        for (size_t c = 0; row % n >= n / 2 && c < dim; c++) {
            double x = (double)call->o[row * dim + c] - (double)v[c];
            error += x * x;
            norm += (double)v[c] * (double)v[c];
        }
    return sqrt(error / norm);
}

enum { CONSTANT_V_KEYS = 2048 }; /* what the bound is meant for; errors of fewer keys cancel less */

static void constant_v(struct verify_session *s, int64_t n) {
    struct tensors t = make(s, (sage_attention_shape){1, 1, 1, n, n}, RANDOM_NORMAL);
    float *v = copy(t.v, (size_t)s->unit->plan.head_dim_v);
    char shape[64];
    fill_constant(t.v, (size_t)n, (size_t)s->unit->plan.head_dim_v, v);
    struct verify_call call;
    if (plain(s, &t, &call)) {
        verify_shape_text(&call, shape);
        // P's errors cancel where the sum is that of the quantised P; those of 4 bits are large where they do not
        bool coarse = s->unit->plan.pv4 && strcmp(s->unit->plan.row_sum, "exact") == 0;
        double bound = coarse || s->unit->spec.v_format == SPEC_FORMAT_MXFP4 ? 0.15 : 2e-3;
        if (!coarse && n < CONSTANT_V_KEYS) bound *= sqrt((double)CONSTANT_V_KEYS / (double)n);
        verify_check(s, "constant V", shape, constant_v_error(s, &call, v), bound, "");
    }
    verify_call_free(&call);
    free(v);
    tensors_free(&t);
}

static void property_constant_v(struct verify_session *s) {
    constant_v(s, verify_sizes(s->options)->constant_v);
    if (s->options->level == VERIFY_FULL && !s->options->vm && verify_unit_is_headline(s->unit) && !s->dead)
        constant_v(s, 131072);
}

static void property_large_rows(struct verify_session *s) {
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    const size_t dim = (size_t)s->unit->plan.head_dim_qk;
    for (size_t i = 0; i < t.q_count; i++)
        if (i / dim % 17 == 0) t.q[i] = (float)format_round(verify_io_format(s), (double)t.q[i] * 1e3);
    struct verify_call call;
    size_t wrong = 0;
    char shape[64];
    if (plain(s, &t, &call)) {
        for (size_t i = 0; i < o_count(s, &call); i++) wrong += isfinite(call.o[i]) ? 0 : 1;
        for (size_t i = 0; i < lse_count(&call); i++) wrong += isfinite(call.lse[i]) ? 0 : 1;
        verify_shape_text(&call, shape);
        verify_check(s, "large rows", shape, (double)wrong + (call.flags != 0), 0,
                     "values that are not finite, or flags");
    }
    verify_call_free(&call);
    tensors_free(&t);
}

// Q, K or both zero, K constant, Q and K so small (bf16) that the product of their scales is 0: P is uniform.
static void property_uniform(struct verify_session *s) {
    static const char *const suffix[] = {" zero Q", " zero K", " constant K", " tiny Q, K"};
    const int cases = s->unit->io == SPEC_IO_BF16 ? 4 : 3;
    for (int i = 0; i < cases && !s->dead; i++) {
        struct tensors t = make(s, usual(s), RANDOM_NORMAL);
        const size_t dim = (size_t)s->unit->plan.head_dim_qk;
        float *row = copy(t.k, dim);
        if (i == 0) memset(t.q, 0, t.q_count * sizeof *t.q);
        if (i == 1) memset(t.k, 0, t.k_count * sizeof *t.k);
        if (i == 2) fill_constant(t.k, t.k_count / dim, dim, row);
        for (size_t n = 0; i == 3 && n < t.q_count; n++) t.q[n] *= 0x1p-80f;
        for (size_t n = 0; i == 3 && n < t.k_count; n++) t.k[n] *= 0x1p-80f;
        struct verify_call call = call_of(&t);
        const struct attention_problem p = problem_of(s, &t, 0);
        call.keep_workspace = true;
        if (verify_call_run(s, &call, suffix[i] + 1)) {
            gate2_of(s, &call, &p, suffix[i]);
            verify_exact(s, &call, &p, SIZE_MAX, suffix[i] + 1);
        }
        verify_call_free(&call);
        free(row);
        tensors_free(&t);
    }
}

static void property_zero_v(struct verify_session *s) {
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    struct verify_call call;
    char shape[64];
    size_t wrong = 0;
    memset(t.v, 0, t.v_count * sizeof *t.v);
    if (plain(s, &t, &call)) {
        for (size_t i = 0; i < o_count(s, &call); i++) wrong += call.o[i] != 0;
        verify_shape_text(&call, shape);
        verify_check(s, "zero V", shape, (double)wrong, 0, "elements of O that are not 0");
    }
    verify_call_free(&call);
    tensors_free(&t);
}

// One key: P = 1, and each channel's value is its own maximum, so O is V, exactly; but for mxfp4, whose scales are
// powers of two, and for nvfp4 with one level of scales, where P's is 1/6 rounded to 4 bits.
static bool is_token(const struct verify_session *s, float o, float v) {
    const struct spec *spec = &s->unit->spec;
    const bool one_level = spec->p_format == SPEC_FORMAT_NVFP4 && spec->p_scaling != SPEC_P_SCALING_TWO_LEVEL;
    const float share = spec->v_format == SPEC_FORMAT_MXFP4 ? 0.26f : one_level ? 0.0625f : 0;
    return fabsf(o - v) <= share * fabsf(v);
}

static void property_one_token(struct verify_session *s) {
    struct tensors t = make(s, (sage_attention_shape){2, 2, 1, 1, 1}, RANDOM_NORMAL);
    const size_t dim = (size_t)s->unit->plan.head_dim_v;
    struct verify_call call;
    char shape[64];
    size_t wrong = 0;
    if (plain(s, &t, &call)) {
        for (size_t i = 0; i < o_count(s, &call); i++)
            wrong += !is_token(s, call.o[i], t.v[i / dim / 2 * dim + i % dim]);
        verify_shape_text(&call, shape);
        verify_check(s, "one token", shape, (double)wrong, 0, "elements of O that are not V");
    }
    verify_call_free(&call);
    tensors_free(&t);
}

/* -- Powers of two ---- */

static void scale(float *x, size_t n, double factor) {
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] * factor);
}

static void property_scale_v(struct verify_session *s) {
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    struct verify_call first, other;
    if (s->unit->io == SPEC_IO_BF16 && plain(s, &t, &first)) { // fp16 has no such range
        for (int sign = -1; sign <= 1 && !s->dead; sign += 2) {
            double factor = ldexp(1, 20 * sign);
            scale(t.v, t.v_count, factor);
            if (plain(s, &t, &other))
                check_relative(s, sign < 0 ? "V * 2^-20" : "V * 2^20", &first, factor, &other, 1e-6, "O, relative");
            verify_call_free(&other);
            scale(t.v, t.v_count, 1 / factor);
        }
        verify_call_free(&first);
    }
    tensors_free(&t);
}

// Multiples of 1/32 below 8 have at most 8 bits, and stay exact in both io types under the scaling.
static void property_scale_qk(struct verify_session *s) {
    struct tensors t = make(s, usual(s), RANDOM_NORMAL);
    struct verify_call first, other;
    for (size_t i = 0; i < t.q_count; i++) t.q[i] = rintf(t.q[i] * 32) / 32;
    for (size_t i = 0; i < t.k_count; i++) t.k[i] = rintf(t.k[i] * 32) / 32;
    if (plain(s, &t, &first)) {
        scale(t.q, t.q_count, 16);
        scale(t.k, t.k_count, 1.0 / 16);
        bool ok = plain(s, &t, &other);
        // K - mean(K) is also kept in the io type, where small values are subnormal
        if (ok && s->unit->plan.q_group)
            check_relative(s, "Q * 2^4, K * 2^-4", &first, 1, &other, 5e-3, "O, relative");
        else if (ok)
            check_same(s, "Q * 2^4, K * 2^-4", &first, &other);
        verify_call_free(&other);
    }
    verify_call_free(&first);
    tensors_free(&t);
}

static void property_sm_scale(struct verify_session *s) {
    const float given[2] = {0.04f, 0.3f};
    for (int i = 0; i < 2 && !s->dead; i++) {
        struct tensors t = make(s, usual(s), RANDOM_NORMAL);
        struct verify_call call = call_of(&t);
        const struct attention_problem p = problem_of(s, &t, (double)given[i]);
        call.sm_scale = given[i];
        call.keep_workspace = true;
        if (verify_call_run(s, &call, "sm_scale")) {
            gate2_of(s, &call, &p, " sm_scale");
            verify_exact(s, &call, &p, SIZE_MAX, "sm_scale");
        }
        verify_call_free(&call);
        tensors_free(&t);
    }
}

/* -- All ---- */

void verify_properties(struct verify_session *s) {
    static const struct {
        void (*run)(struct verify_session *s);
        unsigned sets;
    } all[] = {
        {property_repeat, VERIFY_SET_ALL},     {property_permute, VERIFY_SET_ALL},
        {property_future, VERIFY_SET_ALL},     {property_flags, VERIFY_SET_ALL},
        {property_constant_v, VERIFY_SET_ALL}, {property_large_rows, VERIFY_SET_ALL},
        {property_uniform, VERIFY_SET_ALL},    {property_zero_v, VERIFY_SET_ALL},
        {property_one_token, VERIFY_SET_ALL},  {property_scale_v, VERIFY_SET_ALL},
        {property_scale_qk, VERIFY_SET_ALL},   {property_sm_scale, VERIFY_SET_ALL},
    };
    const unsigned set = verify_sizes(s->options)->set;
    if (set == VERIFY_SET_QUICK && !verify_unit_is_headline(s->unit)) return;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !s->dead; i++)
        if (all[i].sets & set) all[i].run(s);
    if (s->options->level == VERIFY_FULL && !s->dead) verify_far(s);
}
