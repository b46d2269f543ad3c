// exec_convert_any: cvt between any two single types with any modifiers, lane by lane. Floats travel as double, in
// which every source is exact; 64-bit integers that must be rounded to less than 53 bits travel rounded to odd.
// SPDX-License-Identifier: Apache-2.0
#include "exec_convert.h"

/* -- Sources ------------------------------------------------------------------------------------------------------- */

static unsigned type_bits(enum ptx_type type) {
    return ptx_type_bits(type);
}

static bool is_signed(enum ptx_type type) {
    return ptx_type_class(type) == 'S';
}

// An integer of the type's width as an exact number of 65 bits.
static __int128 integer_of(enum ptx_type type, uint64_t lane) {
    unsigned unused = 64 - type_bits(type);
    return is_signed(type) ? (__int128)((int64_t)(lane << unused) >> unused) : (__int128)(lane << unused >> unused);
}

static double float_of(const struct conversion *c, uint64_t lane) {
    float value;
    switch (c->from) {
    case PTX_F64:
        return bits_double(lane);
    case PTX_F16:
        value = f16_to_float((uint32_t)lane & 0xffffu);
        break;
    case PTX_BF16:
        value = bf16_to_float((uint32_t)lane & 0xffffu);
        break;
    default:
        value = bits_float((uint32_t)lane);
        break;
    }
    // .rm and .rp to f16 see subnormals in spite of .ftz (as seen on an H100; .rn and .rz make them 0 anyway).
    if (c->ftz && c->from == PTX_F32 && c->to != PTX_F16) value = bits_float(float_bits_canonical(flush(value)));
    return value;
}

// A whole number as double, rounded to odd where it has more than 53 bits.
static double to_odd(__int128 value) {
    bool negative = value < 0;
    uint64_t magnitude = negative ? (uint64_t)-value : (uint64_t)value;
    double result =
        magnitude >> 53 == 0 ? (double)magnitude : (double)((magnitude >> 11) | ((magnitude & 0x7ffu) != 0)) * 2048.0;
    return negative ? -result : result;
}

/* -- Results ------------------------------------------------------------------------------------------------------- */

static double round_integral(double v, enum rounding rounding) {
    double result;
    switch (rounding) {
    case ROUND_ZERO:
        result = trunc(v);
        break;
    case ROUND_DOWN:
        result = floor(v);
        break;
    case ROUND_UP:
        result = ceil(v);
        break;
    default:
        result = rint(v);
        break;
    }
    return result == 0.0 ? copysign(0.0, v) : result;
}

// Least and greatest number of an integer type.
static void range_of(enum ptx_type type, __int128 *least, __int128 *greatest) {
    unsigned bits = type_bits(type);
    *least = is_signed(type) ? -((__int128)1 << (bits - 1)) : 0;
    *greatest = ((__int128)1 << (is_signed(type) ? bits - 1 : bits)) - 1;
}

static __int128 clamp(enum ptx_type type, __int128 v) {
    __int128 least, greatest;
    range_of(type, &least, &greatest);
    return v < least ? least : v > greatest ? greatest : v;
}

// A float to an integer type, which always saturates. NaN becomes 0, as PTX says; but where 64 bits are on either side
// only the top bit of the type is set, as seen on an H100.
static uint64_t whole_of(const struct conversion *c, double v) {
    bool wide = c->from == PTX_F64 || type_bits(c->to) == 64;
    if (v != v) return wide ? UINT64_C(1) << (type_bits(c->to) - 1) : 0;
    double whole = round_integral(v, c->rounding);
    if (whole >= 0x1p65) whole = 0x1p65;
    if (whole <= -0x1p65) whole = -0x1p65;
    return (uint64_t)clamp(c->to, (__int128)whole);
}

// An integer of type c->to as the destination register holds it: extended by its sign to the register's width.
static uint64_t extended(const struct conversion *c, uint64_t bits) {
    uint64_t value = (uint64_t)integer_of(c->to, bits);
    return c->to_bits == 64 ? value : value & ((UINT64_C(1) << c->to_bits) - 1);
}

// NaN of f64 to a narrower float: the upper part of its payload, quiet (as seen on an H100).
static uint64_t narrowed_nan(const struct conversion *c, double v) {
    uint32_t sign = (uint32_t)(double_bits(v) >> 63), mantissa = (uint32_t)(double_bits(v) >> 29) & 0x7fffffu;
    uint32_t code = sign << 31 | 0x7fc00000u | mantissa;
    if (c->to == PTX_F16) return sign << 15 | 0x7e00u | mantissa >> 13;
    return c->to == PTX_BF16 ? code >> 16 : code;
}

static uint64_t encoded(const struct conversion *c, uint64_t lane, double v) {
    if (c->sat) v = saturate64(v);
    if (v != v && c->from == PTX_F64) return c->to == PTX_F64 ? double_bits(quiet(v)) : narrowed_nan(c, v);
    // .rna to tf32 drops the low bits of a NaN, and may leave infinity; .satfinite then takes the code below (as seen
    // on an H100).
    if (v != v && c->to == PTX_TF32 && c->rounding == ROUND_AWAY)
        return (lane & 0xffffe000u) - ((c->flags & FORMAT_SATFINITE) != 0 ? 0x2000u : 0);
    switch (c->to) {
    case PTX_F64:
        return double_bits(v);
    case PTX_F16:
        return narrow_encode(FORMAT_F16, v, c->rounding, c->flags);
    case PTX_BF16:
        return narrow_encode(FORMAT_BF16, v, c->rounding, c->flags);
    case PTX_TF32:
        return narrow_encode(FORMAT_TF32, v, c->rounding, c->flags);
    default:
        break;
    }
    uint32_t code = narrow_encode(FORMAT_F32, v, c->rounding, c->flags);
    return c->ftz ? float_bits(flush(bits_float(code))) : code;
}

/* -- One lane ------------------------------------------------------------------------------------------------------ */

static uint64_t convert_float(const struct conversion *c, uint64_t lane) {
    double v = float_of(c, lane);
    if (!is_float_type(c->to)) return extended(c, whole_of(c, v));
    return encoded(c, lane, c->integral && v == v ? round_integral(v, c->rounding) : v);
}

// To f64 in a directed mode: the CPU's conversion in nearest, corrected towards the side that the mode wants.
static double to_double(__int128 value, enum rounding rounding) {
    double near = (double)value; /* libgcc rounds 128 bits to nearest */
    __int128 error = value - (__int128)near;
    if (error == 0 || rounding == ROUND_NEAREST) return near;
    bool up = rounding == ROUND_UP || (rounding == ROUND_ZERO && value < 0);
    if (error > 0 && up) return nextafter(near, INFINITY);
    return error < 0 && !up ? nextafter(near, -INFINITY) : near;
}

static uint64_t convert_integer(const struct conversion *c, uint64_t lane) {
    __int128 v = integer_of(c->from, lane);
    if (!is_float_type(c->to)) return extended(c, (uint64_t)(c->sat ? clamp(c->to, v) : v));
    return encoded(c, lane, c->to == PTX_F64 ? to_double(v, c->rounding) : to_odd(v));
}

void convert_any(struct exec *x, const struct instruction *i) {
    const struct conversion *c = i->aux;
    bool from_float = is_float_type(c->from), to_wide = c->to_bits == 64;
    for (uint32_t rest = x->active; rest != 0; rest &= rest - 1) {
        unsigned l = (unsigned)__builtin_ctz(rest);
        uint64_t lane = c->from_wide ? lanes64(x, i->src[0])[l] : lanes32(x, i->src[0])[l];
        uint64_t result = from_float ? convert_float(c, lane) : convert_integer(c, lane);
        if (to_wide)
            lanes64(x, i->dst)[l] = result;
        else
            lanes32(x, i->dst)[l] = (uint32_t)result;
    }
}
