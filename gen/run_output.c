// run_output: see run_output.h. Files are written beside their final name, then all renamed.
// SPDX-License-Identifier: Apache-2.0
#include "run_output.h"
#include "buf.h"
#include "reference/npy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- Paths ---- */

// The folder of a path. Owner: the caller, free().
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

static bool check_folder(const char *option, const char *path, char *why, size_t why_bytes) {
    struct stat info;
    char *folder = folder_of(path);
    bool ok = true;
    if (stat(folder, &info) != 0)
        ok = tensor_fail(why, why_bytes, "--%s %s: the folder %s: %s", option, path, folder, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        ok = tensor_fail(why, why_bytes, "--%s %s: %s is no folder", option, path, folder);
    else if (access(folder, W_OK | X_OK) != 0)
        ok = tensor_fail(why, why_bytes, "--%s %s: the folder %s cannot be written: %s", option, path, folder,
                         strerror(errno));
    free(folder);
    return ok;
}

static bool same_file(const char *path, const struct stat *info) {
    struct stat other;
    return stat(path, &other) == 0 && other.st_dev == info->st_dev && other.st_ino == info->st_ino;
}

bool run_output_check(const char *option, const char *path, const char *const *inputs, int count, char *why,
                      size_t why_bytes) {
    struct stat info;
    const size_t len = strlen(path);
    if (len < 5 || strcmp(path + len - 4, ".npy") != 0)
        return tensor_fail(why, why_bytes, "--%s %s: only .npy files are written; end the name in .npy", option, path);
    if (!check_folder(option, path, why, why_bytes)) return false;
    if (stat(path, &info) != 0) return true;
    if (!S_ISREG(info.st_mode))
        return tensor_fail(why, why_bytes, "--%s %s: it exists and is no regular file", option, path);
    if (access(path, W_OK) != 0)
        return tensor_fail(why, why_bytes, "--%s %s: cannot be written: %s", option, path, strerror(errno));
    for (int i = 0; i < count; i++)
        if (same_file(inputs[i], &info))
            return tensor_fail(why, why_bytes, "--%s %s: it is also an input, which is never overwritten", option,
                               path);
    return true;
}

/* -- Files ---- */

static char *part_of(const char *path) {
    struct buf text = {0};
    buf_printf(&text, "%s.%ld.part", path, (long)getpid());
    return text.data;
}

static bool write_part(const struct run_file *file, char *why, size_t why_bytes) {
    const enum number_format format = file->tensor->dtype == FORMAT_F16 ? FORMAT_F16 : FORMAT_F32;
    char *part = part_of(file->path);
    bool ok = npy_write(part, file->tensor, format, why, why_bytes);
    free(part);
    return ok;
}

static void remove_part(const struct run_file *file) {
    char *part = part_of(file->path);
    remove(part);
    free(part);
}

static bool publish(const struct run_file *file, char *why, size_t why_bytes) {
    char *part = part_of(file->path);
    bool ok = rename(part, file->path) == 0;
    if (!ok) tensor_fail(why, why_bytes, "%s: cannot be written: %s", file->path, strerror(errno));
    free(part);
    return ok;
}

bool run_output_write(const struct run_file *files, int count, char *why, size_t why_bytes) {
    bool ok = true;
    for (int i = 0; ok && i < count; i++) ok = write_part(&files[i], why, why_bytes);
    for (int i = 0; ok && i < count; i++) ok = publish(&files[i], why, why_bytes);
    for (int i = 0; !ok && i < count; i++) remove_part(&files[i]);
    return ok;
}
