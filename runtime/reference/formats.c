// formats: one rounding function for every format, driven by the table in formats.h; codes are packed from the rounded
// value, exactly.
// SPDX-License-Identifier: Apache-2.0
#include "formats.h"
#include <math.h>
#include <string.h>

/* -- Traits ---- */

struct format_traits {
    const char *text;
    int bits, exponent_bits, mantissa_bits, bias;
    double max;
    bool has_infinity, is_signed;
};

#define FORMAT_ROW(symbol, text, bits, exponent, mantissa, bias, max, infinity, sign)                                  \
    [FORMAT_##symbol] = {text, bits, exponent, mantissa, bias, max, infinity, sign},
static const struct format_traits traits_table[FORMAT_COUNT] = {FORMAT_TABLE(FORMAT_ROW)};

const char *format_text(enum number_format f) {
    return traits_table[f].text;
}

size_t format_bits(enum number_format f) {
    return (size_t)traits_table[f].bits;
}

double format_max(enum number_format f) {
    return traits_table[f].max;
}

/* -- Bits of a double ---- */

static uint64_t double_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double double_from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// 2^e for a normal double.
static double power_of_two(int e) {
    return double_from_bits((uint64_t)(e + 1023) << 52);
}

// floor(log2 |x|) of a normal double; -1023 for zero and subnormals.
static int binary_exponent(double x) {
    return (int)(double_bits(x) >> 52 & 2047) - 1023;
}

/* -- One value ---- */

// Adding 1.5 * 2^52 quanta makes the hardware round a to a multiple of the quantum, ties to even.
static double round_to_grid(const struct format_traits *t, double a) {
    int least = 1 - t->bias;
    int e = binary_exponent(a);
    double magic = power_of_two((e < least ? least : e) - t->mantissa_bits + 52) * 1.5;
    return (a + magic) - magic;
}

double format_round(enum number_format f, double x) {
    const struct format_traits *t = &traits_table[f];
    if (f == FORMAT_F64) return x;
    if (isnan(x)) return f == FORMAT_E2M1 ? t->max : x;
    if (!t->is_signed && x < 0) return 0;
    double a = fabs(x);
    if (a >= 2 * t->max)
        a = t->has_infinity ? INFINITY : t->max;
    else
        a = round_to_grid(t, a);
    if (a > t->max) a = t->has_infinity ? INFINITY : t->max;
    return copysign(a, x);
}

// Code of the magnitude, without the sign. a is a value of the format.
static uint64_t pack_magnitude(const struct format_traits *t, double a) {
    uint64_t top = ((uint64_t)1 << t->exponent_bits) - 1;
    if (isinf(a)) return top << t->mantissa_bits;
    int e = binary_exponent(a), least = 1 - t->bias;
    if (a == 0 || e < least) return (uint64_t)(a * power_of_two(t->mantissa_bits - least));
    uint64_t mantissa = double_bits(a) >> (52 - t->mantissa_bits) & (((uint64_t)1 << t->mantissa_bits) - 1);
    return (uint64_t)(e + t->bias) << t->mantissa_bits | mantissa;
}

// Quiet NaN: every bit set for the 8-bit formats (as PTX), else the top mantissa bit.
static uint64_t nan_code(const struct format_traits *t) {
    uint64_t magnitude = ((uint64_t)1 << (t->exponent_bits + t->mantissa_bits)) - 1;
    return t->bits == 8 ? magnitude : magnitude - (((uint64_t)1 << (t->mantissa_bits - 1)) - 1);
}

uint64_t format_encode(enum number_format f, double x) {
    const struct format_traits *t = &traits_table[f];
    if (f == FORMAT_F64) return double_bits(x);
    double value = format_round(f, x);
    if (isnan(value)) return nan_code(t);
    uint64_t sign = signbit(value) && t->is_signed ? (uint64_t)1 << (t->bits - 1) : 0;
    return sign | pack_magnitude(t, fabs(value));
}

static bool is_nan_code(enum number_format f, uint64_t exponent, uint64_t mantissa) {
    const struct format_traits *t = &traits_table[f];
    if (f == FORMAT_E2M1 || exponent != ((uint64_t)1 << t->exponent_bits) - 1) return false;
    if (f == FORMAT_E4M3 || f == FORMAT_UE4M3) return mantissa == 7;
    return mantissa != 0;
}

static bool is_infinity_code(enum number_format f, uint64_t exponent) {
    const struct format_traits *t = &traits_table[f];
    bool ieee = t->has_infinity || f == FORMAT_E5M2;
    return ieee && exponent == ((uint64_t)1 << t->exponent_bits) - 1;
}

double format_decode(enum number_format f, uint64_t code) {
    const struct format_traits *t = &traits_table[f];
    if (f == FORMAT_F64) return double_from_bits(code);
    uint64_t mantissa = code & (((uint64_t)1 << t->mantissa_bits) - 1);
    uint64_t exponent = code >> t->mantissa_bits & (((uint64_t)1 << t->exponent_bits) - 1);
    bool negative = t->is_signed && (code >> (t->bits - 1) & 1);
    double a;
    if (is_nan_code(f, exponent, mantissa))
        a = NAN;
    else if (is_infinity_code(f, exponent))
        a = INFINITY;
    else {
        if (exponent) mantissa |= (uint64_t)1 << t->mantissa_bits;
        a = (double)mantissa * power_of_two((exponent ? (int)exponent : 1) - t->bias - t->mantissa_bits);
    }
    return negative ? -a : a;
}

/* -- Arrays ---- */

void format_encode_array(enum number_format f, const float *values, size_t n, void *codes) {
    unsigned char *out = codes;
    size_t bytes = format_bits(f) / 8;
    if (f == FORMAT_E2M1) memset(out, 0, (n + 1) / 2);
    for (size_t i = 0; i < n; i++) {
        uint64_t code = format_encode(f, (double)values[i]);
        if (f == FORMAT_E2M1)
            out[i / 2] = (unsigned char)(out[i / 2] | code << (i % 2 * 4));
        else
            for (size_t b = 0; b < bytes; b++) out[i * bytes + b] = (unsigned char)(code >> (8 * b));
    }
}

void format_decode_array(enum number_format f, const void *codes, size_t n, float *values) {
    const unsigned char *in = codes;
    size_t bytes = format_bits(f) / 8;
    for (size_t i = 0; i < n; i++) {
        uint64_t code = 0;
        if (f == FORMAT_E2M1) code = (uint64_t)(in[i / 2] >> (i % 2 * 4)) & 15;
        for (size_t b = 0; b < bytes; b++) code |= (uint64_t)in[i * bytes + b] << (8 * b);
        values[i] = (float)format_decode(f, code);
    }
}

void format_round_array(enum number_format f, float *values, size_t n) {
    for (size_t i = 0; i < n; i++) values[i] = (float)format_round(f, (double)values[i]);
}

/* -- UE8M0 ---- */

uint8_t format_ue8m0_encode(double x, bool round_up) {
    if (isnan(x)) return 255;
    if (x <= 0x1p-127) return 0;
    if (x >= 0x1p127) return 254;
    int e = binary_exponent(x);
    if (round_up && x > power_of_two(e)) e++;
    return (uint8_t)(e + 127);
}

double format_ue8m0_decode(uint8_t code) {
    return code == 255 ? NAN : power_of_two((int)code - 127);
}
