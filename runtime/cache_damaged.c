// cache_damaged: see the header. The age of an entry is its modification time, set when it comes here.
// SPDX-License-Identifier: Apache-2.0
#include "cache_damaged.h"
#include "key.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { UNIQUE_DIGITS = 16, NAME_BYTES = KEY_BYTES + 1 + UNIQUE_DIGITS };

// One entry in damaged/.
struct aside {
    char name[NAME_BYTES];
    struct timespec moved;
};

// "<key>-<unique>", and nothing that somebody else put there.
static bool is_own_name(const char *name) {
    static const char hex[] = "0123456789abcdef";
    const size_t key_digits = KEY_BYTES - 1;
    return strspn(name, hex) == key_digits && name[key_digits] == '-' &&
           strspn(name + key_digits + 1, hex) == UNIQUE_DIGITS && name[NAME_BYTES - 1] == '\0';
}

static bool read_aside(int damaged, const char *name, struct aside *out) {
    struct stat info;
    if (!is_own_name(name) || fstatat(damaged, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
    memcpy(out->name, name, NAME_BYTES);
    out->moved = info.st_mtim;
    return true;
}

static bool is_older(const struct aside *a, const struct aside *b) {
    if (a->moved.tv_sec != b->moved.tv_sec) return a->moved.tv_sec < b->moved.tv_sec;
    if (a->moved.tv_nsec != b->moved.tv_nsec) return a->moved.tv_nsec < b->moved.tv_nsec;
    return strcmp(a->name, b->name) < 0;
}

static struct aside *oldest_of(struct aside *kept, int count) {
    struct aside *oldest = &kept[0];
    for (int i = 1; i < count; i++)
        if (is_older(&kept[i], oldest)) oldest = &kept[i];
    return oldest;
}

static void remove_aside(int damaged, const char *name) {
    if (!safe_dir_remove(damaged, name)) unlinkat(damaged, name, 0); // what stood there was no directory
}

// In one pass: what is older than the newest so far is removed when it is met, or displaced.
static void prune(int damaged, DIR *list) {
    struct aside kept[CACHE_DAMAGED_MAX], one;
    int count = 0;
    for (const struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
        if (!read_aside(damaged, entry->d_name, &one)) continue;
        if (count < CACHE_DAMAGED_MAX) {
            kept[count++] = one;
            continue;
        }
        struct aside *oldest = oldest_of(kept, count);
        if (is_older(oldest, &one)) {
            struct aside newer = one;
            one = *oldest;
            *oldest = newer;
        }
        remove_aside(damaged, one.name);
    }
}

// Follows no link even where the policy does: nothing outside the cache is removed. NULL: none.
static DIR *list_open(int root, int *damaged) {
    *damaged = openat(root, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = *damaged >= 0 ? fdopendir(*damaged) : NULL;
    if (!list && *damaged >= 0) close(*damaged);
    return list;
}

static void prune_in(int root) {
    int damaged;
    DIR *list = list_open(root, &damaged);
    if (list) prune(damaged, list);
    if (list) closedir(list);
}

int cache_damaged_clear(int root) {
    int damaged, count = 0;
    struct aside one;
    DIR *list = list_open(root, &damaged);
    for (const struct dirent *entry = list ? readdir(list) : NULL; entry; entry = readdir(list)) {
        if (!read_aside(damaged, entry->d_name, &one)) continue;
        remove_aside(damaged, one.name);
        count++;
    }
    if (list) closedir(list);
    return count;
}

// What was moved, and was not what was read, goes back; unless yet another one is there, which is as good.
static bool is_what_was_read(int damaged, const char *name, const struct stat *read, int shard, const char *key) {
    struct stat moved;
    if (fstatat(damaged, name, &moved, AT_SYMLINK_NOFOLLOW) == 0 && moved.st_ino == read->st_ino &&
        moved.st_dev == read->st_dev)
        return true;
    if (renameat(damaged, name, shard, key) != 0) remove_aside(damaged, name);
    return false;
}

bool cache_damaged_take(int root, struct safe_policy policy, int shard, const char *key, const struct stat *read,
                        const char *unique) {
    char name[NAME_BYTES];
    struct safe_why why;
    int damaged = safe_dir_make(root, "damaged", policy, &why);
    if (damaged < 0) return false;
    snprintf(name, sizeof name, "%s-%s", key, unique);
    bool moved = renameat(shard, key, damaged, name) == 0 && is_what_was_read(damaged, name, read, shard, key);
    struct timespec now[2];
    clock_gettime(CLOCK_REALTIME, &now[0]); // finer than the clock of UTIME_NOW
    now[1] = now[0];
    if (moved) utimensat(damaged, name, now, AT_SYMLINK_NOFOLLOW);
    close(damaged);
    if (moved) prune_in(root);
    return moved;
}
