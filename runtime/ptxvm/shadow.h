// shadow: what is known of each word of shared memory. Private to shadow*.c. SPDX-License-Identifier: Apache-2.0
#ifndef PTXVM_SHADOW_H
#define PTXVM_SHADOW_H

#include "run.h"

// One word, or one byte of a word whose bytes differ. All zeros: nobody wrote, nobody read.
struct cell {
    uint32_t write_clock;
    uint16_t write_actor;
    uint8_t flags;
    uint8_t unused;
    uint32_t read;       /* clock of the only reader; number of a set of readers; CELL_SPLIT: number of four cells */
    uint16_t reader;     /* 0: nobody since the last write; READERS_SET; else its actor + 1 */
    uint16_t write_line; /* of the writing instruction, at most UINT16_MAX */
};
enum {
    CELL_WRITTEN = 1,
    CELL_ASYNC = 2,  /* last written through the async proxy */
    CELL_STRONG = 4, /* last written by an atomic or strong store */
    CELL_SPLIT = 8,  /* see split[read] */
    READERS_SET = 0xffff
};
_Static_assert(sizeof(struct cell) == 16, "compared as two words");

struct shared_shadow {
    struct cell *word;
    uint32_t words;
    struct cell (*split)[4];
    uint32_t splits, splits_max;
};

/* -- Sets of readers (shadow_sets.c): immutable, numbered, so that cells with the same readers are equal ------------
 */

struct reader {
    uint32_t actor, clock;
};
ptxvm_status read_sets_create(struct run *r);
void read_sets_destroy(struct run *r);
void read_sets_reset(struct run *r);
// The set with one more reader, who replaces an older step of the same actor; 0 is the empty set. UINT32_MAX: full.
uint32_t read_sets_add(struct run *r, uint32_t set, uint32_t actor, uint32_t clock);
// The readers of a set.
const struct reader *read_sets_get(const struct run *r, uint32_t set, uint32_t *count);

#endif
