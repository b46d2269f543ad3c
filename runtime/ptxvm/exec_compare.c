// exec_compare: setp and set: comparisons of integers and floats into predicates or values, combined with a predicate.
// SPDX-License-Identifier: Apache-2.0
#include "exec_move.h"

#include "exec_float.h"

/* -- Comparisons: a mask of all lanes, active or not ----------------------------------------------------------------
 */

typedef uint32_t (*comparer)(const struct exec *x, const struct instruction *i);

#define COMPARER(name, T, condition)                                                                                   \
    static uint32_t name(const struct exec *x, const struct instruction *i) {                                          \
        const T##_lane *pa = SOURCE(T, x, i->src[0]), *pb = SOURCE(T, x, i->src[1]);                                   \
        uint32_t mask = 0;                                                                                             \
        for (unsigned l = 0; l < LANES; l++) {                                                                         \
            T##_value a = T##_load(pa[l]), b = T##_load(pb[l]);                                                        \
            mask |= (condition) ? lane_bits[l] : 0;                                                                    \
        }                                                                                                              \
        return mask;                                                                                                   \
    }

// X(name, condition, classes of operands). "lo ls hi hs" are "lt le gt ge" of unsigned integers.
#define EQUALITIES(X, T) X(eq, T, a == b) X(ne, T, a != b)
#define ORDERS(X, T)     X(lt, T, a < b) X(le, T, a <= b) X(gt, T, a > b) X(ge, T, a >= b)
#define UNORDERED(X, T)                                                                                                \
    X(equ, T, !(a < b || a > b))                                                                                       \
    X(neu, T, a != b)                                                                                                  \
    X(ltu, T, !(a >= b)) X(leu, T, !(a > b)) X(gtu, T, !(a <= b)) X(geu, T, !(a < b)) X(num, T, a == a && b == b)      \
        X(nan, T, a != a || b != b)
// Floats: ne is false where an operand is NaN, neu is true.
#define FLOAT_ORDERS(X, T)              X(eq, T, a == b) X(ne, T, a<b || a> b) ORDERS(X, T) UNORDERED(X, T)
#define DEFINE(operation, T, condition) COMPARER(compare_##operation##_##T, T, condition)
EQUALITIES(DEFINE, u32)
EQUALITIES(DEFINE, u64)
ORDERS(DEFINE, s16)
ORDERS(DEFINE, u32)
ORDERS(DEFINE, s32)
ORDERS(DEFINE, u64)
ORDERS(DEFINE, s64)
FLOAT_ORDERS(DEFINE, f32)
FLOAT_ORDERS(DEFINE, f32z)
FLOAT_ORDERS(DEFINE, f64)
FLOAT_ORDERS(DEFINE, f16)
FLOAT_ORDERS(DEFINE, f16z)
FLOAT_ORDERS(DEFINE, bf16)
FLOAT_ORDERS(DEFINE, f16h)
FLOAT_ORDERS(DEFINE, f16zh)
FLOAT_ORDERS(DEFINE, bf16h)

/* -- Tables -------------------------------------------------------------------------------------------------------- */

static const char *const operation_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "lo",  "ls",  "hi", "hs",
                                              "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", NULL};
enum operation { EQ, NE, LT, LE, GT, GE, LO, LS, HI, HS, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NAN_, OPERATIONS };

// For a type (with or without .ftz): the comparisons that it has; those of the upper half where it is packed.
struct comparisons {
    enum ptx_type type;
    bool ftz;
    comparer low[OPERATIONS], high[OPERATIONS];
};
#define EQUALITY_ROW(T) [EQ] = compare_eq_##T, [NE] = compare_ne_##T
#define SIGNED_ROW(T)   [LT] = compare_lt_##T, [LE] = compare_le_##T, [GT] = compare_gt_##T, [GE] = compare_ge_##T
#define UNSIGNED_ROW(T)                                                                                                \
    SIGNED_ROW(T), [LO] = compare_lt_##T, [LS] = compare_le_##T, [HI] = compare_gt_##T, [HS] = compare_ge_##T
#define FLOAT_ROW(T)                                                                                                   \
    EQUALITY_ROW(T), SIGNED_ROW(T), [EQU] = compare_equ_##T, [NEU] = compare_neu_##T, [LTU] = compare_ltu_##T,         \
                                    [LEU] = compare_leu_##T, [GTU] = compare_gtu_##T, [GEU] = compare_geu_##T,         \
                                    [NUM] = compare_num_##T, [NAN_] = compare_nan_##T
// 16-bit lanes are zero-extended, so that all but their signed orders are those of 32 bits.
static const struct comparisons comparisons[] = {{PTX_B16, false, {EQUALITY_ROW(u32)}, {NULL}},
                                                 {PTX_B32, false, {EQUALITY_ROW(u32)}, {NULL}},
                                                 {PTX_B64, false, {EQUALITY_ROW(u64)}, {NULL}},
                                                 {PTX_U16, false, {EQUALITY_ROW(u32), UNSIGNED_ROW(u32)}, {NULL}},
                                                 {PTX_U32, false, {EQUALITY_ROW(u32), UNSIGNED_ROW(u32)}, {NULL}},
                                                 {PTX_U64, false, {EQUALITY_ROW(u64), UNSIGNED_ROW(u64)}, {NULL}},
                                                 {PTX_S16, false, {EQUALITY_ROW(u32), SIGNED_ROW(s16)}, {NULL}},
                                                 {PTX_S32, false, {EQUALITY_ROW(u32), SIGNED_ROW(s32)}, {NULL}},
                                                 {PTX_S64, false, {EQUALITY_ROW(u64), SIGNED_ROW(s64)}, {NULL}},
                                                 {PTX_F32, false, {FLOAT_ROW(f32)}, {NULL}},
                                                 {PTX_F32, true, {FLOAT_ROW(f32z)}, {NULL}},
                                                 {PTX_F64, false, {FLOAT_ROW(f64)}, {NULL}},
                                                 {PTX_F16, false, {FLOAT_ROW(f16)}, {NULL}},
                                                 {PTX_F16, true, {FLOAT_ROW(f16z)}, {NULL}},
                                                 {PTX_BF16, false, {FLOAT_ROW(bf16)}, {NULL}},
                                                 {PTX_F16X2, false, {FLOAT_ROW(f16)}, {FLOAT_ROW(f16h)}},
                                                 {PTX_F16X2, true, {FLOAT_ROW(f16z)}, {FLOAT_ROW(f16zh)}},
                                                 {PTX_BF16X2, false, {FLOAT_ROW(bf16)}, {FLOAT_ROW(bf16h)}}};

/* -- Handlers ------------------------------------------------------------------------------------------------------ */

enum combination { COMBINE_NONE, COMBINE_AND, COMBINE_OR, COMBINE_XOR };

// aux. dst is p, or the destination of set; combined with predicate `with`.
struct compare {
    comparer low, high;
    enum combination combination;
    uint32_t with, q; /* slots; 0: none */
    bool with_negated;
    bool wide16;         /* set of packed halves: a value for each half */
    uint32_t true_value; /* of set */
};

static uint32_t combined(const struct exec *x, const struct compare *c, uint32_t mask) {
    if (c->combination == COMBINE_NONE) return mask;
    uint32_t with = *predicate(x, c->with) ^ (c->with_negated ? ALL_LANES : 0);
    if (c->combination == COMBINE_AND) return mask & with;
    return c->combination == COMBINE_OR ? mask | with : mask ^ with;
}

static void run_setp(struct exec *x, const struct instruction *i) {
    const struct compare *c = i->aux;
    write_predicate(x, i->dst, c->low(x, i));
}

// With a combination or a second predicate: the complement, or the upper half's comparison.
static void run_setp_combined(struct exec *x, const struct instruction *i) {
    const struct compare *c = i->aux;
    uint32_t low = c->low(x, i), high = c->high != NULL ? c->high(x, i) : ~low;
    uint32_t p = combined(x, c, low), q = combined(x, c, high);
    write_predicate(x, i->dst, p);
    if (c->q != 0) write_predicate(x, c->q, q);
}

static void run_set(struct exec *x, const struct instruction *i) {
    const struct compare *c = i->aux;
    uint32_t *d = lanes32(x, i->dst), low = combined(x, c, c->low(x, i));
    uint32_t high = c->wide16 ? combined(x, c, c->high(x, i)) : 0;
    LANE_LOOP(x, uint32_t value = (low & lane_bits[l]) != 0 ? c->true_value : 0;
              d[l] = value | ((high & lane_bits[l]) != 0 ? c->true_value << 16 : 0);)
}

/* -- Binders ------------------------------------------------------------------------------------------------------- */

static const struct comparisons *find_comparisons(enum ptx_type type, bool ftz) {
    for (size_t k = 0; k < sizeof comparisons / sizeof comparisons[0]; k++)
        if (comparisons[k].type == type && comparisons[k].ftz == ftz) return &comparisons[k];
    return NULL;
}

// CmpOp, BoolOp, .ftz, the type of the operands, and the operands from the second on.
static bool take_comparison(struct binder *b, struct instruction *out, struct compare *c, enum ptx_type type,
                            unsigned operation, int combination, bool ftz) {
    const struct comparisons *found = find_comparisons(type, ftz);
    if (found == NULL || found->low[operation] == NULL)
        return bind_fail(b, "unknown combination of comparison, modifiers and type");
    c->low = found->low[operation];
    c->high = found->high[operation];
    c->combination = (enum combination)(combination + 1);
    unsigned operands = combination < 0 ? 3 : 4;
    if (!need_operands(b, operands, operands)) return false;
    if (!take_src(b, &b->operand[1], type, &out->src[0]) || !take_src(b, &b->operand[2], type, &out->src[1]))
        return false;
    return combination < 0 || take_src_pred(b, &b->operand[3], &c->with, &c->with_negated);
}

static const char *const combination_names[] = {"and", "or", "xor", NULL}; /* in the order of enum combination */

bool bind_setp(struct binder *b, struct instruction *out) {
    struct compare *c = bind_alloc(b, sizeof *c);
    unsigned operation;
    if (c == NULL || !mod_need(b, operation_names, &operation)) return false;
    int combination = mod_choice(b, combination_names);
    bool ftz = mod_take(b, "ftz");
    if (!take_comparison(b, out, c, mod_type(b), operation, combination, ftz)) return false;
    if (!take_dst_pair(b, &b->operand[0], 1, &out->dst, &c->q)) return false;
    out->aux = c;
    out->klass = PTXVM_CLASS_PREDICATE;
    out->run = combination < 0 && c->q == 0 ? run_setp : run_setp_combined;
    return true;
}

// What `set` writes for true, by its destination type; 0: not a destination. Halves of packed types hold 16-bit values.
static uint32_t true_value(enum ptx_type type, enum ptx_type source) {
    bool packed = source == PTX_F16X2 || source == PTX_BF16X2, half = packed || source == PTX_F16 || source == PTX_BF16;
    switch (type) {
    case PTX_U32:
    case PTX_S32:
        return packed ? 0xffffu : UINT32_MAX;
    case PTX_F32:
        return packed ? 0 : 0x3f800000u;
    case PTX_U16:
    case PTX_S16:
        return half && !packed ? 0xffffu : 0;
    case PTX_F16:
        return packed ? 0 : 0x3c00u;
    case PTX_BF16:
        return packed ? 0 : 0x3f80u;
    case PTX_F16X2:
        return source == PTX_F16X2 ? 0x3c00u : 0;
    case PTX_BF16X2:
        return source == PTX_BF16X2 ? 0x3f80u : 0;
    default:
        return 0;
    }
}

bool bind_set(struct binder *b, struct instruction *out) {
    struct compare *c = bind_alloc(b, sizeof *c);
    unsigned operation;
    if (c == NULL || !mod_need(b, operation_names, &operation)) return false;
    int combination = mod_choice(b, combination_names);
    bool ftz = mod_take(b, "ftz");
    enum ptx_type type = mod_type(b), source = mod_type(b);
    c->true_value = true_value(type, source);
    if (c->true_value == 0) return bind_fail(b, "unknown combination of types");
    if (!take_comparison(b, out, c, source, operation, combination, ftz)) return false;
    c->wide16 = c->high != NULL;
    out->aux = c;
    out->klass = PTXVM_CLASS_PREDICATE;
    out->run = run_set;
    return take_dst(b, &b->operand[0], ptx_type_bits(type), &out->dst);
}
