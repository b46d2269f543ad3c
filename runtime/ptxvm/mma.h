// mma: what the matrix families share: vectors of registers as slot lists, and the description that mma.sync's binders
// leave to their handlers. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_MMA_H
#define PTXVM_MMA_H

#include "accumulate.h"
#include "isa.h"

// What a bound mma.sync computes. Slots of D, A, B, C follow one another in instruction.slots.
struct mma {
    unsigned rows, k;
    enum ptx_type a, b, d; /* d: of C and D */
    unsigned container;    /* bits that an element of A or B occupies */
    unsigned regs_d, regs_a, regs_b;
    bool saturate;
    const struct accumulate_model *model;
    /* block scaling */
    enum ptx_type scale; /* PTX_NONE: none */
    unsigned scale_vec;  /* scales along k: 1, 2, 4 */
    uint32_t slot_scale_a, slot_scale_b;
    uint32_t slot_selector[4]; /* byte-id and thread-id of A, of B */
};

// Slots of a vector operand of exactly `count` registers (count 1: braces may be absent) into slot[]. False after
// bind_fail. Sources may be immediates.
bool mma_take_dst(struct binder *b, const struct ptx_operand *op, unsigned count, unsigned bits, uint32_t *slot);
bool mma_take_src(struct binder *b, const struct ptx_operand *op, unsigned count, enum ptx_type type, uint32_t *slot);

// Takes sync and aligned, which the matrix instructions must have.
bool mma_take_aligned(struct binder *b);

// mma_scaled.c: takes .block_scale, .scale_vec, the scale type and the scale operands (4 to 7), and sets out->run.
// vectors: bits 1, 2, 4 for the allowed scale_vec::1X, 2X, 4X.
bool mma_bind_scaled(struct binder *b, struct mma *m, unsigned vectors, struct instruction *out);

// Decoded A and B of a bound mma.
void mma_load(const struct exec *x, const struct instruction *i, struct tile_rows *a, struct tile_columns *b);

// ldmatrix.c
bool bind_ldmatrix(struct binder *b, struct instruction *out);
bool bind_stmatrix(struct binder *b, struct instruction *out);
bool bind_movmatrix(struct binder *b, struct instruction *out);

#endif
