// arena: blocks of memory in a list. SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, BLOCK_BYTES = 64 * 1024, GROW_FIRST = 16 };

struct block {
    struct block *next, *previous;
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

// Allocations that get a block of their own.
static bool is_large(size_t bytes) {
    return bytes > BLOCK_BYTES / 4;
}

// Puts a block behind `previous`, or first.
static void link_block(struct arena *arena, struct block *block, struct block *previous) {
    block->previous = previous;
    block->next = previous ? previous->next : arena->block;
    if (block->next) block->next->previous = block;
    if (previous)
        previous->next = block;
    else
        arena->block = block;
}

// A block for at least `bytes`. Large ones go behind the newest, whose room stays in use.
static struct block *add_block(struct arena *arena, size_t bytes) {
    size_t size = is_large(bytes) ? bytes : BLOCK_BYTES;
    if (size > arena->limit || arena->total > arena->limit - size) return NULL;
    struct block *block = calloc(1, sizeof *block + size);
    if (!block) return NULL;
    block->bytes = size;
    arena->total += size;
    link_block(arena, block, is_large(bytes) ? arena->block : NULL);
    return block;
}

// Frees the large allocation at `memory`.
static void drop_large(struct arena *arena, void *memory) {
    struct block *block = (struct block *)(void *)((unsigned char *)memory - offsetof(struct block, data));
    if (block->next) block->next->previous = block->previous;
    if (block->previous)
        block->previous->next = block->next;
    else
        arena->block = block->next;
    arena->total -= block->bytes;
    free(block);
}

void *arena_alloc(struct arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct block *block = arena->block;
    if (!block || is_large(size) || block->bytes - block->used < size) block = add_block(arena, size);
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
    if (is_large(*capacity * element_bytes)) drop_large(arena, array);
    *capacity = larger;
    return copy;
}
