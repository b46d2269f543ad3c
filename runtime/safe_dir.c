// safe_dir: see the header. Checks are made on the opened descriptor, never on a name, so that nothing can change in
// between. SPDX-License-Identifier: Apache-2.0
#include "safe_dir.h"
#include "context.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- Checks ---------------------------------------------------------------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static void say_refused(struct safe_why *why, const char *format, ...) {
    why->kind = SAFE_REFUSED;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, sizeof why->text, format, arguments);
    va_end(arguments);
}

static void say_errno(struct safe_why *why, const char *name, int error) {
    char text[128];
    why->kind = error == ENOENT ? SAFE_ABSENT : error == ENOTDIR ? SAFE_REFUSED : SAFE_SYSTEM;
    snprintf(why->text, sizeof why->text, "%s: %s", name, strerror_r(error, text, sizeof text));
}

static bool check(const struct stat *info, const char *name, struct safe_policy policy, struct safe_why *why) {
    if (!policy.any_owner && info->st_uid != geteuid()) {
        say_refused(why, "%s belongs to user %u, not to user %u who runs this process", name, (unsigned)info->st_uid,
                    (unsigned)geteuid());
        return false;
    }
    if (info->st_mode & policy.forbidden_mode) {
        say_refused(why, "%s may be written by others (mode %04o); chmod go-w it, or set trust_shared_cache", name,
                    (unsigned)info->st_mode & 07777);
        return false;
    }
    return true;
}

/* -- Directories ----------------------------------------------------------------------------------------------------
 */

static mode_t dir_mode(struct safe_policy policy) {
    return policy.forbidden_mode ? 0700 : 0777;
}

int safe_dir_open(int parent, const char *name, struct safe_policy policy, struct safe_why *why) {
    *why = (struct safe_why){0};
    int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (policy.follow ? 0 : O_NOFOLLOW));
    if (dir < 0) {
        int error = errno;
        struct stat info;
        bool link = !policy.follow && fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
        if (link)
            say_refused(why, "%s is a symbolic link; name the directory itself", name);
        else
            say_errno(why, name, error);
        return -1;
    }
    struct stat info;
    if (fstat(dir, &info) == 0 && check(&info, name, policy, why)) return dir;
    if (why->kind == SAFE_FINE) say_errno(why, name, errno);
    close(dir);
    return -1;
}

int safe_dir_make(int parent, const char *name, struct safe_policy policy, struct safe_why *why) {
    int dir = safe_dir_open(parent, name, policy, why);
    if (dir >= 0 || why->kind != SAFE_ABSENT) return dir;
    if (mkdirat(parent, name, dir_mode(policy)) != 0 && errno != EEXIST) {
        say_errno(why, name, errno);
        return -1;
    }
    return safe_dir_open(parent, name, policy, why);
}

int safe_dir_make_path(const char *path, struct safe_policy policy, struct safe_why *why) {
    char part[PATH_MAX];
    *why = (struct safe_why){0};
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    if (len == 0 || len >= sizeof part) {
        say_refused(why, "the path of the directory is empty or too long");
        return -1;
    }
    memcpy(part, path, len);
    part[len] = 0;
    // Failures show when the last one is opened; an existing part may not be ours to make.
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(part, dir_mode(policy));
        *slash = '/';
    }
    return safe_dir_make(AT_FDCWD, part, policy, why);
}

bool safe_dir_remove(int parent, const char *name) {
    int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = dir >= 0 ? fdopendir(dir) : NULL;
    if (list) {
        for (const struct dirent *entry = readdir(list); entry; entry = readdir(list))
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlinkat(dir, entry->d_name, 0);
        closedir(list);
    } else if (dir >= 0) {
        close(dir);
    }
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

/* -- Paths of what is loaded ----------------------------------------------------------------------------------------
 */

static bool is_root_like(uid_t owner) {
    struct stat top;
    // Where user ids are mapped, root's files may show another owner: that of "/".
    return owner == 0 || (lstat("/", &top) == 0 && owner == top.st_uid);
}

static bool part_is_safe(const char *path, const struct stat *info, bool named, struct safe_why *why) {
    const bool sticky = S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX), mine = info->st_uid == geteuid();
    const bool root_like = is_root_like(info->st_uid), private_group = mine && info->st_gid == info->st_uid;
    if ((info->st_mode & S_IWOTH) && !sticky)
        say_refused(why, "%s may be written by everyone (mode %04o): chmod o-w it", path,
                    (unsigned)info->st_mode & 07777);
    else if (!named && !mine && !root_like)
        say_refused(why, "%s belongs to user %u; if you trust that user, name the library itself", path,
                    (unsigned)info->st_uid);
    else if (!named && (info->st_mode & S_IWGRP) && !sticky && !root_like && !private_group)
        say_refused(why, "%s may be written by group %u (mode %04o): chmod g-w it, or name the library itself", path,
                    (unsigned)info->st_gid, (unsigned)info->st_mode & 07777);
    return why->kind == SAFE_FINE;
}

bool safe_path(const char *path, bool named, struct safe_why *why) {
    char part[PATH_MAX];
    struct stat info;
    const size_t len = strlen(path);
    *why = (struct safe_why){0};
    if (path[0] != '/' || len >= sizeof part) {
        say_refused(why, "%s is no absolute path", path);
        return false;
    }
    for (size_t end = 1; end <= len; end++) {
        if (end > 1 && end < len && path[end] != '/') continue;
        memcpy(part, path, end);
        part[end] = 0;
        if (lstat(part, &info) != 0) {
            say_errno(why, part, errno);
            return false;
        }
        if (!part_is_safe(part, &info, named, why)) return false;
    }
    return true;
}

/* -- Files ----------------------------------------------------------------------------------------------------------
 */

// Reads exactly bytes; a file that shrinks meanwhile is an error.
static bool read_all(int file, char *out, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t got = read(file, out + at, bytes - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = EIO;
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

static bool check_file(int file, const char *name, uint64_t bytes_max, struct safe_policy policy, uint64_t *bytes,
                       struct safe_why *why) {
    struct stat info;
    if (fstat(file, &info) != 0) {
        say_errno(why, name, errno);
        return false;
    }
    if (!S_ISREG(info.st_mode) || info.st_size < 0 || (uint64_t)info.st_size > bytes_max) {
        say_refused(why, "%s is not a regular file of at most %" PRIu64 " bytes", name, bytes_max);
        return false;
    }
    *bytes = (uint64_t)info.st_size;
    return check(&info, name, policy, why);
}

int safe_file_open(int dir, const char *name, uint64_t bytes_max, struct safe_policy policy, uint64_t *bytes,
                   struct safe_why *why) {
    *why = (struct safe_why){0};
    // NONBLOCK: a named pipe put there must not hang us.
    int file = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (policy.follow ? 0 : O_NOFOLLOW));
    if (file < 0) {
        if (errno == ELOOP)
            say_refused(why, "%s is a symbolic link", name);
        else
            say_errno(why, name, errno);
        return -1;
    }
    if (check_file(file, name, bytes_max, policy, bytes, why)) return file;
    close(file);
    return -1;
}

static char *read_opened(sage_context *context, int file, const char *name, size_t bytes, struct safe_why *why) {
    char *data = context_alloc(context, bytes + 1);
    if (!data) {
        why->kind = SAFE_NO_MEMORY;
        return NULL;
    }
    if (!read_all(file, data, bytes)) {
        say_errno(why, name, errno);
        context_free(context, data);
        return NULL;
    }
    data[bytes] = 0;
    return data;
}

char *safe_file_read(sage_context *context, int dir, const char *name, size_t bytes_max, struct safe_policy policy,
                     size_t *bytes, struct safe_why *why) {
    uint64_t found;
    int file = safe_file_open(dir, name, bytes_max, policy, &found, why);
    if (file < 0) return NULL;
    char *data = read_opened(context, file, name, (size_t)found, why);
    close(file);
    if (data) *bytes = (size_t)found;
    return data;
}

static bool write_all(int file, const char *data, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t put = write(file, data + at, bytes - at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        at += (size_t)put;
    }
    return fsync(file) == 0;
}

bool safe_file_write(int dir, const char *name, const void *data, size_t bytes, struct safe_policy policy,
                     struct safe_why *why) {
    *why = (struct safe_why){0};
    mode_t mode = policy.forbidden_mode ? 0600 : 0666;
    int file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    bool good = file >= 0 && write_all(file, data, bytes);
    int error = errno;
    if (file >= 0 && close(file) != 0 && good) { // NFS reports a full disk here
        good = false;
        error = errno;
    }
    if (!good) say_errno(why, name, error);
    return good;
}
