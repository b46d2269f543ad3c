// isa: what binders of the instruction families share: modifiers taken by name, operands taken by width, errors,
// memory. isa_bind finds a statement's family, calls its binder and rejects the statement if a modifier was left over.
// SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_ISA_H
#define PTXVM_ISA_H

#include "machine.h"

// instruction.target before and after binding. cfg.c looks at target only:
//   TARGET_NEXT   goes on with the next instruction (set before the binder runs; all but branches leave it)
//   TARGET_EXIT   ret, exit, trap: no successor (where guarded: also the next instruction)
//   TARGET_TABLE  brx.idx: successors are slots[0 .. slot_count) as instruction indices
//   else          bra: the instruction's index, out->target = (uint32_t)op->value (guarded: also the next instruction).
//                 The index may equal the count of instructions: a label at the end of the function, an exit.
#define TARGET_NEXT  UINT32_MAX
#define TARGET_EXIT  (UINT32_MAX - 1)
#define TARGET_TABLE (UINT32_MAX - 2)

// Binds b->statement (operand and operands are set by this call). False: b->error has the text.
bool isa_bind(struct binder *b, struct instruction *out);

/* -- Modifiers. Each call consumes what it finds, in any order; isa_bind fails if one was not consumed ------------- */

// True if the modifier is there (and not yet consumed).
bool mod_take(struct binder *b, const char *name);
// Index in names (ends with NULL) of the first unconsumed modifier that is one of them; -1: none.
int mod_choice(struct binder *b, const char *const *names);
// The same, but a missing one is an error: false after bind_fail("needs one of .a .b"). *out is the index.
bool mod_need(struct binder *b, const char *const *names, unsigned *out);
// The first unconsumed modifier that is a type; PTX_NONE: there is none. Call again for the second type (cvt, mma).
enum ptx_type mod_type(struct binder *b);
// The first unconsumed type, which must be one of a set: false after bind_fail. Sets: TYPE_BIT(PTX_S32) | ...
bool mod_type_need(struct binder *b, uint64_t set, enum ptx_type *out);
#define TYPE_BIT(type) (UINT64_C(1) << (type))
_Static_assert(PTX_TYPE_COUNT <= 64, "a set of types is 64 bits");
// Text of the first unconsumed modifier, consumed; NULL: none is left. For shapes ("m16n8k32") and the like.
const char *mod_next(struct binder *b);
// Consumes those that have no effect in this machine: any of names (ends with NULL).
void mod_ignore(struct binder *b, const char *const *names);
// The same for cache operators, eviction priorities, prefetch sizes, memory order and scope of loads and stores:
// ca cg cs cv lu wb wt nc, L1::*, L2::*, level::*, weak relaxed acquire release acq_rel sc mmio, cta cluster gpu sys.
// Take volatile, and whatever of these matters to you, before.
void mod_ignore_memory(struct binder *b);

/* -- Operands ------------------------------------------------------------------------------------------------------ */

// Slots of a source. A register's slot serves its own width. Immediates, symbols and constant special registers hold
// uint64_t[32] at slot and a uint32_t[32] copy at slot + 256. Immediates -32768 .. -1 also have a copy of 16 bits,
// zero-extended as 16-bit registers are; immediates 0, 1, -1 and predicate special registers also a predicate. Float
// literals: 0f, 0d and decimal ones are converted to the width read. take_src picks the right one by type.
// A base of an ADDRESS reads the same way: a symbol's base slot holds the first address of the symbol's space, and
// `value` has the symbol's offset in it.
enum { SLOT_COPY32 = 256, SLOT_COPY16 = 384, SLOT_COPY_PREDICATE = 512 };
static inline uint32_t operand_slot64(const struct ptx_operand *op) {
    return op->slot;
}
static inline uint32_t operand_slot32(const struct ptx_operand *op) {
    bool is_register = op->kind == PTX_REG || op->kind == PTX_SINK || (op->kind == PTX_ADDRESS && !op->is_constant);
    return is_register ? op->slot : op->slot + SLOT_COPY32;
}
static inline uint32_t operand_slot16(const struct ptx_operand *op) {
    return op->kind == PTX_IMMEDIATE && op->value < 0 && op->type == PTX_S64 ? op->slot + SLOT_COPY16
                                                                             : operand_slot32(op);
}

// Element k of a vector (count elements), or coordinate k of a tensor address; PTX_MISSING where there is none.
static inline const struct ptx_operand *operand_element(const struct binder *b, const struct ptx_operand *op,
                                                        unsigned k) {
    static const struct ptx_operand missing = {.kind = PTX_MISSING};
    return k < op->count ? &b->function->operand[op->first + k] : &missing;
}

// False after bind_fail if the count of operands is out of range.
bool need_operands(struct binder *b, unsigned least, unsigned most);
// False after bind_fail if the operand is of another kind.
bool need_kind(struct binder *b, const struct ptx_operand *op, enum ptx_operand_kind kind);
// Slot of a destination: a register of exactly `bits` (1: predicate), or '_' (slot of a scratch area of 512 bytes that
// may be written and is never read). A pair 'd|p' is an error here: see take_dst_pair.
bool take_dst(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot);
// The same, with the register at least as wide (ld, cvt). *wide: its slot is uint64_t[32].
bool take_dst_wider(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot, bool *wide);
// 'd|p': slot of d, and of p, or 0 where there is no '|p'. p is a predicate.
bool take_dst_pair(struct binder *b, const struct ptx_operand *op, unsigned bits, uint32_t *slot, uint32_t *slot_pair);
// Slot of a source of this type: a register of exactly the type's bits, an immediate that the type can hold (integers
// for F32/F64 and floats for integer types are errors), a symbol, a constant special register. PTX_PRED: predicates.
bool take_src(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot);
// The same, with the register at least as wide (st, cvt). *wide: the slot is uint64_t[32].
bool take_src_wider(struct binder *b, const struct ptx_operand *op, enum ptx_type type, uint32_t *slot, bool *wide);
// A predicate source that may be negated.
bool take_src_pred(struct binder *b, const struct ptx_operand *op, uint32_t *slot, bool *negated);
// An integer immediate within [least, most].
bool take_constant(struct binder *b, const struct ptx_operand *op, int64_t least, int64_t most, int64_t *out);
// [base + offset]. *wide: base is uint64_t[32] (else uint32_t[32], zero-extended). The address of a lane is
// base + *offset, whatever the base is (for .param, .local, .const, .shared and .global symbols too: see above).
// *space: in what space a symbol as base lies; PTX_GENERIC where the base is a register or a number.
bool take_address(struct binder *b, const struct ptx_operand *op, uint32_t *slot, bool *wide, int64_t *offset,
                  enum ptx_space *space);

#endif
