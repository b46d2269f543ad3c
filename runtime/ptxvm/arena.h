// arena: memory that is freed all at once, with a limit on its size. Used by the parser and by bound modules.
// SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_ARENA_H
#define PTXVM_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena;

struct arena *arena_create(size_t limit_bytes); // NULL: out of memory
void arena_free(struct arena *arena);           // NULL is allowed
// Zeroed, 16-byte aligned. NULL: out of memory, or over the limit. bytes 0 gives a valid pointer.
void *arena_alloc(struct arena *arena, size_t bytes);
// An array of `capacity` elements of which `count` are used, with room for one more: itself, or a copy of twice the
// size (the old one is gone). Start with capacity 0. NULL: as above, nothing changed.
void *arena_grow(struct arena *arena, void *array, size_t count, size_t *capacity, size_t element_bytes);

#endif
