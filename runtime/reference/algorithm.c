// algorithm: smooth, rotate and quantise one head (prepare), then the online softmax on its sampled rows in batches
// (attend_batch).
// SPDX-License-Identifier: Apache-2.0
#include "algorithm.h"
#include "formats.h"
#include "parallel.h"
#include "tensor.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_ROWS = 64, KEYS_PER_ITEM = 256 };
static const double log2_e = 1.4426950408889634074;

/* -- Presets ---- */

#define SCALE_SEARCH .divisor_count = 6, .divisors = {6.5f, 6, 5.5f, 5, 4.5f, 4}

static const struct {
    const char *name;
    struct algorithm algorithm;
} presets[] = {
    {"sage1",
     {.qk = OPERAND_INT8,
      .granularity = PER_BLOCK,
      .q_rows = 128,
      .k_rows = 64,
      .smooth_k = true,
      .v = OPERAND_F16,
      .p = {.p = P_F16, .tile_k = 64}}},
    {"sage2",
     {.qk = OPERAND_INT8,
      .granularity = PER_THREAD,
      .q_rows = 16,
      .k_rows = 64,
      .smooth_k = true,
      .v = OPERAND_FP8,
      .p = {.p = P_E4M3, .tile_k = 64}}},
    {"sage2pp",
     {.qk = OPERAND_INT8,
      .granularity = PER_THREAD,
      .q_rows = 16,
      .k_rows = 64,
      .smooth_k = true,
      .v = OPERAND_FP8,
      .v_max = 2.25f,
      .p = {.p = P_E4M3, .tile_k = 64}}},
    {"fp8",
     {.qk = OPERAND_FP8,
      .granularity = PER_TOKEN,
      .smooth_k = true,
      .v = OPERAND_FP8,
      .p = {.p = P_E4M3, .tile_k = 64}}},
    {"sage3",
     {.qk = OPERAND_NVFP4,
      .smooth_k = true,
      .smooth_q_group = 128,
      .v = OPERAND_NVFP4,
      .p = {.p = P_NVFP4, .tile_k = 128}}},
    {"fp4",
     {.qk = OPERAND_NVFP4,
      .smooth_k = true,
      .smooth_q_group = 64,
      .rotate = true,
      SCALE_SEARCH,
      .second_level = true,
      .v = OPERAND_NVFP4,
      .p = {.p = P_NVFP4_LINEAR, .tile_k = 64, .lazy_log2 = 4, .quantised_sum = true}}},
};

#define COUNT_PRESET(name, description) +1
_Static_assert(sizeof presets / sizeof presets[0] == 0 ALGORITHM_PRESETS(COUNT_PRESET),
               "every listed preset is in the table");

bool algorithm_preset(const char *name, struct algorithm *out) {
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(name, presets[i].name) != 0) continue;
        *out = presets[i].algorithm;
        return true;
    }
    return false;
}

static bool algorithm_check(const struct algorithm *a, char *why, size_t why_bytes) {
    if (a->v == OPERAND_INT8 || a->v == OPERAND_INT4) return tensor_fail(why, why_bytes, "V has no integer format");
    if (a->q_rows < 0 || a->k_rows < 0 || a->smooth_q_group < 0 || a->smooth_k_group < 0)
        return tensor_fail(why, why_bytes, "a number of rows is negative");
    if (a->v_diffuse < 0 || (a->v_diffuse && a->v != OPERAND_FP8))
        return tensor_fail(why, why_bytes, "v_diffuse is a number of keys, for an fp8 V alone");
    if (a->smooth_k_group && !a->smooth_q_group)
        return tensor_fail(why, why_bytes, "smooth_k_group needs smooth_q_group");
    if (a->divisor_count < 0 || a->divisor_count > DIVISOR_LIMIT)
        return tensor_fail(why, why_bytes, "%d scale divisors; at most %d are supported", a->divisor_count,
                           DIVISOR_LIMIT);
    if (a->p.sum_chunk && a->qk != OPERAND_FP8)
        return tensor_fail(why, why_bytes, "p.sum_chunk is for fp8 Q and K alone");
    for (int i = 0; i < a->divisor_count; i++)
        if (!(a->divisors[i] > 0)) return tensor_fail(why, why_bytes, "a scale divisor is not positive");
    return true;
}

/* -- Smoothing ---- */

// Subtracts the mean of `rows` rows; mean [dim].
static void subtract_mean(float *x, size_t rows, int dim, double *mean) {
    for (int c = 0; c < dim; c++) mean[c] = 0;
    for (size_t r = 0; r < rows; r++)
        for (int c = 0; c < dim; c++) mean[c] += (double)x[r * (size_t)dim + (size_t)c];
    for (int c = 0; c < dim && rows; c++) mean[c] /= (double)rows;
    for (size_t r = 0; r < rows; r++)
        for (int c = 0; c < dim; c++) {
            float *v = &x[r * (size_t)dim + (size_t)c];
            *v = (float)((double)*v - mean[c]);
        }
}

/* -- Quantising one operand ---- */

static struct scale_groups groups_of(const struct algorithm *a, int rows, int divide) {
    if (a->granularity == PER_TOKEN) return (struct scale_groups){1, 8};
    if (rows == 0) rows = a->p.tile_k;
    return (struct scale_groups){rows, a->granularity == PER_THREAD ? divide : 8};
}

static struct block_rule block_rule_of(const struct algorithm *a, enum operand_format format) {
    struct block_rule rule = {
        .block = format == OPERAND_NVFP4 ? NVFP4_BLOCK : MXFP4_BLOCK, .divisor_count = 1, .divisors = {6}};
    rule.second_level = format == OPERAND_NVFP4 && a->second_level;
    if (a->divisor_count == 0) return rule;
    rule.divisor_count = a->divisor_count;
    memcpy(rule.divisors, a->divisors, sizeof rule.divisors);
    return rule;
}

// scale [rows]: gets fp32 scales that x is not multiplied by; NULL: it is.
static void quantise_qk(const struct algorithm *a, float *x, size_t rows, int dim, struct scale_groups groups,
                        float *scale, int threads) {
    struct block_rule rule = block_rule_of(a, a->qk);
    if (a->rotate) rotate_hadamard(x, rows, dim, threads);
    if (a->qk == OPERAND_F16)
        format_round_array(FORMAT_F16, x, rows * (size_t)dim);
    else if (a->qk == OPERAND_NVFP4 || a->qk == OPERAND_MXFP4)
        quantise_along_dim(x, rows, dim, &rule, threads);
    else if (a->qk != OPERAND_NONE)
        quantise_grouped(x, rows, dim, a->qk, groups, scale, threads);
}

static void quantise_v(const struct algorithm *a, float *x, size_t rows, int dim, int threads) {
    struct block_rule rule = block_rule_of(a, a->v);
    if (a->v == OPERAND_F16)
        format_round_array(FORMAT_F16, x, rows * (size_t)dim);
    else if (a->v == OPERAND_FP8)
        quantise_channels(x, rows, dim, a->v_max > 0 ? a->v_max : 448, a->v_diffuse, threads);
    else if (a->v != OPERAND_NONE)
        quantise_along_rows(x, rows, dim, &rule, threads);
}

/* -- Preparing a head ---- */

struct prepared {
    const struct algorithm *a;
    const struct attention_problem *p;
    int threads;
    size_t head, head_kv;     /* whose data the arrays hold; SIZE_MAX: none */
    float *q, *k, *v;         /* quantised */
    float *q_scale, *k_scale; /* [seq_q], [seq_k]: what q and k are not multiplied by; NULL: they are */
    float *k_smooth;          /* K - mean, neither rotated nor quantised: makes delta_s */
    double *q_mean;           /* [groups][dim_qk] */
    double *k_mean, *v_mean;
    double *k_group_mean;     /* [groups][dim_qk] */
    float *batch_q, *delta_s; /* [BATCH_ROWS][dim_qk], [BATCH_ROWS][seq_k] */
    float batch_scale[BATCH_ROWS];
};

static size_t q_groups(const struct prepared *s) {
    size_t g = (size_t)s->a->smooth_q_group;
    return g ? (s->p->seq_q + g - 1) / g : 0;
}

static size_t k_groups(const struct prepared *s) {
    size_t g = (size_t)s->a->smooth_k_group;
    return g ? (s->p->seq_k + g - 1) / g : 0;
}

static void prepared_free(struct prepared *s) {
    float *const floats[] = {s->q, s->k, s->v, s->k_smooth, s->batch_q, s->delta_s, s->q_scale, s->k_scale};
    double *const doubles[] = {s->q_mean, s->k_mean, s->k_group_mean, s->v_mean};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) free(floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) free(doubles[i]);
}

// calloc of at least one element, so that NULL means out of memory.
static void *allocate(size_t count, size_t bytes) {
    return calloc(count ? count : 1, bytes);
}

static bool prepared_init(struct prepared *s, const struct algorithm *a, const struct attention_problem *p,
                          int threads) {
    size_t dim = (size_t)p->dim_qk, dim_v = (size_t)p->dim_v, smooth = a->smooth_q_group ? p->seq_k : 0;
    *s = (struct prepared){.a = a, .p = p, .threads = threads, .head = SIZE_MAX, .head_kv = SIZE_MAX};
    s->q = allocate(p->seq_q * dim, sizeof *s->q);
    s->k = allocate(p->seq_k * dim, sizeof *s->k);
    s->v = allocate(p->seq_k * dim_v, sizeof *s->v);
    s->k_smooth = allocate(smooth * dim, sizeof *s->k_smooth);
    s->q_mean = allocate(q_groups(s) * dim, sizeof *s->q_mean);
    s->k_mean = allocate(dim, sizeof *s->k_mean);
    s->k_group_mean = allocate(k_groups(s) * dim, sizeof *s->k_group_mean);
    s->v_mean = allocate(dim_v, sizeof *s->v_mean);
    s->batch_q = allocate(BATCH_ROWS * dim, sizeof *s->batch_q);
    s->delta_s = allocate(BATCH_ROWS * smooth, sizeof *s->delta_s);
    if (a->p.sum_chunk) {
        s->q_scale = allocate(p->seq_q, sizeof *s->q_scale);
        s->k_scale = allocate(p->seq_k, sizeof *s->k_scale);
        if (!s->q_scale || !s->k_scale) return false;
    }
    return s->q && s->k && s->v && s->k_smooth && s->q_mean && s->k_mean && s->k_group_mean && s->v_mean &&
           s->batch_q && s->delta_s;
}

// Subtracts the mean of each `group` rows of x [rows][dim]; mean [groups][dim].
static void subtract_group_means(float *x, size_t rows, size_t group, int dim, double *mean) {
    for (size_t first = 0; group && first < rows; first += group) {
        size_t left = rows - first;
        subtract_mean(x + first * (size_t)dim, left < group ? left : group, dim, mean + first / group * (size_t)dim);
    }
}

static void prepare_kv(struct prepared *s, size_t head_kv) {
    const struct attention_problem *p = s->p;
    size_t n = p->seq_k, count_k = n * (size_t)p->dim_qk, count_v = n * (size_t)p->dim_v;
    if (s->head_kv == head_kv) return;
    s->head_kv = head_kv;
    if (n == 0) return;
    memcpy(s->k, p->k + head_kv * count_k, count_k * sizeof *s->k);
    memcpy(s->v, p->v + head_kv * count_v, count_v * sizeof *s->v);
    if (s->a->smooth_k) subtract_mean(s->k, n, p->dim_qk, s->k_mean);
    if (s->a->smooth_v) subtract_mean(s->v, n, p->dim_v, s->v_mean);
    if (s->a->smooth_q_group) memcpy(s->k_smooth, s->k, count_k * sizeof *s->k);
    subtract_group_means(s->k, n, (size_t)s->a->smooth_k_group, p->dim_qk, s->k_group_mean);
    quantise_qk(s->a, s->k, n, p->dim_qk, groups_of(s->a, s->a->k_rows, 2), s->k_scale, s->threads);
    quantise_v(s->a, s->v, n, p->dim_v, s->threads);
}

static void prepare_q(struct prepared *s, size_t head) {
    const struct attention_problem *p = s->p;
    size_t count = p->seq_q * (size_t)p->dim_qk;
    if (s->head == head) return;
    s->head = head;
    memcpy(s->q, p->q + head * count, count * sizeof *s->q);
    subtract_group_means(s->q, p->seq_q, (size_t)s->a->smooth_q_group, p->dim_qk, s->q_mean);
    quantise_qk(s->a, s->q, p->seq_q, p->dim_qk, groups_of(s->a, s->a->q_rows, 1), s->q_scale, s->threads);
}

/* -- Attending on a batch of rows ---- */

struct delta {
    const struct prepared *s;
    const struct attention_sample *samples;
    size_t count;
};

static double dot_mean(const double *mean, const float *k, int dim) {
    double sum[4] = {0};
    for (int c = 0; c < dim; c++) sum[c % 4] += mean[c] * (double)k[c];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double dot_means(const double *a, const double *b, size_t dim) {
    double sum = 0;
    for (size_t c = 0; c < dim; c++) sum += a[c] * b[c];
    return sum;
}

// (Q row - its group's mean) . mean(K group): what smoothing of K groups took from the scores of one row.
static void add_k_groups(const struct prepared *s, const struct attention_sample *sample, size_t first, size_t last,
                         float *out) {
    size_t dim = (size_t)s->p->dim_qk, group = (size_t)s->a->smooth_k_group;
    const float *q = s->p->q + (s->head * s->p->seq_q + sample->row) * dim;
    const double *q_mean = s->q_mean + sample->row / (size_t)s->a->smooth_q_group * dim;
    double dot = 0;
    for (size_t j = first; j < last; j++) {
        const double *mean = s->k_group_mean + j / group * dim;
        if (j == first || j % group == 0) dot = dot_mean(mean, q, s->p->dim_qk) - dot_means(mean, q_mean, dim);
        out[j] += (float)dot;
    }
}

// Rows of one group share their delta_s, and neighbours in the list often are of one group.
static void delta_item(void *user, size_t item) {
    const struct delta *d = user;
    const struct prepared *s = d->s;
    size_t dim = (size_t)s->p->dim_qk, group = (size_t)s->a->smooth_q_group, keys = s->p->seq_k;
    size_t first = item * KEYS_PER_ITEM, last = first + KEYS_PER_ITEM < keys ? first + KEYS_PER_ITEM : keys;
    for (size_t i = 0; i < d->count; i++) {
        size_t g = d->samples[i].row / group;
        float *out = s->delta_s + i * keys;
        bool same = i && d->samples[i - 1].row / group == g && !s->a->smooth_k_group;
        for (size_t j = first; j < last; j++)
            out[j] = same ? out[j - keys] : (float)dot_mean(s->q_mean + g * dim, s->k_smooth + j * dim, s->p->dim_qk);
        if (s->a->smooth_k_group) add_k_groups(s, &d->samples[i], first, last, out);
    }
}

static void fill_delta(const struct prepared *s, const struct attention_sample *samples, size_t count) {
    struct delta d = {s, samples, count};
    parallel_for((s->p->seq_k + KEYS_PER_ITEM - 1) / KEYS_PER_ITEM, s->threads, delta_item, &d);
}

// What smoothing took away comes back: V's mean to O, sm_scale * q . mean(K) to LSE.
static void add_means(const struct prepared *s, const struct attention_sample *sample, double *o, double *lse) {
    size_t dim = (size_t)s->p->dim_qk;
    const float *q = s->p->q + (s->head * s->p->seq_q + sample->row) * dim;
    if (attention_visible(s->p, sample->row) == 0) return;
    for (int c = 0; c < s->p->dim_v; c++) o[c] += s->v_mean[c];
    if (lse) *lse += attention_sm_scale(s->p) * dot_mean(s->k_mean, q, s->p->dim_qk);
}

static bool attend_batch(struct prepared *s, const struct attention_sample *samples, size_t count, double *o,
                         double *lse, char *why, size_t why_bytes) {
    const struct attention_problem *p = s->p;
    size_t dim = (size_t)p->dim_qk, visible[BATCH_ROWS];
    for (size_t i = 0; i < count; i++) {
        memcpy(s->batch_q + i * dim, s->q + samples[i].row * dim, dim * sizeof *s->q);
        visible[i] = attention_visible(p, samples[i].row);
        if (s->q_scale) s->batch_scale[i] = s->q_scale[samples[i].row];
    }
    if (s->a->smooth_q_group) fill_delta(s, samples, count);
    struct attend_operands in = {
        .q = s->batch_q, .k = s->k, .v = s->v, .rows = count, .keys = p->seq_k, .visible = visible};
    in.q_scale = s->q_scale ? s->batch_scale : NULL;
    in.k_scale = s->k_scale;
    in.dim_qk = p->dim_qk;
    in.dim_v = p->dim_v;
    in.score_scale = attention_sm_scale(p) * log2_e;
    in.delta_s = s->a->smooth_q_group ? s->delta_s : NULL;
    if (!attend_quantised(&in, &s->a->p, s->threads, o, lse, why, why_bytes)) return false;
    for (size_t i = 0; i < count; i++) add_means(s, &samples[i], o + i * (size_t)p->dim_v, lse ? lse + i : NULL);
    return true;
}

bool algorithm_attend(const struct algorithm *a, const struct attention_problem *p,
                      const struct attention_sample *samples, size_t count, int threads, double *o, double *lse,
                      char *why, size_t why_bytes) {
    if (!attention_check(p, samples, count, why, why_bytes) || !algorithm_check(a, why, why_bytes)) return false;
    struct prepared s;
    bool ok = prepared_init(&s, a, p, threads) || tensor_fail(why, why_bytes, "out of memory");
    for (size_t first = 0, last; ok && first < count; first = last) {
        size_t head = (size_t)samples[first].head;
        for (last = first + 1; last < count && last - first < BATCH_ROWS && samples[last].head == samples[first].head;)
            last++;
        prepare_kv(&s, head / (size_t)(p->heads_q / p->heads_kv));
        prepare_q(&s, head);
        ok = attend_batch(&s, samples + first, last - first, o + first * (size_t)p->dim_v, lse ? lse + first : NULL,
                          why, why_bytes);
    }
    prepared_free(&s);
    return ok;
}
