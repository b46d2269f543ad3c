// exec_convert: cvt and cvta. Common conversions run as loops of their own; all others in exec_convert_any.c, pairs of
// narrow floats in exec_pack.c. SPDX-License-Identifier: Apache-2.0
#include "exec_convert.h"

#include "vm.h"

/* -- Loops of common conversions ------------------------------------------------------------------------------------
 */

// From type S to a register of 16, 32 or 64 bits that is as wide as the result: truncated or extended by S's sign.
#define FROM_INTEGER(S)                                                                                                \
    HANDLER1(u16_from_##S, u16, S, a) HANDLER1(u32_from_##S, u32, S, a) HANDLER1(u64_from_##S, u64, S, a)
FROM_INTEGER(u8)
FROM_INTEGER(s8)
FROM_INTEGER(u16)
FROM_INTEGER(s16)
FROM_INTEGER(u32)
FROM_INTEGER(s32)
FROM_INTEGER(u64)
FROM_INTEGER(s64)

// Floats to 32-bit integers: clamped first, which no rounding to a whole number can undo, then rounded.
static inline double clamp_to(float a, double least, double greatest) {
    double v = (double)a;
    double low = v > least ? v : least; /* NaN: least; see or_zero */
    return low < greatest ? low : greatest;
}
static inline double nearest(double v) {
    return (v + 0x1.8p52) - 0x1.8p52; /* the sum has no bits below 1 */
}
static inline double downwards(double v) {
    double n = nearest(v);
    return n > v ? n - 1.0 : n;
}
static inline double upwards(double v) {
    double n = nearest(v);
    return n < v ? n + 1.0 : n;
}
static inline double inwards(double v) {
    return v < 0.0 ? upwards(v) : downwards(v);
}
#define S32_OF(a, round) ((a) != (a) ? 0 : (int32_t)round(clamp_to(a, -2147483648.0, 2147483647.0)))
#define U32_OF(a, round) ((a) != (a) ? 0 : (uint32_t)(int64_t)round(clamp_to(a, 0.0, 4294967295.0)))
HANDLER1(s32_rni_f32, s32, f32, S32_OF(a, nearest))
HANDLER1(s32_rzi_f32, s32, f32, S32_OF(a, inwards))
HANDLER1(s32_rmi_f32, s32, f32, S32_OF(a, downwards))
HANDLER1(s32_rpi_f32, s32, f32, S32_OF(a, upwards))
HANDLER1(u32_rni_f32, u32, f32, U32_OF(a, nearest))
HANDLER1(u32_rzi_f32, u32, f32, U32_OF(a, inwards))
HANDLER1(u32_rmi_f32, u32, f32, U32_OF(a, downwards))
HANDLER1(u32_rpi_f32, u32, f32, U32_OF(a, upwards))

// Floats to whole floats: from 2^23 on they are, and NaN stays one. The sign stays where the result is 0.
#define WHOLE_OF(a, round) (magnitude(a) < 0x1p23f ? copysignf((float)round(clamp_to(a, -0x1p24, 0x1p24)), a) : (a))
HANDLER1(f32_rni_f32, f32, f32, WHOLE_OF(a, nearest))
HANDLER1(f32_rzi_f32, f32, f32, WHOLE_OF(a, inwards))
HANDLER1(f32_rmi_f32, f32, f32, WHOLE_OF(a, downwards))
HANDLER1(f32_rpi_f32, f32, f32, WHOLE_OF(a, upwards))

// Rounded by the CPU, to nearest.
HANDLER1(f32_from_s32, f32, s32, a)
HANDLER1(f32_from_u32, f32, u32, a)
HANDLER1(f64_from_s32, f64, s32, a)
HANDLER1(f64_from_u32, f64, u32, a)
HANDLER1(f32_from_f16, f32, f16, a)
HANDLER1(f32_from_bf16, u32, u32, a << 16)
HANDLER1(f32_copy, u32, u32, a) /* NaN keeps its payload, as in the line above */
HANDLER1(f16_from_f32, f16, f32, a)
HANDLER1(bf16_from_f32, bf16, f32, a)
HANDLER1(f64_from_f32, f64, f32, a)

/* -- Choosing a loop ----------------------------------------------------------------------------------------------- */

// Rounding of a float conversion as it is in the table.
enum how { PLAIN, NEAREST, RNI, RZI, RMI, RPI, OTHER };
struct loop {
    enum ptx_type to, from;
    enum how how;
    instruction_handler run;
};
static const struct loop float_loops[] = {
    {PTX_S32, PTX_F32, RNI, s32_rni_f32},        {PTX_S32, PTX_F32, RZI, s32_rzi_f32},
    {PTX_S32, PTX_F32, RMI, s32_rmi_f32},        {PTX_S32, PTX_F32, RPI, s32_rpi_f32},
    {PTX_U32, PTX_F32, RNI, u32_rni_f32},        {PTX_U32, PTX_F32, RZI, u32_rzi_f32},
    {PTX_U32, PTX_F32, RMI, u32_rmi_f32},        {PTX_U32, PTX_F32, RPI, u32_rpi_f32},
    {PTX_F32, PTX_F32, RNI, f32_rni_f32},        {PTX_F32, PTX_F32, RZI, f32_rzi_f32},
    {PTX_F32, PTX_F32, RMI, f32_rmi_f32},        {PTX_F32, PTX_F32, RPI, f32_rpi_f32},
    {PTX_F32, PTX_S32, NEAREST, f32_from_s32},   {PTX_F32, PTX_U32, NEAREST, f32_from_u32},
    {PTX_F64, PTX_S32, NEAREST, f64_from_s32},   {PTX_F64, PTX_U32, NEAREST, f64_from_u32},
    {PTX_F32, PTX_F16, PLAIN, f32_from_f16},     {PTX_F32, PTX_BF16, PLAIN, f32_from_bf16},
    {PTX_F32, PTX_F32, PLAIN, f32_copy},         {PTX_F16, PTX_F32, NEAREST, f16_from_f32},
    {PTX_BF16, PTX_F32, NEAREST, bf16_from_f32}, {PTX_F64, PTX_F32, PLAIN, f64_from_f32},
};

// By source type, then by the destination register's width 16, 32, 64.
#define INTEGER_LOOPS(S)                                                                                               \
    { u16_from_##S, u32_from_##S, u64_from_##S }
static const struct {
    enum ptx_type from;
    instruction_handler run[3];
} integer_loops[] = {{PTX_U8, INTEGER_LOOPS(u8)},   {PTX_S8, INTEGER_LOOPS(s8)},   {PTX_U16, INTEGER_LOOPS(u16)},
                     {PTX_S16, INTEGER_LOOPS(s16)}, {PTX_U32, INTEGER_LOOPS(u32)}, {PTX_S32, INTEGER_LOOPS(s32)},
                     {PTX_U64, INTEGER_LOOPS(u64)}, {PTX_S64, INTEGER_LOOPS(s64)}};

static enum how how_of(const struct conversion *c) {
    static const enum how integral[] = {
        [ROUND_NEAREST] = RNI, [ROUND_ZERO] = RZI, [ROUND_DOWN] = RMI, [ROUND_UP] = RPI};
    if (c->integral) return integral[c->rounding];
    if (!c->has_rounding) return PLAIN;
    return c->rounding == ROUND_NEAREST ? NEAREST : OTHER;
}

static instruction_handler integer_loop(const struct conversion *c) {
    if (c->to_bits < 16 || ptx_type_bits(c->to) != c->to_bits) return NULL;
    for (size_t k = 0; k < sizeof integer_loops / sizeof integer_loops[0]; k++)
        if (integer_loops[k].from == c->from) return integer_loops[k].run[__builtin_ctz(c->to_bits) - 4];
    return NULL;
}

// NULL: none fits, convert_any does it.
static instruction_handler find_loop(const struct conversion *c) {
    bool plain = !c->ftz && !c->sat && c->flags == 0 && c->from_wide == (ptx_type_bits(c->from) == 64);
    if (!plain) return NULL;
    if (!is_float_type(c->to) && !is_float_type(c->from)) return integer_loop(c);
    if (c->to_bits != ptx_type_bits(c->to)) return NULL;
    for (size_t k = 0; k < sizeof float_loops / sizeof float_loops[0]; k++) {
        const struct loop *loop = &float_loops[k];
        if (loop->to == c->to && loop->from == c->from && loop->how == how_of(c)) return loop->run;
    }
    return NULL;
}

/* -- What PTX allows ----------------------------------------------------------------------------------------------- */

// Bits of precision and of exponent: a float conversion that loses some of either needs a rounding modifier.
static unsigned precision(enum ptx_type type) {
    return type == PTX_F64 ? 53 : type == PTX_F32 ? 24 : type == PTX_F16 || type == PTX_TF32 ? 11 : 8;
}
static bool narrows(enum ptx_type to, enum ptx_type from) {
    bool f16_pair = (to == PTX_F16 && from == PTX_BF16) || (to == PTX_BF16 && from == PTX_F16);
    return precision(to) < precision(from) || f16_pair;
}

static bool check_floats(struct binder *b, const struct conversion *c) {
    bool to_float = is_float_type(c->to), from_float = is_float_type(c->from);
    bool needs_integral = from_float && !to_float;
    bool needs_rounding = to_float && (!from_float || narrows(c->to, c->from));
    bool may_integral = needs_integral || c->to == c->from;
    if (needs_integral && !c->integral) return bind_fail(b, "needs one of .rni .rzi .rmi .rpi");
    if (c->integral && !may_integral) return bind_fail(b, "rounding to whole numbers is for integers or equal types");
    if (needs_rounding && !c->has_rounding) return bind_fail(b, "needs one of .rn .rz .rm .rp");
    if (c->has_rounding && !to_float) return bind_fail(b, "only rounding to whole numbers is possible");
    return true;
}

static bool check_conversion(struct binder *b, const struct conversion *c) {
    bool to_float = is_float_type(c->to), from_float = is_float_type(c->from);
    bool narrow = c->to == PTX_F16 || c->to == PTX_BF16 || c->to == PTX_TF32;
    if (!to_float && !from_float && (c->has_rounding || c->integral || c->ftz))
        return bind_fail(b, "rounding or .ftz between integers");
    if (!check_floats(b, c)) return false;
    if (c->rounding == ROUND_AWAY && c->to != PTX_TF32) return bind_fail(b, ".rna is for tf32");
    if (c->flags != 0 && !(narrow && c->from == PTX_F32))
        return bind_fail(b, ".relu and .satfinite need f32 to a narrower type");
    if (c->to == PTX_TF32 && c->from != PTX_F32) return bind_fail(b, "tf32 is made from f32");
    return !c->ftz || c->to == PTX_F32 || c->from == PTX_F32 || bind_fail(b, ".ftz without f32");
}

/* -- Binders ------------------------------------------------------------------------------------------------------- */

static void take_cvt_modifiers(struct binder *b, struct conversion *c) {
    static const char *const roundings[] = {"rn", "rz", "rm", "rp", "rna", NULL}; /* in the order of enum rounding */
    static const char *const integrals[] = {"rni", "rzi", "rmi", "rpi", NULL};
    int rounding = mod_choice(b, roundings), integral = mod_choice(b, integrals);
    c->has_rounding = rounding >= 0;
    c->integral = integral >= 0;
    c->rounding = (enum rounding)(integral >= 0 ? integral : rounding >= 0 ? rounding : 0);
    c->ftz = mod_take(b, "ftz");
    c->sat = mod_take(b, "sat");
    if (mod_take(b, "satfinite")) c->flags |= FORMAT_SATFINITE;
    if (mod_take(b, "relu")) c->flags |= FORMAT_RELU;
    c->to = mod_type(b);
    c->from = mod_type(b);
}

#define CONVERTIBLE                                                                                                    \
    (TYPE_BIT(PTX_U8) | TYPE_BIT(PTX_S8) | TYPE_BIT(PTX_U16) | TYPE_BIT(PTX_S16) | TYPE_BIT(PTX_U32) |                 \
     TYPE_BIT(PTX_S32) | TYPE_BIT(PTX_U64) | TYPE_BIT(PTX_S64) | TYPE_BIT(PTX_F16) | TYPE_BIT(PTX_BF16) |              \
     TYPE_BIT(PTX_F32) | TYPE_BIT(PTX_F64))

static bool take_registers(struct binder *b, struct instruction *out, struct conversion *c) {
    bool to_wide;
    if (!need_operands(b, 2, 2)) return false;
    if (!take_dst_wider(b, &b->operand[0], ptx_type_bits(c->to), &out->dst, &to_wide)) return false;
    c->to_bits = b->operand[0].kind == PTX_SINK ? ptx_type_bits(c->to) : ptx_type_bits(b->operand[0].type);
    return take_src_wider(b, &b->operand[1], c->from, &out->src[0], &c->from_wide);
}

static bool bind_cvt(struct binder *b, struct instruction *out) {
    struct conversion *c = bind_alloc(b, sizeof *c);
    if (c == NULL) return false;
    out->klass = PTXVM_CLASS_CONVERT;
    if (mod_take(b, "pack")) return bind_integer_pack(b, out);
    take_cvt_modifiers(b, c);
    if (is_packed_conversion(c)) return bind_packed_conversion(b, out, c);
    if ((TYPE_BIT(c->from) & CONVERTIBLE) == 0 || (TYPE_BIT(c->to) & (CONVERTIBLE | TYPE_BIT(PTX_TF32))) == 0)
        return bind_fail(b, "unknown combination of types");
    if (!check_conversion(b, c) || !take_registers(b, out, c)) return false;
    instruction_handler loop = find_loop(c);
    out->run = loop != NULL ? loop : convert_any;
    out->aux = c;
    return true;
}

// Generic addresses of a space are its own ones moved by imm: up to generic, down with .to.
HANDLER1(cvta_copy, u64, u64, a)
static void cvta_move(struct exec *x, const struct instruction *i) {
    uint64_t *d = lanes64(x, i->dst), by = (uint64_t)i->imm;
    const uint64_t *a = lanes64(x, i->src[0]);
    LANE_LOOP(x, d[l] = a[l] + by;)
}

static bool bind_cvta(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"global", "const", "shared",       "shared::cta", "shared::cluster",
                                        "local",  "param", "param::entry", NULL};
    static const uint64_t windows[] = {
        0, 0, SHARED_WINDOW, SHARED_WINDOW, SHARED_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, PARAM_WINDOW};
    bool to = mod_take(b, "to");
    unsigned space;
    enum ptx_type type;
    if (!mod_need(b, names, &space) || !mod_type_need(b, TYPE_BIT(PTX_U64), &type)) return false;
    out->imm = (int64_t)(to ? 0 - windows[space] : windows[space]);
    return bind_handler(b, out, out->imm == 0 ? cvta_copy : cvta_move, "==", PTX_U64, PTXVM_CLASS_CONVERT);
}

const struct isa_entry isa_convert[] = {{"cvt", bind_cvt}, {"cvta", bind_cvta}, {NULL, NULL}};
