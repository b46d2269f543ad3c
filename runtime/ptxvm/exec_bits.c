// exec_bits: logic, shifts, bit counts, bit fields, byte permutation: and or xor not cnot lop3 shl shr shf popc clz
// bfind brev bfe bfi bmsk szext fns prmt. Also the logic of predicates. SPDX-License-Identifier: Apache-2.0
#include "exec_integer.h"

#define END                                                                                                            \
    { PTX_NONE, NULL, NULL }

/* -- Logic --------------------------------------------------------------------------------------------------------- */

#define LOGIC(op, expression)                                                                                          \
    HANDLER2(op##_u32, u32, u32, u32, expression)                                                                      \
    HANDLER2(op##_u64, u64, u64, u64, expression)
LOGIC(and, a &b)
LOGIC(or, a | b)
LOGIC(xor, a ^ b)
HANDLER1(not_u16, u16, u16, ~a)
HANDLER1(not_u32, u32, u32, ~a)
HANDLER1(not_u64, u64, u64, ~a)
HANDLER1(cnot_u32, u32, u32, a == 0)
HANDLER1(cnot_u64, u64, u64, a == 0)

// Predicates: all lanes in one word. Flag k: source k is negated.
static uint32_t mask_of(const struct exec *x, const struct instruction *i, unsigned k) {
    return *predicate(x, i->src[k]) ^ ((i->flags >> k & 1u) != 0 ? ALL_LANES : 0);
}
static void and_pred(struct exec *x, const struct instruction *i) {
    write_predicate(x, i->dst, mask_of(x, i, 0) & mask_of(x, i, 1));
}
static void or_pred(struct exec *x, const struct instruction *i) {
    write_predicate(x, i->dst, mask_of(x, i, 0) | mask_of(x, i, 1));
}
static void xor_pred(struct exec *x, const struct instruction *i) {
    write_predicate(x, i->dst, mask_of(x, i, 0) ^ mask_of(x, i, 1));
}
static void not_pred(struct exec *x, const struct instruction *i) {
    write_predicate(x, i->dst, ~mask_of(x, i, 0));
}

static bool bind_predicate(struct binder *b, struct instruction *out, instruction_handler run, unsigned sources) {
    out->run = run;
    out->klass = PTXVM_CLASS_PREDICATE;
    mod_take(b, "pred");
    if (!need_operands(b, 1 + sources, 1 + sources) || !take_dst(b, &b->operand[0], 1, &out->dst)) return false;
    for (unsigned k = 0; k < sources; k++) {
        bool negated = false;
        if (!take_src_pred(b, &b->operand[1 + k], &out->src[k], &negated)) return false;
        if (negated) out->flags |= 1u << k;
    }
    return true;
}

// Untyped opcodes: 16, 32 and 64 bits. Upper halves of 16-bit lanes are 0, so 16 bits can run as 32 where 0 stays 0.
#define BIT_FORMS(op, op16, letters)                                                                                   \
    { {PTX_B16, op16, letters}, {PTX_B32, op##_u32, letters}, {PTX_B64, op##_u64, letters}, END }
static const struct form and_forms[] = BIT_FORMS(and, and_u32, "===");
static const struct form or_forms[] = BIT_FORMS(or, or_u32, "===");
static const struct form xor_forms[] = BIT_FORMS(xor, xor_u32, "===");
static const struct form not_forms[] = BIT_FORMS(not, not_u16, "==");
static const struct form cnot_forms[] = BIT_FORMS(cnot, cnot_u32, "==");

static bool bind_integer(struct binder *b, struct instruction *out, const struct form *forms) {
    return bind_form(b, out, forms, PTXVM_CLASS_INTEGER);
}

#define LOGIC_BINDER(op, sources)                                                                                      \
    bool bind_##op(struct binder *b, struct instruction *out) {                                                        \
        if (peek_type(b) == PTX_PRED) return bind_predicate(b, out, op##_pred, sources);                               \
        return bind_integer(b, out, op##_forms);                                                                       \
    }
LOGIC_BINDER(and, 2)
LOGIC_BINDER(or, 2)
LOGIC_BINDER(xor, 2)
LOGIC_BINDER(not, 1)
bool bind_cnot(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, cnot_forms);
}

/* -- Logic by table: lop3 ------------------------------------------------------------------------------------------ */

// Bit 4a + 2b + c of the table is the result for bits a, b, c; here a table bit is a mask of all ones or zeros.
static inline uint32_t lookup3(uint32_t a, uint32_t b, uint32_t c, const uint32_t m[8]) {
    uint32_t if_0 = (~b & ((~c & m[0]) | (c & m[1]))) | (b & ((~c & m[2]) | (c & m[3])));
    uint32_t if_1 = (~b & ((~c & m[4]) | (c & m[5]))) | (b & ((~c & m[6]) | (c & m[7])));
    return (~a & if_0) | (a & if_1);
}

static void lop3_u32(struct exec *x, const struct instruction *i) {
    uint32_t *d = lanes32(x, i->dst);
    const uint32_t *a = lanes32(x, i->src[0]), *b = lanes32(x, i->src[1]), *c = lanes32(x, i->src[2]);
    uint32_t m[8];
    for (unsigned k = 0; k < 8; k++) m[k] = ((uint64_t)i->imm >> k & 1u) != 0 ? UINT32_MAX : 0;
    LANE_LOOP(x, d[l] = lookup3(a[l], b[l], c[l], m);)
}

// lop3.BoolOp d|p, ..., q: p = (d != 0) BoolOp q. aux names the predicates.
struct lop3_predicates {
    uint32_t p, q;
    bool q_negated, is_and;
};
static void lop3_predicate(struct exec *x, const struct instruction *i) {
    const struct lop3_predicates *side = i->aux;
    const uint32_t *d = lanes32(x, i->dst);
    uint32_t q = *predicate(x, side->q) ^ (side->q_negated ? ALL_LANES : 0), set = 0;
    lop3_u32(x, i);
    for (unsigned l = 0; l < LANES; l++) set |= (uint32_t)(d[l] != 0) << l;
    write_predicate(x, side->p, side->is_and ? set & q : set | q);
}

static bool bind_lop3_predicates(struct binder *b, struct instruction *out, bool is_and) {
    struct lop3_predicates *side = bind_alloc(b, sizeof *side);
    if (side == NULL) return false;
    side->is_and = is_and;
    out->aux = side;
    out->run = lop3_predicate;
    if (!take_dst_pair(b, &b->operand[0], 32, &out->dst, &side->p)) return false;
    if (side->p == 0) return bind_fail(b, "the destination needs a predicate: d|p");
    return take_src_pred(b, &b->operand[5], &side->q, &side->q_negated);
}

bool bind_lop3(struct binder *b, struct instruction *out) {
    static const char *const names[] = {"or", "and", NULL};
    int boolean = mod_choice(b, names);
    enum ptx_type type;
    unsigned operands = boolean < 0 ? 5 : 6;
    out->klass = PTXVM_CLASS_INTEGER;
    out->run = lop3_u32;
    if (!mod_type_need(b, TYPE_BIT(PTX_B32), &type) || !need_operands(b, operands, operands)) return false;
    for (unsigned k = 0; k < 3; k++)
        if (!take_src(b, &b->operand[1 + k], PTX_B32, &out->src[k])) return false;
    if (!take_constant(b, &b->operand[4], 0, 255, &out->imm)) return false;
    return boolean < 0 ? take_dst(b, &b->operand[0], 32, &out->dst) : bind_lop3_predicates(b, out, boolean == 1);
}

/* -- Shifts: amounts beyond the width clamp ------------------------------------------------------------------------ */

HANDLER2(shl_u16, u16, u16, u32, b < 16 ? (uint32_t)a << b : 0)
HANDLER2(shl_u32, u32, u32, u32, b < 32 ? a << b : 0)
HANDLER2(shl_u64, u64, u64, u32, b < 64 ? a << b : 0)
HANDLER2(shr_u32, u32, u32, u32, b < 32 ? a >> b : 0)
HANDLER2(shr_u64, u64, u64, u32, b < 64 ? a >> b : 0)
HANDLER2(shr_s16, s16, s16, u32, a >> (b < 15 ? b : 15))
HANDLER2(shr_s32, s32, s32, u32, a >> (b < 31 ? b : 31))
HANDLER2(shr_s64, s64, s64, u32, a >> (b < 63 ? b : 63))

static const struct form shl_forms[] = {
    {PTX_B16, shl_u16, "==u"}, {PTX_B32, shl_u32, "==u"}, {PTX_B64, shl_u64, "==u"}, END};
static const struct form shr_forms[] = {{PTX_B16, shr_u32, "==u"}, {PTX_B32, shr_u32, "==u"},
                                        {PTX_B64, shr_u64, "==u"}, {PTX_U16, shr_u32, "==u"},
                                        {PTX_U32, shr_u32, "==u"}, {PTX_U64, shr_u64, "==u"},
                                        {PTX_S16, shr_s16, "==u"}, {PTX_S32, shr_s32, "==u"},
                                        {PTX_S64, shr_s64, "==u"}, END};

bool bind_shl(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, shl_forms);
}

bool bind_shr(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, shr_forms);
}

// b:a as 64 bits, shifted by n <= 32: the upper word to the left, the lower one to the right.
#define FUNNEL_L(n) (((uint64_t)b << 32 | a) << (n) >> 32)
#define FUNNEL_R(n) (((uint64_t)b << 32 | a) >> (n))
#define CLAMP32(n)  ((n) < 32 ? (n) : 32)
HANDLER3(shf_l_clamp, u32, u32, u32, u32, FUNNEL_L(CLAMP32(c)))
HANDLER3(shf_l_wrap, u32, u32, u32, u32, FUNNEL_L(c & 31u))
HANDLER3(shf_r_clamp, u32, u32, u32, u32, FUNNEL_R(CLAMP32(c)))
HANDLER3(shf_r_wrap, u32, u32, u32, u32, FUNNEL_R(c & 31u))

static const char *const mode_names[] = {"clamp", "wrap", NULL};

bool bind_shf(struct binder *b, struct instruction *out) {
    static const instruction_handler handlers[2][2] = {{shf_l_clamp, shf_l_wrap}, {shf_r_clamp, shf_r_wrap}};
    static const char *const directions[] = {"l", "r", NULL};
    unsigned direction, mode;
    if (!mod_need(b, directions, &direction) || !mod_need(b, mode_names, &mode)) return false;
    const struct form forms[] = {{PTX_B32, handlers[direction][mode], "===u"}, END};
    return bind_integer(b, out, forms);
}

/* -- Counting and finding bits ------------------------------------------------------------------------------------- */

static inline uint32_t leading_zeros32(uint32_t v) {
    return v == 0 ? 32 : (uint32_t)__builtin_clz(v);
}
static inline uint32_t leading_zeros64(uint64_t v) {
    return v == 0 ? 64 : (uint32_t)__builtin_clzll(v);
}
static inline uint32_t reverse32(uint32_t v) {
    v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
    v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(v);
}
static inline uint64_t reverse64(uint64_t v) {
    return (uint64_t)reverse32((uint32_t)v) << 32 | reverse32((uint32_t)(v >> 32));
}
// Position of the highest bit that is not a sign: all ones where there is none.
#define FIND32(v)                   (31u - leading_zeros32(v))
#define FIND64(v)                   (63u - leading_zeros64(v))
#define NO_SIGN(v)                  ((v) < 0 ? ~(v) : (v))
#define SHIFT_AMOUNT(position, top) ((position) == UINT32_MAX ? UINT32_MAX : (top) - (position))

HANDLER1(popc_u32, u32, u32, __builtin_popcount(a))
HANDLER1(popc_u64, u32, u64, __builtin_popcountll(a))
HANDLER1(clz_u32, u32, u32, leading_zeros32(a))
HANDLER1(clz_u64, u32, u64, leading_zeros64(a))
HANDLER1(brev_u32, u32, u32, reverse32(a))
HANDLER1(brev_u64, u64, u64, reverse64(a))
HANDLER1(bfind_u32, u32, u32, FIND32(a))
HANDLER1(bfind_s32, u32, s32, FIND32((uint32_t)NO_SIGN(a)))
HANDLER1(bfind_u64, u32, u64, FIND64(a))
HANDLER1(bfind_s64, u32, s64, FIND64((uint64_t)NO_SIGN(a)))
HANDLER1(bfind_shift_u32, u32, u32, SHIFT_AMOUNT(FIND32(a), 31u))
HANDLER1(bfind_shift_s32, u32, s32, SHIFT_AMOUNT(FIND32((uint32_t)NO_SIGN(a)), 31u))
HANDLER1(bfind_shift_u64, u32, u64, SHIFT_AMOUNT(FIND64(a), 63u))
HANDLER1(bfind_shift_s64, u32, s64, SHIFT_AMOUNT(FIND64((uint64_t)NO_SIGN(a)), 63u))

// The offset-th set bit of a mask at or beyond position base, upwards, or downwards for a negative offset.
static uint32_t find_nth(uint32_t mask, uint32_t base, int32_t offset) {
    if (offset == 0) return base < 32 && (mask >> base & 1u) != 0 ? base : UINT32_MAX;
    int64_t left = offset > 0 ? offset : -(int64_t)offset;
    uint32_t step = offset > 0 ? 1 : UINT32_MAX;
    for (uint32_t at = base; at < 32; at += step)
        if ((mask >> at & 1u) != 0 && --left == 0) return at;
    return UINT32_MAX;
}
HANDLER3(fns_u32, u32, u32, u32, s32, find_nth(a, b, c))

#define PAIR_FORMS(op, letters)                                                                                        \
    { {PTX_B32, op##_u32, letters}, {PTX_B64, op##_u64, letters}, END }
static const struct form popc_forms[] = PAIR_FORMS(popc, "u=");
static const struct form clz_forms[] = PAIR_FORMS(clz, "u=");
static const struct form brev_forms[] = PAIR_FORMS(brev, "==");
static const struct form fns_forms[] = {{PTX_B32, fns_u32, "===="}, END};
#define FIND_FORMS(op, letters)                                                                                        \
    {                                                                                                                  \
        {PTX_U32, op##_u32, letters}, {PTX_S32, op##_s32, letters}, {PTX_U64, op##_u64, letters},                      \
            {PTX_S64, op##_s64, letters}, END                                                                          \
    }
static const struct form bfind_forms[] = FIND_FORMS(bfind, "u=");
static const struct form bfind_shift_forms[] = FIND_FORMS(bfind_shift, "u=");

bool bind_popc(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, popc_forms);
}
bool bind_clz(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, clz_forms);
}
bool bind_brev(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, brev_forms);
}
bool bind_fns(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, fns_forms);
}
bool bind_bfind(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, mod_take(b, "shiftamt") ? bfind_shift_forms : bfind_forms);
}

/* -- Bit fields ---------------------------------------------------------------------------------------------------- */

// Positions and lengths of 32-bit fields are 8 bits. Those of 64-bit fields are whole registers, beyond 63 all alike
// (as seen on an H100; PTX ISA states 0 .. 255).

static inline uint64_t low_bits(uint32_t count) {
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}
// Narrower types run widened: beyond the top there are zeros, or copies of the sign, as PTX wants.
static inline uint64_t field_u(uint64_t v, uint32_t position, uint32_t length) {
    return position > 63 ? 0 : v >> position & low_bits(length);
}
static inline int64_t field_s(int64_t v, uint32_t position, uint32_t length) {
    int64_t field = v >> (position > 63 ? 63 : position);
    if (length == 0) return 0;
    return length >= 64 ? field : (int64_t)((uint64_t)field << (64 - length)) >> (64 - length);
}
static inline uint64_t insert(uint64_t field, uint64_t into, uint32_t position, uint32_t length) {
    if (position > 63) return into;
    uint64_t mask = low_bits(length) << position;
    return (into & ~mask) | (field << position & mask);
}
HANDLER3(bfe_u32, u32, u32, u8, u8, field_u(a, b, c))
HANDLER3(bfe_s32, s32, s32, u8, u8, field_s(a, b, c))
HANDLER3(bfe_u64, u64, u64, u32, u32, field_u(a, b, c))
HANDLER3(bfe_s64, s64, s64, u32, u32, field_s(a, b, c))

#define INSERT_HANDLER(name, T, P)                                                                                     \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        T##_lane *f = LANES_OF(T, x, i->dst);                                                                          \
        const T##_lane *a = SOURCE(T, x, i->src[0]), *b = SOURCE(T, x, i->src[1]);                                     \
        const uint32_t *c = lanes32(x, i->src[2]), *d = lanes32(x, i->src[3]);                                         \
        LANE_LOOP(x, f[l] = (T##_lane)insert(a[l], b[l], (P)c[l], (P)d[l]);)                                           \
    }
INSERT_HANDLER(bfi_u32, u32, uint8_t)
INSERT_HANDLER(bfi_u64, u64, uint32_t)

static const struct form bfe_forms[] = FIND_FORMS(bfe, "==uu");
static const struct form bfi_forms[] = PAIR_FORMS(bfi, "===uu");

bool bind_bfe(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, bfe_forms);
}
bool bind_bfi(struct binder *b, struct instruction *out) {
    return bind_integer(b, out, bfi_forms);
}

// `width` ones from `position` up, in 32 bits; a position or width of 32 and more clamps or wraps.
static inline uint32_t mask_at(uint32_t position, uint32_t width) {
    return position > 31 ? 0 : (uint32_t)(low_bits(width) << position);
}
// The low n bits of v with the sign above them, n <= 32.
static inline uint32_t extend_s(uint32_t v, uint32_t n) {
    return n == 0 ? 0 : (uint32_t)((int32_t)(v << (32 - n)) >> (32 - n));
}
HANDLER2(bmsk_clamp, u32, u32, u32, mask_at(a, b))
HANDLER2(bmsk_wrap, u32, u32, u32, mask_at(a & 31u, b & 31u))
HANDLER2(szext_clamp_u32, u32, u32, u32, a &low_bits(b))
HANDLER2(szext_wrap_u32, u32, u32, u32, a &low_bits(b & 31u))
HANDLER2(szext_clamp_s32, u32, u32, u32, b < 32 ? extend_s(a, b) : a)
HANDLER2(szext_wrap_s32, u32, u32, u32, extend_s(a, b & 31u))

static const struct form bmsk_forms[2][2] = {{{PTX_B32, bmsk_clamp, "=uu"}, END}, {{PTX_B32, bmsk_wrap, "=uu"}, END}};
static const struct form szext_forms[2][3] = {
    {{PTX_U32, szext_clamp_u32, "==u"}, {PTX_S32, szext_clamp_s32, "==u"}, END},
    {{PTX_U32, szext_wrap_u32, "==u"}, {PTX_S32, szext_wrap_s32, "==u"}, END}};

bool bind_bmsk(struct binder *b, struct instruction *out) {
    unsigned mode;
    return mod_need(b, mode_names, &mode) && bind_integer(b, out, bmsk_forms[mode]);
}
bool bind_szext(struct binder *b, struct instruction *out) {
    unsigned mode;
    return mod_need(b, mode_names, &mode) && bind_integer(b, out, szext_forms[mode]);
}

/* -- Bytes: prmt --------------------------------------------------------------------------------------------------- */

// Four nibbles select bytes of b:a; bit 3 of a nibble spreads the byte's sign instead.
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selectors) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t result = 0;
    for (unsigned k = 0; k < 4; k++) {
        uint32_t selector = selectors >> (4 * k);
        uint32_t byte = (uint32_t)(bytes >> (8 * (selector & 7u))) & 0xffu;
        uint32_t sign = (byte >> 7) * 0xffu;
        result |= ((selector & 8u) != 0 ? sign : byte) << (8 * k);
    }
    return result;
}
HANDLER3(prmt_u32, u32, u32, u32, u32, permute(a, b, c))

// The modes' selectors for c = 0 .. 3: PTX ISA, prmt, table of modes.
static const char *const permute_names[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL};
static const uint32_t permute_selectors[6][4] = {{0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123},
                                                 {0x0000, 0x1111, 0x2222, 0x3333}, {0x3210, 0x3211, 0x3222, 0x3333},
                                                 {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
static void prmt_mode(struct exec *x, const struct instruction *i) {
    uint32_t *d = lanes32(x, i->dst);
    const uint32_t *a = lanes32(x, i->src[0]), *b = lanes32(x, i->src[1]), *c = lanes32(x, i->src[2]);
    const uint32_t *selectors = permute_selectors[i->imm];
    LANE_LOOP(x, d[l] = permute(a[l], b[l], selectors[c[l] & 3u]);)
}

// Selectors (imm) that are the same for all lanes: one byte of every lane after the other.
static void prmt_constant(struct exec *x, const struct instruction *i) {
    uint32_t *d = lanes32(x, i->dst), result[LANES] = {0};
    for (unsigned k = 0; k < 4; k++) {
        uint32_t selector = (uint32_t)i->imm >> (4 * k) & 0xfu;
        const uint32_t *word = lanes32(x, i->src[selector >> 2 & 1u]);
        unsigned down = 8 * (selector & 3u), up = 8 * k, sign = (selector & 8u) != 0 ? UINT32_MAX : 0;
        for (unsigned l = 0; l < LANES; l++) {
            uint32_t byte = word[l] >> down & 0xffu, spread = (byte >> 7) * 0xffu;
            result[l] |= ((byte & ~sign) | (spread & sign)) << up;
        }
    }
    LANE_LOOP(x, d[l] = result[l];)
}

bool bind_prmt(struct binder *b, struct instruction *out) {
    int mode = mod_choice(b, permute_names);
    enum ptx_type type;
    bool constant = mode < 0 && b->operands == 4 && b->operand[3].kind == PTX_IMMEDIATE;
    out->imm = constant ? b->operand[3].value : mode;
    instruction_handler run = constant ? prmt_constant : mode < 0 ? prmt_u32 : prmt_mode;
    return mod_type_need(b, TYPE_BIT(PTX_B32), &type) && bind_handler(b, out, run, "===u", type, PTXVM_CLASS_MOVE);
}
