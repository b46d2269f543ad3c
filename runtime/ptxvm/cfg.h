// cfg: the control flow of a bound function: where divergent lanes meet again, and loops. Reads target, guard_slot and
// slots of the instructions (isa.h says what they mean), writes reconverge. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_CFG_H
#define PTXVM_CFG_H

#include "machine.h"

// Sets code[k].reconverge of branches: the instruction at which the paths from the branch meet, UINT32_MAX: only at the
// end. A path that leaves the kernel early, without a loop on its way, does not keep the others from meeting.
// loop[k] (count entries; may be NULL): innermost loop of instruction k, -1: none; loops are numbered by their headers'
// order in the text. Any graph is fine, irreducible ones too (their loops are an approximation).
// Errors: MEMORY; ARGUMENT: a target lies beyond `count`.
ptxvm_status cfg_build(struct instruction *code, uint32_t count, int32_t *loop);

#endif
