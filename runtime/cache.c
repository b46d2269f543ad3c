// cache: entries and the request index on disk. Reads verify everything; writes go to tmp/ and are renamed into place.
// What cannot go to disk goes to cache_memory. Nothing that is found in the directory can make a call fail: at worst it
// is a miss. SPDX-License-Identifier: Apache-2.0
#include "cache.h"
#include "cache_damaged.h"
#include "cache_internal.h"
#include "context.h"
#include "meta.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 << 20, USE_SECONDS = 24 * 3600 /* how exactly the last use is kept */ };

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
    if (meta_is_of_other_version(entry->files.meta.data, entry->files.meta.bytes)) {
        snprintf(why->text, sizeof why->text, "it is of another version of libsage");
        return SAGE_ERROR_UNSUPPORTED;
    }
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

static bool is_still(int shard, const char *key, const struct stat *read) {
    struct stat now;
    return fstatat(shard, key, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == read->st_ino &&
           now.st_dev == read->st_dev;
}

// Only what was read: meanwhile another process may have put a good one in its place, or removed it file by file, which
// is no damage.
static void move_aside(sage_context *context, int shard, const char *key, const struct stat *read, const char *reason) {
    const struct cache *cache = context->cache;
    char unique[CACHE_TEMPORARY_BYTES];
    cache_temporary_name(unique);
    if (!is_still(shard, key, read)) return;
    bool moved =
        cache->writable && cache_damaged_take(cache->root, cache->policy, shard, key, read, unique + CACHE_UNIQUE_AT);
    if (moved || is_still(shard, key, read))
        context_log(context, SAGE_LOG_WARNING, "cache entry %s is damaged (%s); it is rebuilt%s", key, reason,
                    moved ? ", and kept in damaged/" : "");
}

// Notes a use, once a day, for cache_collect. Where it cannot be noted, the entry ages.
static void note_use(int dir) {
    struct stat info;
    if (fstat(dir, &info) != 0) return;
    const long long age = (long long)time(NULL) - (long long)info.st_mtime;
    if (age >= USE_SECONDS || age <= -USE_SECONDS) futimens(dir, NULL);
}

// Reads and verifies; the status is one of file_get's, or UNSUPPORTED: of another version. Absent: IO too, with that
// kind of why.
static sage_status disk_read(sage_context *context, int shard, const char *key, unsigned want, struct cache_entry *out,
                             struct safe_why *why) {
    int dir = safe_dir_open(shard, key, context->cache->policy, why);
    if (dir < 0) return why->kind == SAFE_REFUSED ? SAGE_ERROR_CORRUPT : SAGE_ERROR_IO;
    struct cache_entry entry = {0};
    sage_status status = entry_read(context, dir, want, &entry, why);
    if (status == SAGE_OK) note_use(dir);
    close(dir);
    if (status == SAGE_OK)
        *out = entry;
    else
        cache_entry_free(context, &entry);
    return status;
}

static sage_status disk_get(sage_context *context, const char *key, unsigned want, struct cache_entry *out) {
    struct safe_why why;
    struct stat read;
    int shard = cache_shard_open(context->cache, NULL, key, false, &why);
    bool there = shard >= 0 && fstatat(shard, key, &read, AT_SYMLINK_NOFOLLOW) == 0;
    sage_status status = shard < 0 ? SAGE_ERROR_IO : disk_read(context, shard, key, want, out, &why);
    if (status == SAGE_ERROR_CORRUPT && there) move_aside(context, shard, key, &read, why.text);
    if (status == SAGE_ERROR_IO && why.kind != SAFE_ABSENT)
        context_log(context, SAGE_LOG_WARNING, "cache entry %s cannot be read: %s", key, why.text);
    cache_close_dir(shard);
    if (status != SAGE_ERROR_CORRUPT && status != SAGE_ERROR_IO && status != SAGE_ERROR_UNSUPPORTED) return status;
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
    char name[CACHE_TEMPORARY_BYTES];
    cache_temporary_name(name);
    int dir = safe_dir_make(temporary, name, cache->policy, why);
    bool good = dir >= 0 && fill_directory(dir, files, cache->policy, why);
    cache_close_dir(dir);
    good = good && rename_into_place(temporary, name, shard, key, why);
    safe_dir_remove(temporary, name); // gone already where the rename was ours
    return good;
}

static bool publish(const struct cache *cache, const char *key, const struct cache_files *files, struct safe_why *why) {
    int temporary = safe_dir_make(cache->root, "tmp", cache->policy, why);
    if (temporary < 0) return false;
    cache_sweep(temporary);
    int shard = cache_shard_open(cache, NULL, key, true, why);
    bool good = shard >= 0 && publish_in(cache, temporary, shard, key, files, why);
    cache_close_dir(shard);
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
    if (status == SAGE_ERROR_CORRUPT || status == SAGE_ERROR_UNSUPPORTED)
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
    int dir = cache_shard_open(cache, "index", request, false, &why);
    char *text = dir < 0 ? NULL : safe_file_read(context, dir, request, INDEX_BYTES, cache->policy, &bytes, &why);
    cache_close_dir(dir);
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
    char name[CACHE_TEMPORARY_BYTES], line[INDEX_BYTES + 1];
    struct safe_why why;
    int temporary = safe_dir_make(cache->root, "tmp", cache->policy, &why);
    int dir = temporary < 0 ? -1 : cache_shard_open(cache, "index", request, true, &why);
    cache_temporary_name(name);
    index_line(request, key, line);
    bool good = dir >= 0 && safe_file_write(temporary, name, line, INDEX_BYTES, cache->policy, &why);
    if (good && renameat(temporary, name, dir, request) != 0) {
        unlinkat(temporary, name, 0);
        good = false;
    }
    cache_close_dir(dir);
    cache_close_dir(temporary);
    return good;
}

sage_status cache_index_put(sage_context *context, const char *request, const char *key) {
    struct cache *cache = context->cache;
    if (!key_is_valid(request) || !key_is_valid(key))
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "request and key have 32 hex digits");
    if (cache->writable && index_write(cache, request, key)) return SAGE_OK;
    return cache_memory_index_put(context, &cache->memory, request, key);
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
    cache_close_dir(cache->root);
    context_free(context, cache->path);
    context_free(context, cache->reason);
    context_free(context, cache);
    context->cache = NULL;
}
