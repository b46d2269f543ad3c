// kernel_dir: scans the directory, offers every metadata file to kernel_match, and reads the kernels that it picks.
// Reads files alone; keeps nothing between calls. SPDX-License-Identifier: Apache-2.0
#include "kernel_dir.h"
#include "context.h"
#include "kernel_match.h"
#include "safe_dir.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CUBIN_BYTES_MAX = 256 << 20 };

struct kernel_dir {
    char *path;
    struct safe_policy policy;
};

/* -- Scanning -------------------------------------------------------------------------------------------------------
 */

// A file that cannot be read is remembered, and only matters if nothing else answers the request.
static sage_status scan_file(sage_context *context, const struct kernel_dir *dir, int fd, const char *name,
                             const struct sage_kernel_request *request, struct kernel_rows *rows) {
    struct meta meta;
    struct safe_why why;
    size_t bytes = 0;
    char *text = safe_file_read(context, fd, name, META_FILE_MAX, dir->policy, &bytes, &why);
    if (!text && why.kind == SAFE_NO_MEMORY) return SAGE_ERROR_OUT_OF_MEMORY;
    sage_status status = text ? meta_read(context, text, bytes, &meta) : SAGE_ERROR_CORRUPT;
    context_free(context, text);
    if (status == SAGE_ERROR_CORRUPT) {
        const char *reason = text ? sage_last_error(context) : why.text;
        if (!rows->damaged[0]) snprintf(rows->damaged, sizeof rows->damaged, "%.200s: %.300s", name, reason);
        context_log(context, SAGE_LOG_WARNING, "%s/%s is ignored: %s", dir->path, name, reason);
        return SAGE_OK;
    }
    if (status != SAGE_OK) return status;
    return kernel_rows_offer(context, rows, request, &meta, meta_target_rank(meta.target, request->sm), name);
}

static bool is_meta_name(const char *name) {
    size_t len = strlen(name);
    return len > 5 && name[0] != '.' && !strcmp(name + len - 5, ".meta");
}

static sage_status scan(sage_context *context, const struct kernel_dir *dir, int fd,
                        const struct sage_kernel_request *request, struct kernel_rows *rows) {
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again >= 0 ? fdopendir(again) : NULL;
    if (!list) {
        if (again >= 0) close(again);
        return context_error(context, SAGE_ERROR_IO, "%s cannot be listed", dir->path);
    }
    sage_status status = SAGE_OK;
    for (const struct dirent *entry = readdir(list); entry && status == SAGE_OK; entry = readdir(list))
        if (is_meta_name(entry->d_name)) status = scan_file(context, dir, fd, entry->d_name, request, rows);
    closedir(list);
    kernel_rows_sort(rows);
    return status;
}

/* -- Provider -------------------------------------------------------------------------------------------------------
 */

// An opened directory.
struct opened_dir {
    const struct kernel_dir *dir;
    int fd;
};

// <file>.meta and the .cubin beside it, which must be the one that the metadata describe.
static sage_status blob_read(sage_context *context, void *user, const struct kernel_row *row,
                             struct sage_kernel_blob *out) {
    const struct opened_dir *opened = user;
    char name[KERNEL_NAME_BYTES + 8];
    struct safe_why why;
    SAGE_TRY(meta_write(context, &row->meta, &out->meta, &out->meta_len));
    snprintf(name, sizeof name, "%.*s.cubin", (int)strlen(row->name) - 5, row->name);
    out->cubin =
        safe_file_read(context, opened->fd, name, CUBIN_BYTES_MAX, opened->dir->policy, &out->cubin_bytes, &why);
    if (!out->cubin && why.kind == SAFE_NO_MEMORY) return SAGE_ERROR_OUT_OF_MEMORY;
    if (!out->cubin) return context_error(context, SAGE_ERROR_CORRUPT, "%s: %s", opened->dir->path, why.text);
    return meta_check_cubin(context, &row->meta, out->cubin, out->cubin_bytes);
}

// out NULL: only asks.
static sage_status answer(sage_context *context, const struct kernel_dir *dir,
                          const struct sage_kernel_request *request, struct sage_kernel_set *out) {
    struct safe_why why;
    int fd = safe_dir_open(AT_FDCWD, dir->path, dir->policy, &why);
    if (fd < 0) return context_error(context, SAGE_ERROR_IO, "kernel_dir: %s", why.text);
    struct kernel_rows rows = {0};
    const struct kernel_row *picked[SAGE_ROLE_COUNT];
    sage_status status = scan(context, dir, fd, request, &rows);
    if (status == SAGE_OK) status = kernel_rows_choose(context, dir->path, &rows, request, picked);
    struct opened_dir opened = {dir, fd};
    if (status == SAGE_OK && out) status = kernel_set_read(context, picked, blob_read, &opened, out);
    kernel_rows_free(context, &rows);
    close(fd);
    return status;
}

static sage_status kernel_dir_supports(sage_context *context, void *user, const struct sage_kernel_request *request) {
    return answer(context, user, request, NULL);
}

static sage_status kernel_dir_get(sage_context *context, void *user, const struct sage_kernel_request *request,
                                  struct sage_kernel_set *out) {
    return answer(context, user, request, out);
}

static void kernel_dir_destroy(sage_context *context, void *user) {
    struct kernel_dir *dir = user;
    context_free(context, dir->path);
    context_free(context, dir);
}

sage_status kernel_dir_add(sage_context *context, const char *path) {
    struct safe_why why;
    // The caller named this directory: whose it is, is the caller's matter; that strangers may write it, is not.
    const struct safe_policy policy = {
        .any_owner = true, .forbidden_mode = context->trust_shared_cache ? 0 : 002, .follow = true};
    int fd = safe_dir_open(AT_FDCWD, path, policy, &why);
    if (fd < 0)
        return context_error(context, why.kind == SAFE_REFUSED ? SAGE_ERROR_UNSUPPORTED : SAGE_ERROR_IO,
                             "kernel_dir: %s", why.text);
    close(fd);
    struct kernel_dir *dir = context_alloc_zeroed(context, sizeof *dir);
    if (!dir) return SAGE_ERROR_OUT_OF_MEMORY;
    dir->policy = policy;
    dir->path = context_copy_text(context, path, strlen(path));
    const struct sage_provider provider = {"kernel_dir", dir, kernel_dir_supports, kernel_dir_get, kernel_dir_destroy};
    sage_status status = dir->path ? context_add_provider(context, &provider) : SAGE_ERROR_OUT_OF_MEMORY;
    if (status != SAGE_OK) kernel_dir_destroy(context, dir);
    return status;
}
