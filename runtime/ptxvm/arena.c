// arena: blocks of memory in a list. SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, BLOCK_BYTES = 64 * 1024, GROW_FIRST = 16 };

struct block {
    struct block *next;
    size_t used, bytes; /* of data */
    _Alignas(ALIGN) unsigned char data[];
};

struct arena {
    struct block *block; /* the newest first */
    size_t total, limit;
};

struct arena *arena_create(size_t limit_bytes) {
    struct arena *arena = calloc(1, sizeof *arena);
    if (arena) arena->limit = limit_bytes;
    return arena;
}

void arena_free(struct arena *arena) {
    if (!arena) return;
    for (struct block *block = arena->block, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(arena);
}

// A block for at least `bytes`. Large ones go behind the newest, whose room stays in use.
static struct block *add_block(struct arena *arena, size_t bytes) {
    size_t size = bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES;
    if (size > arena->limit || arena->total > arena->limit - size) return NULL;
    struct block *block = calloc(1, sizeof *block + size);
    if (!block) return NULL;
    block->bytes = size;
    arena->total += size;
    struct block **where = size != BLOCK_BYTES && arena->block ? &arena->block->next : &arena->block;
    block->next = *where;
    *where = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct block *block = arena->block;
    if (!block || block->bytes - block->used < size) block = add_block(arena, size);
    if (!block) return NULL;
    void *result = block->data + block->used;
    block->used += size;
    return result;
}

void *arena_grow(struct arena *arena, void *array, size_t count, size_t *capacity, size_t element_bytes) {
    if (count < *capacity) return array;
    size_t larger = *capacity ? *capacity * 2 : GROW_FIRST;
    if (larger > SIZE_MAX / element_bytes) return NULL;
    void *copy = arena_alloc(arena, larger * element_bytes);
    if (!copy) return NULL;
    if (count) memcpy(copy, array, count * element_bytes);
    *capacity = larger;
    return copy;
}
