// pack_write: kernels -> the bytes of a pack, in the format of runtime/pack_format.h. Writes no file.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_PACK_WRITE_H
#define SAGE_GEN_PACK_WRITE_H

#include "buf.h"
#include "cache.h"

// All borrowed. NULL data: not there; metadata always are, and cubin or source or both.
struct pack_item {
    const char *name; /* the order of the pack */
    struct cache_bytes meta, cubin, source;
};

// Sorts items by name, then appends the pack to out. Same items, same bytes.
void pack_write(struct pack_item *items, int count, struct buf *out);

#endif
