// exec_carry: extended-precision arithmetic: add.cc addc sub.cc subc mad.cc madc, through the condition code's carry.
// SPDX-License-Identifier: Apache-2.0
#include "exec_integer.h"

/* -- One lane: result and carry ------------------------------------------------------------------------------------ */

// a + b + carry, and the carry out of it.
#define CARRY_SUM(T)                                                                                                   \
    static inline T##_value sum_##T(T##_value a, T##_value b, bool *carry) {                                           \
        T##_value sum;                                                                                                 \
        bool first = __builtin_add_overflow(a, b, &sum);                                                               \
        *carry = __builtin_add_overflow(sum, (T##_value) * carry, &sum) || first;                                      \
        return sum;                                                                                                    \
    }                                                                                                                  \
    static inline T##_value difference_##T(T##_value a, T##_value b, bool *borrow) {                                   \
        T##_value difference;                                                                                          \
        bool first = __builtin_sub_overflow(a, b, &difference);                                                        \
        *borrow = __builtin_sub_overflow(difference, (T##_value) * borrow, &difference) || first;                      \
        return difference;                                                                                             \
    }
CARRY_SUM(u32)
CARRY_SUM(u64)

/* -- Handlers ------------------------------------------------------------------------------------------------------ */

// `expression` of a, b, c and &carry. The carry comes in where flags say so, else it starts as 0.
#define CARRY_HANDLER(name, T, S, expression)                                                                          \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        T##_lane *d = LANES_OF(T, x, i->dst);                                                                          \
        const S##_lane *pa = SOURCE(S, x, i->src[0]), *pb = SOURCE(S, x, i->src[1]), *pc = SOURCE(S, x, i->src[2]);    \
        uint32_t in = (i->flags & CARRY_IN) != 0 ? *predicate(x, CARRY_SLOT) : 0, carries = 0;                         \
        for (unsigned l = 0; l < LANES; l++) {                                                                         \
            if ((x->active >> l & 1u) == 0) continue;                                                                  \
            S##_value a = S##_load(pa[l]), b = S##_load(pb[l]), c = S##_load(pc[l]);                                   \
            bool carry = (in >> l & 1u) != 0;                                                                          \
            (void)c;                                                                                                   \
            d[l] = (T##_value)(expression);                                                                            \
            carries |= (uint32_t)carry << l;                                                                           \
        }                                                                                                              \
        if ((i->flags & CARRY_OUT) != 0) write_predicate(x, CARRY_SLOT, carries);                                      \
    }
CARRY_HANDLER(carry_add_u32, u32, u32, sum_u32(a, b, &carry))
CARRY_HANDLER(carry_add_u64, u64, u64, sum_u64(a, b, &carry))
CARRY_HANDLER(carry_sub_u32, u32, u32, difference_u32(a, b, &carry))
CARRY_HANDLER(carry_sub_u64, u64, u64, difference_u64(a, b, &carry))
CARRY_HANDLER(carry_mad_lo_u32, u32, u32, sum_u32(a *b, c, &carry))
CARRY_HANDLER(carry_mad_lo_u64, u64, u64, sum_u64(a *b, c, &carry))
CARRY_HANDLER(carry_mad_hi_u32, u32, u32, sum_u32((uint32_t)((uint64_t)a *b >> 32), c, &carry))
CARRY_HANDLER(carry_mad_hi_s32, u32, s32, sum_u32((uint32_t)((int64_t)a *b >> 32), (uint32_t)c, &carry))
CARRY_HANDLER(carry_mad_hi_u64, u64, u64, sum_u64((uint64_t)((unsigned __int128)a *b >> 64), c, &carry))
CARRY_HANDLER(carry_mad_hi_s64, u64, s64, sum_u64((uint64_t)((__int128)a *b >> 64), (uint64_t)c, &carry))

/* -- Binders ------------------------------------------------------------------------------------------------------- */

#define CARRY_FORMS(op, sop, letters)                                                                                  \
    {                                                                                                                  \
        {PTX_U32, op##_u32, letters}, {PTX_S32, sop##32, letters}, {PTX_U64, op##_u64, letters},                       \
            {PTX_S64, sop##64, letters}, {                                                                             \
            PTX_NONE, NULL, NULL                                                                                       \
        }                                                                                                              \
    }
static const struct form add_forms[] = CARRY_FORMS(carry_add, carry_add_u, "===");
static const struct form sub_forms[] = CARRY_FORMS(carry_sub, carry_sub_u, "===");
static const struct form mad_lo_forms[] = CARRY_FORMS(carry_mad_lo, carry_mad_lo_u, "====");
static const struct form mad_hi_forms[] = CARRY_FORMS(carry_mad_hi, carry_mad_hi_s, "====");

static bool bind_carry(struct binder *b, struct instruction *out, const struct form *forms, unsigned flags) {
    out->flags = flags;
    if (!bind_form(b, out, forms, PTXVM_CLASS_INTEGER)) return false;
    if (out->src[2] == 0) out->src[2] = out->src[1]; /* the handler reads three sources */
    return true;
}

bool bind_carry_add(struct binder *b, struct instruction *out, unsigned flags) {
    return bind_carry(b, out, add_forms, flags);
}

bool bind_carry_sub(struct binder *b, struct instruction *out, unsigned flags) {
    return bind_carry(b, out, sub_forms, flags);
}

bool bind_carry_mad(struct binder *b, struct instruction *out, bool high, unsigned flags) {
    return bind_carry(b, out, high ? mad_hi_forms : mad_lo_forms, flags);
}
