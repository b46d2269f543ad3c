// cmd_out: writes kernels as files into a folder of the user's. Each file is written beside its place and renamed, so
// that a reader never sees half of one. Replaces regular files only. SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- Folder ---------------------------------------------------------------- */

// Makes the folder and those above it, and opens it; -1: an error was printed. option: "--out", for the message.
static int open_folder(const char *option, const char *dir) {
    char *path = xstrdup(dir);
    for (char *p = path + 1; *path && *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(path, 0755); // a failure shows below
        *p = '/';
    }
    free(path);
    int made = mkdir(dir, 0755), why = errno;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) cmd_failed("%s %s: %s", option, dir, strerror(made != 0 && why != EEXIST ? why : errno));
    return fd;
}

/* -- One file -------------------------------------------------------------- */

// Why `name` must not be replaced; NULL: it is free, or a regular file.
static const char *obstacle(int folder, const char *name) {
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? NULL : strerror(errno);
    return S_ISREG(st.st_mode)   ? NULL
           : S_ISLNK(st.st_mode) ? "is a symbolic link, which is not replaced"
                                 : "is not a regular file, and is not replaced";
}

static bool write_bytes(int fd, const struct cache_bytes *bytes) {
    const char *at = bytes->data;
    for (size_t left = bytes->bytes; left > 0;) {
        ssize_t n = write(fd, at, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        left -= (size_t)n;
    }
    return true;
}

static bool write_temporary(int folder, const char *name, const struct cache_bytes *bytes) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool ok = write_bytes(fd, bytes);
    int why = errno;
    if (close(fd) != 0 && ok) return false;
    errno = why;
    return ok;
}

static bool write_file(int folder, const char *dir, const char *name, const struct cache_bytes *bytes) {
    const char *why = obstacle(folder, name);
    if (why) {
        cmd_failed("%s/%s: %s", dir, name, why);
        return false;
    }
    struct buf temporary = {0};
    buf_printf(&temporary, ".%s.%ld", name, (long)getpid());
    unlinkat(folder, temporary.data, 0); // of a run that was killed
    bool ok = write_temporary(folder, temporary.data, bytes) && renameat(folder, temporary.data, folder, name) == 0;
    if (!ok) {
        cmd_failed("%s/%s: %s", dir, name, strerror(errno));
        unlinkat(folder, temporary.data, 0);
    }
    buf_free(&temporary);
    return ok;
}

/* -- Kernels ---------------------------------------------------------------- */

void cmd_out_stem(const struct build_job *job, struct buf *out) {
    const struct meta *m = &job->meta;
    buf_printf(out, "%s.%s.%s.%s.%s", m->spec, m->role, m->variant, m->target, m->io);
    if (job->request.role == SAGE_ROLE_ATTN_FWD) buf_printf(out, ".%s", m->mask);
    if (m->safe) buf_puts(out, ".safe");
}

static bool write_kernel(int folder, const char *dir, const struct build_job *job) {
    const struct cache_files *f = &job->entry.files;
    const struct {
        const char *ending;
        const struct cache_bytes *bytes;
    } files[] = {{"cu", &f->source}, {"map", &f->map}, {"ptx", &f->ptx}, {"cubin", &f->cubin}, {"meta", &f->meta}};
    struct buf name = {0};
    cmd_out_stem(job, &name);
    const size_t stem = name.len;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof files / sizeof files[0]; i++) { // meta last: it promises the others
        name.len = stem;
        buf_printf(&name, ".%s", files[i].ending);
        ok = write_file(folder, dir, name.data, files[i].bytes);
    }
    buf_free(&name);
    return ok;
}

bool cmd_out_write(const char *dir, const struct cmd_jobs *jobs) {
    int folder = open_folder("--out", dir);
    bool ok = folder >= 0;
    for (int i = 0; ok && i < jobs->count; i++) ok = write_kernel(folder, dir, &jobs->item[i]);
    if (folder >= 0) close(folder);
    return ok;
}

bool cmd_out_file(const char *option, const char *path, const struct cache_bytes *bytes) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *dir = slash == path ? xstrdup("/") : slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
    int folder = *name ? open_folder(option, dir) : -1;
    if (!*name) cmd_bad_input("%s %s: the name of a file is missing", option, path);
    bool ok = folder >= 0 && write_file(folder, dir, name, bytes);
    if (folder >= 0) close(folder);
    free(dir);
    return ok;
}
