// call: direct calls of .func. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_CALL_H
#define PTXVM_CALL_H

#include "isa.h"

bool call_bind(struct binder *b, struct instruction *out);
void call_return(struct exec *x, const struct instruction *i);

#endif
