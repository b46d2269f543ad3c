// exec_half: f16, f16x2, bf16, bf16x2: add sub mul fma abs neg min max ex2 tanh. Computed in float, which rounds sums
// and products so little that the second rounding cannot go wrong (24 >= 2 * 11 + 2 bits); fma goes through rounding to
// odd. SPDX-License-Identifier: Apache-2.0
#include "exec_float.h"

/* -- Operations ---------------------------------------------------------------------------------------------------- */

#define sum(a, b)        ((a) + (b))
#define difference(a, b) ((a) - (b))
#define product(a, b)    ((a) * (b))

// a * b + c to odd in float: the product is exact in double, the sum is rounded to odd there, and once more here.
static inline float fused(float a, float b, float c) {
    double exact = add_to_odd((double)a * b, c);
    float near = (float)exact;
    uint32_t bits = float_bits(near);
    if ((double)near == exact || near != near || (bits & 1u) != 0) return near;
    return bits_float(magnitude(near) < fabs(exact) ? bits + 1 : bits - 1);
}

static inline float half_exp2(float a) { /* f16: 2^-9.9 relative, bf16: 2^-7 */
    return (float)exp2((double)a);
}
static inline float half_tanh_value(float a) { /* f16: 2^-10.987 absolute, bf16: 2^-8 */
    return (float)tanh((double)a);
}

/* -- Handlers: a value, and a pair of values ----------------------------------------------------------------------- */

#define HALF(op, n, T, function) VALUES##n(op, T, function) PAIRS##n(op##_x2, T, u32, 16, function)
#define ARITHMETIC(op, n, function)                                                                                    \
    HALF(op##_f16, n, f16, function)                                                                                   \
    HALF(op##_f16_ftz, n, f16z, function)                                                                              \
    HALF(op##_f16_sat, n, f16s, function)                                                                              \
    HALF(op##_f16_ftz_sat, n, f16zs, function)                                                                         \
    HALF(op##_bf16, n, bf16, function)
ARITHMETIC(add, 2, sum)
ARITHMETIC(sub, 2, difference)
ARITHMETIC(mul, 2, product)
ARITHMETIC(fma, 3, fused)
HALF(fma_f16_relu, 3, f16r, fused)
HALF(fma_f16_ftz_relu, 3, f16zr, fused)
HALF(fma_bf16_relu, 3, bf16r, fused)

#define ORDER(op, function)                                                                                            \
    HALF(op##_f16, 2, f16, function) HALF(op##_f16_ftz, 2, f16z, function) HALF(op##_bf16, 2, bf16, function)
ORDER(min, lesser)
ORDER(max, greater)
ORDER(min_nan, lesser_nan)
ORDER(max_nan, greater_nan)
ORDER(min_xorsign, lesser_xorsign)
ORDER(max_xorsign, greater_xorsign)
ORDER(min_nan_xorsign, lesser_nan_xorsign)
ORDER(max_nan_xorsign, greater_nan_xorsign)

#define opposite(a) (-(a))
HALF(abs_f16, 1, f16, magnitude)
HALF(abs_f16_ftz, 1, f16z, magnitude)
HALF(abs_bf16, 1, bf16, magnitude)
HALF(neg_f16, 1, f16, opposite)
HALF(neg_f16_ftz, 1, f16z, opposite)
HALF(neg_bf16, 1, bf16, opposite)

// bf16's .ftz: a subnormal bf16 is a subnormal float.
SCALAR_TYPE(bf16z, float, uint32_t, flush(bf16_to_float(bits & 0xffffu)), float_to_bf16(flush(v)))
HALF(ex2_f16, 1, f16, half_exp2)
HALF(ex2_bf16_ftz, 1, bf16z, half_exp2)
HALF(tanh_f16, 1, f16, half_tanh_value)
HALF(tanh_bf16, 1, bf16, half_tanh_value)

/* -- Forms --------------------------------------------------------------------------------------------------------- */

#define F16_FORMS(op, modifiers)                                                                                       \
    {PTX_F16, modifiers, op}, {                                                                                        \
        PTX_F16X2, modifiers, op##_x2                                                                                  \
    }
#define BF16_FORMS(op, modifiers)                                                                                      \
    {PTX_BF16, modifiers, op}, {                                                                                       \
        PTX_BF16X2, modifiers, op##_x2                                                                                 \
    }
#define ARITHMETIC_FORMS(op, rounded)                                                                                  \
    F16_FORMS(op##_f16, rounded), F16_FORMS(op##_f16_ftz, (rounded) | FLOAT_FTZ),                                      \
        F16_FORMS(op##_f16_sat, (rounded) | FLOAT_SAT),                                                                \
        F16_FORMS(op##_f16_ftz_sat, (rounded) | FLOAT_FTZ | FLOAT_SAT), BF16_FORMS(op##_bf16, rounded)
const struct float_form half_add[] = {ARITHMETIC_FORMS(add, 0), FLOAT_END};
const struct float_form half_sub[] = {ARITHMETIC_FORMS(sub, 0), FLOAT_END};
const struct float_form half_mul[] = {ARITHMETIC_FORMS(mul, 0), FLOAT_END};
const struct float_form half_fma[] = {ARITHMETIC_FORMS(fma, FLOAT_ROUNDED),
                                      F16_FORMS(fma_f16_relu, FLOAT_ROUNDED | FLOAT_RELU),
                                      F16_FORMS(fma_f16_ftz_relu, FLOAT_ROUNDED | FLOAT_FTZ | FLOAT_RELU),
                                      BF16_FORMS(fma_bf16_relu, FLOAT_ROUNDED | FLOAT_RELU), FLOAT_END};

#define ORDER_FORMS(op, modifiers)                                                                                     \
    F16_FORMS(op##_f16, modifiers), F16_FORMS(op##_f16_ftz, (modifiers) | FLOAT_FTZ), BF16_FORMS(op##_bf16, modifiers)
const struct float_form half_min[] = {ORDER_FORMS(min, 0), ORDER_FORMS(min_nan, FLOAT_NAN),
                                      ORDER_FORMS(min_xorsign, FLOAT_XORSIGN_ABS),
                                      ORDER_FORMS(min_nan_xorsign, FLOAT_NAN | FLOAT_XORSIGN_ABS), FLOAT_END};
const struct float_form half_max[] = {ORDER_FORMS(max, 0), ORDER_FORMS(max_nan, FLOAT_NAN),
                                      ORDER_FORMS(max_xorsign, FLOAT_XORSIGN_ABS),
                                      ORDER_FORMS(max_nan_xorsign, FLOAT_NAN | FLOAT_XORSIGN_ABS), FLOAT_END};
const struct float_form half_abs[] = {ORDER_FORMS(abs, 0), FLOAT_END};
const struct float_form half_neg[] = {ORDER_FORMS(neg, 0), FLOAT_END};
const struct float_form half_ex2[] = {F16_FORMS(ex2_f16, FLOAT_APPROX),
                                      BF16_FORMS(ex2_bf16_ftz, FLOAT_APPROX | FLOAT_FTZ), FLOAT_END};
const struct float_form half_tanh[] = {F16_FORMS(tanh_f16, FLOAT_APPROX), BF16_FORMS(tanh_bf16, FLOAT_APPROX),
                                       FLOAT_END};
