// cache_memory: see the header. Holds deep copies; hands out deep copies; one lock.
// SPDX-License-Identifier: Apache-2.0
#include "cache_memory.h"
#include "context.h"
#include <stdlib.h>
#include <string.h>

struct cache_memory_entry {
    struct cache_memory_entry *next;
    char key[KEY_BYTES];
    struct cache_entry entry;
};

struct cache_memory_line {
    struct cache_memory_line *next;
    char request[KEY_BYTES], key[KEY_BYTES];
};

/* -- Entries --------------------------------------------------------------------------------------------------------
 */

// Copies the members that `want` names; frees what it made on failure.
static sage_status files_copy(sage_context *context, const struct cache_files *from, unsigned want,
                              struct cache_entry *out) {
    struct cache_entry made = {0};
    bool good = true;
#define FILE_COPY(member, file, bit)                                                                                   \
    if (good && (want & bit) && from->member.data) {                                                                   \
        made.files.member.data = context_copy_text(context, from->member.data, from->member.bytes);                    \
        made.files.member.bytes = from->member.bytes;                                                                  \
        good = made.files.member.data != NULL;                                                                         \
    }
    CACHE_FILES(FILE_COPY)
#undef FILE_COPY
    if (good)
        *out = made;
    else
        cache_entry_free(context, &made);
    return good ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
}

static struct cache_memory_entry **find(struct cache_memory *memory, const char *key) {
    struct cache_memory_entry **link = &memory->entries;
    while (*link && strcmp((*link)->key, key) != 0) link = &(*link)->next;
    return link;
}

sage_status cache_memory_get(sage_context *context, struct cache_memory *memory, const char *key, unsigned want,
                             struct cache_entry *out) {
    pthread_mutex_lock(&memory->lock);
    const struct cache_memory_entry *found = *find(memory, key);
    sage_status status = found ? files_copy(context, &found->entry.files, want, out)
                               : context_error(context, SAGE_ERROR_NOT_FOUND, "not in the cache: %s", key);
    pthread_mutex_unlock(&memory->lock);
    return status;
}

sage_status cache_memory_put(sage_context *context, struct cache_memory *memory, const char *key,
                             const struct cache_files *files) {
    struct cache_memory_entry *made = context_alloc_zeroed(context, sizeof *made);
    if (!made) return SAGE_ERROR_OUT_OF_MEMORY;
    memcpy(made->key, key, KEY_BYTES);
    sage_status status = files_copy(context, files, CACHE_ALL, &made->entry);
    pthread_mutex_lock(&memory->lock);
    struct cache_memory_entry **link = find(memory, key);
    bool taken = status == SAGE_OK && !*link;
    if (taken) *link = made;
    pthread_mutex_unlock(&memory->lock);
    if (!taken) {
        cache_entry_free(context, &made->entry);
        context_free(context, made);
    }
    return status;
}

bool cache_memory_remove(sage_context *context, struct cache_memory *memory, const char *key) {
    pthread_mutex_lock(&memory->lock);
    struct cache_memory_entry **link = find(memory, key), *gone = *link;
    if (gone) *link = gone->next;
    pthread_mutex_unlock(&memory->lock);
    if (!gone) return false;
    cache_entry_free(context, &gone->entry);
    context_free(context, gone);
    return true;
}

/* -- Index ----------------------------------------------------------------------------------------------------------
 */

static struct cache_memory_line *line_find(const struct cache_memory *memory, const char *request) {
    struct cache_memory_line *line = memory->lines;
    while (line && strcmp(line->request, request) != 0) line = line->next;
    return line;
}

bool cache_memory_index_get(sage_context *context, struct cache_memory *memory, const char *request,
                            char key[KEY_BYTES]) {
    (void)context;
    pthread_mutex_lock(&memory->lock);
    const struct cache_memory_line *line = line_find(memory, request);
    if (line) memcpy(key, line->key, KEY_BYTES);
    pthread_mutex_unlock(&memory->lock);
    return line != NULL;
}

sage_status cache_memory_index_put(sage_context *context, struct cache_memory *memory, const char *request,
                                   const char *key) {
    struct cache_memory_line *made = context_alloc_zeroed(context, sizeof *made);
    if (!made) return SAGE_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&memory->lock);
    struct cache_memory_line *line = line_find(memory, request);
    if (!line) {
        line = made;
        memcpy(line->request, request, KEY_BYTES);
        line->next = memory->lines;
        memory->lines = line;
    }
    memcpy(line->key, key, KEY_BYTES);
    pthread_mutex_unlock(&memory->lock);
    if (line != made) context_free(context, made);
    return SAGE_OK;
}

/* -- Keys -----------------------------------------------------------------------------------------------------------
 */

sage_status cache_keys_add(sage_context *context, struct cache_keys *keys, const char *key) {
    if (keys->count == keys->capacity) {
        size_t capacity = keys->capacity ? 2 * keys->capacity : 64;
        char(*bigger)[KEY_BYTES] = context_alloc(context, capacity * KEY_BYTES);
        if (!bigger) return SAGE_ERROR_OUT_OF_MEMORY;
        if (keys->count) memcpy(bigger, keys->key, keys->count * KEY_BYTES);
        context_free(context, keys->key);
        keys->key = bigger;
        keys->capacity = capacity;
    }
    memcpy(keys->key[keys->count++], key, KEY_BYTES);
    return SAGE_OK;
}

sage_status cache_memory_keys(sage_context *context, struct cache_memory *memory, struct cache_keys *keys) {
    sage_status status = SAGE_OK;
    pthread_mutex_lock(&memory->lock);
    for (const struct cache_memory_entry *entry = memory->entries; entry && status == SAGE_OK; entry = entry->next)
        status = cache_keys_add(context, keys, entry->key);
    pthread_mutex_unlock(&memory->lock);
    return status;
}

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

void cache_keys_sort(struct cache_keys *keys) {
    if (!keys->count) return;
    qsort(keys->key, keys->count, KEY_BYTES, compare);
    size_t kept = 1;
    for (size_t i = 1; i < keys->count; i++)
        if (strcmp(keys->key[i], keys->key[kept - 1]) != 0) memmove(keys->key[kept++], keys->key[i], KEY_BYTES);
    keys->count = kept;
}

/* -- Life -----------------------------------------------------------------------------------------------------------
 */

void cache_memory_create(struct cache_memory *memory) {
    memset(memory, 0, sizeof *memory);
    pthread_mutex_init(&memory->lock, NULL);
}

void cache_memory_destroy(sage_context *context, struct cache_memory *memory) {
    while (memory->entries) {
        struct cache_memory_entry *entry = memory->entries;
        memory->entries = entry->next;
        cache_entry_free(context, &entry->entry);
        context_free(context, entry);
    }
    while (memory->lines) {
        struct cache_memory_line *line = memory->lines;
        memory->lines = line->next;
        context_free(context, line);
    }
    pthread_mutex_destroy(&memory->lock);
}
