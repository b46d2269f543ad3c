// exec_float: value types and tables that the float families share. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_EXEC_FLOAT_H
#define PTXVM_EXEC_FLOAT_H

#include "scalar.h"

/* -- Value types with modifiers ------------------------------------------------------------------------------------ */

// Subnormals to zero, sign kept.
static inline float flush(float v) {
    uint32_t bits = float_bits(v);
    return bits_float((bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits);
}
// .sat: to [+0, 1]; NaN becomes +0.
static inline float saturate(float v) {
    return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f;
}
static inline double saturate64(double v) {
    return v > 0.0 ? (v < 1.0 ? v : 1.0) : 0.0;
}
// A NaN of f64 with its quiet bit set.
static inline double quiet(double v) {
    return bits_double(double_bits(v) | UINT64_C(1) << 51);
}
// f16's subnormals to zero.
static inline uint32_t flush16(uint32_t code) {
    return (code & 0x7c00u) == 0 ? code & 0x8000u : code;
}
// A result before it is rounded to f16: .ftz goes by it rounded to 11 bits with unbounded exponent, so that below
// 2^-14 * (1 - 2^-12) it becomes 0 even if a subnormal would round up to 2^-14 (as seen on an H100).
static inline float flush_small(float v) {
    uint32_t bits = float_bits(v);
    return bits_float((bits & 0x7fffffffu) < 0x387ff000u ? bits & 0x80000000u : bits);
}
// .relu: negative values and -0 to +0, NaN stays.
static inline float relu(float v) {
    return v > 0.0f || v != v ? v : 0.0f;
}

// z: .ftz, of sources and result; s: .sat, of the result; r: .relu, of the result.
SCALAR_TYPE(f32z, float, uint32_t, flush(bits_float(bits)), float_bits_canonical(flush(v)))
SCALAR_TYPE(f32s, float, uint32_t, bits_float(bits), float_bits(saturate(v)))
SCALAR_TYPE(f32zs, float, uint32_t, flush(bits_float(bits)), float_bits(saturate(flush(v))))
SCALAR_TYPE(f16z, float, uint32_t, f16_to_float(flush16(bits & 0xffffu)), float_to_f16(flush_small(v)))
SCALAR_TYPE(f16s, float, uint32_t, f16_to_float(bits & 0xffffu), float_to_f16(saturate(v)))
SCALAR_TYPE(f16zs, float, uint32_t, f16_to_float(flush16(bits & 0xffffu)), float_to_f16(flush_small(saturate(v))))
SCALAR_TYPE(f16r, float, uint32_t, f16_to_float(bits & 0xffffu), float_to_f16(relu(v)))
SCALAR_TYPE(f16zr, float, uint32_t, f16_to_float(flush16(bits & 0xffffu)), float_to_f16(flush_small(relu(v))))
SCALAR_TYPE(bf16r, float, uint32_t, bf16_to_float(bits & 0xffffu), float_to_bf16(relu(v)))

// Upper halves of packed types.
SCALAR_TYPE(f16h, float, uint32_t, f16_to_float(bits >> 16), float_to_f16(v) << 16)
SCALAR_TYPE(f16zh, float, uint32_t, f16_to_float(flush16(bits >> 16)), float_to_f16(v) << 16)
SCALAR_TYPE(bf16h, float, uint32_t, bf16_to_float(bits >> 16), float_to_bf16(v) << 16)

/* -- Handlers of values and of pairs ------------------------------------------------------------------------------- */

// A handler that applies a function of 1, 2 or 3 values of type T, and one that applies it to both halves (`half` bits
// each) of a lane L.
#define VALUES1(name, T, function) HANDLER1(name, T, T, function(a))
#define VALUES2(name, T, function) HANDLER2(name, T, T, T, function(a, b))
#define VALUES3(name, T, function) HANDLER3(name, T, T, T, T, function(a, b, c))

#define PAIRS1(name, T, L, half, function)                                                                             \
    static inline L##_value name##_at(L##_value a, unsigned shift) {                                                   \
        return (L##_value)T##_store(function(T##_load((uint32_t)(a >> shift)))) << shift;                              \
    }                                                                                                                  \
    HANDLER1(name, L, L, name##_at(a, 0) | name##_at(a, half))
#define PAIRS2(name, T, L, half, function)                                                                             \
    static inline L##_value name##_at(L##_value a, L##_value b, unsigned shift) {                                      \
        T##_value left = T##_load((uint32_t)(a >> shift)), right = T##_load((uint32_t)(b >> shift));                   \
        return (L##_value)T##_store(function(left, right)) << shift;                                                   \
    }                                                                                                                  \
    HANDLER2(name, L, L, L, name##_at(a, b, 0) | name##_at(a, b, half))
#define PAIRS3(name, T, L, half, function)                                                                             \
    static inline L##_value name##_at(L##_value a, L##_value b, L##_value c, unsigned shift) {                         \
        T##_value left = T##_load((uint32_t)(a >> shift)), right = T##_load((uint32_t)(b >> shift));                   \
        return (L##_value)T##_store(function(left, right, T##_load((uint32_t)(c >> shift)))) << shift;                 \
    }                                                                                                                  \
    HANDLER3(name, L, L, L, L, name##_at(a, b, c, 0) | name##_at(a, b, c, half))

/* -- Forms --------------------------------------------------------------------------------------------------------- */

// Modifiers of a float instruction, each consumed where it stands.
enum float_modifier {
    FLOAT_FTZ = 1,
    FLOAT_SAT = 2,
    FLOAT_RELU = 4,
    FLOAT_NAN = 8,
    FLOAT_XORSIGN_ABS = 16,
    FLOAT_ABS = 32,
    FLOAT_APPROX = 64,
    FLOAT_FULL = 128,
    FLOAT_ROUNDED = 256 /* .rn .rz .rm .rp */
};

// Handler of a type with exactly these modifiers; a table ends with type PTX_NONE. f32 and f64 handlers must round by
// the CPU's own operations, as directed rounding modes run through them.
struct float_form {
    enum ptx_type type;
    unsigned modifiers;
    instruction_handler run;
};
#define FLOAT_END                                                                                                      \
    { PTX_NONE, 0, NULL }

// Takes modifiers, type and operands. Looks the pair up in `forms`, then in `more` (NULL: none). `optional`: modifiers
// that may be there or not without changing the form (FLOAT_ROUNDED).
bool bind_float(struct binder *b, struct instruction *out, const struct float_form *forms,
                const struct float_form *more, unsigned optional, const char *letters, enum ptxvm_class klass);

// Forms of f16, f16x2, bf16, bf16x2: exec_half.c.
extern const struct float_form half_add[], half_sub[], half_mul[], half_fma[], half_abs[], half_neg[], half_min[],
    half_max[], half_ex2[], half_tanh[];

// Order: exec_order.c, used on halves too. On bits, which as signed numbers with the magnitude of negative ones
// inverted are in the order of the values, -0 below +0: integer steps are what the compiler can vectorise.
static inline int32_t order_of(uint32_t bits) {
    return (int32_t)(bits ^ ((bits & 0x80000000u) != 0 ? 0x7fffffffu : 0));
}
static inline bool is_nan_bits(uint32_t bits) {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}
static inline float lesser(float a, float b) {
    uint32_t left = float_bits(a), right = float_bits(b);
    uint32_t chosen = order_of(left) < order_of(right) ? left : right;
    chosen = is_nan_bits(left) ? right : chosen;
    return bits_float(is_nan_bits(right) ? left : chosen);
}
static inline float greater(float a, float b) {
    uint32_t left = float_bits(a), right = float_bits(b);
    uint32_t chosen = order_of(left) > order_of(right) ? left : right;
    chosen = is_nan_bits(left) ? right : chosen;
    return bits_float(is_nan_bits(right) ? left : chosen);
}
static inline float lesser_nan(float a, float b) {
    return a != a || b != b ? NAN : lesser(a, b);
}
static inline float greater_nan(float a, float b) {
    return a != a || b != b ? NAN : greater(a, b);
}
static inline float magnitude(float a) {
    return bits_float(float_bits(a) & 0x7fffffffu);
}
// .xorsign.abs: the choice is among magnitudes, the sign is that of the product.
static inline float xorsign(float v, float a, float b) {
    uint32_t sign = (float_bits(a) ^ float_bits(b)) & 0x80000000u;
    return bits_float((float_bits(v) & 0x7fffffffu) | sign);
}
#define XORSIGN_FUNCTION(name, function)                                                                               \
    static inline float name(float a, float b) {                                                                       \
        return xorsign(function(magnitude(a), magnitude(b)), a, b);                                                    \
    }
XORSIGN_FUNCTION(lesser_xorsign, lesser)
XORSIGN_FUNCTION(greater_xorsign, greater)
XORSIGN_FUNCTION(lesser_nan_xorsign, lesser_nan)
XORSIGN_FUNCTION(greater_nan_xorsign, greater_nan)

#endif
