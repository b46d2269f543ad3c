// quantise: grouped fp32 scales (int8, int4, fp8), block scales (nvfp4, mxfp4), the Hadamard rotation. Works in fp32,
// as kernels do.
// SPDX-License-Identifier: Apache-2.0
#include "quantise.h"
#include "formats.h"
#include "parallel.h"
#include <math.h>

enum { ROWS_PER_ITEM = 64 }; // a multiple of both block sizes

struct head {
    float *x;
    size_t rows;
    int dim;
};

static float *head_row(const struct head *h, size_t row) {
    return h->x + row * (size_t)h->dim;
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t item_count(size_t rows, size_t rows_per_item) {
    return (rows + rows_per_item - 1) / rows_per_item;
}

static float max_abs(const float *x, size_t n) {
    float m = 0;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        if (a > m) m = a;
    }
    return m;
}

/* -- Scales per group of rows, or per channel ---- */

// A value already divided by its scale.
static float round_code(enum operand_format format, float y) {
    if (format == OPERAND_FP8) return (float)format_round(FORMAT_E4M3, (double)y);
    return rintf(y);
}

static float format_limit(enum operand_format format) {
    static const float limits[OPERAND_COUNT] = {[OPERAND_INT8] = 127, [OPERAND_INT4] = 7, [OPERAND_FP8] = 448};
    return limits[format];
}

struct grouped {
    struct head head;
    enum operand_format format;
    struct scale_groups groups;
    float *scale; /* [rows] or NULL */
};

static void quantise_chunk(void *user, size_t i) {
    const struct grouped *g = user;
    size_t first = i * (size_t)g->groups.chunk, last = min_size(first + (size_t)g->groups.chunk, g->head.rows);
    float scale[8] = {0};
    for (size_t r = first; r < last; r++) {
        float m = max_abs(head_row(&g->head, r), (size_t)g->head.dim), *s = &scale[r % 8 / (size_t)g->groups.divide];
        if (m > *s) *s = m;
    }
    for (int k = 0; k < 8; k++) scale[k] = scale[k] > 0 ? scale[k] / format_limit(g->format) : 1;
    for (size_t r = first; r < last; r++) {
        float *x = head_row(&g->head, r), s = scale[r % 8 / (size_t)g->groups.divide];
        float unit = g->scale ? 1 : s;
        for (int c = 0; c < g->head.dim; c++) x[c] = round_code(g->format, x[c] / s) * unit;
        if (g->scale) g->scale[r] = s;
    }
}

void quantise_grouped(float *x, size_t rows, int dim, enum operand_format format, struct scale_groups groups,
                      float *scale, int threads) {
    struct grouped g = {{x, rows, dim}, format, groups, scale};
    parallel_for(item_count(rows, (size_t)groups.chunk), threads, quantise_chunk, &g);
}

struct channels {
    struct head head;
    float max;
    int diffuse; /* rows of a tile whose errors are diffused; 0: none are */
};

static float e4m3_error(float y) {
    return y - round_code(OPERAND_FP8, y);
}

// What the later 8 of each 16 rows of a tile take of its channel's errors; x: the channel's first value of the tile.
static float diffused_share(const struct channels *ch, const float *x, size_t rows, float scale) {
    float error = 0;
    for (size_t r = 0; r < rows; r++) error += e4m3_error(x[r * (size_t)ch->head.dim] / scale);
    return error * (1.5f / (float)ch->diffuse);
}

static void quantise_channel(void *user, size_t c) {
    const struct channels *ch = user;
    float scale = 0;
    for (size_t r = 0; r < ch->head.rows; r++) {
        float a = fabsf(head_row(&ch->head, r)[c]);
        if (a > scale) scale = a;
    }
    scale = scale > 0 ? scale / ch->max : 1;
    const size_t tile = ch->diffuse ? (size_t)ch->diffuse : ch->head.rows;
    for (size_t first = 0; first < ch->head.rows; first += tile) {
        const size_t rows = min_size(tile, ch->head.rows - first);
        float *x = &head_row(&ch->head, first)[c];
        const float share = ch->diffuse ? diffused_share(ch, x, rows, scale) : 0;
        for (size_t r = 0; r < rows; r++) {
            float *v = &x[r * (size_t)ch->head.dim];
            *v = round_code(OPERAND_FP8, *v / scale + (r / 8 % 2 == 1 ? share : 0)) * scale;
        }
    }
}

void quantise_channels(float *x, size_t rows, int dim, float max, int diffuse, int threads) {
    struct channels ch = {{x, rows, dim}, max, diffuse};
    parallel_for((size_t)dim, threads, quantise_channel, &ch);
}

/* -- Scales per block ---- */

// Adding 1.5 * 2^23 quanta rounds to a multiple of the quantum: 0.5 below 2, 1 below 4, else 2.
float quantise_e2m1(float x) {
    float a = fabsf(x);
    float magic = (a < 2 ? 0.5f : a < 4 ? 1.0f : 2.0f) * 0x1.8p23f;
    float r = (a + magic) - magic;
    return copysignf(r < 6 ? r : 6, x);
}

static float block_scale(const struct block_rule *rule, float amax, int candidate) {
    if (rule->block == MXFP4_BLOCK) {
        double most = (double)amax * exp2(rule->log2_margin);
        return (float)format_ue8m0_decode(format_ue8m0_encode(most / 4, false));
    }
    float s = (float)format_round(FORMAT_UE4M3, (double)(amax / rule->divisors[candidate]));
    return s > 0 ? s : 0x1p-9f; // the least ue4m3: a scale is never 0
}

// Writes the block rounded with scale s; returns its squared error.
static float round_with_scale(const float *x, int n, float s, float *out) {
    float error = 0;
    for (int i = 0; i < n; i++) {
        out[i] = quantise_e2m1(x[i] / s) * s;
        error += (out[i] - x[i]) * (out[i] - x[i]);
    }
    return error;
}

void quantise_block(float *x, int n, const struct block_rule *rule) {
    float candidate[BLOCK_LIMIT], best[BLOCK_LIMIT], least = INFINITY;
    float amax = max_abs(x, (size_t)n);
    if (amax == 0) return;
    int candidates = rule->block == MXFP4_BLOCK ? 1 : rule->divisor_count;
    for (int k = 0; k < candidates; k++) {
        float error = round_with_scale(x, n, block_scale(rule, amax, k), candidate);
        if (k && !(error < least)) continue;
        least = error;
        for (int i = 0; i < n; i++) best[i] = candidate[i];
    }
    for (int i = 0; i < n; i++) x[i] = best[i];
}

struct blocks {
    struct head head;
    const struct block_rule *rule;
    float second; /* the head's second-level scale */
};

static float second_level_scale(const struct head *h, const struct block_rule *rule) {
    if (!rule->second_level) return 1;
    float g = max_abs(h->x, h->rows * (size_t)h->dim) / (448 * 6);
    return g > 0 ? g : 1;
}

// n elements, `stride` apart.
static void quantise_strided(const struct blocks *b, float *x, size_t n, size_t stride) {
    float y[BLOCK_LIMIT];
    for (size_t i = 0; i < n; i++) y[i] = x[i * stride] / b->second;
    quantise_block(y, (int)n, b->rule);
    for (size_t i = 0; i < n; i++) x[i * stride] = y[i] * b->second;
}

static void rows_item(void *user, size_t item) {
    const struct blocks *b = user;
    size_t last = min_size((item + 1) * ROWS_PER_ITEM, b->head.rows), dim = (size_t)b->head.dim,
           block = (size_t)b->rule->block;
    for (size_t r = item * ROWS_PER_ITEM; r < last; r++)
        for (size_t c = 0; c < dim; c += block)
            quantise_strided(b, head_row(&b->head, r) + c, min_size(block, dim - c), 1);
}

static void columns_item(void *user, size_t item) {
    const struct blocks *b = user;
    size_t last = min_size((item + 1) * ROWS_PER_ITEM, b->head.rows), dim = (size_t)b->head.dim,
           block = (size_t)b->rule->block;
    for (size_t r = item * ROWS_PER_ITEM; r < last; r += block)
        for (size_t c = 0; c < dim; c++) quantise_strided(b, head_row(&b->head, r) + c, min_size(block, last - r), dim);
}

static void quantise_blocks(struct head head, const struct block_rule *rule, int threads,
                            void (*item)(void *user, size_t i)) {
    struct blocks b = {head, rule, second_level_scale(&head, rule)};
    parallel_for(item_count(head.rows, ROWS_PER_ITEM), threads, item, &b);
}

void quantise_along_dim(float *x, size_t rows, int dim, const struct block_rule *rule, int threads) {
    quantise_blocks((struct head){x, rows, dim}, rule, threads, rows_item);
}

void quantise_along_rows(float *x, size_t rows, int dim, const struct block_rule *rule, int threads) {
    quantise_blocks((struct head){x, rows, dim}, rule, threads, columns_item);
}

/* -- Rotation ---- */

static void hadamard_block(float *x, int n) {
    for (int half = 1; half < n; half *= 2)
        for (int i = 0; i < n; i++) {
            if (i & half) continue;
            float a = x[i], b = x[i + half];
            x[i] = a + b;
            x[i + half] = a - b;
        }
    float norm = 1 / sqrtf((float)n);
    for (int i = 0; i < n; i++) x[i] *= norm;
}

static void rotate_item(void *user, size_t item) {
    const struct head *h = user;
    size_t last = min_size((item + 1) * ROWS_PER_ITEM, h->rows);
    int block = h->dim & -h->dim;
    for (size_t r = item * ROWS_PER_ITEM; r < last; r++)
        for (int c = 0; c < h->dim; c += block) hadamard_block(head_row(h, r) + c, block);
}

void rotate_hadamard(float *x, size_t rows, int dim, int threads) {
    struct head h = {x, rows, dim};
    parallel_for(item_count(rows, ROWS_PER_ITEM), threads, rotate_item, &h);
}
