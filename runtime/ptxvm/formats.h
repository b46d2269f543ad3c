// formats: the narrow number formats of PTX: decoding, and encoding with one correct rounding. Pure functions of
// values; no machine state. Every format's values are exact in float, and every source (f16, bf16, f32, f64) is exact
// in double. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_FORMATS_H
#define PTXVM_FORMATS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// X(NAME, text, bits, mantissa bits, lowest normal exponent, largest finite code, infinity's code (0: none), NaN (0:
// none)) Codes are without the sign bit; tf32's are shifted down by its 13 unused bits. A NaN code is the one that
// hardware writes; UE8M0 has no zero and no subnormals: code c is 2^(c - 127), and infinity becomes NaN.
#define FORMATS(X)                                                                                                     \
    X(F16, "f16", 16, 10, -14, 0x7bff, 0x7c00, 0x7fff)                                                                 \
    X(BF16, "bf16", 16, 7, -126, 0x7f7f, 0x7f80, 0x7fff)                                                               \
    X(E4M3, "e4m3", 8, 3, -6, 0x7e, 0, 0x7f)                                                                           \
    X(E5M2, "e5m2", 8, 2, -14, 0x7b, 0x7c, 0x7f)                                                                       \
    X(E3M2, "e3m2", 6, 2, -2, 0x1f, 0, 0)                                                                              \
    X(E2M3, "e2m3", 6, 3, 0, 0x1f, 0, 0)                                                                               \
    X(E2M1, "e2m1", 4, 1, 0, 0x07, 0, 0)                                                                               \
    X(UE4M3, "ue4m3", 7, 3, -6, 0x7e, 0, 0x7f)                                                                         \
    X(UE8M0, "ue8m0", 8, 0, -127, 0xfe, 0xff, 0xff)                                                                    \
    X(TF32, "tf32", 32, 10, -126, 0x3fbff, 0x3fc00, 0x3ffff)                                                           \
    X(F32, "f32", 32, 23, -126, 0x7f7fffff, 0x7f800000, 0x7fffffff)
#define FORMAT_NAME(name, text, bits, mantissa, emin, finite, inf, nan) FORMAT_##name,
enum format { FORMATS(FORMAT_NAME) FORMAT_COUNT };

enum rounding {
    ROUND_NEAREST, /* .rn: ties to even */
    ROUND_ZERO,    /* .rz */
    ROUND_DOWN,    /* .rm: toward -infinity */
    ROUND_UP,      /* .rp: toward +infinity */
    ROUND_AWAY     /* .rna: nearest, ties away from zero */
};

enum { FORMAT_SATFINITE = 1, FORMAT_RELU = 2 }; /* flags of narrow_encode */

/* -- All formats --------------------------------------------------------------------------------------------------- */

// Value of a code; bits above the format's are ignored (tf32: the low 13 bits of the float too).
float narrow_decode(enum format format, uint32_t code);

// Code of a value, rounded once. Too large: infinity, or the largest finite one, as the rounding says; always the
// largest finite one with FORMAT_SATFINITE or where the format has no infinity. NaN: the format's NaN, or +largest
// finite where it has none. FORMAT_RELU: negative values and -0 become +0, NaN stays NaN. UE4M3 encodes negative values
// as 0, UE8M0 drops the sign, encodes 0 as 2^-127 and is meant for ROUND_ZERO and ROUND_UP, as PTX has no other.
uint32_t narrow_encode(enum format format, double value, enum rounding rounding, unsigned flags);

// Tables of the values of the formats that have at most 8 bits, by code; ue4m3 is e4m3 with bit 7 clear.
extern const float format_e4m3[256], format_e5m2[256], format_e3m2[64], format_e2m3[64], format_e2m1[16],
    format_ue8m0[256];

/* -- Bits ---------------------------------------------------------------------------------------------------------- */

static inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double bits_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// A float's bits, NaN as the GPU writes it.
static inline uint32_t float_bits_canonical(float value) {
    return value != value ? 0x7fffffffu : float_bits(value);
}

/* -- f16 and bf16, inline: inner loops use them -------------------------------------------------------------------- */

static inline float f16_to_float(uint32_t code) {
    uint32_t sign = (code & 0x8000u) << 16;
    // Exponent and mantissa in place, off by the difference of the biases: one exact multiplication rebases, and
    // normalises subnormals too.
    uint32_t bits = float_bits(bits_float((code & 0x7fffu) << 13) * 0x1p112f);
    if ((code & 0x7c00u) == 0x7c00u) bits |= 0x7f800000u;
    return bits_float(sign | bits);
}

static inline float bf16_to_float(uint32_t code) {
    return bits_float(code << 16);
}

// Nearest, ties to even; NaN is 0x7fff.
static inline uint32_t float_to_bf16(float value) {
    uint32_t bits = float_bits(value);
    return value != value ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

// Nearest, ties to even; NaN is 0x7fff. Both ways are taken and one is chosen, so that loops vectorise.
static inline uint32_t float_to_f16(float value) {
    uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    // Below 2^-14 the adder rounds to multiples of 2^-24.
    uint32_t small = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
    uint32_t code = magnitude < 0x38800000u ? small : normal;
    code = magnitude >= 0x477ff000u ? 0x7c00u : code; /* 65520 and above */
    return magnitude > 0x7f800000u ? 0x7fffu : sign | code;
}

// A float to a format of 8 bits or less, nearest, ties to even, saturating: as narrow_encode(.., FORMAT_SATFINITE), in
// few steps where the layout is constant. `nan`: what NaN becomes.
static inline uint32_t float_to_small(float value, unsigned bits, unsigned mantissa, int emin, uint32_t finite,
                                      uint32_t nan) {
    uint32_t all = float_bits(value), sign = all >> 31 << (bits - 1), magnitude = all & 0x7fffffffu;
    unsigned cut = 23 - mantissa;
    uint32_t rebias = (uint32_t)(126 + emin) << mantissa; /* float's exponent field, in units of the format's */
    // Below the least normal value the adder rounds to multiples of the least subnormal, which is the last bit of
    // `step`.
    uint32_t step = (uint32_t)(127 + emin + (int)cut) << 23;
    uint32_t small = float_bits(bits_float(magnitude) + bits_float(step)) - step;
    uint32_t normal = ((magnitude + ((1u << (cut - 1)) - 1u) + (magnitude >> cut & 1u)) >> cut) - rebias;
    uint32_t code = magnitude < (uint32_t)(127 + emin) << 23 ? small : normal;
    if (magnitude > 0x7f800000u) return nan;
    return sign | (code < finite ? code : finite);
}
static inline uint32_t float_to_e4m3(float value) {
    return float_to_small(value, 8, 3, -6, 0x7e, 0x7f);
}
static inline uint32_t float_to_e5m2(float value) {
    return float_to_small(value, 8, 2, -14, 0x7b, 0x7f);
}
static inline uint32_t float_to_e2m1(float value) {
    return float_to_small(value, 4, 1, 0, 0x7, 0x7);
}

// a + b rounded to odd in double: a later rounding to at most 51 bits then gives the correctly rounded sum.
static inline double add_to_odd(double a, double b) {
    double sum = a + b, b_part = sum - a, error = (a - (sum - b_part)) + (b - b_part);
    uint64_t bits = double_bits(sum);
    if (error == 0.0 || error != error || (bits & 1u) != 0) return sum;
    // Inexact and even: step towards the exact sum, or away from the rounded-down one; both neighbours are odd.
    return bits_double((error > 0.0) == (sum > 0.0) ? bits + 1 : bits - 1);
}

#endif
