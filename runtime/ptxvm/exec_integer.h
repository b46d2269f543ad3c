// exec_integer: binders that exec_bits.c and exec_carry.c hand to the integer family's table.
// SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_EXEC_INTEGER_H
#define PTXVM_EXEC_INTEGER_H

#include "scalar.h"

// CC.CF, the carry of add.cc and its like: one bit per lane, in the part of the register file that no slot uses.
enum { CARRY_SLOT = 32 };
enum { CARRY_IN = 1, CARRY_OUT = 2 }; /* instruction.flags */

bool bind_carry_add(struct binder *b, struct instruction *out, unsigned flags);
bool bind_carry_sub(struct binder *b, struct instruction *out, unsigned flags);
bool bind_carry_mad(struct binder *b, struct instruction *out, bool high, unsigned flags);

// X(NAME): opcodes of exec_bits.c.
#define BIT_OPCODES(X)                                                                                                 \
    X(and)                                                                                                             \
    X(or) X(xor) X(not ) X(cnot) X(lop3) X(shl) X(shr) X(shf) X(popc) X(clz) X(bfind) X(brev) X(bfe) X(bfi) X(bmsk)    \
        X(szext) X(fns) X(prmt)
#define BIT_BINDER(name) bool bind_##name(struct binder *b, struct instruction *out);
BIT_OPCODES(BIT_BINDER)

#endif
