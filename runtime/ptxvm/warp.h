// warp: what bar's binder hands on. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_WARP_H
#define PTXVM_WARP_H

#include "isa.h"

bool warp_bind_bar(struct binder *b, struct instruction *out); /* bar.warp.sync */

#endif
