// cache_place: directories and names inside a cache directory; see cache_internal.h. Whatever is taken away is renamed
// first, so that nobody reads, or publishes, half of it. SPDX-License-Identifier: Apache-2.0
#include "cache_internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { STALE_SECONDS = 24 * 3600 };

void cache_close_dir(int dir) {
    if (dir >= 0) close(dir);
}

int cache_shard_open(const struct cache *cache, const char *name, const char *key, bool make, struct safe_why *why) {
    char shard[3] = {key[0], key[1], 0};
    int (*open_dir)(int, const char *, struct safe_policy, struct safe_why *) = make ? safe_dir_make : safe_dir_open;
    if (!name) return open_dir(cache->root, shard, cache->policy, why);
    int parent = open_dir(cache->root, name, cache->policy, why);
    if (parent < 0) return -1;
    int dir = open_dir(parent, shard, cache->policy, why);
    close(parent);
    return dir;
}

// Without entropy the clock will do: EEXIST is checked anyway.
void cache_temporary_name(char out[CACHE_TEMPORARY_BYTES]) {
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        bits = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 16 ^ (uint64_t)getpid() ^ (uint64_t)(uintptr_t)out;
    }
    snprintf(out, CACHE_TEMPORARY_BYTES, "t%016llx", (unsigned long long)bits);
}

/* -- Taking away ----------------------------------------------------------------------------------------------------
 */

static void remove_any(int dir, const char *name) {
    if (!safe_dir_remove(dir, name)) unlinkat(dir, name, 0);
}

// Out of everybody's way, then gone. Where it cannot be renamed, what is there is removed as it is.
static bool take_away(int from, const char *name, int temporary) {
    char gone[CACHE_TEMPORARY_BYTES];
    cache_temporary_name(gone);
    gone[0] = 'x';
    if (temporary < 0 || renameat(from, name, temporary, gone) != 0) return safe_dir_remove(from, name);
    remove_any(temporary, gone);
    return true;
}

bool cache_discard(const struct cache *cache, int shard, const char *key) {
    struct safe_why why;
    int temporary = safe_dir_make(cache->root, "tmp", cache->policy, &why);
    bool gone = take_away(shard, key, temporary);
    cache_close_dir(temporary);
    return gone;
}

long long cache_idle_seconds(const struct stat *info) {
    const long long age = (long long)time(NULL) - (long long)info->st_mtime;
    return age > 0 ? age : 0;
}

// A temporary name of tomorrow is as old as one of yesterday: nobody takes a day to write a kernel.
static bool is_stale(const struct stat *info) {
    const long long age = (long long)time(NULL) - (long long)info->st_mtime;
    return age >= STALE_SECONDS || age <= -STALE_SECONDS;
}

void cache_sweep(int temporary) {
    int again = openat(temporary, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again >= 0 ? fdopendir(again) : NULL;
    if (!list) {
        cache_close_dir(again);
        return;
    }
    for (const struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        struct stat info;
        if (entry->d_name[0] == 'x') remove_any(temporary, entry->d_name);
        if (entry->d_name[0] != 't' || fstatat(temporary, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (is_stale(&info)) take_away(temporary, entry->d_name, temporary);
    }
    closedir(list);
}
