// pack: one file of kernels from `sagegen pack`: opened once, checked as a whole, read by parts. Nothing of it is
// believed before its hash was checked, and what is read later is checked again. Writes nothing. Not mapped: a mapped
// file that somebody cuts short kills the process that looks at it.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_PACK_H
#define SAGE_PACK_H

#include "key.h"
#include "meta.h"
#include "pack_format.h"

struct pack_kernel {
    struct meta meta; /* of the cubin; where there is none, of the one that was compiled when the pack was made */
    uint64_t offset[PACK_PART_COUNT];
    uint32_t bytes[PACK_PART_COUNT]; /* 0: not there. There is a cubin, or a source, or both */
};

struct pack {
    struct pack *next; /* list of the context */
    char *path;
    int file; /* descriptor */
    uint64_t bytes;
    char hash[KEY_BYTES]; /* of all but the trailer */
    int count;
    struct pack_kernel *kernel;
};

// Opens and checks a pack. Errors: IO (cannot be opened or read), UNSUPPORTED (others may write it, without
// trust_shared_cache; made for another version of libsage), CORRUPT (not a pack, or a damaged one), OUT_OF_MEMORY.
sage_status pack_open(sage_context *context, const char *path, struct pack **out);
void pack_close(sage_context *context, struct pack *pack);
// Reads the cubin or the source of a kernel, NUL-terminated, from the context's allocator, and checks it. Threads: any.
// Errors: IO, CORRUPT, OUT_OF_MEMORY.
sage_status pack_read(sage_context *context, const struct pack *pack, int index, enum pack_part part, char **out);

#endif
