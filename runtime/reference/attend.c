// attend: four rows at a time go through the tiles of keys; a work item is four rows.
// SPDX-License-Identifier: Apache-2.0
#include "attend.h"
#include "formats.h"
#include "parallel.h"
#include "quantise.h"
#include "tensor.h"
#include "tensor_core.h"
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 4, KEYS = 4 }; // of the inner product's register block
static const double ln2 = 0.69314718055994530942;

/* -- Rounding P ---- */

#define P_BLOCK(symbol, block) [P_##symbol] = block,
static const int p_block[P_FORMAT_COUNT] = {P_FORMATS(P_BLOCK)};

// What p = 1 maps to before rounding.
static double p_one(const struct attend_rule *rule) {
    double lazy = ldexp(1, -rule->lazy_log2);
    if (rule->p == P_E4M3) return 448 * lazy;
    if (rule->p == P_NVFP4 || rule->p == P_NVFP4_LINEAR) return 448 * 6 * lazy;
    return 1;
}

static void round_elements(enum number_format format, double one, double *p, int n) {
    for (int i = 0; i < n; i++) p[i] = format_round(format, p[i] * one) / one;
}

static void round_block(const struct block_rule *block, double one, double *p, int n) {
    float x[BLOCK_LIMIT];
    for (int i = 0; i < n; i++) x[i] = (float)(p[i] * one);
    quantise_block(x, n, block);
    for (int i = 0; i < n; i++) p[i] = (double)x[i] / one;
}

// The e2m1 value of P / unit from its exponent alone.
static double log_code_value(double ratio) {
    const double z = format_round(FORMAT_F16, 2 * log2(ratio) + 1.95);
    return format_decode(FORMAT_E2M1, (uint64_t)fmin(fmax(rint(z), z >= -2.05078125 ? 1 : 0), 7));
}

// Codes from the exponent alone, in units of the scale that quantise_block takes.
static void round_log_code(double one, double *p, int n) {
    double amax = 0;
    for (int i = 0; i < n; i++) amax = fmax(amax, p[i]);
    double s = format_round(FORMAT_UE4M3, amax * one / 6);
    if (s == 0) s = 0x1p-9;
    for (int i = 0; i < n; i++) p[i] = log_code_value(p[i] * one / s) * s / one;
}

// A block scale whose code is linear in log2 of the largest P; the codes are those of P over the line, not over the scale.
static void round_linear(const struct attend_rule *rule, double one, double *p, int n) {
    const int code_one = 126 - 8 * rule->lazy_log2;
    double amax = 0;
    for (int i = 0; i < n; i++) amax = fmax(amax, p[i]);
    const double code = fmin(8 + rint(format_round(FORMAT_F16, fmax(8 * log2(amax) + code_one - 8.45, 0))), 126);
    const double value = format_decode(FORMAT_UE4M3, (uint64_t)code), line = exp2((code - code_one) / 8) / 6;
    for (int i = 0; i < n; i++) {
        const double unit = rule->log_code ? log_code_value(p[i] / line) : format_round(FORMAT_E2M1, p[i] / line);
        p[i] = unit * value / one;
    }
}

// By how much a row's maximum may be exceeded before it moves; log2 units.
static double growth(const struct attend_rule *rule) {
    const bool linear = rule->p == P_NVFP4_LINEAR && rule->lazy_log2 > 0; // up to the code that rounds to 126
    return linear ? rule->lazy_log2 + 0.98125 / 8 : rule->lazy_log2;
}

static void round_p(const struct attend_rule *rule, double *p, int n) {
    static const struct block_rule nvfp4 = {.block = NVFP4_BLOCK, .divisor_count = 1, .divisors = {6}},
                                   mxfp4 = {.block = MXFP4_BLOCK, .log2_margin = 0x1p-12};
    double one = p_one(rule);
    int block = p_block[rule->p];
    if (rule->p == P_F16) round_elements(FORMAT_F16, one, p, n);
    if (rule->p == P_E4M3) round_elements(FORMAT_E4M3, one, p, n);
    for (int i = 0; block > 1 && i < n; i += block) {
        int m = n - i < block ? n - i : block;
        if (rule->p == P_NVFP4_LINEAR)
            round_linear(rule, one, p + i, m);
        else if (rule->log_code)
            round_log_code(one, p + i, m);
        else
            round_block(rule->p == P_MXFP4 ? &mxfp4 : &nvfp4, one, p + i, m);
    }
}

/* -- Four rows ---- */

struct strip {
    const struct attend_operands *in;
    const struct attend_rule *rule;
    size_t first;       /* row */
    int rows;           /* <= ROWS */
    double top[ROWS];   /* the maximum that P is relative to, log2 units; -infinity before the first visible key */
    double total[ROWS]; /* row sum */
    double *q;          /* [dim_qk][ROWS] */
    double *p;          /* [ROWS][tile_k]: scores, then P */
    double *o;          /* [ROWS][dim_v] */
    double *v;          /* [dim_v], one key's values */
};

// scores[key][row] of KEYS keys; k holds the keys' rows.
static void dot_block(const double *q, const float *const k[KEYS], int dim, double scores[KEYS][ROWS]) {
    double sum[KEYS][ROWS] = {{0}};
    for (int i = 0; i < dim; i++)
        for (int j = 0; j < KEYS; j++) {
            double x = (double)k[j][i];
            for (int r = 0; r < ROWS; r++) sum[j][r] += x * q[i * ROWS + r];
        }
    memcpy(scores, sum, sizeof sum);
}

// The same, added up as a tensor core adds.
static void dot_rounded(const struct strip *s, const float *const k[KEYS], double scores[KEYS][ROWS]) {
    const int dim = s->in->dim_qk;
    for (int r = 0; r < s->rows; r++) {
        const float *q = s->in->q + (s->first + (size_t)r) * (size_t)dim;
        for (int j = 0; j < KEYS; j++) scores[j][r] = (double)tensor_core_dot(q, k[j], dim, s->rule->sum_chunk);
    }
}

static bool is_visible(const struct attend_operands *in, size_t row, size_t position) {
    if (in->key_index && in->key_index[position] < 0) return false;
    size_t key = in->key_index ? (size_t)in->key_index[position] : position;
    return !in->visible || key < in->visible[row];
}

static double score(const struct attend_operands *in, size_t row, size_t position, double dot) {
    if (!is_visible(in, row, position)) return -INFINITY;
    if (in->q_scale) dot *= (double)in->q_scale[row] * (double)in->k_scale[position];
    if (in->delta_s) dot += (double)in->delta_s[row * in->keys + position];
    return dot * in->score_scale;
}

static void strip_scores(const struct strip *s, size_t start, int n) {
    const struct attend_operands *in = s->in;
    double scores[KEYS][ROWS];
    for (int j = 0; j < n; j += KEYS) {
        const float *k[KEYS];
        for (int u = 0; u < KEYS; u++) k[u] = in->k + (start + (size_t)(j + u < n ? j + u : j)) * (size_t)in->dim_qk;
        if (s->rule->sum_chunk)
            dot_rounded(s, k, scores);
        else
            dot_block(s->q, k, in->dim_qk, scores);
        for (int u = 0; u < KEYS && j + u < n; u++)
            for (int r = 0; r < s->rows; r++)
                s->p[r * s->rule->tile_k + j + u] =
                    score(in, s->first + (size_t)r, start + (size_t)(j + u), scores[u][r]);
    }
}

static double sum_of(const double *p, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += p[i];
    return sum;
}

// Scores to rounded P; moves the row's maximum, and rescales its sum and output where it moved.
static void row_softmax(struct strip *s, int r, int n) {
    double *p = s->p + r * s->rule->tile_k, tile_max = -INFINITY, old = s->top[r];
    for (int i = 0; i < n; i++) tile_max = p[i] > tile_max ? p[i] : tile_max;
    if (tile_max > old + growth(s->rule)) s->top[r] = tile_max;
    for (int i = 0; i < n; i++) p[i] = p[i] == -INFINITY ? 0 : exp2(p[i] - s->top[r]);
    double shrink = s->top[r] == old ? 1 : exp2(old - s->top[r]), sum = sum_of(p, n);
    round_p(s->rule, p, n);
    s->total[r] = s->total[r] * shrink + (s->rule->quantised_sum ? sum_of(p, n) : sum);
    if (shrink == 1) return;
    for (int c = 0; c < s->in->dim_v; c++) s->o[r * s->in->dim_v + c] *= shrink;
}

// Keys of no weight are skipped, so that masked keys may hold NaN.
static void strip_values(const struct strip *s, size_t start, int n) {
    int dim = s->in->dim_v;
    for (int j = 0; j < n; j++) {
        const float *v = s->in->v + (start + (size_t)j) * (size_t)dim;
        for (int c = 0; c < dim; c++) s->v[c] = (double)v[c];
        for (int r = 0; r < s->rows; r++) {
            double p = s->p[r * s->rule->tile_k + j], *o = s->o + r * dim;
            if (p == 0) continue;
            for (int c = 0; c < dim; c++) o[c] += p * s->v[c];
        }
    }
}

static bool tile_is_visible(const struct strip *s, size_t start) {
    if (!s->in->visible || s->in->key_index) return true;
    for (int r = 0; r < s->rows; r++)
        if (start < s->in->visible[s->first + (size_t)r]) return true;
    return false;
}

static void strip_run(struct strip *s) {
    size_t tile = (size_t)s->rule->tile_k, tiles = (s->in->keys + tile - 1) / tile;
    for (size_t i = 0; i < tiles; i++) {
        size_t start = (s->rule->descending ? tiles - 1 - i : i) * tile;
        int n = (int)(s->in->keys - start < tile ? s->in->keys - start : tile);
        if (!tile_is_visible(s, start)) continue;
        strip_scores(s, start, n);
        for (int r = 0; r < s->rows; r++) row_softmax(s, r, n);
        strip_values(s, start, n);
    }
}

static void strip_load(struct strip *s) {
    int dim = s->in->dim_qk;
    for (int r = 0; r < ROWS; r++) {
        s->top[r] = -INFINITY;
        s->total[r] = 0;
        for (int i = 0; i < dim; i++)
            s->q[i * ROWS + r] = r < s->rows ? (double)s->in->q[(s->first + (size_t)r) * (size_t)dim + (size_t)i] : 0;
    }
}

static void strip_store(const struct strip *s, double *o, double *lse) {
    size_t dim = (size_t)s->in->dim_v;
    for (int r = 0; r < s->rows; r++) {
        size_t row = s->first + (size_t)r;
        double total = s->total[r];
        for (size_t c = 0; c < dim; c++) o[row * dim + c] = total == 0 ? 0 : s->o[(size_t)r * dim + c] / total;
        if (lse) lse[row] = total == 0 ? -INFINITY : (s->top[r] + log2(total)) * ln2;
    }
}

/* -- All rows ---- */

struct job {
    const struct attend_operands *in;
    const struct attend_rule *rule;
    double *o, *lse;
    atomic_bool out_of_memory;
};

static void job_item(void *user, size_t item) {
    struct job *job = user;
    const struct attend_operands *in = job->in;
    size_t q = (size_t)in->dim_qk * ROWS, p = (size_t)job->rule->tile_k * ROWS, o = (size_t)in->dim_v * ROWS;
    double *memory = calloc(q + p + o + (size_t)in->dim_v, sizeof *memory);
    if (!memory) {
        atomic_store(&job->out_of_memory, true);
        return;
    }
    size_t left = in->rows - item * ROWS;
    struct strip s = {.in = in, .rule = job->rule, .first = item * ROWS, .rows = left < ROWS ? (int)left : ROWS};
    s.q = memory;
    s.p = s.q + q;
    s.o = s.p + p;
    s.v = s.o + o;
    strip_load(&s);
    strip_run(&s);
    strip_store(&s, job->o, job->lse);
    free(memory);
}

bool attend_quantised(const struct attend_operands *in, const struct attend_rule *rule, int threads, double *o,
                      double *lse, char *why, size_t why_bytes) {
    if (in->dim_qk < 1 || in->dim_v < 1)
        return tensor_fail(why, why_bytes, "head dims %d and %d must be positive", in->dim_qk, in->dim_v);
    if (rule->tile_k < 1 || rule->tile_k > 1 << 16 || rule->tile_k % p_block[rule->p])
        return tensor_fail(why, why_bytes, "tile_k = %d must be a positive multiple of %d", rule->tile_k,
                           p_block[rule->p]);
    if (rule->sum_chunk < 0 || rule->sum_chunk > TENSOR_CORE_CHUNK_MAX)
        return tensor_fail(why, why_bytes, "sum_chunk = %d is outside 0...%d", rule->sum_chunk, TENSOR_CORE_CHUNK_MAX);
    if (rule->lazy_log2 < 0 || rule->lazy_log2 > 15)
        return tensor_fail(why, why_bytes, "lazy_log2 = %d is outside 0...15", rule->lazy_log2);
    if (rule->log_code && rule->p != P_NVFP4 && rule->p != P_NVFP4_LINEAR)
        return tensor_fail(why, why_bytes, "log_code is for two-level nvfp4 alone");
    struct job job = {.in = in, .rule = rule, .o = o, .lse = lse};
    atomic_init(&job.out_of_memory, false);
    parallel_for((in->rows + ROWS - 1) / ROWS, threads, job_item, &job);
    return !atomic_load(&job.out_of_memory) || tensor_fail(why, why_bytes, "out of memory");
}
