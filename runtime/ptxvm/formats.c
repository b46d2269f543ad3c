// formats: decoding and encoding of the narrow number formats. SPDX-License-Identifier: Apache-2.0
#include "formats.h"

/* -- Layouts ------------------------------------------------------------------------------------------------------- */

struct layout {
    unsigned bits, mantissa;
    int emin;
    uint32_t finite, inf, nan;
};

#define LAYOUT_ROW(name, text, bits, mantissa, emin, finite, inf, nan) {bits, mantissa, emin, finite, inf, nan},
static const struct layout layouts[FORMAT_COUNT] = {FORMATS(LAYOUT_ROW)};

static bool is_signed(enum format format) {
    return format != FORMAT_UE4M3 && format != FORMAT_UE8M0;
}

/* -- Tables: codes to values, as constant expressions -------------------------------------------------------------- */

// (bits of an exponent field) as a power of two, times `unit`: 2^e * unit with e >= 0.
#define POWER(e) ((float)(UINT64_C(1) << ((e)&63u)))
// A code of `mantissa` bits: exponent 0 is subnormal; `unit` is the value of the smallest subnormal.
#define MAGNITUDE(code, mantissa, unit)                                                                                \
    ((code) >> (mantissa) == 0 ? (float)(code) * (unit)                                                                \
                               : (float)((1u << (mantissa)) | ((code) & ((1u << (mantissa)) - 1u))) *                  \
                                     POWER(((code) >> (mantissa)) - 1u) * (unit))
#define SIGNED(code, sign, value) (((code) & (sign)) != 0 ? -(value) : (value))

#define E4M3_FINITE(c)  MAGNITUDE((c)&0x7fu, 3, 0x1p-9f)
#define E4M3(c)         SIGNED(c, 0x80u, ((c)&0x7fu) == 0x7fu ? NAN : E4M3_FINITE(c))
#define E5M2_SPECIAL(c) (((c)&3u) == 0 ? INFINITY : NAN)
#define E5M2(c)         SIGNED(c, 0x80u, ((c)&0x7cu) == 0x7cu ? E5M2_SPECIAL(c) : MAGNITUDE((c)&0x7fu, 2, 0x1p-16f))
#define E3M2(c)         SIGNED(c, 0x20u, MAGNITUDE((c)&0x1fu, 2, 0x1p-4f))
#define E2M3(c)         SIGNED(c, 0x20u, MAGNITUDE((c)&0x1fu, 3, 0x1p-3f))
#define E2M1(c)         SIGNED(c, 0x08u, MAGNITUDE((c)&0x07u, 1, 0x1p-1f))
// 2^(c - 127): the exponent in factors that one shift can make.
#define QUARTER(c) POWER((c) / 4u)
#define UE8M0(c)   ((c) == 255u ? NAN : 0x1p-127f * QUARTER(c) * QUARTER(c) * QUARTER(c) * QUARTER(c) * POWER((c) % 4u))

#define ROW4(F, c)   F(c), F((c) + 1u), F((c) + 2u), F((c) + 3u)
#define ROW16(F, c)  ROW4(F, c), ROW4(F, (c) + 4u), ROW4(F, (c) + 8u), ROW4(F, (c) + 12u)
#define ROW64(F, c)  ROW16(F, c), ROW16(F, (c) + 16u), ROW16(F, (c) + 32u), ROW16(F, (c) + 48u)
#define ROW256(F, c) ROW64(F, c), ROW64(F, (c) + 64u), ROW64(F, (c) + 128u), ROW64(F, (c) + 192u)
const float format_e4m3[256] = {ROW256(E4M3, 0u)};
const float format_e5m2[256] = {ROW256(E5M2, 0u)};
const float format_e3m2[64] = {ROW64(E3M2, 0u)};
const float format_e2m3[64] = {ROW64(E2M3, 0u)};
const float format_e2m1[16] = {ROW16(E2M1, 0u)};
const float format_ue8m0[256] = {ROW256(UE8M0, 0u)};

/* -- Decoding ------------------------------------------------------------------------------------------------------ */

float narrow_decode(enum format format, uint32_t code) {
    switch (format) {
    case FORMAT_F16:
        return f16_to_float(code & 0xffffu);
    case FORMAT_BF16:
        return bf16_to_float(code & 0xffffu);
    case FORMAT_E4M3:
        return format_e4m3[code & 0xffu];
    case FORMAT_E5M2:
        return format_e5m2[code & 0xffu];
    case FORMAT_E3M2:
        return format_e3m2[code & 0x3fu];
    case FORMAT_E2M3:
        return format_e2m3[code & 0x3fu];
    case FORMAT_E2M1:
        return format_e2m1[code & 0xfu];
    case FORMAT_UE4M3:
        return format_e4m3[code & 0x7fu];
    case FORMAT_UE8M0:
        return format_ue8m0[code & 0xffu];
    case FORMAT_TF32:
        return bits_float(code & 0xffffe000u);
    case FORMAT_F32:
        return bits_float(code);
    case FORMAT_COUNT:
        break;
    }
    return NAN;
}

/* -- Encoding ------------------------------------------------------------------------------------------------------ */

// Whether `kept` is to become kept + 1, where `rest` of the bits below it, in units of 2 * half, was cut off.
static bool rounds_up(uint64_t kept, uint64_t rest, uint64_t half, enum rounding rounding, bool negative) {
    switch (rounding) {
    case ROUND_NEAREST:
        return rest > half || (rest == half && (kept & 1u) != 0);
    case ROUND_AWAY:
        return rest >= half;
    case ROUND_ZERO:
        return false;
    case ROUND_DOWN:
        return rest != 0 && negative;
    case ROUND_UP:
        return rest != 0 && !negative;
    }
    return false;
}

// Code of a finite magnitude, exponent unbounded: the mantissa in units of the format's quantum at that exponent. The
// implicit bit carries into the exponent field by itself, and so does a mantissa that rounds up to the next power of 2.
static uint64_t magnitude_code(const struct layout *f, uint64_t magnitude, enum rounding rounding, bool negative) {
    int exponent = (int)(magnitude >> 52) - 1023;
    uint64_t mantissa = magnitude & ((UINT64_C(1) << 52) - 1);
    if (exponent == -1023)
        exponent = -1022;
    else
        mantissa |= UINT64_C(1) << 52;
    int field = exponent < f->emin ? f->emin : exponent;
    int shift = 52 - (int)f->mantissa + (field - exponent);
    if (shift > 60) shift = 60; /* kept is 0 and rest is below half anyway */
    uint64_t kept = mantissa >> shift, half = UINT64_C(1) << (shift - 1), rest = mantissa & (2 * half - 1);
    if (rounds_up(kept, rest, half, rounding, negative)) kept++;
    return ((uint64_t)(field - f->emin) << f->mantissa) + kept;
}

// Code of a value that is too large.
static uint32_t overflow_code(const struct layout *f, enum rounding rounding, bool negative, bool infinite) {
    bool inwards =
        rounding == ROUND_ZERO || (rounding == ROUND_DOWN && !negative) || (rounding == ROUND_UP && negative);
    return f->inf == 0 || (inwards && !infinite) ? f->finite : f->inf;
}

static uint32_t unsigned_code(enum format format, uint64_t magnitude, enum rounding rounding, bool negative,
                              bool satfinite) {
    const struct layout *f = &layouts[format];
    bool infinite = magnitude == UINT64_C(0x7ff0000000000000);
    uint64_t code = infinite ? UINT64_MAX : magnitude_code(f, magnitude, rounding, negative);
    // ue8m0 has no subnormal and no zero: its codes lie one below those of a format that has them.
    if (format == FORMAT_UE8M0 && code != 0 && !infinite) code--;
    if (code <= f->finite) return (uint32_t)code;
    return satfinite ? f->finite : overflow_code(f, rounding, negative, infinite);
}

uint32_t narrow_encode(enum format format, double value, enum rounding rounding, unsigned flags) {
    const struct layout *f = &layouts[format];
    uint64_t bits = double_bits(value), magnitude = bits & ~(UINT64_C(1) << 63);
    bool negative = bits >> 63 != 0;
    unsigned unused = format == FORMAT_TF32 ? 13 : 0;
    if (value != value) return (f->nan != 0 ? f->nan : f->finite) << unused;
    if (format == FORMAT_UE8M0) negative = false;
    if (negative && ((flags & FORMAT_RELU) != 0 || format == FORMAT_UE4M3)) return 0;
    uint32_t code = unsigned_code(format, magnitude, rounding, negative, (flags & FORMAT_SATFINITE) != 0) << unused;
    return negative && is_signed(format) ? code | 1u << (f->bits - 1) : code;
}
