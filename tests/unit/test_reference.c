// test_reference: the float64 reference against a naive one, the properties it must have, and the errors of the
// published algorithms against the recipe table of the accuracy study, on synthetic and on real Q, K, V.
// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "algorithm.h"
#include "attend.h"
#include "attention.h"
#include "capture.h"
#include "metrics.h"
#include "parallel.h"
#include "quantise.h"
#include "random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 256, THREADS = 2 };
#define ASK(call)                                                                                                      \
    do {                                                                                                               \
        if (!(call)) fail_msg("%s", why);                                                                              \
    } while (0)

/* -- Problems ---- */

// Random Q, K, V, samples of them, and room for the results.
struct fixture {
    struct attention_problem p;
    float *q, *k, *v;
    struct attention_sample *samples;
    size_t count;
    double *reference, *o, *lse, *reference_lse;
};

static size_t elements(int heads, size_t seq, int dim) {
    return (size_t)heads * seq * (size_t)dim;
}

static void *room(size_t count, size_t bytes) {
    void *memory = calloc(count + 1, bytes);
    assert_non_null(memory);
    return memory;
}

static void fixture_results(struct fixture *f, int heads, size_t rows) {
    f->count = (size_t)heads * rows;
    f->samples = room(f->count, sizeof *f->samples);
    attention_spread(&f->p, heads, rows, f->samples);
    f->reference = room(f->count * (size_t)f->p.dim_v, sizeof *f->reference);
    f->o = room(f->count * (size_t)f->p.dim_v, sizeof *f->o);
    f->lse = room(f->count, sizeof *f->lse);
    f->reference_lse = room(f->count, sizeof *f->reference_lse);
}

static void fixture_init(struct fixture *f, enum random_kind kind, struct random_shape s, bool causal, size_t rows,
                         uint64_t seed) {
    *f = (struct fixture){0};
    f->q = room(elements(s.heads_q, s.seq_q, s.dim_qk), sizeof *f->q);
    f->k = room(elements(s.heads_kv, s.seq_k, s.dim_qk), sizeof *f->k);
    f->v = room(elements(s.heads_kv, s.seq_k, s.dim_v), sizeof *f->v);
    random_attention(kind, &s, FORMAT_BF16, seed, THREADS, f->q, f->k, f->v);
    f->p = (struct attention_problem){f->q,    f->k,     f->v,    s.heads_q, s.heads_kv, s.seq_q,
                                      s.seq_k, s.dim_qk, s.dim_v, 0,         causal};
    fixture_results(f, s.heads_q, rows);
}

static void fixture_free(struct fixture *f) {
    void *const all[] = {f->q, f->k, f->v, f->samples, f->reference, f->o, f->lse, f->reference_lse};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void fixture_exact(struct fixture *f) {
    char why[WHY];
    ASK(attention_exact(&f->p, f->samples, f->count, THREADS, f->reference, f->reference_lse, why, sizeof why));
}

static struct metrics fixture_run(struct fixture *f, const struct algorithm *a) {
    char why[WHY];
    ASK(algorithm_attend(a, &f->p, f->samples, f->count, THREADS, f->o, f->lse, why, sizeof why));
    return metrics_compare(f->o, f->reference, f->count * (size_t)f->p.dim_v);
}

static double preset_error(struct fixture *f, const char *name) {
    struct algorithm a;
    assert_true(algorithm_preset(name, &a));
    return fixture_run(f, &a).rel_l2;
}

/* -- Generator and metrics ---- */

static void test_random(void **state) {
    (void)state;
    struct random r, same;
    random_seed(&r, 5);
    random_seed(&same, 5);
    double sum = 0, square = 0, fourth = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double x = random_normal(&r);
        assert_true(x == random_normal(&same));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / N) < 0.01 && fabs(square / N - 1) < 0.02 && fabs(fourth / N - 3) < 0.15);
}

static void test_distributions(void **state) {
    (void)state;
    const struct random_shape s = {4, 2, 300, 500, 64, 32};
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS; kind++) {
        struct fixture one, two;
        fixture_init(&one, (enum random_kind)kind, s, false, 1, 3);
        fixture_init(&two, (enum random_kind)kind, s, false, 1, 3);
        random_attention((enum random_kind)kind, &s, FORMAT_BF16, 3, 1, two.q, two.k, two.v);
        assert_memory_equal(one.q, two.q, elements(4, 300, 64) * sizeof(float));
        assert_memory_equal(one.v, two.v, elements(2, 500, 32) * sizeof(float));
        for (size_t i = 0; i < elements(2, 500, 64); i++)
            assert_true((double)one.k[i] == format_round(FORMAT_BF16, (double)one.k[i]));
        random_attention((enum random_kind)kind, &s, FORMAT_BF16, 4, 1, two.q, two.k, two.v);
        assert_memory_not_equal(one.k, two.k, elements(2, 500, 64) * sizeof(float));
        fixture_free(&one);
        fixture_free(&two);
    }
}

static void test_metrics(void **state) {
    (void)state;
    const double r[2] = {3, 4}, o[2] = {3, 4.5}, zero[2] = {0, 0}, bad[2] = {NAN, 4};
    struct metrics m = metrics_compare(o, r, 2);
    assert_true(fabs(m.rel_l2 - 0.1) < 1e-15 && fabs(m.max_abs - 0.5) < 1e-15);
    assert_true(fabs(m.cosine - 27 / (5 * sqrt(29.25))) < 1e-15);
    m = metrics_compare(zero, zero, 2);
    assert_true(m.rel_l2 == 0 && m.cosine == 1);
    assert_true(isinf(metrics_compare(r, zero, 2).rel_l2));
    m = metrics_compare(bad, r, 2);
    assert_true(isnan(m.rel_l2) && isnan(m.cosine) && isnan(m.max_abs));
    assert_true(isnan(metrics_compare_float((const float[]){1, NAN}, r, 2).max_abs));
}

static void count_item(void *user, size_t i) {
    ((int *)user)[i]++;
}

static void test_parallel(void **state) {
    (void)state;
    int hits[1000] = {0};
    for (int threads = 0; threads <= 16; threads += 4) parallel_for(1000, threads, count_item, hits);
    for (int i = 0; i < 1000; i++) assert_int_equal(hits[i], 5);
    parallel_for(0, 4, count_item, hits);
}

/* -- Exact attention ---- */

// Softmax by the textbook: all scores of a row, their maximum, their sum.
static void naive_row(const struct attention_problem *p, struct attention_sample s, double *o, double *lse) {
    size_t d = (size_t)p->dim_qk, dv = (size_t)p->dim_v, kv = (size_t)(s.head * p->heads_kv / p->heads_q);
    const float *q = p->q + ((size_t)s.head * p->seq_q + s.row) * d, *k = p->k + kv * p->seq_k * d,
                *v = p->v + kv * p->seq_k * dv;
    double *w = room(p->seq_k, sizeof *w), top = -INFINITY, sum = 0;
    for (size_t j = 0; j < p->seq_k; j++) {
        w[j] = 0;
        for (size_t c = 0; c < d; c++) w[j] += (double)q[c] * (double)k[j * d + c];
        w[j] /= sqrt((double)d);
        if (p->causal && j + p->seq_q > s.row + p->seq_k) w[j] = -INFINITY;
        top = fmax(top, w[j]);
    }
    for (size_t c = 0; c < dv; c++) o[c] = 0;
    for (size_t j = 0; j < p->seq_k && top > -INFINITY; j++) {
        w[j] = exp(w[j] - top);
        sum += w[j];
        for (size_t c = 0; c < dv; c++) o[c] += w[j] * (double)v[j * dv + c];
    }
    for (size_t c = 0; c < dv && sum > 0; c++) o[c] /= sum;
    *lse = sum > 0 ? top + log(sum) : -INFINITY;
    free(w);
}

static void check_against_naive(struct random_shape s, bool causal) {
    struct fixture f;
    fixture_init(&f, RANDOM_OUTLIER, s, causal, s.seq_q < 13 ? s.seq_q : 13, 9);
    fixture_exact(&f);
    size_t dv = (size_t)f.p.dim_v;
    for (size_t i = 0; i < f.count; i++) {
        naive_row(&f.p, f.samples[i], f.o + i * dv, f.lse + i);
        assert_true(f.lse[i] == f.reference_lse[i] || fabs(f.lse[i] - f.reference_lse[i]) < 1e-11);
    }
    assert_true(metrics_compare(f.reference, f.o, f.count * dv).max_abs < 1e-11);
    fixture_free(&f);
}

static void test_exact_is_naive(void **state) {
    (void)state;
    static const struct random_shape shapes[] = {
        {2, 2, 70, 70, 64, 64}, {6, 2, 33, 129, 40, 24},  {1, 1, 129, 40, 128, 128},
        {2, 1, 1, 1, 8, 8},     {1, 1, 5, 200, 192, 128}, {1, 1, 4, 0, 16, 16},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int causal = 0; causal < 2; causal++) check_against_naive(shapes[i], causal);
}

static void test_masked_rows(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){1, 1, 10, 4, 16, 16}, true, 10, 1);
    fixture_exact(&f);
    for (size_t i = 0; i < 6; i++) {
        assert_true(isinf(f.reference_lse[i]) && f.reference_lse[i] < 0);
        for (size_t c = 0; c < 16; c++) assert_true(f.reference[i * 16 + c] == 0);
    }
    assert_true(isfinite(f.reference_lse[6]));
    struct algorithm a;
    algorithm_preset("fp4", &a);
    a.smooth_v = true;
    fixture_run(&f, &a);
    for (size_t c = 0; c < 6 * 16; c++) assert_true(f.o[c] == 0);
    assert_true(isinf(f.lse[5]) && isfinite(f.lse[6]));
    fixture_free(&f);
}

static void test_causal_ignores_later_keys(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){1, 1, 50, 50, 16, 16}, true, 1, 1);
    f.samples[0].row = 20;
    fixture_exact(&f);
    memcpy(f.o, f.reference, 16 * sizeof *f.o);
    for (size_t i = 21 * 16; i < 50 * 16; i++) f.k[i] = f.v[i] = NAN;
    fixture_exact(&f);
    assert_memory_equal(f.o, f.reference, 16 * sizeof *f.o);
    fixture_free(&f);
}

static void test_bad_arguments(void **state) {
    (void)state;
    struct fixture f;
    char why[WHY];
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){2, 1, 8, 8, 16, 16}, false, 2, 1);
    struct attention_problem p = f.p;
    p.heads_kv = 3;
    assert_false(attention_exact(&p, f.samples, f.count, 1, f.o, NULL, why, sizeof why));
    assert_non_null(strstr(why, "divide"));
    f.samples[3].row = 8;
    assert_false(attention_exact(&f.p, f.samples, f.count, 1, f.o, NULL, why, sizeof why));
    assert_non_null(strstr(why, "sample 3"));
    f.samples[3].row = 7;
    struct algorithm a;
    assert_false(algorithm_preset("sage9", &a));
    assert_true(algorithm_preset("sage3", &a));
    a.p.tile_k = 24;
    assert_false(algorithm_attend(&a, &f.p, f.samples, f.count, 1, f.o, NULL, why, sizeof why));
    assert_non_null(strstr(why, "multiple of 16"));
    fixture_free(&f);
}

/* -- The kernel's softmax ---- */

static struct attend_operands whole_head(const struct fixture *f) {
    const struct attention_problem *p = &f->p;
    return (struct attend_operands){.q = p->q,
                                    .k = p->k,
                                    .v = p->v,
                                    .rows = p->seq_q,
                                    .keys = p->seq_k,
                                    .dim_qk = p->dim_qk,
                                    .dim_v = p->dim_v,
                                    .score_scale = attention_sm_scale(p) * 1.4426950408889634};
}

// With exact P, neither the order of tiles nor lazy rescaling nor the tile size matter.
static void test_order_and_lazy(void **state) {
    (void)state;
    struct fixture f;
    char why[WHY];
    fixture_init(&f, RANDOM_OUTLIER, (struct random_shape){1, 1, 21, 300, 32, 32}, false, 21, 2);
    fixture_exact(&f);
    struct attend_operands in = whole_head(&f);
    for (int i = 0; i < 8; i++) {
        struct attend_rule rule = {
            .p = P_EXACT, .tile_k = i & 1 ? 128 : 16, .lazy_log2 = i & 2 ? 8 : 0, .descending = i & 4};
        ASK(attend_quantised(&in, &rule, THREADS, f.o, f.lse, why, sizeof why));
        assert_true(metrics_compare(f.o, f.reference, f.count * 32).rel_l2 < 1e-13);
        assert_true(metrics_compare(f.lse, f.reference_lse, f.count).max_abs < 1e-11);
    }
    fixture_free(&f);
}

// Permuted and padded keys with key_index give what the keys in order give; delta_s is added to the scores.
static void test_key_index_and_delta(void **state) {
    (void)state;
    enum { N = 96, PADDED = 128, D = 16, ROWS = 5 };
    struct fixture f;
    char why[WHY];
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){1, 1, ROWS, N, D, D}, true, ROWS, 4);
    fixture_exact(&f);
    float k[PADDED * D], v[PADDED * D], delta[ROWS * PADDED] = {0};
    int32_t index[PADDED];
    size_t visible[ROWS];
    for (int j = 0; j < PADDED; j++) {
        index[j] = j * 37 % PADDED < N ? j * 37 % PADDED : -1;
        for (int c = 0; c < D; c++) {
            k[j * D + c] = index[j] < 0 ? NAN : f.k[index[j] * D + c];
            v[j * D + c] = index[j] < 0 ? NAN : f.v[index[j] * D + c];
        }
    }
    for (size_t r = 0; r < ROWS; r++) visible[r] = attention_visible(&f.p, r);
    struct attend_operands in = whole_head(&f);
    struct attend_rule rule = {.p = P_EXACT, .tile_k = 64};
    in.k = k;
    in.v = v;
    in.keys = PADDED;
    in.key_index = index;
    in.visible = visible;
    ASK(attend_quantised(&in, &rule, 1, f.o, NULL, why, sizeof why));
    assert_true(metrics_compare(f.o, f.reference, ROWS * D).rel_l2 < 1e-13);
    // Half of Q in the product, the other half's scores in delta_s.
    float half[ROWS * D];
    for (int i = 0; i < ROWS * D; i++) half[i] = f.q[i] / 2;
    for (int i = 0; i < ROWS * PADDED; i++)
        for (int c = 0; c < D && index[i % PADDED] >= 0; c++)
            delta[i] += half[i / PADDED * D + c] * k[i % PADDED * D + c];
    in.q = half;
    in.delta_s = delta;
    ASK(attend_quantised(&in, &rule, 1, f.o, NULL, why, sizeof why));
    assert_true(metrics_compare(f.o, f.reference, ROWS * D).rel_l2 < 1e-6);
    fixture_free(&f);
}

// Each P format rounds as coarsely as it should.
static void test_p_formats(void **state) {
    (void)state;
    static const struct {
        enum p_format p;
        bool log_code;
        double low, high;
    } rows[] = {{P_F16, false, 1e-5, 5e-4},          {P_E4M3, false, 0.005, 0.04}, {P_NVFP4, false, 0.03, 0.2},
                {P_NVFP4_DIRECT, false, 0.03, 0.25}, {P_NVFP4, true, 0.03, 0.2},   {P_NVFP4_LINEAR, false, 0.03, 0.2},
                {P_NVFP4_LINEAR, true, 0.03, 0.2},   {P_MXFP4, false, 0.03, 0.3}};
    struct fixture f;
    char why[WHY];
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){1, 1, 64, 1000, 64, 64}, false, 64, 2);
    fixture_exact(&f);
    struct attend_operands in = whole_head(&f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int lazy = 0; lazy <= 8; lazy += 4) {
            struct attend_rule rule = {
                .p = rows[i].p, .tile_k = 64, .lazy_log2 = lazy, .log_code = rows[i].log_code, .quantised_sum = true};
            ASK(attend_quantised(&in, &rule, THREADS, f.o, NULL, why, sizeof why));
            double e = metrics_compare(f.o, f.reference, f.count * 64).rel_l2;
            if (!(e > rows[i].low && e < rows[i].high))
                fail_msg("P format %d, lazy %d: error %g", (int)rows[i].p, lazy, e);
        }
    fixture_free(&f);
}

/* -- Block scales of P linear in log2 ---- */

enum { BLOCKS = 8, LINE_KEYS = BLOCKS * NVFP4_BLOCK, LINE_TILE = 64 };

// What attend rounds P = exp2(y) to, y in log2 units: one row, a dim of one, V the identity, the exact row sum. The
// first of two tiles holds the maximum that P is relative to.
static void rounded_p(enum p_format format, int lazy, const float y[LINE_KEYS], double p[LINE_KEYS]) {
    static float v[LINE_KEYS * LINE_KEYS];
    const float q = 1;
    const struct attend_rule rule = {.p = format, .tile_k = LINE_TILE, .lazy_log2 = lazy};
    const struct attend_operands in = {
        .q = &q, .k = y, .v = v, .rows = 1, .keys = LINE_KEYS, .dim_qk = 1, .dim_v = LINE_KEYS, .score_scale = 1};
    char why[WHY];
    double sum = 0;
    for (int i = 0; i < LINE_KEYS; i++) {
        v[i * LINE_KEYS + i] = 1;
        sum += exp2((double)y[i]);
    }
    ASK(attend_quantised(&in, &rule, 1, p, NULL, why, sizeof why));
    for (int i = 0; i < LINE_KEYS; i++) p[i] *= sum;
}

// y 0 somewhere in the first tile, none above `most` in the second; blocks of very different size.
static void random_scores(struct random *r, int lazy, float y[LINE_KEYS]) {
    for (int b = 0; b < BLOCKS; b++) {
        const double most = b * NVFP4_BLOCK < LINE_TILE ? 0 : lazy, at = most - 14 * random_uniform(r);
        for (int i = 0; i < NVFP4_BLOCK; i++) y[b * NVFP4_BLOCK + i] = (float)fmin(at + 3 * random_normal(r), most);
    }
    y[5] = 0;
}

// x is code times scale for every element, with one ue4m3 scale of code `code`.
static bool is_of_scale(const double *x, int code) {
    const double scale = format_decode(FORMAT_UE4M3, (uint64_t)code);
    for (int i = 0; i < NVFP4_BLOCK; i++) {
        const double e = x[i] / scale;
        if (fabs(e - format_round(FORMAT_E2M1, e)) > 1e-9 * fmax(e, 1)) return false;
    }
    return true;
}

static bool has_scale(const double *x, int first, int last) {
    for (int code = first; code <= last; code++)
        if (is_of_scale(x, code)) return true;
    return false;
}

static void test_linear_is_representable(void **state) {
    (void)state;
    struct random r;
    float y[LINE_KEYS];
    double p[LINE_KEYS];
    random_seed(&r, 11);
    for (int lazy = 0; lazy <= 4; lazy += 2)
        for (int n = 0; n < 200; n++) {
            random_scores(&r, lazy, y);
            rounded_p(P_NVFP4_LINEAR, lazy, y, p);
            for (int i = 0; i < LINE_KEYS; i++) p[i] *= 448 * 6 / exp2(lazy);
            for (int b = 0; b < BLOCKS; b++)
                if (!has_scale(p + b * NVFP4_BLOCK, 8, 126)) fail_msg("lazy %d, block %d: no scale fits", lazy, b);
        }
}

// p = 1 is exact, at code 126 - 8 t; one code less does not hold it.
static void test_linear_one(void **state) {
    (void)state;
    for (int lazy = 0; lazy <= 8; lazy += 2) {
        float y[LINE_KEYS];
        double p[LINE_KEYS];
        for (int i = 0; i < LINE_KEYS; i++) y[i] = i % NVFP4_BLOCK == 3 ? 0 : -1;
        rounded_p(P_NVFP4_LINEAR, lazy, y, p);
        assert_true(fabs(p[3] - 1) < 1e-12 && fabs(p[2] - 0.5) < 1e-12);
        for (int i = 0; i < LINE_KEYS; i++) p[i] *= 448 * 6 / exp2(lazy);
        assert_true(is_of_scale(p, 126 - 8 * lazy));
        assert_true(fabs(p[3] / format_decode(FORMAT_UE4M3, (uint64_t)(126 - 8 * lazy)) - 6) < 1e-12);
    }
}

// Within a block, and for the largest of blocks that differ by a factor.
static void test_linear_is_monotone(void **state) {
    (void)state;
    struct random r;
    double last = 0;
    float y[LINE_KEYS];
    double p[LINE_KEYS];
    random_seed(&r, 12);
    for (int n = 0; n < 200; n++) {
        random_scores(&r, 4, y);
        rounded_p(P_NVFP4_LINEAR, 4, y, p);
        for (int i = 0; i < LINE_KEYS; i++)
            for (int j = i - i % NVFP4_BLOCK; j < i; j++)
                assert_true((p[j] - p[i]) * (double)(y[j] - y[i]) >= 0 || fabs(p[j] - p[i]) < 1e-12);
    }
    for (int n = 0; n <= 1000; n++) {
        for (int i = 0; i < LINE_KEYS; i++) y[i] = i < LINE_TILE ? 0 : -10 + (float)(0.014 * n);
        rounded_p(P_NVFP4_LINEAR, 4, y, p);
        if (p[LINE_TILE] < last - 1e-12) fail_msg("P falls at y = %g", (double)y[LINE_TILE]);
        last = p[LINE_TILE];
    }
    assert_true(fabs(last - 16) < 1e-9); // 2^4 has p = 1's mantissa
}

// Squared error of O where P alone is rounded.
static double p_error(struct fixture *f, enum p_format format) {
    const struct attend_operands in = whole_head(f);
    const struct attend_rule rule = {.p = format, .tile_k = 64, .lazy_log2 = 4, .quantised_sum = true};
    char why[WHY];
    ASK(attend_quantised(&in, &rule, THREADS, f->o, NULL, why, sizeof why));
    const double e = metrics_compare(f->o, f->reference, f->count * (size_t)f->p.dim_v).rel_l2;
    return e * e;
}

// The weight of a block is off by -4 % to +2 %, which hides below the rounding of its codes: O is as good as with scales
// rounded to nearest, and no tenth worse. Single rows differ by more.
static void test_linear_beside_nearest(void **state) {
    (void)state;
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS; kind++) {
        double nearest = 0, linear = 0;
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct fixture f;
            fixture_init(&f, (enum random_kind)kind, (struct random_shape){1, 1, 64, 1000, 64, 64}, false, 64, seed);
            fixture_exact(&f);
            nearest += p_error(&f, P_NVFP4);
            linear += p_error(&f, P_NVFP4_LINEAR);
            fixture_free(&f);
        }
        print_message("kind %d: nearest %.4f, linear %.4f\n", kind, sqrt(nearest / 8), sqrt(linear / 8));
        assert_true(sqrt(linear / nearest) < 1.1);
    }
}

// Codes without exponentials against the rule: z = 2 log2(p / scale) + 2, floor(z + 0.45), and 1 for -2 <= z < 1.55.
static void test_log_codes(void **state) {
    (void)state;
    enum { KEYS = 16 };
    static const double value[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    const float q[1] = {1};
    float k[KEYS], v[KEYS * KEYS] = {0};
    double o[KEYS];
    char why[WHY];
    for (int i = 0; i < KEYS; i++) {
        k[i] = -0.37f * (float)i; // log2 P; the block's scale is 1/6 of the first
        v[i * KEYS + i] = 1;
    }
    struct attend_operands in = {.q = q, .k = k, .v = v, .rows = 1, .keys = KEYS, .dim_qk = 1, .dim_v = KEYS};
    in.score_scale = 1;
    struct attend_rule rule = {.p = P_NVFP4, .tile_k = KEYS, .log_code = true, .quantised_sum = true};
    ASK(attend_quantised(&in, &rule, 1, o, NULL, why, sizeof why));
    for (int i = 0; i < KEYS; i++) {
        const double z = 2 * ((double)k[i] + log2(6)) + 2;
        const int code = z >= 1.55 ? (int)floor(z + 0.45) : z >= -2;
        if (fabs(o[i] / o[0] - value[code] / 6) > 1e-12) fail_msg("z = %g: %g of the largest", z, o[i] / o[0]);
    }
    rule.p = P_E4M3;
    assert_false(attend_quantised(&in, &rule, 1, o, NULL, why, sizeof why));
    assert_non_null(strstr(why, "log_code"));
}

/* -- Quantisers ---- */

static void test_scale_groups(void **state) {
    (void)state;
    enum { ROWS = 40, DIM = 8 };
    // Rows r and r + 8 of each 16 share a scale: their largest value is exact in int8, and a row of 1 keeps its 1.
    float x[ROWS * DIM];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < DIM; c++) x[r * DIM + c] = r % 8 == 3 ? 1000.0f : 1.0f;
    quantise_grouped(x, ROWS, DIM, OPERAND_INT8, (struct scale_groups){16, 1}, NULL, 1);
    for (int r = 0; r < ROWS; r++) assert_true(fabsf(x[r * DIM] - (r % 8 == 3 ? 1000.0f : 1.0f)) < 1e-4f);
    quantise_grouped(x, ROWS, DIM, OPERAND_INT8, (struct scale_groups){16, 8}, NULL, 1);
    assert_true(x[0] == 0 && fabsf(x[3 * DIM] - 1000) < 1e-3f);
    // Keys with the same (key % 8) / 2 share one.
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < DIM; c++) x[r * DIM + c] = r % 8 / 2 == 1 ? 1000.0f : 1.0f;
    quantise_grouped(x, ROWS, DIM, OPERAND_INT8, (struct scale_groups){ROWS, 2}, NULL, 1);
    for (int r = 0; r < ROWS; r++) assert_true(x[r * DIM] != 0);
}

static void test_blocks(void **state) {
    (void)state;
    const struct block_rule plain = {.block = NVFP4_BLOCK, .divisor_count = 1, .divisors = {6}};
    struct block_rule search = {.block = NVFP4_BLOCK, .divisor_count = 2, .divisors = {6, 4}, .second_level = true};
    float x[16] = {4, 3, -2, 1}, y[16];
    memcpy(y, x, sizeof x);
    quantise_block(y, 16, &plain); // scale e4m3(4 / 6) = 0.6875
    assert_true(y[0] == 4.125f && y[3] == 1.03125f);
    memcpy(y, x, sizeof x);
    quantise_block(y, 16, &search); // scale 1 has no error
    assert_memory_equal(x, y, sizeof x);
    // The second level makes the result independent of the magnitude.
    struct random r;
    random_seed(&r, 3);
    float a[50 * 24], b[50 * 24];
    for (int i = 0; i < 50 * 24; i++) b[i] = (a[i] = (float)random_normal(&r)) * 0x1p-20f;
    quantise_along_rows(a, 50, 24, &search, 1);
    quantise_along_rows(b, 50, 24, &search, 1);
    for (int i = 0; i < 50 * 24; i++) assert_true(a[i] == b[i] * 0x1p20f);
}

// Scale 1, tiles of 16 rows. In the first, steps of 2: rows 1...7 leave 7/8 each, rows 8...15 leave k / 8, 9.625 in all;
// the later eight take 1.5 / 16 of it, 0.902: from 20.125 on they reach 21 and go up to 22, and 20 stays. Of the second
// tile's two rows none takes anything.
static void test_diffused_codes(void **state) {
    (void)state;
    float x[18] = {448}, y[18];
    const float expected[18] = {448, 16, 16, 16, 16, 16, 16, 16, 20, 22, 22, 22, 22, 22, 22, 22, 16, 18};
    for (int i = 1; i < 8; i++) x[i] = 16.875f;
    for (int k = 0; k < 8; k++) x[8 + k] = 20 + (float)k / 8;
    x[16] = 16.875f;
    x[17] = 17.5f;
    memcpy(y, x, sizeof y);
    quantise_channels(y, 18, 1, 448, 0, 1);
    for (int i = 0; i < 18; i++) assert_true((double)y[i] == format_round(FORMAT_E4M3, (double)x[i]));
    memcpy(y, x, sizeof y);
    quantise_channels(y, 18, 1, 448, 16, 1);
    for (int i = 0; i < 18; i++) assert_true(y[i] == expected[i]);
}

enum { TILE_ROWS = 128, SUM_TILES = 8, SUM_DIM = 16 };

// Mean square of what the sums of a tile's values are off, and of what the values are; x is quantised in place.
static void channel_errors(float *x, int diffuse, double *of_sums, double *of_values) {
    enum { ROWS = TILE_ROWS * SUM_TILES };
    float *exact = room(ROWS * SUM_DIM, sizeof *exact);
    memcpy(exact, x, ROWS * SUM_DIM * sizeof *x);
    quantise_channels(x, ROWS, SUM_DIM, 448, diffuse, THREADS);
    *of_sums = *of_values = 0;
    for (int tile = 0; tile < SUM_TILES; tile++)
        for (int c = 0; c < SUM_DIM; c++) {
            double sum = 0;
            for (int r = 0; r < TILE_ROWS; r++) {
                const size_t at = (size_t)((tile * TILE_ROWS + r) * SUM_DIM + c);
                const double error = (double)exact[at] - (double)x[at];
                sum += error;
                *of_values += error * error / (ROWS * SUM_DIM);
            }
            *of_sums += sum * sum / (SUM_TILES * SUM_DIM);
        }
    free(exact);
}

// Of random values, and of a tile of equal ones, sums are kept better; single values hardly worse.
static void test_diffusion_keeps_sums(void **state) {
    (void)state;
    enum { COUNT = TILE_ROWS * SUM_TILES * SUM_DIM };
    float *x = room(COUNT, sizeof *x), *y = room(COUNT, sizeof *y);
    for (int equal = 0; equal < 2; equal++) {
        struct random r;
        double nearest[2], diffused[2];
        random_seed(&r, 11);
        for (int i = 0; i < COUNT; i++)
            x[i] = equal && i / SUM_DIM % TILE_ROWS > 0 ? x[i - SUM_DIM] : (float)random_normal(&r);
        memcpy(y, x, COUNT * sizeof *x);
        channel_errors(x, 0, &nearest[0], &nearest[1]);
        channel_errors(y, TILE_ROWS, &diffused[0], &diffused[1]);
        assert_true(nearest[0] > 0 && diffused[0] < 0.45 * nearest[0]);
        if (!equal) assert_true(diffused[1] < 1.05 * nearest[1]);
    }
    free(x);
    free(y);
}

// Rows that attend to all keys alike: errors of V alone, of which diffusion leaves less than 0.6.
static void test_diffused_attention(void **state) {
    (void)state;
    struct fixture f;
    struct algorithm a;
    char why[WHY];
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){4, 4, 4, 1024, 64, 64}, false, 4, 3);
    memset(f.q, 0, elements(4, 4, 64) * sizeof *f.q);
    fixture_exact(&f);
    assert_true(algorithm_preset("sage2", &a));
    const double nearest = fixture_run(&f, &a).rel_l2;
    a.v_diffuse = 128;
    assert_true(fixture_run(&f, &a).rel_l2 < 0.6 * nearest);
    a.v = OPERAND_F16;
    assert_false(algorithm_attend(&a, &f.p, f.samples, f.count, 1, f.o, NULL, why, sizeof why));
    assert_non_null(strstr(why, "fp8 V alone"));
    fixture_free(&f);
}

static void test_rotation(void **state) {
    (void)state;
    struct random r;
    random_seed(&r, 3);
    float x[2 * 96], y[2 * 96];
    for (int i = 0; i < 2 * 96; i++) y[i] = x[i] = (float)random_normal(&r);
    rotate_hadamard(x, 2, 96, 1); // three blocks of 32
    double before = 0, after = 0;
    for (int c = 0; c < 96; c++) {
        before += (double)y[c] * (double)y[96 + c];
        after += (double)x[c] * (double)x[96 + c];
    }
    assert_true(fabs(before - after) < 1e-5);
    assert_true(fabsf(x[0] - y[0]) > 1e-3f);
    rotate_hadamard(x, 2, 96, 1);
    for (int i = 0; i < 2 * 96; i++) assert_true(fabsf(x[i] - y[i]) < 1e-5f);
}

/* -- Algorithms ---- */

// Without any rounding, smoothing and rotation change nothing, and LSE is that of the true scores.
static void test_smoothing_is_exact(void **state) {
    (void)state;
    struct algorithm a = {
        .smooth_k = true, .smooth_q_group = 16, .rotate = true, .smooth_v = true, .p = {.p = P_EXACT, .tile_k = 32}};
    for (size_t n = 1; n <= 65; n += 8)
        for (int causal = 0; causal < 2; causal++) {
            a.smooth_k_group = n % 16 == 1 ? 24 : 0;
            struct fixture f;
            fixture_init(&f, RANDOM_OUTLIER, (struct random_shape){4, 2, n + 3, n, 96, 48}, causal, n + 3, n);
            fixture_exact(&f);
            assert_true(fixture_run(&f, &a).rel_l2 < 1e-4); // fp32 operands of large scores
            for (size_t i = 0; i < f.count; i++)
                assert_true(f.lse[i] == f.reference_lse[i] || fabs(f.lse[i] - f.reference_lse[i]) < 1e-3);
            fixture_free(&f);
        }
}

// error <= high and >= low; the table's value at N = 4096 stands in the comment of each row.
static const struct expectation {
    const char *preset;
    double low[3], high[3]; /* normal, outlier, runs */
} expectations[] = {
    {"sage1", {0.011, 0.002, 0.03}, {0.015, 0.010, 0.09}},   /* 0.0128 0.0034 0.0545 */
    {"sage2", {0.035, 0.004, 0.03}, {0.042, 0.020, 0.09}},   /* 0.0382 0.0067 0.0541 */
    {"sage2pp", {0.035, 0.004, 0.03}, {0.042, 0.020, 0.09}}, /* as sage2 */
    {"sage3", {0.17, 0.03, 0.18}, {0.21, 0.11, 0.45}},       /* 0.190  0.0518 0.286 */
    {"fp4", {0.15, 0.015, 0.12}, {0.19, 0.060, 0.24}},       /* 0.174  0.0234 0.177 */
};

static void test_recipe_table(void **state) {
    (void)state;
    for (int kind = RANDOM_NORMAL; kind <= RANDOM_RUNS; kind++) {
        struct fixture f;
        fixture_init(&f, (enum random_kind)kind, (struct random_shape){4, 4, 2048, 2048, 128, 128}, false, 64, 20);
        fixture_exact(&f);
        double error[5];
        for (size_t i = 0; i < 5; i++) {
            const struct expectation *x = &expectations[i];
            error[i] = preset_error(&f, x->preset);
            print_message("%-8s kind %d: rel L2 %.4f\n", x->preset, kind, error[i]);
            if (!(error[i] >= x->low[kind] && error[i] <= x->high[kind]))
                fail_msg("%s is outside its bounds", x->preset);
        }
        assert_true(error[4] < error[3]); // the project's recipe is better than SageAttention3
        fixture_free(&f);
    }
}

static void test_magnitude(void **state) {
    (void)state;
    struct fixture f;
    struct algorithm a;
    fixture_init(&f, RANDOM_NORMAL, (struct random_shape){1, 1, 128, 256, 64, 64}, true, 32, 3);
    fixture_exact(&f);
    algorithm_preset("fp4", &a);
    double plain = fixture_run(&f, &a).rel_l2;
    for (size_t i = 0; i < 256 * 64; i++) f.v[i] *= 0x1p20f;
    for (size_t i = 0; i < 256 * 64; i++) f.k[i] *= 0x1p-12f;
    for (size_t i = 0; i < 128 * 64; i++) f.q[i] *= 0x1p12f;
    fixture_exact(&f);
    assert_true(fabs(fixture_run(&f, &a).rel_l2 - plain) < 1e-6);
    fixture_free(&f);
}

static void test_constant_and_zero(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, RANDOM_OUTLIER, (struct random_shape){1, 1, 64, 200, 64, 64}, false, 16, 3);
    for (size_t i = 0; i < 200 * 64; i++) f.v[i] = 3;
    fixture_exact(&f);
    assert_true(preset_error(&f, "sage1") < 1e-3 && preset_error(&f, "sage2") < 0.01 && preset_error(&f, "fp4") < 1e-6);
    memset(f.k, 0, 200 * 64 * sizeof *f.k);
    memset(f.q, 0, 64 * 64 * sizeof *f.q);
    fixture_exact(&f);
    assert_true(preset_error(&f, "sage2") < 1e-6 && preset_error(&f, "sage3") < 1e-6 && preset_error(&f, "fp4") < 1e-6);
    memset(f.v, 0, 200 * 64 * sizeof *f.v);
    fixture_exact(&f);
    assert_true(preset_error(&f, "sage2") == 0 && preset_error(&f, "fp4") == 0);
    fixture_free(&f);
}

static void test_long_sequence(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, RANDOM_OUTLIER, (struct random_shape){1, 1, 4, 131072, 64, 64}, true, 4, 3);
    fixture_exact(&f);
    double e = preset_error(&f, "sage2");
    assert_true(e > 1e-3 && e < 0.05);
    fixture_free(&f);
}

/* -- Real data ---- */

static void check_layer(const struct safetensors *file, int layer, int join, bool causal) {
    static const struct {
        const char *preset;
        double bound;
    } rows[] = {{"sage1", 0.03}, {"sage2", 0.1}, {"sage2pp", 0.1}, {"sage3", 0.4}, {"fp4", 0.3}};
    struct capture c;
    struct fixture f = {0};
    char why[WHY];
    ASK(capture_load(file, layer, join, &c, why, sizeof why));
    f.p = capture_problem(&c, causal);
    fixture_results(&f, c.heads, c.seq / 2);
    fixture_exact(&f);
    print_message("layer %d, dim %3d%s:", layer, c.dim, causal ? ", causal" : "        ");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double e = preset_error(&f, rows[i].preset);
        print_message("  %s %.4f", rows[i].preset, e);
        if (!(e > 1e-4 && e < rows[i].bound)) fail_msg("%s: error %g exceeds %g", rows[i].preset, e, rows[i].bound);
    }
    print_message("\n");
    capture_free(&c);
    fixture_free(&f);
}

static void test_real_data(void **state) {
    (void)state;
    static const int layers[] = {0, 3, 5};
    struct safetensors file;
    char why[WHY];
    ASK(safetensors_open(SOURCE_DIR "/tests/data/minilm.safetensors", &file, why, sizeof why));
    for (size_t i = 0; i < 3; i++)
        for (int join = 2; join <= 4; join += 2)
            for (int causal = 0; causal < 2; causal++) check_layer(&file, layers[i], join, causal);
    safetensors_close(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_exact_is_naive),
        cmocka_unit_test(test_masked_rows),
        cmocka_unit_test(test_causal_ignores_later_keys),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_order_and_lazy),
        cmocka_unit_test(test_key_index_and_delta),
        cmocka_unit_test(test_p_formats),
        cmocka_unit_test(test_linear_is_representable),
        cmocka_unit_test(test_linear_one),
        cmocka_unit_test(test_linear_is_monotone),
        cmocka_unit_test(test_linear_beside_nearest),
        cmocka_unit_test(test_log_codes),
        cmocka_unit_test(test_scale_groups),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_diffused_codes),
        cmocka_unit_test(test_diffusion_keeps_sums),
        cmocka_unit_test(test_diffused_attention),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_smoothing_is_exact),
        cmocka_unit_test(test_recipe_table),
        cmocka_unit_test(test_magnitude),
        cmocka_unit_test(test_constant_and_zero),
        cmocka_unit_test(test_long_sequence),
        cmocka_unit_test(test_real_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
