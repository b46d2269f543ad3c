// exec_integer: integer arithmetic: add sub mul mad mul24 mad24 div rem abs neg min max sad dp4a dp2a, and the opcodes
// that it shares with floats. Bits and fields are in exec_bits.c, carries in exec_carry.c.
// SPDX-License-Identifier: Apache-2.0
#include "exec_integer.h"

/* -- Sum, difference, negation: the same bits for signed and unsigned ---------------------------------------------- */

HANDLER2(add_u16, u16, u16, u16, a + b)
HANDLER2(add_u32, u32, u32, u32, a + b)
HANDLER2(add_u64, u64, u64, u64, a + b)
HANDLER2(sub_u16, u16, u16, u16, a - b)
HANDLER2(sub_u32, u32, u32, u32, a - b)
HANDLER2(sub_u64, u64, u64, u64, a - b)
HANDLER1(neg_u16, u16, u16, 0 - a)
HANDLER1(neg_u32, u32, u32, 0 - a)
HANDLER1(neg_u64, u64, u64, 0 - a)
HANDLER1(abs_s16, u16, s16, a < 0 ? -a : a)
HANDLER1(abs_s32, u32, s32, a < 0 ? 0u - (uint32_t)a : (uint32_t)a)
HANDLER1(abs_s64, u64, s64, a < 0 ? 0u - (uint64_t)a : (uint64_t)a)

// Two halves of 16 bits that know nothing of each other.
static inline uint32_t pair(uint32_t low, uint32_t high) {
    return (low & 0xffffu) | high << 16;
}
HANDLER2(add_u16x2, u32, u32, u32, pair(a + b, (a >> 16) + (b >> 16)))

static inline int64_t clamp_s32(int64_t v) {
    return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : v;
}
HANDLER2(add_sat_s32, s32, s32, s32, clamp_s32((int64_t)a + b))
HANDLER2(sub_sat_s32, s32, s32, s32, clamp_s32((int64_t)a - b))

/* -- Products ------------------------------------------------------------------------------------------------------ */

static inline uint64_t high_u64(uint64_t a, uint64_t b) {
    return (uint64_t)((unsigned __int128)a * b >> 64);
}
static inline uint64_t high_s64(int64_t a, int64_t b) {
    return (uint64_t)((__int128)a * b >> 64);
}

HANDLER2(mul_lo_u16, u16, u16, u16, (uint32_t)a *b)
HANDLER2(mul_lo_u32, u32, u32, u32, a *b)
HANDLER2(mul_lo_u64, u64, u64, u64, a *b)
HANDLER2(mul_hi_u16, u16, u16, u16, (uint32_t)a *b >> 16)
HANDLER2(mul_hi_s16, u16, s16, s16, a *b >> 16)
HANDLER2(mul_hi_u32, u32, u32, u32, (uint64_t)a *b >> 32)
HANDLER2(mul_hi_s32, u32, s32, s32, (int64_t)a *b >> 32)
HANDLER2(mul_hi_u64, u64, u64, u64, high_u64(a, b))
HANDLER2(mul_hi_s64, u64, s64, s64, high_s64(a, b))
HANDLER2(mul_wide_u16, u32, u16, u16, (uint32_t)a *b)
HANDLER2(mul_wide_s16, s32, s16, s16, a *b)
HANDLER2(mul_wide_u32, u64, u32, u32, (uint64_t)a *b)
HANDLER2(mul_wide_s32, s64, s32, s32, (int64_t)a *b)

HANDLER3(mad_lo_u16, u16, u16, u16, u16, (uint32_t)a *b + c)
HANDLER3(mad_lo_u32, u32, u32, u32, u32, a *b + c)
HANDLER3(mad_lo_u64, u64, u64, u64, u64, a *b + c)
HANDLER3(mad_hi_u16, u16, u16, u16, u16, ((uint32_t)a * b >> 16) + c)
HANDLER3(mad_hi_s16, u16, s16, s16, u16, (a * b >> 16) + c)
HANDLER3(mad_hi_u32, u32, u32, u32, u32, ((uint64_t)a * b >> 32) + c)
HANDLER3(mad_hi_s32, u32, s32, s32, s32, ((int64_t)a * b >> 32) + c)
HANDLER3(mad_hi_sat_s32, s32, s32, s32, s32, clamp_s32(((int64_t)a * b >> 32) + c))
HANDLER3(mad_hi_u64, u64, u64, u64, u64, high_u64(a, b) + c)
HANDLER3(mad_hi_s64, u64, s64, s64, u64, high_s64(a, b) + c)
HANDLER3(mad_wide_u16, u32, u16, u16, u32, (uint32_t)a *b + c)
HANDLER3(mad_wide_s16, u32, s16, s16, u32, (uint32_t)(a *b) + c)
HANDLER3(mad_wide_u32, u64, u32, u32, u64, (uint64_t)a *b + c)
HANDLER3(mad_wide_s32, u64, s32, s32, u64, (uint64_t)((int64_t)a *b) + c)

// 24-bit factors in 32-bit registers; the upper 8 bits are ignored.
static inline int64_t product24_s(int32_t a, int32_t b) {
    return (int64_t)((int32_t)((uint32_t)a << 8) >> 8) * ((int32_t)((uint32_t)b << 8) >> 8);
}
static inline uint64_t product24_u(uint32_t a, uint32_t b) {
    return (uint64_t)(a & 0xffffffu) * (b & 0xffffffu);
}
HANDLER2(mul24_lo_u32, u32, u32, u32, product24_u(a, b))
HANDLER2(mul24_lo_s32, u32, s32, s32, product24_s(a, b))
HANDLER2(mul24_hi_u32, u32, u32, u32, product24_u(a, b) >> 16)
HANDLER2(mul24_hi_s32, u32, s32, s32, product24_s(a, b) >> 16)
HANDLER3(mad24_lo_u32, u32, u32, u32, u32, product24_u(a, b) + c)
HANDLER3(mad24_lo_s32, u32, s32, s32, u32, (uint32_t)product24_s(a, b) + c)
HANDLER3(mad24_hi_u32, u32, u32, u32, u32, (uint32_t)(product24_u(a, b) >> 16) + c)
HANDLER3(mad24_hi_s32, u32, s32, s32, u32, (uint32_t)(product24_s(a, b) >> 16) + c)
HANDLER3(mad24_hi_sat_s32, s32, s32, s32, s32, clamp_s32((int32_t)(product24_s(a, b) >> 16) + (int64_t)c))

/* -- Quotients ----------------------------------------------------------------------------------------------------- */

// PTX leaves division by 0 to the machine; as on an H100, both results are all ones.
HANDLER2(div_u16, u16, u16, u16, b == 0 ? 0xffff : a / b)
HANDLER2(div_u32, u32, u32, u32, b == 0 ? UINT32_MAX : a / b)
HANDLER2(div_u64, u64, u64, u64, b == 0 ? UINT64_MAX : a / b)
HANDLER2(div_s16, s16, s16, s16, b == 0 ? -1 : a / b)
HANDLER2(div_s32, s32, s32, s32, b == 0 ? -1 : (int64_t)a / b)
HANDLER2(div_s64, u64, s64, s64, b == 0 ? UINT64_MAX : b == -1 ? 0 - (uint64_t)a : (uint64_t)(a / b))
HANDLER2(rem_u16, u16, u16, u16, b == 0 ? 0xffff : a % b)
HANDLER2(rem_u32, u32, u32, u32, b == 0 ? UINT32_MAX : a % b)
HANDLER2(rem_u64, u64, u64, u64, b == 0 ? UINT64_MAX : a % b)
HANDLER2(rem_s16, s16, s16, s16, b == 0 ? -1 : a % b)
HANDLER2(rem_s32, s32, s32, s32, b == 0 ? -1 : (int64_t)a % b)
HANDLER2(rem_s64, s64, s64, s64, b == 0 ? -1 : b == -1 ? 0 : a % b)

/* -- Order, distance ----------------------------------------------------------------------------------------------- */

#define LESSER(a, b)  ((a) < (b) ? (a) : (b))
#define GREATER(a, b) ((a) > (b) ? (a) : (b))
#define ORDER_HANDLERS(T)                                                                                              \
    HANDLER2(min_##T, T, T, T, LESSER(a, b))                                                                           \
    HANDLER2(max_##T, T, T, T, GREATER(a, b))
ORDER_HANDLERS(u16)
ORDER_HANDLERS(s16)
ORDER_HANDLERS(u32)
ORDER_HANDLERS(s32)
ORDER_HANDLERS(u64)
ORDER_HANDLERS(s64)

#define LOW_S(v)          ((int16_t)(v))
#define HIGH_S(v)         ((int16_t)((v) >> 16))
#define PAIR_S(low, high) pair((uint32_t)(low), (uint32_t)(high))
#define RELU(v)           GREATER(v, 0)
HANDLER2(min_u16x2, u32, u32, u32, pair(LESSER(a & 0xffffu, b & 0xffffu), LESSER(a >> 16, b >> 16)))
HANDLER2(max_u16x2, u32, u32, u32, pair(GREATER(a & 0xffffu, b & 0xffffu), GREATER(a >> 16, b >> 16)))
HANDLER2(min_s16x2, u32, u32, u32, PAIR_S(LESSER(LOW_S(a), LOW_S(b)), LESSER(HIGH_S(a), HIGH_S(b))))
HANDLER2(max_s16x2, u32, u32, u32, PAIR_S(GREATER(LOW_S(a), LOW_S(b)), GREATER(HIGH_S(a), HIGH_S(b))))
HANDLER2(min_relu_s16x2, u32, u32, u32, PAIR_S(RELU(LESSER(LOW_S(a), LOW_S(b))), RELU(LESSER(HIGH_S(a), HIGH_S(b)))))
HANDLER2(max_relu_s16x2, u32, u32, u32, PAIR_S(RELU(GREATER(LOW_S(a), LOW_S(b))), RELU(GREATER(HIGH_S(a), HIGH_S(b)))))
HANDLER2(min_relu_s32, s32, s32, s32, RELU(LESSER(a, b)))
HANDLER2(max_relu_s32, s32, s32, s32, RELU(GREATER(a, b)))

HANDLER3(sad_u16, u16, u16, u16, u16, c + (a < b ? b - a : a - b))
HANDLER3(sad_s16, u16, s16, s16, u16, c + (a < b ? b - a : a - b))
HANDLER3(sad_u32, u32, u32, u32, u32, c + (a < b ? b - a : a - b))
HANDLER3(sad_s32, u32, s32, s32, u32, c + (a < b ? (uint32_t)b - (uint32_t)a : (uint32_t)a - (uint32_t)b))
HANDLER3(sad_u64, u64, u64, u64, u64, c + (a < b ? b - a : a - b))
HANDLER3(sad_s64, u64, s64, s64, u64, c + (a < b ? (uint64_t)b - (uint64_t)a : (uint64_t)a - (uint64_t)b))

/* -- Dot products: 4 x 8 bits, 2 x 16 bits by 2 of 4 x 8 bits ------------------------------------------------------ */

// Byte or half k of v, by signedness.
#define BYTE_u32(v, k) ((uint32_t)(uint8_t)((v) >> (8 * (k))))
#define BYTE_s32(v, k) ((uint32_t)(int8_t)(uint8_t)((v) >> (8 * (k))))
#define HALF_u32(v, k) ((uint32_t)(uint16_t)((v) >> (16 * (k))))
#define HALF_s32(v, k) ((uint32_t)(int16_t)(uint16_t)((v) >> (16 * (k))))
#define DOT4(A, B)                                                                                                     \
    (BYTE_##A(a, 0) * BYTE_##B(b, 0) + BYTE_##A(a, 1) * BYTE_##B(b, 1) + BYTE_##A(a, 2) * BYTE_##B(b, 2) +             \
     BYTE_##A(a, 3) * BYTE_##B(b, 3))
#define DOT2(A, B, first) (HALF_##A(a, 0) * BYTE_##B(b, first) + HALF_##A(a, 1) * BYTE_##B(b, (first) + 1))
#define DOT_HANDLERS(A, B)                                                                                             \
    HANDLER3(dp4a_##A##_##B, u32, u32, u32, u32, c + DOT4(A, B))                                                       \
    HANDLER3(dp2a_lo_##A##_##B, u32, u32, u32, u32, c + DOT2(A, B, 0))                                                 \
    HANDLER3(dp2a_hi_##A##_##B, u32, u32, u32, u32, c + DOT2(A, B, 2))
DOT_HANDLERS(u32, u32)
DOT_HANDLERS(u32, s32)
DOT_HANDLERS(s32, u32)
DOT_HANDLERS(s32, s32)

/* -- Forms --------------------------------------------------------------------------------------------------------- */

#define SAME_BITS(op, letters)                                                                                         \
    {PTX_U16, op##_u16, letters}, {PTX_S16, op##_u16, letters}, {PTX_U32, op##_u32, letters},                          \
        {PTX_S32, op##_u32, letters}, {PTX_U64, op##_u64, letters}, {                                                  \
        PTX_S64, op##_u64, letters                                                                                     \
    }
#define BY_SIGN(op, letters)                                                                                           \
    {PTX_U16, op##_u16, letters}, {PTX_S16, op##_s16, letters}, {PTX_U32, op##_u32, letters},                          \
        {PTX_S32, op##_s32, letters}, {PTX_U64, op##_u64, letters}, {                                                  \
        PTX_S64, op##_s64, letters                                                                                     \
    }
#define WIDE(op, letters)                                                                                              \
    {PTX_U16, op##_u16, letters}, {PTX_S16, op##_s16, letters}, {PTX_U32, op##_u32, letters}, {                        \
        PTX_S32, op##_s32, letters                                                                                     \
    }
#define ONLY_32(op, letters)                                                                                           \
    {PTX_U32, op##_u32, letters}, {                                                                                    \
        PTX_S32, op##_s32, letters                                                                                     \
    }
#define END                                                                                                            \
    { PTX_NONE, NULL, NULL }

static const struct form add_forms[] = {
    SAME_BITS(add, "==="), {PTX_U16X2, add_u16x2, "==="}, {PTX_S16X2, add_u16x2, "==="}, END};
static const struct form sub_forms[] = {SAME_BITS(sub, "==="), END};
static const struct form add_sat_forms[] = {{PTX_S32, add_sat_s32, "==="}, END};
static const struct form sub_sat_forms[] = {{PTX_S32, sub_sat_s32, "==="}, END};
static const struct form neg_forms[] = {
    {PTX_S16, neg_u16, "=="}, {PTX_S32, neg_u32, "=="}, {PTX_S64, neg_u64, "=="}, END};
static const struct form abs_forms[] = {
    {PTX_S16, abs_s16, "=="}, {PTX_S32, abs_s32, "=="}, {PTX_S64, abs_s64, "=="}, END};
static const struct form div_forms[] = {BY_SIGN(div, "==="), END};
static const struct form rem_forms[] = {BY_SIGN(rem, "==="), END};
static const struct form sad_forms[] = {BY_SIGN(sad, "===="), END};
static const struct form min_forms[] = {
    BY_SIGN(min, "==="), {PTX_U16X2, min_u16x2, "==="}, {PTX_S16X2, min_s16x2, "==="}, END};
static const struct form max_forms[] = {
    BY_SIGN(max, "==="), {PTX_U16X2, max_u16x2, "==="}, {PTX_S16X2, max_s16x2, "==="}, END};
static const struct form min_relu_forms[] = {{PTX_S16X2, min_relu_s16x2, "==="}, {PTX_S32, min_relu_s32, "==="}, END};
static const struct form max_relu_forms[] = {{PTX_S16X2, max_relu_s16x2, "==="}, {PTX_S32, max_relu_s32, "==="}, END};

// Of products: which part, in the order of part_names.
static const char *const part_names[] = {"lo", "hi", "wide", NULL};
enum { PARTS = 3, PART_HI = 1, PARTS24 = 2 };
enum { FORMS_MAX = 7 };
static const struct form mul_forms[PARTS][FORMS_MAX] = {
    {SAME_BITS(mul_lo, "==="), END}, {BY_SIGN(mul_hi, "==="), END}, {WIDE(mul_wide, "w=="), END}};
static const struct form mad_forms[PARTS][FORMS_MAX] = {
    {SAME_BITS(mad_lo, "===="), END}, {BY_SIGN(mad_hi, "===="), END}, {WIDE(mad_wide, "w==w"), END}};
static const struct form mul24_forms[PARTS24][FORMS_MAX] = {{ONLY_32(mul24_lo, "==="), END},
                                                            {ONLY_32(mul24_hi, "==="), END}};
static const struct form mad24_forms[PARTS24][FORMS_MAX] = {{ONLY_32(mad24_lo, "===="), END},
                                                            {ONLY_32(mad24_hi, "===="), END}};
static const struct form mad_sat_forms[] = {{PTX_S32, mad_hi_sat_s32, "===="}, END};
static const struct form mad24_sat_forms[] = {{PTX_S32, mad24_hi_sat_s32, "===="}, END};

/* -- Binders ------------------------------------------------------------------------------------------------------- */

static bool bind_integer(struct binder *b, struct instruction *out, const struct form *forms) {
    return bind_form(b, out, forms, PTXVM_CLASS_INTEGER);
}

static bool bind_add(struct binder *b, struct instruction *out) {
    if (is_float_type(peek_type(b))) return bind_float_add(b, out);
    if (mod_take(b, "cc")) return bind_carry_add(b, out, CARRY_OUT);
    return bind_integer(b, out, mod_take(b, "sat") ? add_sat_forms : add_forms);
}

static bool bind_sub(struct binder *b, struct instruction *out) {
    if (is_float_type(peek_type(b))) return bind_float_sub(b, out);
    if (mod_take(b, "cc")) return bind_carry_sub(b, out, CARRY_OUT);
    return bind_integer(b, out, mod_take(b, "sat") ? sub_sat_forms : sub_forms);
}

static bool bind_addc(struct binder *b, struct instruction *out) {
    return bind_carry_add(b, out, CARRY_IN | (mod_take(b, "cc") ? CARRY_OUT : 0));
}

static bool bind_subc(struct binder *b, struct instruction *out) {
    return bind_carry_sub(b, out, CARRY_IN | (mod_take(b, "cc") ? CARRY_OUT : 0));
}

static bool bind_mul(struct binder *b, struct instruction *out) {
    unsigned part;
    if (is_float_type(peek_type(b))) return bind_float_mul(b, out);
    return mod_need(b, part_names, &part) && bind_integer(b, out, mul_forms[part]);
}

static bool bind_mad(struct binder *b, struct instruction *out) {
    unsigned part;
    if (is_float_type(peek_type(b))) return bind_float_mad(b, out);
    if (!mod_need(b, part_names, &part)) return false;
    if (mod_take(b, "cc")) return bind_carry_mad(b, out, part == PART_HI, CARRY_OUT);
    if (part == PART_HI && mod_take(b, "sat")) return bind_integer(b, out, mad_sat_forms);
    return bind_integer(b, out, mad_forms[part]);
}

static bool bind_madc(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"lo", "hi", NULL};
    unsigned part;
    if (!mod_need(b, names, &part)) return false;
    return bind_carry_mad(b, out, part == PART_HI, CARRY_IN | (mod_take(b, "cc") ? CARRY_OUT : 0));
}

static bool bind_24(struct binder *b, struct instruction *out, const struct form forms[][FORMS_MAX],
                    const struct form *saturating) {
    static const char *const names[] = {"lo", "hi", NULL};
    unsigned part;
    if (!mod_need(b, names, &part)) return false;
    if (saturating != NULL && part == PART_HI && mod_take(b, "sat")) return bind_integer(b, out, saturating);
    return bind_integer(b, out, forms[part]);
}

static bool bind_mul24(struct binder *b, struct instruction *out) {
    return bind_24(b, out, mul24_forms, NULL);
}

static bool bind_mad24(struct binder *b, struct instruction *out) {
    return bind_24(b, out, mad24_forms, mad24_sat_forms);
}

static bool bind_div(struct binder *b, struct instruction *out) {
    return is_float_type(peek_type(b)) ? bind_float_div(b, out) : bind_integer(b, out, div_forms);
}

static bool bind_rem(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, rem_forms);
}

static bool bind_abs(struct binder *b, struct instruction *out) {
    return is_float_type(peek_type(b)) ? bind_float_abs(b, out) : bind_integer(b, out, abs_forms);
}

static bool bind_neg(struct binder *b, struct instruction *out) {
    return is_float_type(peek_type(b)) ? bind_float_neg(b, out) : bind_integer(b, out, neg_forms);
}

static bool bind_min(struct binder *b, struct instruction *out) {
    if (is_float_type(peek_type(b))) return bind_float_min(b, out);
    return bind_integer(b, out, mod_take(b, "relu") ? min_relu_forms : min_forms);
}

static bool bind_max(struct binder *b, struct instruction *out) {
    if (is_float_type(peek_type(b))) return bind_float_max(b, out);
    return bind_integer(b, out, mod_take(b, "relu") ? max_relu_forms : max_forms);
}

static bool bind_sad(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, sad_forms);
}

/* -- Dot products' binders, the family ----------------------------------------------------------------------------- */

// .atype, .btype; the sum is signed if one of them is, which makes no difference to its bits.
static bool bind_dot(struct binder *b, struct instruction *out, instruction_handler const handlers[2][2]) {
    uint64_t set = TYPE_BIT(PTX_U32) | TYPE_BIT(PTX_S32);
    enum ptx_type a, c;
    if (!mod_type_need(b, set, &a) || !mod_type_need(b, set, &c)) return false;
    return bind_handler(b, out, handlers[a == PTX_S32][c == PTX_S32], "====", PTX_U32, PTXVM_CLASS_INTEGER);
}

#define DOT_TABLE(op)                                                                                                  \
    {                                                                                                                  \
        {op##_u32_u32, op##_u32_s32}, {                                                                                \
            op##_s32_u32, op##_s32_s32                                                                                 \
        }                                                                                                              \
    }

static bool bind_dp4a(struct binder *b, struct instruction *out) {
    static const instruction_handler handlers[2][2] = DOT_TABLE(dp4a);
    return bind_dot(b, out, handlers);
}

static bool bind_dp2a(struct binder *b, struct instruction *out) {
    static const instruction_handler handlers[2][2][2] = {DOT_TABLE(dp2a_lo), DOT_TABLE(dp2a_hi)};
    static const char *const names[] = {"lo", "hi", NULL};
    unsigned part;
    return mod_need(b, names, &part) && bind_dot(b, out, handlers[part]);
}

const struct isa_entry isa_integer[] = {
    {"add", bind_add},   {"sub", bind_sub},   {"addc", bind_addc},   {"subc", bind_subc},   {"mul", bind_mul},
    {"mad", bind_mad},   {"madc", bind_madc}, {"mul24", bind_mul24}, {"mad24", bind_mad24}, {"div", bind_div},
    {"rem", bind_rem},   {"abs", bind_abs},   {"neg", bind_neg},     {"min", bind_min},     {"max", bind_max},
    {"sad", bind_sad},   {"dp4a", bind_dp4a}, {"dp2a", bind_dp2a},   {"and", bind_and},     {"or", bind_or},
    {"xor", bind_xor},   {"not", bind_not},   {"cnot", bind_cnot},   {"lop3", bind_lop3},   {"shl", bind_shl},
    {"shr", bind_shr},   {"shf", bind_shf},   {"popc", bind_popc},   {"clz", bind_clz},     {"bfind", bind_bfind},
    {"brev", bind_brev}, {"bfe", bind_bfe},   {"bfi", bind_bfi},     {"bmsk", bind_bmsk},   {"szext", bind_szext},
    {"fns", bind_fns},   {"prmt", bind_prmt}, {NULL, NULL}};
