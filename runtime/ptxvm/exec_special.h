// exec_special: what exec_special.c and exec_order.c hand to the float family's table. SPDX-License-Identifier:
// Apache-2.0
#ifndef PTXVM_EXEC_SPECIAL_H
#define PTXVM_EXEC_SPECIAL_H

#include "exec_float.h"

extern const struct float_form special_div[], special_rcp[], special_sqrt[]; /* .approx, .full */
bool bind_rsqrt(struct binder *b, struct instruction *out);
bool bind_ex2(struct binder *b, struct instruction *out);
bool bind_lg2(struct binder *b, struct instruction *out);
bool bind_sin(struct binder *b, struct instruction *out);
bool bind_cos(struct binder *b, struct instruction *out);
bool bind_tanh(struct binder *b, struct instruction *out);

bool bind_copysign(struct binder *b, struct instruction *out);
bool bind_testp(struct binder *b, struct instruction *out);

#endif
