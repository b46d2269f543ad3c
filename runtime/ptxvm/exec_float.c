// exec_float: arithmetic of f32, f64 and f32x2: add sub mul fma mad div rcp sqrt, rounded correctly in every mode. The
// CPU's operations do the rounding, which is why the library is built without contraction of a * b + c (-std=c11).
// SPDX-License-Identifier: Apache-2.0
#include "exec_float.h"

#include "exec_special.h"

/* -- Operations ---------------------------------------------------------------------------------------------------- */

#define sum(a, b)        ((a) + (b))
#define difference(a, b) ((a) - (b))
#define product(a, b)    ((a) * (b))
#define quotient(a, b)   ((a) / (b))
#define reciprocal(a)    (1 / (a))

// .ftz goes by the result before it lost bits as a subnormal: one that only then rounds up to 2^-126 is flushed too (as
// seen on an H100). `scaled` is the same result at 2^32 times the size, rounded in the same mode.
static inline float flush_tiny(float result, float scaled) {
    bool tiny = magnitude(result) == 0x1p-126f && magnitude(scaled) < 0x1p-94f;
    return tiny ? bits_float(float_bits(result) & 0x80000000u) : result;
}
// The factor of the smaller magnitude can be scaled without overflow wherever the product is small.
static inline float scaled_factor(float a, float b) {
    return magnitude(a) < magnitude(b) ? a * 0x1p32f : a;
}
static inline float product_ftz(float a, float b) {
    bool first = magnitude(a) < magnitude(b);
    return flush_tiny(a * b, scaled_factor(a, b) * (first ? b : b * 0x1p32f));
}
static inline float fused_ftz(float a, float b, float c) {
    bool first = magnitude(a) < magnitude(b);
    return flush_tiny(fmaf(a, b, c), fmaf(scaled_factor(a, b), first ? b : b * 0x1p32f, c * 0x1p32f));
}
static inline float quotient_ftz(float a, float b) {
    return flush_tiny(a / b, a * 0x1p32f / b);
}
static inline float reciprocal_ftz(float a) {
    return flush_tiny(1.0f / a, 0x1p32f / a);
}

// f64 hands a NaN on, quieted: of several the one of b, then c, then a (as seen on an H100).
static inline double with_nan(double result, double a, double b, double c) {
    double chosen = b != b ? b : c != c ? c : a;
    return result == result ? result : chosen != chosen ? quiet(chosen) : result;
}
static inline double sum64(double a, double b) {
    return with_nan(a + b, a, b, 0.0);
}
static inline double difference64(double a, double b) {
    return with_nan(a - b, a, b, 0.0);
}
static inline double product64(double a, double b) {
    return with_nan(a * b, a, b, 0.0);
}
static inline double fused64(double a, double b, double c) {
    return with_nan(fma(a, b, c), a, b, c);
}

// f32: plain, .ftz, .sat, .ftz.sat; f64; f32x2: plain, .ftz.
#define ARITHMETIC(op, n, function32, function_ftz, function64)                                                        \
    VALUES##n(op##_f32, f32, function32) VALUES##n(op##_f32_ftz, f32z, function_ftz)                                   \
        VALUES##n(op##_f32_sat, f32s, function32) VALUES##n(op##_f32_ftz_sat, f32zs, function_ftz)                     \
            VALUES##n(op##_f64, f64, function64) PAIRS##n(op##_f32x2, f32, u64, 32, function32)                        \
                PAIRS##n(op##_f32x2_ftz, f32z, u64, 32, function_ftz)
ARITHMETIC(add, 2, sum, sum, sum64)
ARITHMETIC(sub, 2, difference, difference, difference64)
ARITHMETIC(mul, 2, product, product_ftz, product64)
ARITHMETIC(fma, 3, fmaf, fused_ftz, fused64)

// Mixed precision (sm_100): factors of 16 bits, the rest f32. Products are exact in f32.
HANDLER3(fma_f32_f16, f32, f16, f16, f32, fmaf(a, b, c))
HANDLER3(fma_f32_bf16, f32, bf16, bf16, f32, fmaf(a, b, c))

#define RATIONAL(op, n, function32, function_ftz, function64)                                                          \
    VALUES##n(op##_f32, f32, function32) VALUES##n(op##_f32_ftz, f32z, function_ftz)                                   \
        VALUES##n(op##_f64, f64, function64)
RATIONAL(div, 2, quotient, quotient_ftz, quotient)
RATIONAL(rcp, 1, reciprocal, reciprocal_ftz, reciprocal)
RATIONAL(sqrt, 1, sqrtf, sqrtf, sqrt)

/* -- Forms --------------------------------------------------------------------------------------------------------- */

#define ARITHMETIC_FORMS(op, rounded)                                                                                  \
    {PTX_F32, rounded, op##_f32}, {PTX_F32, (rounded) | FLOAT_FTZ, op##_f32_ftz},                                      \
        {PTX_F32, (rounded) | FLOAT_SAT, op##_f32_sat},                                                                \
        {PTX_F32, (rounded) | FLOAT_FTZ | FLOAT_SAT, op##_f32_ftz_sat}, {PTX_F64, rounded, op##_f64},                  \
        {PTX_F32X2, rounded, op##_f32x2}, {PTX_F32X2, (rounded) | FLOAT_FTZ, op##_f32x2_ftz}, FLOAT_END
static const struct float_form add_forms[] = {ARITHMETIC_FORMS(add, 0)};
static const struct float_form sub_forms[] = {ARITHMETIC_FORMS(sub, 0)};
static const struct float_form mul_forms[] = {ARITHMETIC_FORMS(mul, 0)};
static const struct float_form fma_forms[] = {ARITHMETIC_FORMS(fma, FLOAT_ROUNDED)};
static const struct float_form mad_forms[] = {{PTX_F32, FLOAT_ROUNDED, fma_f32},
                                              {PTX_F32, FLOAT_ROUNDED | FLOAT_FTZ, fma_f32_ftz},
                                              {PTX_F32, FLOAT_ROUNDED | FLOAT_SAT, fma_f32_sat},
                                              {PTX_F32, FLOAT_ROUNDED | FLOAT_FTZ | FLOAT_SAT, fma_f32_ftz_sat},
                                              {PTX_F64, FLOAT_ROUNDED, fma_f64},
                                              FLOAT_END};

#define RATIONAL_FORMS(op)                                                                                             \
    {                                                                                                                  \
        {PTX_F32, FLOAT_ROUNDED, op##_f32}, {PTX_F32, FLOAT_ROUNDED | FLOAT_FTZ, op##_f32_ftz},                        \
            {PTX_F64, FLOAT_ROUNDED, op##_f64}, FLOAT_END                                                              \
    }
static const struct float_form div_forms[] = RATIONAL_FORMS(div);
static const struct float_form rcp_forms[] = RATIONAL_FORMS(rcp);
static const struct float_form sqrt_forms[] = RATIONAL_FORMS(sqrt);

/* -- Modifiers to a form ------------------------------------------------------------------------------------------- */

static unsigned take_modifiers(struct binder *b, enum rounding *rounding) {
    static const struct {
        const char *name;
        unsigned flag;
    } names[] = {{"ftz", FLOAT_FTZ}, {"sat", FLOAT_SAT},       {"relu", FLOAT_RELU}, {"NaN", FLOAT_NAN},
                 {"abs", FLOAT_ABS}, {"approx", FLOAT_APPROX}, {"full", FLOAT_FULL}};
    unsigned modifiers = take_rounding(b, rounding) ? FLOAT_ROUNDED : 0;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        if (mod_take(b, names[k].name)) modifiers |= names[k].flag;
    if ((modifiers & FLOAT_ABS) != 0 && mod_take(b, "xorsign")) modifiers ^= FLOAT_ABS | FLOAT_XORSIGN_ABS;
    return modifiers;
}

static const struct float_form *find_form(const struct float_form *forms, enum ptx_type type, unsigned modifiers) {
    for (; forms != NULL && forms->type != PTX_NONE; forms++)
        if (forms->type == type && forms->modifiers == modifiers) return forms;
    return NULL;
}

bool bind_float(struct binder *b, struct instruction *out, const struct float_form *forms,
                const struct float_form *more, unsigned optional, const char *letters, enum ptxvm_class klass) {
    enum rounding rounding;
    unsigned modifiers = take_modifiers(b, &rounding) & ~optional;
    enum ptx_type type = mod_type(b);
    const struct float_form *form = find_form(forms, type, modifiers);
    if (form == NULL) form = find_form(more, type, modifiers);
    if (form == NULL) return bind_fail(b, "unknown combination of modifiers and type");
    bool directs = type == PTX_F32 || type == PTX_F64 || type == PTX_F32X2;
    if (rounding != ROUND_NEAREST && !directs) return bind_fail(b, "only .rn is possible with this type");
    return bind_handler(b, out, form->run, letters, type, klass) && bind_rounding(b, out, rounding);
}

/* -- Binders ------------------------------------------------------------------------------------------------------- */

bool bind_float_add(struct binder *b, struct instruction *out) {
    return bind_float(b, out, add_forms, half_add, FLOAT_ROUNDED, "===", PTXVM_CLASS_FLOAT);
}
bool bind_float_sub(struct binder *b, struct instruction *out) {
    return bind_float(b, out, sub_forms, half_sub, FLOAT_ROUNDED, "===", PTXVM_CLASS_FLOAT);
}
bool bind_float_mul(struct binder *b, struct instruction *out) {
    return bind_float(b, out, mul_forms, half_mul, FLOAT_ROUNDED, "===", PTXVM_CLASS_FLOAT);
}
bool bind_float_mad(struct binder *b, struct instruction *out) {
    return bind_float(b, out, mad_forms, NULL, 0, "====", PTXVM_CLASS_FLOAT);
}
bool bind_float_div(struct binder *b, struct instruction *out) {
    return bind_float(b, out, div_forms, special_div, 0, "===", PTXVM_CLASS_FLOAT);
}
// fma.rn.f32.f16, .bf16: the second type is that of the factors.
static bool bind_fma_mixed(struct binder *b, struct instruction *out) {
    enum rounding rounding;
    if (!take_rounding(b, &rounding) || rounding != ROUND_NEAREST) return bind_fail(b, "needs .rn with two types");
    const enum ptx_type sum = mod_type(b), factor = mod_type(b);
    if (sum != PTX_F32 || (factor != PTX_F16 && factor != PTX_BF16)) return bind_fail(b, "unknown pair of types");
    out->run = factor == PTX_F16 ? fma_f32_f16 : fma_f32_bf16;
    out->klass = PTXVM_CLASS_FLOAT;
    return need_operands(b, 4, 4) && take_dst(b, &b->operand[0], 32, &out->dst) &&
           take_src(b, &b->operand[1], factor, &out->src[0]) && take_src(b, &b->operand[2], factor, &out->src[1]) &&
           take_src(b, &b->operand[3], sum, &out->src[2]);
}
static bool bind_fma(struct binder *b, struct instruction *out) {
    struct binder second = *b; // looks ahead
    mod_type(&second);
    if (mod_type(&second) != PTX_NONE) return bind_fma_mixed(b, out);
    return bind_float(b, out, fma_forms, half_fma, 0, "====", PTXVM_CLASS_FLOAT);
}
static bool bind_rcp(struct binder *b, struct instruction *out) {
    return bind_float(b, out, rcp_forms, special_rcp, 0, "==", PTXVM_CLASS_SPECIAL);
}
static bool bind_sqrt(struct binder *b, struct instruction *out) {
    return bind_float(b, out, sqrt_forms, special_sqrt, 0, "==", PTXVM_CLASS_SPECIAL);
}

const struct isa_entry isa_float[] = {{"fma", bind_fma},           {"rcp", bind_rcp},     {"sqrt", bind_sqrt},
                                      {"rsqrt", bind_rsqrt},       {"ex2", bind_ex2},     {"lg2", bind_lg2},
                                      {"sin", bind_sin},           {"cos", bind_cos},     {"tanh", bind_tanh},
                                      {"copysign", bind_copysign}, {"testp", bind_testp}, {NULL, NULL}};
