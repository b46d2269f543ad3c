// cache: entries and the request index on disk. Reads verify everything; writes go to tmp/ and are renamed into place.
// What cannot go to disk goes to cache_memory. Nothing that is found in the directory can make a call fail: at worst it
// is a miss. SPDX-License-Identifier: Apache-2.0
#include "cache.h"
#include "cache_damaged.h"
#include "cache_memory.h"
#include "context.h"
#include "meta.h"
#include "safe_dir.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 << 20, TEMPORARY_NAME_BYTES = 24, STALE_SECONDS = 24 * 3600 };

struct cache {
    char *path;
    char *reason;
    int root; /* descriptor; -1: memory only */
    bool writable;
    struct safe_policy policy;
    struct cache_memory memory;
};

struct cache_file_row {
    const char *name;
    unsigned bit;
};

// In the order of struct cache_files' members, which are walked as an array.
#define CACHE_FILE_ROW(member, file, bit) {file, bit},
static const struct cache_file_row file_rows[] = {CACHE_FILES(CACHE_FILE_ROW)};
enum { FILE_COUNT = sizeof file_rows / sizeof *file_rows };
_Static_assert(sizeof(struct cache_files) == FILE_COUNT * sizeof(struct cache_bytes),
               "struct cache_files is an array of cache_bytes");

static struct cache_bytes *file_at(struct cache_files *files, int i) {
    return (struct cache_bytes *)files + i;
}

static const struct cache_bytes *const_file_at(const struct cache_files *files, int i) {
    return (const struct cache_bytes *)files + i;
}

void cache_entry_free(sage_context *context, struct cache_entry *entry) {
    for (int i = 0; i < FILE_COUNT; i++) context_free(context, (void *)(uintptr_t)file_at(&entry->files, i)->data);
    memset(entry, 0, sizeof *entry);
}

/* -- Directories ----------------------------------------------------------------------------------------------------
 */

static void close_dir(int dir) {
    if (dir >= 0) close(dir);
}

// Opens <root>/<name>/<first two of key>, made if `make`.
static int shard_open(const struct cache *cache, const char *name, const char *key, bool make, struct safe_why *why) {
    char shard[3] = {key[0], key[1], 0};
    int (*open_dir)(int, const char *, struct safe_policy, struct safe_why *) = make ? safe_dir_make : safe_dir_open;
    if (!name) return open_dir(cache->root, shard, cache->policy, why);
    int parent = open_dir(cache->root, name, cache->policy, why);
    if (parent < 0) return -1;
    int dir = open_dir(parent, shard, cache->policy, why);
    close(parent);
    return dir;
}

// A name that no other process or thread uses. Without entropy the clock will do: EEXIST is checked anyway.
static void temporary_name(char out[TEMPORARY_NAME_BYTES]) {
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        bits = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 16 ^ (uint64_t)getpid() ^ (uint64_t)(uintptr_t)out;
    }
    snprintf(out, TEMPORARY_NAME_BYTES, "t%016llx", (unsigned long long)bits);
}

// Removes what killed processes left in tmp/ a day ago and longer.
static void sweep(int temporary) {
    int again = openat(temporary, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again >= 0 ? fdopendir(again) : NULL;
    if (!list) {
        close_dir(again);
        return;
    }
    for (const struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        struct stat info;
        if (entry->d_name[0] != 't' || fstatat(temporary, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (time(NULL) - info.st_mtime < STALE_SECONDS) continue;
        if (S_ISDIR(info.st_mode))
            safe_dir_remove(temporary, entry->d_name);
        else
            unlinkat(temporary, entry->d_name, 0);
    }
    closedir(list);
}

/* -- Reading an entry -----------------------------------------------------------------------------------------------
 */

// OK, CORRUPT (damaged), IO (cannot tell), OUT_OF_MEMORY; why->text says more. Fills entry as far as it gets.
static sage_status file_get(sage_context *context, int dir, int i, struct cache_entry *entry, struct safe_why *why) {
    struct cache_bytes *file = file_at(&entry->files, i);
    file->data =
        safe_file_read(context, dir, file_rows[i].name, FILE_BYTES_MAX, context->cache->policy, &file->bytes, why);
    if (file->data) return SAGE_OK;
    return why->kind == SAFE_NO_MEMORY ? SAGE_ERROR_OUT_OF_MEMORY
           : why->kind == SAFE_SYSTEM  ? SAGE_ERROR_IO
                                       : SAGE_ERROR_CORRUPT;
}

static bool file_agrees(const struct cache_bytes *file, int bytes, const char *hash) {
    char found[KEY_BYTES];
    if (!file->data) return true;
    key_hash(file->data, file->bytes, found);
    return file->bytes == (size_t)bytes && !strcmp(found, hash);
}

static sage_status entry_verify(sage_context *context, const struct cache_entry *entry, struct safe_why *why) {
    struct meta meta;
    sage_status status = meta_read(context, entry->files.meta.data, entry->files.meta.bytes, &meta);
    if (status == SAGE_OK) status = meta_check_cubin(context, &meta, entry->files.cubin.data, entry->files.cubin.bytes);
    if (status == SAGE_ERROR_CORRUPT)
        snprintf(why->text, sizeof why->text, "%.*s", SAFE_WHY_BYTES - 1, sage_last_error(context));
    if (status != SAGE_OK) return status;
    if (file_agrees(&entry->files.source, meta.source_bytes, meta.source_hash) &&
        file_agrees(&entry->files.ptx, meta.ptx_bytes, meta.ptx_hash))
        return SAGE_OK;
    snprintf(why->text, sizeof why->text, "kernel.cu or kernel.ptx does not match kernel.meta");
    return SAGE_ERROR_CORRUPT;
}

static sage_status entry_read(sage_context *context, int dir, unsigned want, struct cache_entry *entry,
                              struct safe_why *why) {
    const unsigned required = CACHE_meta | CACHE_cubin;
    for (int i = 0; i < FILE_COUNT; i++) {
        unsigned bit = file_rows[i].bit;
        if (!((want | required) & bit)) continue;
        sage_status status = file_get(context, dir, i, entry, why);
        bool optional_absent = status == SAGE_ERROR_CORRUPT && why->kind == SAFE_ABSENT && !(bit & required);
        if (status != SAGE_OK && !optional_absent) return status;
    }
    return entry_verify(context, entry, why);
}

static void move_aside(sage_context *context, int shard, const char *key, const char *reason) {
    const struct cache *cache = context->cache;
    char unique[TEMPORARY_NAME_BYTES];
    temporary_name(unique);
    bool moved = cache->writable && cache_damaged_take(cache->root, cache->policy, shard, key, unique + 1);
    context_log(context, SAGE_LOG_WARNING, "cache entry %s is damaged (%s); it is rebuilt%s", key, reason,
                moved ? ", and kept in damaged/" : "");
}

// Reads and verifies; the status is one of file_get's. Absent: IO too, with that kind of why.
static sage_status disk_read(sage_context *context, int shard, const char *key, unsigned want, struct cache_entry *out,
                             struct safe_why *why) {
    int dir = safe_dir_open(shard, key, context->cache->policy, why);
    if (dir < 0) return why->kind == SAFE_REFUSED ? SAGE_ERROR_CORRUPT : SAGE_ERROR_IO;
    struct cache_entry entry = {0};
    sage_status status = entry_read(context, dir, want, &entry, why);
    close(dir);
    if (status == SAGE_OK)
        *out = entry;
    else
        cache_entry_free(context, &entry);
    return status;
}

static sage_status disk_get(sage_context *context, const char *key, unsigned want, struct cache_entry *out) {
    struct safe_why why;
    int shard = shard_open(context->cache, NULL, key, false, &why);
    sage_status status = shard < 0 ? SAGE_ERROR_IO : disk_read(context, shard, key, want, out, &why);
    if (status == SAGE_ERROR_CORRUPT) move_aside(context, shard, key, why.text);
    if (status == SAGE_ERROR_IO && why.kind != SAFE_ABSENT)
        context_log(context, SAGE_LOG_WARNING, "cache entry %s cannot be read: %s", key, why.text);
    close_dir(shard);
    if (status != SAGE_ERROR_CORRUPT && status != SAGE_ERROR_IO) return status;
    return context_error(context, SAGE_ERROR_NOT_FOUND, "not in the cache: %s (%s)", key, why.text);
}

sage_status cache_get(sage_context *context, const char *key, unsigned want, struct cache_entry *out) {
    struct cache *cache = context->cache;
    if (!key_is_valid(key)) return context_error(context, SAGE_ERROR_NOT_FOUND, "not a key: %.64s", key);
    sage_status status = cache_memory_get(context, &cache->memory, key, want | CACHE_meta | CACHE_cubin, out);
    if (status != SAGE_ERROR_NOT_FOUND || cache->root < 0) return status;
    return disk_get(context, key, want, out);
}

/* -- Publishing an entry --------------------------------------------------------------------------------------------
 */

static bool fill_directory(int dir, const struct cache_files *files, struct safe_policy policy, struct safe_why *why) {
    for (int i = 0; i < FILE_COUNT; i++) {
        const struct cache_bytes *file = const_file_at(files, i);
        if (file->data && !safe_file_write(dir, file_rows[i].name, file->data, file->bytes, policy, why)) return false;
    }
    if (fsync(dir) == 0) return true;
    snprintf(why->text, sizeof why->text, "fsync of a directory failed");
    return false;
}

// Renames tmp/<name> to <shard>/<key>. Somebody else's entry, or our own that an NFS server reports twice, is as good
// as ours.
static bool rename_into_place(int temporary, const char *name, int shard, const char *key, struct safe_why *why) {
    if (renameat(temporary, name, shard, key) == 0) {
        fsync(shard);
        return true;
    }
    int error = errno;
    struct stat info;
    bool there = fstatat(shard, key, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
    if (error == EEXIST || error == ENOTEMPTY || (error == ENOENT && there)) return true;
    snprintf(why->text, sizeof why->text, "rename failed with error %d", error);
    return false;
}

static bool publish_in(const struct cache *cache, int temporary, int shard, const char *key,
                       const struct cache_files *files, struct safe_why *why) {
    char name[TEMPORARY_NAME_BYTES];
    temporary_name(name);
    int dir = safe_dir_make(temporary, name, cache->policy, why);
    bool good = dir >= 0 && fill_directory(dir, files, cache->policy, why);
    close_dir(dir);
    good = good && rename_into_place(temporary, name, shard, key, why);
    safe_dir_remove(temporary, name); // gone already where the rename was ours
    return good;
}

static bool publish(const struct cache *cache, const char *key, const struct cache_files *files, struct safe_why *why) {
    int temporary = safe_dir_make(cache->root, "tmp", cache->policy, why);
    if (temporary < 0) return false;
    sweep(temporary);
    int shard = shard_open(cache, NULL, key, true, why);
    bool good = shard >= 0 && publish_in(cache, temporary, shard, key, files, why);
    close_dir(shard);
    close(temporary);
    fsync(cache->root); // the shard may be new
    return good;
}

sage_status cache_put(sage_context *context, const char *key, const struct cache_files *files) {
    struct cache *cache = context->cache;
    if (!key_is_valid(key)) return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "not a key: %.64s", key);
    if (!files->meta.data || !files->cubin.data)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "a cache entry needs kernel.meta and a cubin");
    struct safe_why why = {0};
    const struct cache_entry entry = {.files = *files};
    sage_status status = entry_verify(context, &entry, &why);
    if (status == SAGE_ERROR_CORRUPT)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "cache entry %s: %s", key, why.text);
    if (status != SAGE_OK) return status;
    if (cache->writable && publish(cache, key, files, &why)) return SAGE_OK;
    if (cache->writable) context_log(context, SAGE_LOG_WARNING, "cache entry %s is kept in memory: %s", key, why.text);
    return cache_memory_put(context, &cache->memory, key, files);
}

/* -- Request index --------------------------------------------------------------------------------------------------
 */

enum { INDEX_BYTES = 3 * 32 + 3 }; /* "request key hash\n" */

// The line names its own request, so that a copied, renamed or changed file is found out.
static void index_line(const char *request, const char *key, char out[INDEX_BYTES + 1]) {
    char hash[KEY_BYTES];
    int len = snprintf(out, INDEX_BYTES + 1, "%s %s", request, key);
    key_hash(out, (size_t)len, hash);
    snprintf(out + len, (size_t)(INDEX_BYTES + 1 - len), " %s\n", hash);
}

static bool index_read(sage_context *context, const char *request, char key[KEY_BYTES]) {
    const struct cache *cache = context->cache;
    struct safe_why why;
    size_t bytes = 0;
    int dir = shard_open(cache, "index", request, false, &why);
    char *text = dir < 0 ? NULL : safe_file_read(context, dir, request, INDEX_BYTES, cache->policy, &bytes, &why);
    close_dir(dir);
    char found[KEY_BYTES] = "", expected[INDEX_BYTES + 1] = "";
    if (text && bytes == INDEX_BYTES) {
        memcpy(found, text + KEY_BYTES, KEY_BYTES - 1);
        if (key_is_valid(found)) index_line(request, found, expected);
    }
    bool good = text && expected[0] && !memcmp(text, expected, INDEX_BYTES);
    context_free(context, text);
    if (good) memcpy(key, found, KEY_BYTES);
    return good;
}

sage_status cache_index_get(sage_context *context, const char *request, char key[KEY_BYTES]) {
    struct cache *cache = context->cache;
    if (key_is_valid(request)) {
        if (cache_memory_index_get(context, &cache->memory, request, key)) return SAGE_OK;
        if (cache->root >= 0 && index_read(context, request, key)) return SAGE_OK;
    }
    return context_error(context, SAGE_ERROR_NOT_FOUND, "not in the cache's index: %.64s", request);
}

static bool index_write(const struct cache *cache, const char *request, const char *key) {
    char name[TEMPORARY_NAME_BYTES], line[INDEX_BYTES + 1];
    struct safe_why why;
    int temporary = safe_dir_make(cache->root, "tmp", cache->policy, &why);
    int dir = temporary < 0 ? -1 : shard_open(cache, "index", request, true, &why);
    temporary_name(name);
    index_line(request, key, line);
    bool good = dir >= 0 && safe_file_write(temporary, name, line, INDEX_BYTES, cache->policy, &why);
    if (good && renameat(temporary, name, dir, request) != 0) {
        unlinkat(temporary, name, 0);
        good = false;
    }
    close_dir(dir);
    close_dir(temporary);
    return good;
}

sage_status cache_index_put(sage_context *context, const char *request, const char *key) {
    struct cache *cache = context->cache;
    if (!key_is_valid(request) || !key_is_valid(key))
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "request and key have 32 hex digits");
    if (cache->writable && index_write(cache, request, key)) return SAGE_OK;
    return cache_memory_index_put(context, &cache->memory, request, key);
}

/* -- Looking after --------------------------------------------------------------------------------------------------
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
    int shard = cache->root < 0 ? -1 : shard_open(cache, NULL, key, false, &why);
    bool on_disk = shard >= 0 && fstatat(shard, key, &info, AT_SYMLINK_NOFOLLOW) == 0;
    bool removed = on_disk && safe_dir_remove(shard, key);
    close_dir(shard);
    if (on_disk && !removed) return context_error(context, SAGE_ERROR_CACHE, "cache entry %s cannot be removed", key);
    return in_memory || removed ? SAGE_OK : context_error(context, SAGE_ERROR_NOT_FOUND, "not in the cache: %s", key);
}

/* -- Creation -------------------------------------------------------------------------------------------------------
 */

// The directory by option, environment, and XDG rules (which say to ignore relative paths); *out NULL: none.
static sage_status default_path(sage_context *context, const char *dir, char **out) {
    const struct context_environment *environment = &context->environment;
    const char *xdg = environment->xdg_cache_home, *home = environment->home;
    *out = NULL;
    if (!dir) dir = environment->sage_cache_dir;
    if (dir)
        *out = context_copy_text(context, dir, strlen(dir));
    else if (xdg && xdg[0] == '/')
        *out = context_format(context, "%s/sagegen", xdg);
    else if (home && home[0] == '/')
        *out = context_format(context, "%s/.cache/sagegen", home);
    else
        return SAGE_OK;
    return *out ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
}

static sage_status set_reason(sage_context *context, const char *reason) {
    struct cache *cache = context->cache;
    cache->reason = context_copy_text(context, reason, strlen(reason));
    if (!cache->reason) return SAGE_ERROR_OUT_OF_MEMORY;
    context_log(context, SAGE_LOG_WARNING, "kernels are cached in memory only: %s", reason);
    return SAGE_OK;
}

static sage_status root_open(sage_context *context) {
    struct cache *cache = context->cache;
    struct safe_why why;
    cache->root = safe_dir_make_path(cache->path, cache->policy, &why);
    if (cache->root < 0) return set_reason(context, why.text);
    cache->writable = faccessat(cache->root, ".", W_OK | X_OK, AT_EACCESS) == 0;
    if (cache->writable) return SAGE_OK;
    snprintf(why.text, sizeof why.text, "%.400s cannot be written; the entries in it are used", cache->path);
    return set_reason(context, why.text);
}

sage_status cache_create(sage_context *context, const char *dir, bool memory_only) {
    struct cache *cache = context_alloc_zeroed(context, sizeof *cache);
    if (!cache) return SAGE_ERROR_OUT_OF_MEMORY;
    cache->root = -1;
    cache->policy = (struct safe_policy){.any_owner = context->trust_shared_cache,
                                         .forbidden_mode = context->trust_shared_cache ? 0 : 022,
                                         .follow = context->trust_shared_cache};
    cache_memory_create(&cache->memory);
    context->cache = cache;
    if (memory_only) {
        cache->reason = context_copy_text(context, "asked for by options.memory_only", 32);
        return cache->reason ? SAGE_OK : SAGE_ERROR_OUT_OF_MEMORY;
    }
    SAGE_TRY(default_path(context, dir, &cache->path));
    if (!cache->path) return set_reason(context, "neither SAGE_CACHE_DIR, XDG_CACHE_HOME nor HOME names a directory");
    return root_open(context);
}

void cache_destroy(sage_context *context) {
    struct cache *cache = context->cache;
    if (!cache) return;
    cache_memory_destroy(context, &cache->memory);
    close_dir(cache->root);
    context_free(context, cache->path);
    context_free(context, cache->reason);
    context_free(context, cache);
    context->cache = NULL;
}
