// exec_move: binders that exec_compare.c hands to the move family's table. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_EXEC_MOVE_H
#define PTXVM_EXEC_MOVE_H

#include "scalar.h"

bool bind_setp(struct binder *b, struct instruction *out);
bool bind_set(struct binder *b, struct instruction *out);

#endif
