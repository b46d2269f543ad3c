// kinds: what goes into the probes: edge values crossed with random bits, and data for matrix products. Every value is
// a function of the case's seed, the operand and the lane. SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <math.h>
#include <string.h>

uint64_t truth_mix(uint64_t seed) {
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t truth_hash(uint64_t hash, const void *bytes, size_t count) {
    const uint8_t *byte = bytes;
    for (size_t k = 0; k < count; k++) hash = (hash ^ byte[k]) * UINT64_C(0x100000001b3);
    return hash;
}

/* -- Formats ------------------------------------------------------------------------------------------------------- */

const struct truth_format truth_f16 = {"f16", 5, 10, 15, 2};
const struct truth_format truth_bf16 = {"bf16", 8, 7, 127, 2};
const struct truth_format truth_tf32 = {"tf32", 8, 23, 127, 4}; /* with 13 zeros at the end */
const struct truth_format truth_f32 = {"f32", 8, 23, 127, 4};
const struct truth_format truth_e4m3 = {"e4m3", 4, 3, 7, 1};
const struct truth_format truth_e5m2 = {"e5m2", 5, 2, 15, 1};

bool truth_encode(const struct truth_format *format, double value, uint32_t *bits) {
    uint32_t sign = (uint32_t)(signbit(value) != 0) << (format->exponent_bits + format->mantissa_bits);
    int exponent;
    double fraction = frexp(fabs(value), &exponent) * 2; /* 1 <= fraction < 2 */
    exponent--;
    *bits = sign;
    if (value == 0) return true;
    int field = exponent + format->bias;
    if (field < 1) { /* subnormal */
        fraction = ldexp(fraction, field - 1);
        field = 0;
    } else {
        fraction -= 1;
    }
    double mantissa = ldexp(fraction, format->mantissa_bits);
    int top = (1 << format->exponent_bits) - 1; /* infinities, NaN; of e4m3 only the last mantissa */
    bool is_number = format == &truth_e4m3 ? field < top || (field == top && mantissa < 7) : field < top;
    if (!is_number || mantissa != floor(mantissa)) return false;
    *bits |= (uint32_t)field << format->mantissa_bits | (uint32_t)mantissa;
    return true;
}

static double decode_fields(uint64_t bits, int exponent_bits, int mantissa_bits) {
    int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    int field = (int)(bits >> mantissa_bits) & top;
    double mantissa = (double)(bits & ((UINT64_C(1) << mantissa_bits) - 1));
    double sign = (bits >> (exponent_bits + mantissa_bits) & 1u) != 0 ? -1.0 : 1.0;
    if (field == top) return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    if (field == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + ldexp(1, mantissa_bits), field - bias - mantissa_bits);
}

double truth_decode(enum truth_value value, uint64_t bits) {
    double wide;
    switch (value) {
    case VALUE_F16:
        return decode_fields(bits, 5, 10);
    case VALUE_BF16:
        return decode_fields(bits, 8, 7);
    case VALUE_F32:
        return decode_fields(bits, 8, 23);
    case VALUE_F64:
        memcpy(&wide, &bits, sizeof wide);
        return wide;
    default:
        return (double)bits;
    }
}

unsigned truth_value_bytes(enum truth_value value, unsigned register_bytes) {
    static const unsigned bytes[] = {0, 2, 2, 4, 8};
    return value == VALUE_INTEGER ? register_bytes : bytes[value];
}

/* -- Edge values --------------------------------------------------------------------------------------------------- */

static const uint64_t edges8[] = {0, 1, 2, 3, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x55, 0xaa, 0x40};
static const uint64_t edges16[] = {0,      1,      2,      3,      0x7f,   0x80,   0xff,   0x100, 0x7ffe,
                                   0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff, 0x5555, 0xaaaa, 0x00f0};
static const uint64_t edges32[] = {0,          1,          2,          3,          7,          0x7f,       0x80,
                                   0xff,       0x7fff,     0x8000,     0xffff,     0x10000,    0x7ffffffe, 0x7fffffff,
                                   0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0x55555555, 0xaaaaaaaa, 0x01234567,
                                   31,         32,         33,         0x00ff00ff, 0x80008000};
static const uint64_t edges64[] = {0,
                                   1,
                                   2,
                                   3,
                                   0x7f,
                                   0xffff,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x100000000,
                                   0x7ffffffffffffffe,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0x8000000000000001,
                                   0xfffffffffffffffe,
                                   0xffffffffffffffff,
                                   0x5555555555555555,
                                   0xaaaaaaaaaaaaaaaa,
                                   0xffffffff00000000,
                                   0x20000000000001};
static const uint64_t edges_shift[] = {0,  1,  2,  7,  8,  15,  16,  17,         31,
                                       32, 33, 63, 64, 65, 255, 256, 0x80000000, 0xffffffff};
// Zeros, subnormals, smallest and largest normals, powers of two and their neighbours, halves, limits of the integer
// and of the narrower float types, infinities, quiet and signalling NaN.
static const uint64_t edges_f32[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00400000, 0x00800000, 0x80800000,
    0x00800001, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x40000000, 0x3f000000, 0xbf000000, 0x3fc00000,
    0xbfc00000, 0x40200000, 0xc0200000, 0x40490fdb, 0x4b000000, 0x4b000001, 0x4b7fffff, 0x4b800000, 0x4effffff,
    0x4f000000, 0xcf000000, 0xcf000001, 0x4f7fffff, 0x4f800000, 0x5effffff, 0x5f000000, 0xdf000000, 0x5f800000,
    0x477fe000, 0x477ff000, 0x477fefff, 0x43e00000, 0x43e80000, 0x43e7ffff, 0x47600000, 0x47700000, 0x33800000,
    0x33000000, 0x33000001, 0x387fc000, 0x38800000, 0x7f7fffff, 0xff7fffff, 0x7f000000, 0x7e800000, 0x00ffffff,
    0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7fa00000, 0x7fffffff, 0x437f0000, 0x42fe0000, 0xc3000000,
    0x3b000000, 0x3a800000, 0x3c7fffff};
static const uint64_t edges_f16[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0200, 0x0400, 0x8400,
                                     0x0401, 0x3c00, 0xbc00, 0x3c01, 0x3bff, 0x4000, 0x3800, 0xb800, 0x3e00,
                                     0x4100, 0xc100, 0x6400, 0x6401, 0x63ff, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
                                     0x7e00, 0xfe01, 0x7d00, 0x7fff, 0x5bf8, 0x5f00, 0x5f40};
static const uint64_t edges_bf16[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x807f, 0x0040, 0x0080,
                                      0x8080, 0x0081, 0x3f80, 0xbf80, 0x3f81, 0x3f7f, 0x4000, 0x3f00,
                                      0xbf00, 0x3fc0, 0x4020, 0xc020, 0x4300, 0x4380, 0x7f7f, 0xff7f,
                                      0x7f80, 0xff80, 0x7fc0, 0xffc1, 0x7fa0, 0x7fff, 0x477f, 0x4780};
static const uint64_t edges_f64[] = {
    0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x8000000000000001, 0x000fffffffffffff,
    0x0010000000000000, 0x8010000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x3ff0000000000001,
    0x3fefffffffffffff, 0x4000000000000000, 0x3fe0000000000000, 0x3ff8000000000000, 0x4004000000000000,
    0x41dfffffffc00000, 0x41e0000000000000, 0xc1e0000000000000, 0x41efffffffe00000, 0x41f0000000000000,
    0x43e0000000000000, 0xc3e0000000000000, 0x43efffffffffffff, 0x43f0000000000000, 0x4330000000000001,
    0x47efffffe0000000, 0x47effffff0000000, 0x36a0000000000000, 0x3690000000000000, 0x3810000000000000,
    0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
    0xfff8000000000001, 0x7ff4000000000000};

struct edges {
    const uint64_t *values;
    unsigned count;
};
#define EDGES(array)                                                                                                   \
    { array, (unsigned)(sizeof(array) / sizeof(array)[0]) }

// The first lanes cross the edges of the first two operands, the rest mix edges, bits and middling values.
static uint64_t edge_or(const struct edges *edges, uint64_t random, unsigned operand, unsigned lane, uint64_t other) {
    unsigned count = edges->count;
    if (lane < count * count && operand < 2) return edges->values[operand == 0 ? lane % count : lane / count];
    if ((random >> 60) < 6) return edges->values[(random >> 32) % count];
    return other;
}

/* -- Makers -------------------------------------------------------------------------------------------------------- */

static uint64_t bits_of(uint64_t value, unsigned bytes) {
    return bytes >= 8 ? value : value & ((UINT64_C(1) << (8 * bytes)) - 1);
}

static uint64_t random_of(uint64_t seed, unsigned operand, unsigned lane) {
    return truth_mix(truth_mix(seed + operand) ^ ((uint64_t)lane << 20));
}

#define MAKER(name)                                                                                                    \
    static uint64_t name(const struct truth_kind *kind, uint64_t seed, unsigned operand, unsigned lane, unsigned group)
#define UNUSED(x) (void)(x)

MAKER(make_integer) {
    static const struct edges of[] = {EDGES(edges16), EDGES(edges32), EDGES(edges64)};
    uint64_t random = random_of(seed, operand, lane), value = truth_mix(random);
    UNUSED(group);
    if ((random >> 60) > 12) value >>= value % (8 * kind->bytes); /* small ones */
    return bits_of(edge_or(&of[kind->bytes / 4], random, operand, lane, value), kind->bytes);
}
MAKER(make_nonzero) {
    uint64_t value = make_integer(kind, seed, operand, lane, group);
    return value != 0 ? value : 5;
}
MAKER(make_byte) { /* the bits above it are random */
    static const struct edges of = EDGES(edges8);
    uint64_t random = random_of(seed, operand, lane), value = truth_mix(random);
    UNUSED(group);
    return bits_of((edge_or(&of, random, operand, lane, value) & 0xff) | (value & ~UINT64_C(0xff)), kind->bytes);
}
MAKER(make_shift) {
    static const struct edges of = EDGES(edges_shift);
    uint64_t random = random_of(seed, operand, lane);
    UNUSED(group);
    return bits_of(edge_or(&of, random, operand, lane, random % 70), kind->bytes);
}
MAKER(make_raw) {
    UNUSED(group);
    return bits_of(random_of(seed, operand, lane), kind->bytes);
}
MAKER(make_lane) { /* a lane's number, now and then with bits above */
    uint64_t random = random_of(seed, operand, lane);
    UNUSED(group), UNUSED(kind);
    return random >> 61 == 0 ? random % 97 : random % 32;
}
MAKER(make_few) { /* of few values; all alike in every fourth warp */
    uint64_t random = random_of(seed, operand, lane / 32 % 4 == 0 ? lane / 32 : lane);
    UNUSED(group);
    return bits_of(truth_mix(random % 5), kind->bytes);
}
MAKER(make_all) {
    UNUSED(group), UNUSED(seed), UNUSED(operand);
    return bits_of(lane, kind->bytes);
}

// Floats: edges, any bits, and values around one.
static uint64_t float_bits_of(const struct truth_format *format, uint64_t random) {
    uint64_t mantissa = random & ((UINT64_C(1) << format->mantissa_bits) - 1), sign = random >> 63;
    uint64_t exponent = (uint64_t)(format->bias + (int)(random >> 32 & 7) - 4);
    return (sign << format->exponent_bits | exponent) << format->mantissa_bits | mantissa;
}
static uint64_t make_float(const struct truth_format *format, const struct edges *edges, uint64_t seed,
                           unsigned operand, unsigned lane) {
    uint64_t random = random_of(seed, operand, lane), value = truth_mix(random);
    if ((random >> 60) > 10) value = float_bits_of(format, value);
    return edge_or(edges, random, operand, lane, bits_of(value, format->bytes));
}
static const struct edges of_f32 = EDGES(edges_f32), of_f16 = EDGES(edges_f16), of_bf16 = EDGES(edges_bf16);
MAKER(make_f32) {
    UNUSED(kind), UNUSED(group);
    return make_float(&truth_f32, &of_f32, seed, operand, lane);
}
static uint64_t make_halves(const struct truth_kind *kind, const struct truth_format *format, const struct edges *edges,
                            uint64_t seed, unsigned operand, unsigned lane) {
    uint64_t low = make_float(format, edges, seed, operand, lane);
    uint64_t high = make_float(format, edges, seed + 77, operand + 2, lane);
    return kind->bytes == 2 ? low : high << 16 | low;
}
MAKER(make_f16) {
    UNUSED(group);
    return make_halves(kind, &truth_f16, &of_f16, seed, operand, lane);
}
MAKER(make_bf16) {
    UNUSED(group);
    return make_halves(kind, &truth_bf16, &of_bf16, seed, operand, lane);
}
MAKER(make_f64) {
    static const struct edges of = EDGES(edges_f64);
    uint64_t random = random_of(seed, operand, lane), value = truth_mix(random);
    UNUSED(kind), UNUSED(group);
    if ((random >> 60) > 10) value = (value & UINT64_C(0x800fffffffffffff)) | (UINT64_C(1019) + (random & 7)) << 52;
    return edge_or(&of, random, operand, lane, value);
}
MAKER(make_angle) { /* within two turns, where the ISA bounds the error of sin and cos */
    uint64_t random = random_of(seed, operand, lane);
    float value = (float)((double)(int64_t)random / 0x1p63 * 6.283185);
    uint32_t bits;
    UNUSED(kind), UNUSED(group);
    memcpy(&bits, &value, sizeof bits);
    if ((random & 15) < 2) return edges_f32[random >> 8 & 15]; /* zeros, subnormals, around one */
    return bits;
}
MAKER(make_whole) { /* small whole numbers, which add exactly */
    static const struct truth_format *const of[] = {NULL, &truth_f16, &truth_bf16, &truth_f32};
    uint64_t random = random_of(seed, operand, lane);
    double value = (double)(int)(random % 9) - 4;
    uint32_t low = 0, high = 0;
    UNUSED(group);
    if (kind->value == VALUE_F64) {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    truth_encode(of[kind->value], value, &low);
    truth_encode(of[kind->value], (double)(int)(random >> 8 & 7) - 4, &high);
    return kind->bytes > truth_value_bytes(kind->value, 4) ? (uint64_t)high << 16 | low : low;
}

/* -- Matrix data: eight distributions, by group of lanes ----------------------------------------------------------- */

enum distribution { WHOLE, UNIT, NEAR, WIDE, MIDDLE, LARGE_ADDEND, SMALL, RARE_SPECIAL, DISTRIBUTIONS };

static uint32_t random_float(const struct truth_format *format, uint64_t random, int low, int high) {
    int least = -format->bias, most = (1 << format->exponent_bits) - 2 - format->bias; /* least: subnormals */
    low = low < least ? least : low;
    high = high > most ? most : high;
    uint32_t field = (uint32_t)(low + format->bias) + (uint32_t)((random >> 8) % (uint64_t)(high - low + 1));
    uint32_t mantissa = (uint32_t)(random >> 24) & ((1u << format->mantissa_bits) - 1);
    uint32_t sign = (uint32_t)(random >> 63);
    return (sign << format->exponent_bits | field) << format->mantissa_bits | mantissa;
}

static uint32_t special_float(const struct truth_format *format, uint64_t random) {
    uint32_t top = ((1u << format->exponent_bits) - 1) << format->mantissa_bits;
    uint32_t sign = (uint32_t)(random >> 63) << (format->exponent_bits + format->mantissa_bits);
    if (format == &truth_e4m3) return sign | 0x7f;
    return (random & 3) == 0 ? top | 1u << (format->mantissa_bits - 1) : sign | top;
}

static uint32_t matrix_float(const struct truth_format *format, uint64_t random, unsigned group, bool is_addend) {
    uint32_t bits = 0;
    switch ((enum distribution)(group % DISTRIBUTIONS)) {
    case WHOLE:
        truth_encode(format, (double)(int)(random % 9) - 4, &bits);
        return bits;
    case UNIT:
        return random_float(format, random, -4, 0);
    case NEAR:
        return random_float(format, random, -1, 1);
    case WIDE:
        return random_float(format, random, is_addend ? -60 : -200, is_addend ? 60 : 200);
    case MIDDLE:
        return random_float(format, random, -6, 6);
    case LARGE_ADDEND:
        return is_addend ? random_float(format, random, 8, 14) : random_float(format, random, -3, 2);
    case SMALL:
        return random_float(format, random, -format->bias, is_addend ? -format->bias : 5 - format->bias);
    default:
        if (random % 97 == 0) return special_float(format, random);
        return random_float(format, random, -3, 3);
    }
}

static uint64_t matrix_word(const struct truth_format *format, uint64_t seed, unsigned operand, unsigned lane,
                            unsigned group, bool is_addend) {
    uint64_t word = 0;
    for (unsigned e = 0; e < 4 / format->bytes; e++) {
        uint64_t random = truth_mix(random_of(seed, operand, lane) + e);
        uint64_t value = matrix_float(format, random, group, is_addend);
        if (format == &truth_tf32) value &= ~UINT64_C(0x1fff);
        word |= value << (8 * format->bytes * e);
    }
    return word;
}

#define MATRIX_MAKER(name, format, is_addend)                                                                          \
    MAKER(name) {                                                                                                      \
        UNUSED(kind);                                                                                                  \
        return matrix_word(&format, seed, operand, lane, group, is_addend);                                            \
    }
MATRIX_MAKER(make_matrix_f16, truth_f16, false)
MATRIX_MAKER(make_matrix_bf16, truth_bf16, false)
MATRIX_MAKER(make_matrix_tf32, truth_tf32, false)
MATRIX_MAKER(make_matrix_e4m3, truth_e4m3, false)
MATRIX_MAKER(make_matrix_e5m2, truth_e5m2, false)
MATRIX_MAKER(make_addend_f32, truth_f32, true)
MATRIX_MAKER(make_addend_f16, truth_f16, true)
MAKER(make_addend_s32) { /* near the limits in one group of four, so that sums overflow */
    uint64_t random = random_of(seed, operand, lane);
    UNUSED(kind);
    return group % 4 == 3
               ? (random & 0x80000000u ? 0x80000000u + (random >> 33 & 0xffff) : 0x7fffffffu - (random >> 33 & 0xffff))
               : bits_of(random, 4);
}

/* -- The table ----------------------------------------------------------------------------------------------------- */

static const struct truth_kind kinds[] = {{"b8", 4, VALUE_INTEGER, make_byte},
                                          {"b16", 2, VALUE_INTEGER, make_integer},
                                          {"b32", 4, VALUE_INTEGER, make_integer},
                                          {"b64", 8, VALUE_INTEGER, make_integer},
                                          {"n16", 2, VALUE_INTEGER, make_nonzero},
                                          {"n32", 4, VALUE_INTEGER, make_nonzero},
                                          {"n64", 8, VALUE_INTEGER, make_nonzero},
                                          {"shift", 4, VALUE_INTEGER, make_shift},
                                          {"raw", 4, VALUE_INTEGER, make_raw},
                                          {"raw64", 8, VALUE_INTEGER, make_raw},
                                          {"lane", 4, VALUE_INTEGER, make_lane},
                                          {"few32", 4, VALUE_INTEGER, make_few},
                                          {"few64", 8, VALUE_INTEGER, make_few},
                                          {"all16", 2, VALUE_INTEGER, make_all},
                                          {"all32", 4, VALUE_INTEGER, make_all},
                                          {"f16", 2, VALUE_F16, make_f16},
                                          {"bf16", 2, VALUE_BF16, make_bf16},
                                          {"f16x2", 4, VALUE_F16, make_f16},
                                          {"bf16x2", 4, VALUE_BF16, make_bf16},
                                          {"f32", 4, VALUE_F32, make_f32},
                                          {"f64", 8, VALUE_F64, make_f64},
                                          {"angle", 4, VALUE_F32, make_angle},
                                          {"wf16", 2, VALUE_F16, make_whole},
                                          {"wbf16", 2, VALUE_BF16, make_whole},
                                          {"wf16x2", 4, VALUE_F16, make_whole},
                                          {"wbf16x2", 4, VALUE_BF16, make_whole},
                                          {"wf32", 4, VALUE_F32, make_whole},
                                          {"wf64", 8, VALUE_F64, make_whole},
                                          {"mf16", 4, VALUE_F16, make_matrix_f16},
                                          {"mbf16", 4, VALUE_BF16, make_matrix_bf16},
                                          {"mtf32", 4, VALUE_F32, make_matrix_tf32},
                                          {"me4m3", 4, VALUE_INTEGER, make_matrix_e4m3},
                                          {"me5m2", 4, VALUE_INTEGER, make_matrix_e5m2},
                                          {"cf32", 4, VALUE_F32, make_addend_f32},
                                          {"cf16", 4, VALUE_F16, make_addend_f16},
                                          {"cs32", 4, VALUE_INTEGER, make_addend_s32}};

const struct truth_kind *truth_kind_find(const char *name, size_t bytes) {
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        if (strlen(kinds[k].name) == bytes && memcmp(kinds[k].name, name, bytes) == 0) return &kinds[k];
    return NULL;
}
