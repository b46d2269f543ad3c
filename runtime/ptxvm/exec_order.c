// exec_order: order and signs of floats: min max (.NaN, .xorsign.abs, three operands), abs neg copysign testp.
// SPDX-License-Identifier: Apache-2.0
#include "exec_special.h"

/* -- Minimum and maximum ------------------------------------------------------------------------------------------- */

// Of two NaNs b, quieted (as seen on an H100).
static inline double lesser64(double a, double b) {
    double ordered = a == b ? bits_double(double_bits(a) | double_bits(b)) : a < b ? a : b;
    return a != a ? (b != b ? quiet(b) : b) : b != b ? a : ordered;
}
static inline double greater64(double a, double b) {
    double ordered = a == b ? bits_double(double_bits(a) & double_bits(b)) : a > b ? a : b;
    return a != a ? (b != b ? quiet(b) : b) : b != b ? a : ordered;
}
VALUES2(min_f64, f64, lesser64)
VALUES2(max_f64, f64, greater64)

// Three operands; with .abs the operands' magnitudes are compared.
#define THREE(name, function)                                                                                          \
    static inline float name(float a, float b, float c) {                                                              \
        return function(function(a, b), c);                                                                            \
    }                                                                                                                  \
    static inline float name##_abs(float a, float b, float c) {                                                        \
        return name(magnitude(a), magnitude(b), magnitude(c));                                                         \
    }
THREE(lesser3, lesser)
THREE(greater3, greater)
THREE(lesser3_nan, lesser_nan)
THREE(greater3_nan, greater_nan)

#define BOTH(op, n, function) VALUES##n(op##_f32, f32, function) VALUES##n(op##_f32_ftz, f32z, function)
BOTH(min, 2, lesser)
BOTH(max, 2, greater)
BOTH(min_nan, 2, lesser_nan)
BOTH(max_nan, 2, greater_nan)
BOTH(min_xorsign, 2, lesser_xorsign)
BOTH(max_xorsign, 2, greater_xorsign)
BOTH(min_nan_xorsign, 2, lesser_nan_xorsign)
BOTH(max_nan_xorsign, 2, greater_nan_xorsign)
BOTH(min3, 3, lesser3)
BOTH(max3, 3, greater3)
BOTH(min3_nan, 3, lesser3_nan)
BOTH(max3_nan, 3, greater3_nan)
BOTH(min3_abs, 3, lesser3_abs)
BOTH(max3_abs, 3, greater3_abs)
BOTH(min3_nan_abs, 3, lesser3_nan_abs)
BOTH(max3_nan_abs, 3, greater3_nan_abs)

#define BOTH_FORMS(op, modifiers)                                                                                      \
    {PTX_F32, modifiers, op##_f32}, {                                                                                  \
        PTX_F32, (modifiers) | FLOAT_FTZ, op##_f32_ftz                                                                 \
    }
#define ORDER_FORMS(op)                                                                                                \
    {                                                                                                                  \
        BOTH_FORMS(op, 0), BOTH_FORMS(op##_nan, FLOAT_NAN), BOTH_FORMS(op##_xorsign, FLOAT_XORSIGN_ABS),               \
            BOTH_FORMS(op##_nan_xorsign, FLOAT_NAN | FLOAT_XORSIGN_ABS), {PTX_F64, 0, op##_f64}, FLOAT_END             \
    }
#define ORDER3_FORMS(op)                                                                                               \
    {                                                                                                                  \
        BOTH_FORMS(op, 0), BOTH_FORMS(op##_nan, FLOAT_NAN), BOTH_FORMS(op##_abs, FLOAT_ABS),                           \
            BOTH_FORMS(op##_nan_abs, FLOAT_NAN | FLOAT_ABS), FLOAT_END                                                 \
    }
static const struct float_form min_forms[] = ORDER_FORMS(min);
static const struct float_form max_forms[] = ORDER_FORMS(max);
static const struct float_form min3_forms[] = ORDER3_FORMS(min3);
static const struct float_form max3_forms[] = ORDER3_FORMS(max3);

bool bind_float_min(struct binder *b, struct instruction *out) {
    if (b->operands == 4) return bind_float(b, out, min3_forms, NULL, 0, "====", PTXVM_CLASS_FLOAT);
    return bind_float(b, out, min_forms, half_min, 0, "===", PTXVM_CLASS_FLOAT);
}

bool bind_float_max(struct binder *b, struct instruction *out) {
    if (b->operands == 4) return bind_float(b, out, max3_forms, NULL, 0, "====", PTXVM_CLASS_FLOAT);
    return bind_float(b, out, max_forms, half_max, 0, "===", PTXVM_CLASS_FLOAT);
}

/* -- Signs --------------------------------------------------------------------------------------------------------- */

// A NaN of f64 keeps sign and payload, and becomes quiet (as seen on an H100); f32's becomes the canonical one.
static inline double opposite64(double a) {
    return a != a ? quiet(a) : -a;
}
static inline double magnitude64(double a) {
    return a != a ? quiet(a) : bits_double(double_bits(a) & ~(UINT64_C(1) << 63));
}
#define opposite(a) (-(a))
VALUES1(abs_f32, f32, magnitude)
VALUES1(abs_f32_ftz, f32z, magnitude)
VALUES1(abs_f64, f64, magnitude64)
VALUES1(neg_f32, f32, opposite)
VALUES1(neg_f32_ftz, f32z, opposite)
VALUES1(neg_f64, f64, opposite64)

#define SIGN_FORMS(op)                                                                                                 \
    { {PTX_F32, 0, op##_f32}, {PTX_F32, FLOAT_FTZ, op##_f32_ftz}, {PTX_F64, 0, op##_f64}, FLOAT_END }
static const struct float_form abs_forms[] = SIGN_FORMS(abs);
static const struct float_form neg_forms[] = SIGN_FORMS(neg);

bool bind_float_abs(struct binder *b, struct instruction *out) {
    return bind_float(b, out, abs_forms, half_abs, 0, "==", PTXVM_CLASS_FLOAT);
}

bool bind_float_neg(struct binder *b, struct instruction *out) {
    return bind_float(b, out, neg_forms, half_neg, 0, "==", PTXVM_CLASS_FLOAT);
}

// The sign of a with the magnitude of b: bits, so that a NaN keeps its own.
HANDLER2(copysign_f32, u32, u32, u32, (a & 0x80000000u) | (b & 0x7fffffffu))
HANDLER2(copysign_f64, u64, u64, u64, (a & ~(UINT64_MAX >> 1)) | (b & UINT64_MAX >> 1))

bool bind_copysign(struct binder *b, struct instruction *out) {
    static const struct form forms[] = {
        {PTX_F32, copysign_f32, "==="}, {PTX_F64, copysign_f64, "==="}, {PTX_NONE, NULL, NULL}};
    return bind_form(b, out, forms, PTXVM_CLASS_FLOAT);
}

/* -- testp --------------------------------------------------------------------------------------------------------- */

// X(name, condition on `magnitude`, `infinity` (its bits) and `normal` (bits of the least normal)): 0 counts as normal.
#define TESTS(X)                                                                                                       \
    X(finite, m < infinity)                                                                                            \
    X(infinite, m == infinity)                                                                                         \
    X(number, m <= infinity)                                                                                           \
    X(notanumber, m > infinity)                                                                                        \
    X(normal, m == 0 || (m >= normal && m < infinity))                                                                 \
    X(subnormal, m != 0 && m < normal)
#define TEST_HANDLER(name, T, sign_off, infinity_bits, normal_bits, condition)                                         \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        const T##_lane *a = SOURCE(T, x, i->src[0]), infinity = infinity_bits, normal = normal_bits;                   \
        uint32_t mask = 0;                                                                                             \
        (void)normal, (void)infinity;                                                                                  \
        for (unsigned l = 0; l < LANES; l++) {                                                                         \
            T##_lane m = a[l] & (sign_off);                                                                            \
            mask |= (uint32_t)(condition) << l;                                                                        \
        }                                                                                                              \
        write_predicate(x, i->dst, mask);                                                                              \
    }
#define TEST_HANDLERS(name, condition)                                                                                 \
    TEST_HANDLER(testp_##name##_f32, u32, 0x7fffffffu, 0x7f800000u, 0x00800000u, condition)                            \
    TEST_HANDLER(testp_##name##_f64, u64, UINT64_MAX >> 1, UINT64_C(0x7ff0000000000000), UINT64_C(0x0010000000000000), \
                 condition)
TESTS(TEST_HANDLERS)

bool bind_testp(struct binder *b, struct instruction *out) {
#define TEST_NAME(name, condition) #name,
#define TEST_ROW(name, condition)                                                                                      \
    {{PTX_F32, testp_##name##_f32, "p="}, {PTX_F64, testp_##name##_f64, "p="}, {PTX_NONE, NULL, NULL}},
    static const char *const names[] = {TESTS(TEST_NAME) NULL};
    static const struct form forms[][3] = {TESTS(TEST_ROW)};
    unsigned test;
    return mod_need(b, names, &test) && bind_form(b, out, forms[test], PTXVM_CLASS_PREDICATE);
}
