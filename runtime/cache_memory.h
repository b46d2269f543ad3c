// cache_memory: cache entries and index lines in memory, for a context without a usable directory. Lists, since a
// process makes few kernels. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_CACHE_MEMORY_H
#define SAGE_CACHE_MEMORY_H

#include "cache.h"
#include <pthread.h>

struct cache_memory {
    pthread_mutex_t lock;
    struct cache_memory_entry *entries;
    struct cache_memory_line *lines;
};

struct cache_keys {
    char (*key)[KEY_BYTES]; /* owned by the caller */
    size_t count, capacity;
};

void cache_memory_create(struct cache_memory *memory);
void cache_memory_destroy(sage_context *context, struct cache_memory *memory);

// Copies out what `want` names. Errors: NOT_FOUND, OUT_OF_MEMORY.
sage_status cache_memory_get(sage_context *context, struct cache_memory *memory, const char *key, unsigned want,
                             struct cache_entry *out);
// Copies in; a key that is there already stays as it is. Errors: OUT_OF_MEMORY.
sage_status cache_memory_put(sage_context *context, struct cache_memory *memory, const char *key,
                             const struct cache_files *files);
bool cache_memory_remove(sage_context *context, struct cache_memory *memory, const char *key);

bool cache_memory_index_get(sage_context *context, struct cache_memory *memory, const char *request,
                            char key[KEY_BYTES]);
sage_status cache_memory_index_put(sage_context *context, struct cache_memory *memory, const char *request,
                                   const char *key);

sage_status cache_memory_keys(sage_context *context, struct cache_memory *memory, struct cache_keys *keys);
sage_status cache_keys_add(sage_context *context, struct cache_keys *keys, const char *key);
// Sorts, and removes repeated ones.
void cache_keys_sort(struct cache_keys *keys);

#endif
