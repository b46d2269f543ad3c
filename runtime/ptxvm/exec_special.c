// exec_special: functions that PTX defines by a bound on the error (.approx, .full): ex2 lg2 sin cos tanh rcp sqrt
// rsqrt div. Computed in double and rounded to f32 once, which lies within every bound; hardware differs in the last
// bits. SPDX-License-Identifier: Apache-2.0
#include "exec_special.h"

/* -- Functions. PTX ISA's bounds on the error stand beside them ---------------------------------------------------- */

static inline float special_ex2(float a) { /* 2 ulp */
    return (float)exp2((double)a);
}
static inline float special_lg2(float a) { /* absolute 2^-22 for a in (0.5, 2), else relative 2^-22 */
    return (float)log2((double)a);
}
static inline float special_sin(float a) { /* absolute 2^-20.5 in [-2 pi, 2 pi] */
    return (float)sin((double)a);
}
static inline float special_cos(float a) { /* absolute 2^-20.5 in [-2 pi, 2 pi] */
    return (float)cos((double)a);
}
static inline float special_tanh(float a) { /* relative 2^-11 */
    return (float)tanh((double)a);
}
static inline float approx_rcp(float a) { /* 1 ulp */
    return (float)(1.0 / (double)a);
}
static inline float approx_sqrt(float a) { /* relative 2^-23 */
    return (float)sqrt((double)a);
}
static inline float approx_rsqrt(float a) { /* relative 2^-22.9 */
    return (float)(1.0 / sqrt((double)a));
}
static inline float full_div(float a, float b) { /* 2 ulp */
    return (float)((double)a / (double)b);
}
// 2 ulp for |b| in [2^-126, 2^126]. It is a * (1 / b), where 1 / b of a larger b counts as 0.
static inline float approx_div(float a, float b) {
    bool large = magnitude(b) > 0x1p126f && magnitude(b) < INFINITY;
    return large ? a * bits_float(float_bits(b) & 0x80000000u) : full_div(a, b);
}

// .ftz goes by the quotient before it is rounded: one that would only round up to 2^-126 is flushed too (as seen on an
// H100).
static inline float full_div_ftz(float a, float b) {
    double quotient = (double)a / (double)b;
    return (float)(fabs(quotient) < 0x1p-126 ? copysign(0.0, quotient) : quotient);
}
static inline float approx_div_ftz(float a, float b) {
    bool large = magnitude(b) > 0x1p126f && magnitude(b) < INFINITY;
    return large ? approx_div(a, b) : full_div_ftz(a, b);
}

// f64, "gross": 20 bits of the result (relative 2^-20) from the upper word of the source; the lower word becomes 0.
#define UPPER_WORD UINT64_C(0xffffffff00000000)
static inline double gross(double v) {
    return bits_double(v != v ? UINT64_C(0x7fffffff00000000) : double_bits(v) & UPPER_WORD);
}
static inline double flush64(double v) {
    uint64_t bits = double_bits(v);
    return bits_double((bits & UINT64_C(0x7ff0000000000000)) == 0 ? bits & UINT64_C(0x8000000000000000) : bits);
}
static inline double gross_rcp(double a) {
    return gross(flush64(1.0 / gross(flush64(a))));
}
static inline double gross_rsqrt(double a) {
    return gross(1.0 / sqrt(gross(flush64(a))));
}
static inline double fine_rsqrt(double a) { /* PTX states no bound */
    return 1.0 / sqrt(a);
}

/* -- Handlers and forms -------------------------------------------------------------------------------------------- */

#define SPECIAL(name, n, function) VALUES##n(name##_f32, f32, function) VALUES##n(name##_f32_ftz, f32z, function)
SPECIAL(ex2, 1, special_ex2)
SPECIAL(lg2, 1, special_lg2)
SPECIAL(sin, 1, special_sin)
SPECIAL(cos, 1, special_cos)
VALUES1(tanh_f32, f32, special_tanh)
SPECIAL(rcp, 1, approx_rcp)
SPECIAL(sqrt, 1, approx_sqrt)
SPECIAL(rsqrt, 1, approx_rsqrt)
VALUES2(div_full_f32, f32, full_div)
VALUES2(div_full_f32_ftz, f32z, full_div_ftz)
VALUES2(div_approx_f32, f32, approx_div)
VALUES2(div_approx_f32_ftz, f32z, approx_div_ftz)
VALUES1(rcp_f64, f64, gross_rcp)
VALUES1(rsqrt_f64_ftz, f64, gross_rsqrt)
VALUES1(rsqrt_f64, f64, fine_rsqrt)

#define APPROX_FORMS(name)                                                                                             \
    {PTX_F32, FLOAT_APPROX, name##_f32}, {                                                                             \
        PTX_F32, FLOAT_APPROX | FLOAT_FTZ, name##_f32_ftz                                                              \
    }
static const struct float_form ex2_forms[] = {APPROX_FORMS(ex2), FLOAT_END};
static const struct float_form lg2_forms[] = {APPROX_FORMS(lg2), FLOAT_END};
static const struct float_form sin_forms[] = {APPROX_FORMS(sin), FLOAT_END};
static const struct float_form cos_forms[] = {APPROX_FORMS(cos), FLOAT_END};
static const struct float_form tanh_forms[] = {{PTX_F32, FLOAT_APPROX, tanh_f32}, FLOAT_END};
static const struct float_form rsqrt_forms[] = {APPROX_FORMS(rsqrt),
                                                {PTX_F64, FLOAT_APPROX, rsqrt_f64},
                                                {PTX_F64, FLOAT_APPROX | FLOAT_FTZ, rsqrt_f64_ftz},
                                                FLOAT_END};
const struct float_form special_rcp[] = {APPROX_FORMS(rcp), {PTX_F64, FLOAT_APPROX | FLOAT_FTZ, rcp_f64}, FLOAT_END};
const struct float_form special_sqrt[] = {APPROX_FORMS(sqrt), FLOAT_END};
const struct float_form special_div[] = {APPROX_FORMS(div_approx),
                                         {PTX_F32, FLOAT_FULL, div_full_f32},
                                         {PTX_F32, FLOAT_FULL | FLOAT_FTZ, div_full_f32_ftz},
                                         FLOAT_END};

/* -- Binders ------------------------------------------------------------------------------------------------------- */

#define SPECIAL_BINDER(name, more)                                                                                     \
    bool bind_##name(struct binder *b, struct instruction *out) {                                                      \
        return bind_float(b, out, name##_forms, more, 0, "==", PTXVM_CLASS_SPECIAL);                                   \
    }
SPECIAL_BINDER(ex2, half_ex2)
SPECIAL_BINDER(lg2, NULL)
SPECIAL_BINDER(sin, NULL)
SPECIAL_BINDER(cos, NULL)
SPECIAL_BINDER(tanh, half_tanh)
SPECIAL_BINDER(rsqrt, NULL)
