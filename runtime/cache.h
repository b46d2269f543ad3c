// cache: compiled kernels on disk, <dir>/<first 2 of key>/<key>/kernel.{cu,ptx,cubin,meta,map} and log; and the request
// index <dir>/index/<2>/<request>. Publishes by temporary directory, fsync, rename; takes no locks; never trusts what
// it reads. Where no safe directory can be had, entries live in memory for as long as the context.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_CACHE_H
#define SAGE_CACHE_H

#include "key.h"
#include "sage.h"
#include <stdbool.h>

struct cache_bytes {
    const void *data; /* NULL where absent */
    size_t bytes;
};

// X(member, file name, bit): the files of an entry. cubin and meta are always there.
#define CACHE_FILES(X)                                                                                                 \
    X(meta, "kernel.meta", 1u)                                                                                         \
    X(cubin, "kernel.cubin", 2u)                                                                                       \
    X(source, "kernel.cu", 4u)                                                                                         \
    X(ptx, "kernel.ptx", 8u)                                                                                           \
    X(log, "log", 16u)                                                                                                 \
    X(map, "kernel.map", 32u)
#define CACHE_BIT(member, file, bit) CACHE_##member = bit,
enum cache_bit { CACHE_FILES(CACHE_BIT) CACHE_ALL = 63 };
#define CACHE_FILES_MEMBER(member, file, bit) struct cache_bytes member;
struct cache_files {
    CACHE_FILES(CACHE_FILES_MEMBER)
};

// What cache_get returns: every member that was asked for and exists, NUL-terminated for convenience, owned by the
// context's allocator.
struct cache_entry {
    struct cache_files files;
};

// Looks for an entry. want: CACHE_* bits; meta and cubin always come. Sizes and hashes of meta, cubin, and of source
// and ptx where wanted, are verified; a damaged entry is moved to <dir>/damaged, where the newest 16 stay, and is a
// miss. One of another version of libsage is a miss, and stays. Errors: NOT_FOUND (any kind of miss), OUT_OF_MEMORY.
sage_status cache_get(sage_context *context, const char *key, unsigned want, struct cache_entry *out);
void cache_entry_free(sage_context *context, struct cache_entry *entry);

// Publishes an entry; files are borrowed. meta and cubin are required and must agree. Another process that was first is
// no error. Where the disk refuses (full, read-only), the entry is kept in memory and a warning goes to the log.
// Errors: INVALID_ARGUMENT, OUT_OF_MEMORY.
sage_status cache_put(sage_context *context, const char *key, const struct cache_files *files);

// The request index: hash of a request -> key. Wrong or damaged: NOT_FOUND. request: 32 hex digits.
sage_status cache_index_get(sage_context *context, const char *request, char key[KEY_BYTES]);
sage_status cache_index_put(sage_context *context, const char *request, const char *key);

struct cache_description {
    const char *path; /* "" in memory-only mode without a directory; lives as long as the context */
    bool memory_only;
    const char *reason; /* why memory-only, or why the directory was refused; "" */
};
void cache_describe(const sage_context *context, struct cache_description *out);

// Calls visit for every entry's key, sorted (for `sagegen cache`); stops when it returns false. Errors: OUT_OF_MEMORY.
sage_status cache_each(sage_context *context, bool (*visit)(void *user, const char *key), void *user);
// What cache_collect keeps: an entry that was used within idle_seconds, as long as those used later take fewer bytes of
// the disk. An entry counts as used when it is published, and, to the day, when it is read.
struct cache_limits {
    long long idle_seconds;
    uint64_t bytes;
};
struct cache_collected {
    int entries, lines, damaged; /* removed: entries, lines of the index, what stood in damaged/ */
    int kept;
    uint64_t bytes, kept_bytes; /* on the disk */
};
// Removes entries beyond the limits, lines of the index without an entry, what killed processes left, and damaged/. Who
// uses an entry meanwhile has read it, or misses it and makes it anew. Errors: CACHE (no writable directory),
// OUT_OF_MEMORY.
sage_status cache_collect(sage_context *context, const struct cache_limits *limits, struct cache_collected *out);

// Deletes one entry. Errors: NOT_FOUND, CACHE.
sage_status cache_remove(sage_context *context, const char *key);

// Made and destroyed with the context. dir NULL: by the environment. Fails only for OUT_OF_MEMORY.
sage_status cache_create(sage_context *context, const char *dir, bool memory_only);
void cache_destroy(sage_context *context);

#endif
