// exec_memory: addresses and modifiers that loads, stores and atomics share. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_EXEC_MEMORY_H
#define PTXVM_EXEC_MEMORY_H

#include "isa.h"
#include "vm.h"

enum { VECTOR_MAX = 8 };

// instruction.src[0], imm, flags, space: an address [base + imm]; the rest of flags is the access for
// memory_access_warp.
enum { ADDRESS_WIDE = 1 << 16 };
#define ACCESS_MASK 0xffffu

// Takes the state space: .global .shared(::cta, ::cluster) .local .param(::entry, ::func) .const; generic without one.
enum ptx_space take_space(struct binder *b);
// Takes .v2 .v4 .v8: the count of elements, 1 without.
unsigned take_vector(struct binder *b);
// Takes memory order (and ignores scopes and cache hints): bits of enum access_order.
unsigned take_order(struct binder *b);
// Takes an address operand into out. False: an error, also where a symbol lies in another space than out->space.
bool take_memory_address(struct binder *b, const struct ptx_operand *op, struct instruction *out);
// Operand `at`, if it is there, is a cache policy, which .L2::cache_hint must announce; no further ones are allowed.
bool take_policy(struct binder *b, unsigned at, bool hinted);

// Addresses of all lanes, also of those that are not active.
void memory_addresses(const struct exec *x, const struct instruction *i, uint64_t address[LANES]);

bool bind_atom(struct binder *b, struct instruction *out);
bool bind_red(struct binder *b, struct instruction *out);

#endif
