// cache_keep: looking after a cache: what is in it, removal of entries, and collection by age and size. Reads no entry.
// SPDX-License-Identifier: Apache-2.0
#include "cache.h"
#include "cache_damaged.h"
#include "cache_internal.h"
#include "context.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- Entries --------------------------------------------------------------------------------------------------------
 */

void cache_describe(const sage_context *context, struct cache_description *out) {
    const struct cache *cache = context->cache;
    *out = (struct cache_description){.path = cache->path ? cache->path : "",
                                      .memory_only = !cache->writable,
                                      .reason = cache->reason ? cache->reason : ""};
}

static sage_status each_in_shard(sage_context *context, int shard, struct cache_keys *keys) {
    DIR *list = fdopendir(shard);
    sage_status status = SAGE_OK;
    for (const struct dirent *entry = list ? readdir(list) : NULL; entry && status == SAGE_OK; entry = readdir(list))
        if (key_is_valid(entry->d_name)) status = cache_keys_add(context, keys, entry->d_name);
    if (list)
        closedir(list);
    else
        close(shard);
    return status;
}

static sage_status each_on_disk(sage_context *context, struct cache_keys *keys) {
    const struct cache *cache = context->cache;
    for (int i = 0; i < 256; i++) {
        char first[3];
        struct safe_why why;
        snprintf(first, sizeof first, "%02x", (unsigned)i);
        int shard = safe_dir_open(cache->root, first, cache->policy, &why);
        if (shard >= 0) SAGE_TRY(each_in_shard(context, shard, keys));
    }
    return SAGE_OK;
}

sage_status cache_each(sage_context *context, bool (*visit)(void *user, const char *key), void *user) {
    struct cache *cache = context->cache;
    struct cache_keys keys = {0};
    sage_status status = cache_memory_keys(context, &cache->memory, &keys);
    if (status == SAGE_OK && cache->root >= 0) status = each_on_disk(context, &keys);
    cache_keys_sort(&keys);
    for (size_t i = 0; status == SAGE_OK && i < keys.count; i++)
        if (!visit(user, keys.key[i])) break;
    context_free(context, keys.key);
    return status;
}

sage_status cache_remove(sage_context *context, const char *key) {
    struct cache *cache = context->cache;
    if (!key_is_valid(key)) return context_error(context, SAGE_ERROR_NOT_FOUND, "not a key: %.64s", key);
    bool in_memory = cache_memory_remove(context, &cache->memory, key);
    struct safe_why why;
    struct stat info;
    int shard = cache->root < 0 ? -1 : cache_shard_open(cache, NULL, key, false, &why);
    bool on_disk = shard >= 0 && fstatat(shard, key, &info, AT_SYMLINK_NOFOLLOW) == 0;
    bool removed = on_disk && cache_discard(cache, shard, key);
    cache_close_dir(shard);
    if (on_disk && !removed) return context_error(context, SAGE_ERROR_CACHE, "cache entry %s cannot be removed", key);
    return in_memory || removed ? SAGE_OK : context_error(context, SAGE_ERROR_NOT_FOUND, "not in the cache: %s", key);
}

/* -- Collection -----------------------------------------------------------------------------------------------------
 */

struct collect_entry {
    char key[KEY_BYTES];
    struct stat info; /* of the entry's directory */
    uint64_t bytes;
};

struct collect {
    sage_context *context;
    const struct cache_limits *limits;
    struct collect_entry *entry;
    size_t count;
    struct cache_collected done;
};

static uint64_t entry_bytes(int shard, const char *key) {
    int dir = openat(shard, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = dir >= 0 ? fdopendir(dir) : NULL;
    uint64_t bytes = 0;
    struct stat info;
    for (const struct dirent *file = list ? readdir(list) : NULL; file; file = readdir(list))
        if (fstatat(dir, file->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode))
            bytes += (uint64_t)info.st_blocks * 512;
    if (list)
        closedir(list);
    else
        cache_close_dir(dir);
    return bytes;
}

static bool entry_stat(const struct cache *cache, const char *key, struct collect_entry *out) {
    struct safe_why why;
    int shard = cache_shard_open(cache, NULL, key, false, &why);
    bool there = shard >= 0 && fstatat(shard, key, &out->info, AT_SYMLINK_NOFOLLOW) == 0;
    if (there) {
        memcpy(out->key, key, KEY_BYTES);
        out->bytes = entry_bytes(shard, key);
    }
    cache_close_dir(shard);
    return there;
}

// Unless somebody used it since it was listed.
static void collect_entry(struct collect *collect, const struct collect_entry *entry) {
    const struct cache *cache = collect->context->cache;
    struct safe_why why;
    struct stat now;
    int shard = cache_shard_open(cache, NULL, entry->key, false, &why);
    bool same = shard >= 0 && fstatat(shard, entry->key, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
                now.st_ino == entry->info.st_ino && now.st_mtim.tv_sec == entry->info.st_mtim.tv_sec &&
                now.st_mtim.tv_nsec == entry->info.st_mtim.tv_nsec;
    if (same && cache_discard(cache, shard, entry->key)) {
        collect->done.entries++;
        collect->done.bytes += entry->bytes;
    } else {
        collect->done.kept++;
        collect->done.kept_bytes += entry->bytes;
    }
    cache_close_dir(shard);
}

// The most recently used one first; equals by key.
static int by_use(const void *a, const void *b) {
    const struct collect_entry *x = a, *y = b;
    const long long idle_x = cache_idle_seconds(&x->info), idle_y = cache_idle_seconds(&y->info);
    return idle_x != idle_y ? (idle_x > idle_y) - (idle_x < idle_y) : strcmp(x->key, y->key);
}

static sage_status collect_entries(struct collect *collect, const struct cache_keys *keys) {
    sage_context *context = collect->context;
    collect->entry = context_alloc(context, keys->count * sizeof *collect->entry);
    if (!collect->entry) return SAGE_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < keys->count; i++)
        collect->count += entry_stat(context->cache, keys->key[i], &collect->entry[collect->count]);
    if (collect->count) qsort(collect->entry, collect->count, sizeof *collect->entry, by_use);
    uint64_t kept = 0;
    for (size_t i = 0; i < collect->count; i++) {
        const struct collect_entry *entry = &collect->entry[i];
        const bool old = cache_idle_seconds(&entry->info) > collect->limits->idle_seconds;
        kept += entry->bytes;
        if (old || kept > collect->limits->bytes) {
            collect_entry(collect, entry);
        } else {
            collect->done.kept++;
            collect->done.kept_bytes += entry->bytes;
        }
    }
    context_free(context, collect->entry);
    return SAGE_OK;
}

// A line whose entry is gone, or that cannot be read, is of no use to anybody.
static void collect_lines_in(struct collect *collect, int shard) {
    int again = openat(shard, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again >= 0 ? fdopendir(again) : NULL;
    for (const struct dirent *line = list ? readdir(list) : NULL; line; line = readdir(list)) {
        char key[KEY_BYTES];
        struct collect_entry entry;
        if (!key_is_valid(line->d_name)) continue;
        if (cache_index_get(collect->context, line->d_name, key) == SAGE_OK &&
            entry_stat(collect->context->cache, key, &entry))
            continue;
        collect->done.lines += unlinkat(shard, line->d_name, 0) == 0;
    }
    if (list)
        closedir(list);
    else
        cache_close_dir(again);
}

static void collect_lines(struct collect *collect) {
    for (int i = 0; i < 256; i++) {
        char first[3];
        struct safe_why why;
        snprintf(first, sizeof first, "%02x", (unsigned)i);
        int shard = cache_shard_open(collect->context->cache, "index", first, false, &why);
        if (shard >= 0) collect_lines_in(collect, shard);
        cache_close_dir(shard);
    }
}

static void collect_temporaries(const struct cache *cache) {
    struct safe_why why;
    int temporary = safe_dir_open(cache->root, "tmp", cache->policy, &why);
    if (temporary >= 0) cache_sweep(temporary);
    cache_close_dir(temporary);
}

sage_status cache_collect(sage_context *context, const struct cache_limits *limits, struct cache_collected *out) {
    const struct cache *cache = context->cache;
    struct collect collect = {.context = context, .limits = limits};
    struct cache_keys keys = {0};
    if (!cache->writable)
        return context_error(context, SAGE_ERROR_CACHE, "there is no cache directory to collect: %s", cache->reason);
    sage_status status = each_on_disk(context, &keys);
    if (status == SAGE_OK) status = collect_entries(&collect, &keys);
    context_free(context, keys.key);
    if (status != SAGE_OK) return status;
    collect_lines(&collect);
    collect_temporaries(cache);
    collect.done.damaged = cache_damaged_clear(cache->root);
    *out = collect.done;
    return SAGE_OK;
}
