// barrier: binders of the barrier family that live in files of their own. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_BARRIER_H
#define PTXVM_BARRIER_H

#include "isa.h"

bool fence_bind(struct binder *b, struct instruction *out); /* fence, membar */
bool setmaxnreg_bind(struct binder *b, struct instruction *out);
bool mbarrier_bind(struct binder *b, struct instruction *out);

#endif
