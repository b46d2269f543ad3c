// safe_dir: directories and files that only this user can have written, by descriptors. Follows no symbolic link
// inside, believes no size, says why something was refused. Knows nothing of keys and kernels. SPDX-License-Identifier:
// Apache-2.0
#ifndef SAGE_SAFE_DIR_H
#define SAGE_SAFE_DIR_H

#include "sage.h"
#include <stdbool.h>

#define SAFE_WHY_BYTES 512

struct safe_policy {
    bool any_owner;          /* else: the process's effective user */
    unsigned forbidden_mode; /* permission bits that refuse it: 022; with 0, what is made is open as far as the umask
                                allows */
    bool follow;             /* symbolic links; else refused */
};

enum safe_kind {
    SAFE_FINE,
    SAFE_ABSENT,  /* there is nothing of that name */
    SAFE_REFUSED, /* it is there, and must not be used: owner, mode, link, kind, size */
    SAFE_SYSTEM,  /* the system said no (permission, I/O, out of descriptors, stale NFS handle); says nothing about the
                     thing itself */
    SAFE_NO_MEMORY
};

// Why a call failed.
struct safe_why {
    enum safe_kind kind;
    char text[SAFE_WHY_BYTES];
};

// Opens a directory and checks it. parent: descriptor, or AT_FDCWD. Returns a descriptor, or -1 with *why set.
int safe_dir_open(int parent, const char *name, struct safe_policy policy, struct safe_why *why);
// The same, after making it if it is not there.
int safe_dir_make(int parent, const char *name, struct safe_policy policy, struct safe_why *why);
// Makes all missing directories of a path, then opens the last one.
int safe_dir_make_path(const char *path, struct safe_policy policy, struct safe_why *why);
// Removes a directory that holds files alone, and its files. Returns false if it is still there.
bool safe_dir_remove(int parent, const char *name);

// Opens a regular file of at most bytes_max for reading, and checks it. Returns a descriptor, or -1 with *why set.
int safe_file_open(int dir, const char *name, uint64_t bytes_max, struct safe_policy policy, uint64_t *bytes,
                   struct safe_why *why);
// Reads a regular file of at most bytes_max; NUL-terminated, from the context's allocator. NULL with *why set.
char *safe_file_read(sage_context *context, int dir, const char *name, size_t bytes_max, struct safe_policy policy,
                     size_t *bytes, struct safe_why *why);
// Makes a new file, writes and syncs it.
bool safe_file_write(int dir, const char *name, const void *data, size_t bytes, struct safe_policy policy,
                     struct safe_why *why);

// Whether a file that is to be executed or loaded lies where only trusted users can write: path is what realpath made;
// it and every folder above it are looked at. Writable by all: never trusted, but for the entries of a sticky folder.
// Other owners than this user, root and who owns "/", and groups that may write what is not root's, are trusted where
// `named`: the caller, or the environment, names the very path. The group of a user alone (same number) counts as him.
bool safe_path(const char *path, bool named, struct safe_why *why);

#endif
