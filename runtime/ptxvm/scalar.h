// scalar: how the scalar families write handlers (a loop over lanes per value type) and binders (tables of forms).
// Private to exec_*.c of integer, float, conversion and move instructions. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_SCALAR_H
#define PTXVM_SCALAR_H

#include "formats.h"
#include "isa.h"

/* -- Forms: what an opcode means for a type ------------------------------------------------------------------------ */

// One letter per operand, destination first:
//   =  of the instruction's type     w  the same class at twice the width     u  u32     q  u16     p  predicate
struct form {
    enum ptx_type type; /* PTX_NONE ends a table */
    instruction_handler run;
    const char *operands;
};

// Takes the type modifier, which must be in `forms`, and the operands that its form names.
bool bind_form(struct binder *b, struct instruction *out, const struct form *forms, enum ptxvm_class klass);
// The operands alone, once the type is known.
bool bind_operands(struct binder *b, struct instruction *out, const char *letters, enum ptx_type type);
// Runs `run` for this type, with these operands.
bool bind_handler(struct binder *b, struct instruction *out, instruction_handler run, const char *letters,
                  enum ptx_type type, enum ptxvm_class klass);
// The first type modifier that is left, which stays there; PTX_NONE: there is none.
enum ptx_type peek_type(const struct binder *b);
static inline bool is_float_type(enum ptx_type type) {
    return ptx_type_class(type) == 'F';
}

// Rounding modifiers .rn .rz .rm .rp: false where there is none; *out is then ROUND_NEAREST.
bool take_rounding(struct binder *b, enum rounding *out);
// Makes `out` run under a directed rounding mode of the CPU (its handler must round by the CPU's own operations).
bool bind_rounding(struct binder *b, struct instruction *out, enum rounding rounding);

// Opcodes that integers and floats share: isa_integer's binder hands float types on to these.
bool bind_float_add(struct binder *b, struct instruction *out);
bool bind_float_sub(struct binder *b, struct instruction *out);
bool bind_float_mul(struct binder *b, struct instruction *out);
bool bind_float_mad(struct binder *b, struct instruction *out);
bool bind_float_div(struct binder *b, struct instruction *out);
bool bind_float_abs(struct binder *b, struct instruction *out);
bool bind_float_neg(struct binder *b, struct instruction *out);
bool bind_float_min(struct binder *b, struct instruction *out);
bool bind_float_max(struct binder *b, struct instruction *out);

/* -- Lanes --------------------------------------------------------------------------------------------------------- */

#ifdef __clang__
#define LANES_INDEPENDENT /* checks at run time whether slots overlap */
#else
#define LANES_INDEPENDENT _Pragma("GCC ivdep")
#endif

// Runs the statement for each active lane l. The loop over all lanes is one that the compiler can vectorise: slots are
// the same or apart, so lanes never depend on one another.
#define LANE_LOOP(x, ...)                                                                                              \
    if ((x)->active == ALL_LANES) {                                                                                    \
        LANES_INDEPENDENT for (unsigned l = 0; l < LANES; l++) {                                                       \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } else {                                                                                                           \
        for (uint32_t rest = (x)->active; rest != 0; rest &= rest - 1) {                                               \
            unsigned l = (unsigned)__builtin_ctz(rest);                                                                \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

// For each type token T: T_value, what an expression computes with; T_lane, what a lane of the register file holds;
// T_load and T_store between the two. Results of f16, bf16 and f32 arithmetic are rounded once, NaN is canonical.
#define SCALAR_TYPE(T, value, lane, load, store)                                                                       \
    typedef value T##_value;                                                                                           \
    typedef lane T##_lane;                                                                                             \
    static inline value T##_load(lane bits) {                                                                          \
        return load;                                                                                                   \
    }                                                                                                                  \
    static inline lane T##_store(value v) {                                                                            \
        return store;                                                                                                  \
    }
SCALAR_TYPE(u8, uint8_t, uint32_t, (uint8_t)bits, v)
SCALAR_TYPE(s8, int8_t, uint32_t, (int8_t)(uint8_t)bits, (uint8_t)v)
SCALAR_TYPE(u16, uint16_t, uint32_t, (uint16_t)bits, v)
SCALAR_TYPE(s16, int16_t, uint32_t, (int16_t)(uint16_t)bits, (uint16_t)v)
SCALAR_TYPE(u32, uint32_t, uint32_t, bits, v)
SCALAR_TYPE(s32, int32_t, uint32_t, (int32_t)bits, (uint32_t)v)
SCALAR_TYPE(u64, uint64_t, uint64_t, bits, v)
SCALAR_TYPE(s64, int64_t, uint64_t, (int64_t)bits, (uint64_t)v)
SCALAR_TYPE(f32, float, uint32_t, bits_float(bits), float_bits_canonical(v))
SCALAR_TYPE(f64, double, uint64_t, bits_double(bits), double_bits(v))
SCALAR_TYPE(f16, float, uint32_t, f16_to_float(bits & 0xffffu), float_to_f16(v))
SCALAR_TYPE(bf16, float, uint32_t, bf16_to_float(bits & 0xffffu), float_to_bf16(v))

#define LANES_OF(T, x, slot) ((T##_lane *)(void *)((x)->file + (slot)))
#define SOURCE(T, x, slot)   ((const T##_lane *)(const void *)((x)->file + (slot)))

// Handlers that compute `expression` of a, b, c per lane. Types: of the result, then of each source.
#define HANDLER1(name, D, A, expression)                                                                               \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        D##_lane *d = LANES_OF(D, x, i->dst);                                                                          \
        const A##_lane *pa = SOURCE(A, x, i->src[0]);                                                                  \
        LANE_LOOP(x, A##_value a = A##_load(pa[l]); d[l] = D##_store((D##_value)(expression));)                        \
    }
#define HANDLER2(name, D, A, B, expression)                                                                            \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        D##_lane *d = LANES_OF(D, x, i->dst);                                                                          \
        const A##_lane *pa = SOURCE(A, x, i->src[0]);                                                                  \
        const B##_lane *pb = SOURCE(B, x, i->src[1]);                                                                  \
        LANE_LOOP(x, A##_value a = A##_load(pa[l]); B##_value b = B##_load(pb[l]);                                     \
                  d[l] = D##_store((D##_value)(expression));)                                                          \
    }
#define HANDLER3(name, D, A, B, C, expression)                                                                         \
    static void name(struct exec *x, const struct instruction *i) {                                                    \
        D##_lane *d = LANES_OF(D, x, i->dst);                                                                          \
        const A##_lane *pa = SOURCE(A, x, i->src[0]);                                                                  \
        const B##_lane *pb = SOURCE(B, x, i->src[1]);                                                                  \
        const C##_lane *pc = SOURCE(C, x, i->src[2]);                                                                  \
        LANE_LOOP(x, A##_value a = A##_load(pa[l]); B##_value b = B##_load(pb[l]); C##_value c = C##_load(pc[l]);      \
                  d[l] = D##_store((D##_value)(expression));)                                                          \
    }

// Bit l at index l: selecting by it, and or-ing what was selected, are loops that the compiler can vectorise.
extern const uint32_t lane_bits[LANES];

// Lanes of a 32-bit mask to a predicate slot: only active ones change.
static inline void write_predicate(const struct exec *x, uint32_t slot, uint32_t mask) {
    uint32_t *p = predicate(x, slot);
    *p = (*p & ~x->active) | (mask & x->active);
}

#endif
