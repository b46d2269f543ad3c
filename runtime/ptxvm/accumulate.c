// accumulate: the model of accumulate.h, with eight columns in vector registers (GCC and Clang vector extensions).
// SPDX-License-Identifier: Apache-2.0
#include "accumulate.h"

#include <stddef.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "formats.h"

typedef float vector_float __attribute__((vector_size(16)));
typedef double vector_double __attribute__((vector_size(32)));
typedef int32_t vector_int __attribute__((vector_size(16)));
typedef uint32_t vector_unsigned __attribute__((vector_size(16)));
typedef int16_t vector_short __attribute__((vector_size(16)));

/* -- Models -------------------------------------------------------------------------------------------------------- */

#define ACCUMULATE_ROW(klass, sm, chunk, bits, mantissa, unpacked)                                                     \
    {ACCUMULATE_##klass, sm, chunk, bits, mantissa, unpacked},
static const struct accumulate_model models[] = {ACCUMULATE_MODELS(ACCUMULATE_ROW)};

const struct accumulate_model *accumulate_model(enum accumulate_class klass, int sm) {
    const struct accumulate_model *best = NULL;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        if (models[m].klass == klass && (best == NULL || models[m].sm <= sm)) best = &models[m];
    return best;
}

/* -- Powers of two and rounding ------------------------------------------------------------------------------------ */

enum { LEAST_EXPONENT = -126 }; /* of an alignment */

static double power_of_two(int exponent) { /* -1022 .. 1023 */
    return bits_double((uint64_t)(exponent + 1023) << 52);
}

// As a float; products have no bit above 0 where the exponent is too small, and are all zero where it is too large.
static float scale_float(int exponent) {
    int field = exponent + 127;
    field = field < 0 ? 0 : field;
    return bits_float((uint32_t)(field > 254 ? 254 : field) << 23);
}

// Of an addend; zero has the lowest.
static int exponent_of(float value, int lowest) {
    uint32_t bits = float_bits(value) & 0x7fffffffu;
    int exponent = (int)(bits >> 23) - 127;
    if (bits == 0) return LEAST_EXPONENT;
    return exponent > lowest ? exponent : lowest;
}

// To f32, or fewer mantissa bits, toward zero; overflow is an infinity.
static float round_zero(double value, unsigned mantissa) {
    double magnitude = fabs(value);
    double kept = bits_double(double_bits(value) & ~((UINT64_C(1) << (52 - mantissa)) - 1));
    if (magnitude >= 0x1p-126) return (float)kept; /* overflow: 2^128 and above become infinite */
    double unit = power_of_two(LEAST_EXPONENT - (int)mantissa);
    return (float)(trunc(value / unit) * unit);
}

// To f16, nearest even: first to float, to odd, so that the second rounding is the only one that counts. What rounds to
// zero is +0 (as seen on an H100).
static float round_f16(double value) {
    uint64_t low = (UINT64_C(1) << 29) - 1, bits = double_bits(value);
    if (fabs(value) <= 0x1p-25) return 0.0f;
    uint64_t odd = (bits & ~low) | ((bits & low) != 0 ? low + 1 : 0);
    return f16_to_float(float_to_f16((float)bits_double(odd)));
}

/* -- One row by eight columns -------------------------------------------------------------------------------------- */

static vector_short larger(vector_short a, vector_short b) {
#if defined(__SSE2__)
    return (vector_short)_mm_max_epi16((__m128i)a, (__m128i)b);
#else
    vector_short mask = a > b;
    return (a & mask) | (b & ~mask);
#endif
}

// Largest sum of the factors' exponents for each of the columns.
static vector_short largest_exponents(const int16_t *a, const int16_t (*b)[8], unsigned k) {
    vector_short largest = {0};
    largest += 2 * EXPONENT_OF_ZERO;
    for (unsigned e = 0; e < k; e++) {
        vector_short row;
        memcpy(&row, b[e], sizeof row);
        largest = larger(row + a[e], largest);
    }
    return largest;
}

static vector_float load_float(const float *from) {
    vector_float value;
    memcpy(&value, from, sizeof value);
    return value;
}

// total += sum of trunc(a * b * scale) of at most 16 products, each below 2^27: a 32-bit sum holds them. Products are
// exact in float for f16 and narrower types.
static void add_products(const float *a, const float (*b)[8], unsigned k, const float scale[8], double total[8]) {
    vector_float scale_low = load_float(scale), scale_high = load_float(scale + 4);
    vector_unsigned low = {0}, high = {0};
    for (unsigned e = 0; e < k; e++) {
        low += (vector_unsigned) __builtin_convertvector(load_float(b[e]) * a[e] * scale_low, vector_int);
        high += (vector_unsigned) __builtin_convertvector(load_float(b[e] + 4) * a[e] * scale_high, vector_int);
    }
    for (unsigned column = 0; column < 4; column++) {
        total[column] += (double)(int32_t)low[column];
        total[column + 4] += (double)(int32_t)high[column];
    }
}

// The same for bf16 and tf32, whose products may leave float's range: 4 columns in double.
static void add_products_wide(const float *a, const float (*b)[8], unsigned k, const double scale[8], double total[8]) {
    for (unsigned half = 0; half < 8; half += 4) {
        vector_double factor;
        memcpy(&factor, scale + half, sizeof factor);
        vector_unsigned sum = {0};
        for (unsigned e = 0; e < k; e++) {
            vector_double product = __builtin_convertvector(load_float(b[e] + half), vector_double) * (double)a[e];
            sum += (vector_unsigned) __builtin_convertvector(product * factor, vector_int);
        }
        for (unsigned column = 0; column < 4; column++) total[half + column] += (double)(int32_t)sum[column];
    }
}

/* -- Float products ------------------------------------------------------------------------------------------------ */

// Eight columns of a row while a chunk is summed. Loops over them are branch-free, so that compilers vectorise.
struct chunk {
    int aligned[8];  /* exponent to which the column is aligned */
    int scale[8];    /* by which its products are scaled */
    double total[8]; /* in units of 2^(aligned - bits): an integer below 2^53 */
};

static void align_chunk(const struct accumulate_float *p, unsigned row, unsigned first, unsigned k, const float c[8],
                        struct chunk *chunk) {
    vector_short product = largest_exponents(&p->a->exponent[row][first], &p->b->exponent[first], k);
    int16_t largest[8];
    int lowest = p->to_f16 ? -14 : LEAST_EXPONENT, scale_a = p->scale_a != NULL ? p->scale_a[row] : 0;
    memcpy(largest, &product, sizeof largest);
    for (unsigned column = 0; column < 8; column++)
        chunk->scale[column] = p->scale_b != NULL ? scale_a + p->scale_b[column] : 0;
    for (unsigned column = 0; column < 8; column++) {
        int32_t bits = (int32_t)(float_bits(c[column]) & 0x7fffffffu), field = (bits >> 23) - 127;
        int own = field > lowest ? field : lowest, scaled = largest[column] + chunk->scale[column];
        own = bits == 0 ? LEAST_EXPONENT : own;
        chunk->aligned[column] = scaled > own ? scaled : own;
    }
}

// Addends in the chunk's units; their places are within a double's exponents.
static void place_addends(const struct accumulate_float *p, const float c[8], struct chunk *chunk) {
    for (unsigned column = 0; column < 8; column++) {
        double unit = power_of_two(p->model->bits - chunk->aligned[column]);
        chunk->total[column] = (double)(int32_t)((double)c[column] * unit);
    }
}

static void sum_chunk(const struct accumulate_float *p, unsigned row, unsigned first, unsigned k, struct chunk *chunk) {
    const float(*b)[8] = &p->b->value[first], *a = &p->a->value[row][first];
    float scale[8];
    for (unsigned column = 0; column < 8; column++)
        scale[column] = scale_float(p->model->bits - chunk->aligned[column] + chunk->scale[column]);
    for (unsigned e = 0; e < k; e += 16) add_products(a + e, b + e, k - e < 16 ? k - e : 16, scale, chunk->total);
}

static void sum_chunk_wide(const struct accumulate_float *p, unsigned row, unsigned first, unsigned k,
                           struct chunk *chunk) {
    double scale[8];
    for (unsigned column = 0; column < 8; column++)
        scale[column] = power_of_two(p->model->bits - chunk->aligned[column]);
    add_products_wide(&p->a->value[row][first], &p->b->value[first], k, scale, chunk->total);
}

// Rounds all columns as if the results were normal f32; returns whether one of them is not.
static bool round_chunk(const struct accumulate_float *p, const struct chunk *chunk, float c[8]) {
    uint64_t cut = (UINT64_C(1) << (52 - p->model->mantissa)) - 1;
    int rare = 0;
    for (unsigned column = 0; column < 8; column++) {
        double value = chunk->total[column] * power_of_two(chunk->aligned[column] - p->model->bits);
        rare |= (value != 0.0) & (fabs(value) < 0x1p-126);
        c[column] = (float)bits_double(double_bits(value) & ~cut);
    }
    return rare != 0;
}

// c[column] += a chunk of k products of one row, for the eight columns.
static void add_chunk(const struct accumulate_float *p, unsigned row, unsigned first, unsigned k, bool is_wide,
                      float c[8]) {
    struct chunk chunk;
    align_chunk(p, row, first, k, c, &chunk);
    place_addends(p, c, &chunk);
    if (is_wide)
        sum_chunk_wide(p, row, first, k, &chunk);
    else
        sum_chunk(p, row, first, k, &chunk);
    if (!p->to_f16 && !round_chunk(p, &chunk, c)) return;
    for (unsigned column = 0; column < 8; column++) {
        double value = chunk.total[column] * power_of_two(chunk.aligned[column] - p->model->bits);
        c[column] = p->to_f16 ? round_f16(value) : round_zero(value, p->model->mantissa);
    }
}

// NaN and infinities: the sum in double decides, as IEEE 754 says. False: the sum is finite.
static bool special_sum(const struct accumulate_float *p, unsigned row, unsigned column, float addend, float *out) {
    double sum = (double)addend;
    for (unsigned e = 0; e < p->k; e++) sum += (double)p->a->value[row][e] * (double)p->b->value[e][column];
    if (isfinite(sum)) return false;
    *out = isnan(sum) ? bits_float(0x7fffffffu) : (float)sum;
    return true;
}

static bool is_special(float value) {
    return (float_bits(value) & 0x7f800000u) == 0x7f800000u;
}

// Columns of a row with a NaN or an infinity on either side: result[column] and its bit.
static unsigned special_columns(const struct accumulate_float *p, unsigned row, const float c[8], float result[8]) {
    unsigned mask = 0;
    for (unsigned column = 0; column < 8; column++)
        if (p->a->special[row] || p->b->special[column] || is_special(c[column]))
            if (special_sum(p, row, column, c[column], &result[column])) mask |= 1u << column;
    return mask;
}

// Sums that overflowed stay infinite: result[column], its bit, and a zero to go on with. Columns of `mask` are done.
static unsigned set_aside(unsigned mask, float c[8], float result[8]) {
    unsigned aside = 0;
    for (unsigned column = 0; column < 8; column++)
        if (is_special(c[column])) {
            if (!(mask >> column & 1u)) result[column] = c[column];
            c[column] = 0.0f;
            aside |= 1u << column;
        }
    return aside;
}

static void add_products_of(const struct accumulate_float *p, float c[][8]) {
    enum accumulate_class klass = p->model->klass;
    bool is_wide = klass == ACCUMULATE_TF32 || (klass == ACCUMULATE_HALF && p->is_bf16);
    unsigned chunk = p->model->chunk;
    for (unsigned row = 0; row < p->rows; row++) {
        float result[8];
        unsigned special = special_columns(p, row, c[row], result);
        for (unsigned column = 0; column < 8; column++)
            if (special >> column & 1u) c[row][column] = 0.0f;
        for (unsigned k = 0; k < p->k; k += chunk) {
            add_chunk(p, row, k, p->k - k < chunk ? p->k - k : chunk, is_wide, c[row]);
            special |= set_aside(special, c[row], result);
        }
        for (unsigned column = 0; column < 8; column++)
            if (special >> column & 1u) c[row][column] = result[column];
    }
}

/* -- Unpacked 8-bit floats ----------------------------------------------------------------------------------------- */

// In every four along k the two low ones are of the first half of k, the two high ones of the second.
static unsigned unpacked_place(unsigned k, unsigned count) {
    return k % 4 / 2 * (count / 2) + k / 4 * 2 + k % 2;
}

// As f16's, in which e4m3's subnormals are normal.
static int16_t unpacked_exponent(float value) {
    return (int16_t)(value == 0.0f ? EXPONENT_OF_ZERO : exponent_of(value, -14));
}

static void unpack_rows(const struct accumulate_float *p, struct tile_rows *a) {
    for (unsigned row = 0; row < p->rows; row++) {
        for (unsigned k = 0; k < p->k; k++) {
            unsigned place = unpacked_place(k, p->k);
            a->value[row][place] = p->a->value[row][k];
            a->exponent[row][place] = unpacked_exponent(p->a->value[row][k]);
        }
        a->special[row] = p->a->special[row];
    }
}

static void unpack_columns(const struct accumulate_float *p, struct tile_columns *b) {
    for (unsigned k = 0; k < p->k; k++)
        for (unsigned column = 0; column < 8; column++) {
            unsigned place = unpacked_place(k, p->k);
            b->value[place][column] = p->b->value[k][column];
            b->exponent[place][column] = unpacked_exponent(p->b->value[k][column]);
        }
    memcpy(b->special, p->b->special, sizeof b->special);
}

static void add_unpacked(const struct accumulate_float *p, float c[][8]) {
    struct tile_rows a;
    struct tile_columns b;
    struct accumulate_model model = *p->model;
    struct accumulate_float products = *p;
    float sum[TILE_ROWS][8] = {{0}};
    unpack_rows(p, &a);
    unpack_columns(p, &b);
    model.chunk = p->k / 2;
    products.model = &model;
    products.a = &a;
    products.b = &b;
    add_products_of(&products, sum);
    for (unsigned row = 0; row < p->rows; row++)
        for (unsigned column = 0; column < 8; column++) {
            float total = sum[row][column] + c[row][column]; /* f16: exact, or the second rounding does not count */
            c[row][column] = isnan(total) ? bits_float(0x7fffffffu) : p->to_f16 ? round_f16((double)total) : total;
        }
}

void accumulate_float(const struct accumulate_float *p, float c[][8]) {
    if (p->model->unpacked)
        add_unpacked(p, c);
    else
        add_products_of(p, c);
}

/* -- Integers ------------------------------------------------------------------------------------------------------ */

// A sum of products below 2^24 is exact in float: 64 * 2^8, or 32 * 255 * 255.
void accumulate_integer(const struct tile_rows *a, const struct tile_columns *b, unsigned rows, unsigned k,
                        bool saturate, int32_t c[][8]) {
    for (unsigned row = 0; row < rows; row++) {
        vector_float low = {0}, high = {0};
        for (unsigned e = 0; e < k; e++) {
            low += load_float(b->value[e]) * a->value[row][e];
            high += load_float(b->value[e] + 4) * a->value[row][e];
        }
        for (unsigned column = 0; column < 8; column++) {
            int64_t sum = (int64_t)c[row][column] + (int64_t)(column < 4 ? low[column] : high[column - 4]);
            if (saturate) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            c[row][column] = (int32_t)(uint32_t)(uint64_t)sum;
        }
    }
}

/* -- Block-scaled 4-bit products ----------------------------------------------------------------------------------- */

// Scales of one side taken apart: value = significand * 2^exponent; a zero has the lowest exponent, subnormals of ue4m3
// have -6.
struct scales {
    double significand[TILE_ROWS][4];
    int exponent[TILE_ROWS][4];
    bool is_nan[TILE_ROWS];
};

static void take_apart(unsigned count, int lowest, float scale[][4], struct scales *out) {
    for (unsigned k = 0; k < count; k++) {
        out->is_nan[k] = false;
        for (unsigned g = 0; g < 4; g++) {
            uint32_t bits = float_bits(scale[k][g]);
            int own = (int)(bits >> 23) - 127;
            out->exponent[k][g] = bits == 0 ? LEAST_EXPONENT : own > lowest ? own : lowest;
            out->significand[k][g] = (double)scale[k][g] * power_of_two(-out->exponent[k][g]);
            out->is_nan[k] = out->is_nan[k] || isnan(scale[k][g]);
        }
    }
}

// Sums of 16 products, exact: multiples of 1/4 below 16 * 36.
static void sum_groups(const float *a, const float (*b)[8], float sum[4][8]) {
    for (unsigned g = 0; g < 4; g++) {
        vector_float low = {0}, high = {0};
        for (unsigned e = 16 * g; e < 16 * g + 16; e++) {
            low += load_float(b[e]) * a[e];
            high += load_float(b[e] + 4) * a[e];
        }
        memcpy(sum[g], &low, sizeof low);
        memcpy(sum[g] + 4, &high, sizeof high);
    }
}

static float scaled_sum(const struct accumulate_model *model, const double value[4], const int exponent[4],
                        float addend) {
    int aligned = exponent_of(addend, LEAST_EXPONENT);
    for (unsigned g = 0; g < 4; g++) aligned = exponent[g] > aligned ? exponent[g] : aligned;
    int64_t total = (int64_t)((double)addend * power_of_two(model->bits - aligned));
    for (unsigned g = 0; g < 4; g++) total += (int64_t)(value[g] * power_of_two(model->bits + exponent[g] - aligned));
    return round_zero((double)total * power_of_two(aligned - model->bits), model->mantissa);
}

void accumulate_scaled(const struct accumulate_model *model, const struct tile_rows *a, const struct tile_columns *b,
                       int lowest, float scale_a[16][4], float scale_b[8][4], float c[][8]) {
    struct scales of_a, of_b;
    take_apart(16, lowest, scale_a, &of_a);
    take_apart(8, lowest, scale_b, &of_b);
    for (unsigned row = 0; row < 16; row++) {
        float sum[4][8];
        sum_groups(a->value[row], b->value, sum);
        for (unsigned column = 0; column < 8; column++) {
            double value[4];
            int exponent[4];
            for (unsigned g = 0; g < 4; g++) {
                value[g] = (double)sum[g][column] * of_a.significand[row][g] * of_b.significand[column][g];
                exponent[g] = of_a.exponent[row][g] + of_b.exponent[column][g];
            }
            if (of_a.is_nan[row] || of_b.is_nan[column] || isnan(c[row][column]))
                c[row][column] = bits_float(0x7fffffffu);
            else if (!isinf(c[row][column]))
                c[row][column] = scaled_sum(model, value, exponent, c[row][column]);
        }
    }
}
