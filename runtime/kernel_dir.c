// kernel_dir: scans the directory in the order of file names, reads the metadata that match the request, picks the
// attention kernel that suits the GPU best, and completes the set with the kernels of the same spec, variant and
// target. Reads files alone; keeps nothing between calls. SPDX-License-Identifier: Apache-2.0
#include "kernel_dir.h"
#include "context.h"
#include "meta.h"
#include "safe_dir.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CUBIN_BYTES_MAX = 256 << 20 };

struct kernel_dir {
    char *path;
    struct safe_policy policy;
};

// One metadata file that matches the request in all but, perhaps, role and mask.
struct kernel_row {
    char file[NAME_MAX + 1];
    struct meta meta;
    int rank;    /* meta_target_rank */
    bool exact;  /* safe where safe was asked for, plain where it was not */
    bool wished; /* of the request's wish */
};

struct kernel_rows {
    struct kernel_row *row; /* sorted by file name */
    size_t count, capacity;
    char damaged[SAFE_WHY_BYTES]; /* what is wrong with the first unreadable metadata file; "" */
    bool other_gpu;               /* some kernel matched in all but the GPU */
};

/* -- Scanning -------------------------------------------------------------------------------------------------------
 */

static const char *io_text(sage_dtype io) {
    return io == SAGE_BF16 ? "bf16" : "fp16";
}

static const char *mask_text(sage_mask mask) {
    return mask == SAGE_MASK_CAUSAL ? "causal" : "none";
}

// A spec that was asked for by name may be safe in itself, or be there in its safe form alone; a family is searched for
// the fast kernel, which another provider, or another family, may have.
static bool safe_matches(const struct meta *meta, const struct sage_kernel_request *request) {
    return request->safe ? meta->safe != 0 : meta->safe == 0 || request->spec;
}

static bool matches(const struct meta *meta, const struct sage_kernel_request *request) {
    if (request->spec ? strcmp(meta->spec, request->spec) != 0
                      : !request->family || strcmp(meta->family, request->family) != 0)
        return false;
    if (meta->head_dim_qk != request->head_dim_qk || meta->head_dim_v != request->head_dim_v) return false;
    if (strcmp(meta->io, io_text(request->io)) != 0 || !safe_matches(meta, request)) return false;
    return meta_role(meta) != SAGE_ROLE_ATTN_FWD || !strcmp(meta->mask, mask_text(request->mask));
}

static bool is_wished(const struct meta *meta, const struct sage_kernel_wish *wish) {
    return wish->variant && strcmp(meta->variant, wish->variant) == 0 &&
           strcmp(meta->spec_hash, wish->spec_hash) == 0 && strcmp(meta->target, wish->target) == 0;
}

static sage_status rows_add(sage_context *context, struct kernel_rows *rows, const struct kernel_row *row) {
    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? 2 * rows->capacity : 16;
        struct kernel_row *bigger = context_alloc(context, capacity * sizeof *bigger);
        if (!bigger) return SAGE_ERROR_OUT_OF_MEMORY;
        if (rows->count) memcpy(bigger, rows->row, rows->count * sizeof *bigger);
        context_free(context, rows->row);
        rows->row = bigger;
        rows->capacity = capacity;
    }
    rows->row[rows->count++] = *row;
    return SAGE_OK;
}

// A file that cannot be read is remembered, and only matters if nothing else answers the request.
static sage_status scan_file(sage_context *context, const struct kernel_dir *dir, int fd, const char *name,
                             const struct sage_kernel_request *request, struct kernel_rows *rows) {
    struct kernel_row row;
    struct safe_why why;
    size_t bytes = 0;
    char *text = safe_file_read(context, fd, name, META_FILE_MAX, dir->policy, &bytes, &why);
    if (!text && why.kind == SAFE_NO_MEMORY) return SAGE_ERROR_OUT_OF_MEMORY;
    sage_status status = text ? meta_read(context, text, bytes, &row.meta) : SAGE_ERROR_CORRUPT;
    context_free(context, text);
    if (status == SAGE_ERROR_CORRUPT) {
        const char *reason = text ? sage_last_error(context) : why.text;
        if (!rows->damaged[0]) snprintf(rows->damaged, sizeof rows->damaged, "%.200s: %.300s", name, reason);
        context_log(context, SAGE_LOG_WARNING, "%s/%s is ignored: %s", dir->path, name, reason);
        return SAGE_OK;
    }
    if (status != SAGE_OK || !matches(&row.meta, request)) return status;
    row.rank = meta_target_rank(row.meta.target, request->sm);
    if (row.rank == 0) rows->other_gpu = true;
    if (row.rank == 0) return SAGE_OK;
    row.exact = (row.meta.safe != 0) == request->safe;
    row.wished = is_wished(&row.meta, &request->wish);
    snprintf(row.file, sizeof row.file, "%s", name);
    return rows_add(context, rows, &row);
}

static bool is_meta_name(const char *name) {
    size_t len = strlen(name);
    return len > 5 && name[0] != '.' && !strcmp(name + len - 5, ".meta");
}

static int compare_rows(const void *a, const void *b) {
    return strcmp(((const struct kernel_row *)a)->file, ((const struct kernel_row *)b)->file);
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
    if (rows->count) qsort(rows->row, rows->count, sizeof *rows->row, compare_rows);
    return status;
}

/* -- Choosing -------------------------------------------------------------------------------------------------------
 */

// Kernels that exchange workspace images must come from one expansion of one spec.
static bool belong_together(const struct meta *a, const struct meta *b) {
    return !strcmp(a->spec, b->spec) && !strcmp(a->spec_hash, b->spec_hash) && !strcmp(a->variant, b->variant) &&
           !strcmp(a->target, b->target) && !strcmp(a->sagegen, b->sagegen) && a->safe == b->safe;
}

static bool role_needed(const struct meta *attention, enum sage_role role) {
    return role != SAGE_ROLE_DELTA_S || attention->q_group > 0;
}

// Fills picked with the rows of the set led by `attention`; returns the first role that is missing, or SAGE_ROLE_COUNT.
static enum sage_role complete(const struct kernel_rows *rows, const struct kernel_row *attention,
                               const struct kernel_row *picked[SAGE_ROLE_COUNT]) {
    enum sage_role missing = SAGE_ROLE_COUNT;
    for (int role = SAGE_ROLE_COUNT - 1; role >= 0; role--) {
        picked[role] = NULL;
        if (!role_needed(&attention->meta, (enum sage_role)role)) continue;
        for (size_t i = 0; i < rows->count && !picked[role]; i++) {
            const struct kernel_row *row = &rows->row[i];
            if (meta_role(&row->meta) == (enum sage_role)role && belong_together(&row->meta, &attention->meta))
                picked[role] = row;
        }
        if (!picked[role]) missing = (enum sage_role)role;
    }
    return missing;
}

static sage_status nothing_fits(sage_context *context, const struct kernel_dir *dir, const struct kernel_rows *rows,
                                const struct sage_kernel_request *request, enum sage_role missing) {
    const char *name = request->spec ? request->spec : request->family ? request->family : "(no name)";
    if (missing != SAGE_ROLE_COUNT)
        return context_error(context, SAGE_ERROR_NOT_FOUND, "%s: %s lacks its %s kernel%s%s", dir->path, name,
                             sage_role_text(missing), rows->damaged[0] ? "; damaged: " : "", rows->damaged);
    return context_error(context, SAGE_ERROR_NOT_FOUND,
                         "%s: no kernel %s with head dims %d and %d, %s, mask %s%s%s%s%s", dir->path, name,
                         request->head_dim_qk, request->head_dim_v, io_text(request->io), mask_text(request->mask),
                         request->safe ? ", safe" : "", rows->other_gpu ? ", for this GPU" : "",
                         rows->damaged[0] ? "; damaged: " : "", rows->damaged);
}

static bool is_better(const struct kernel_row *row, const struct kernel_row *best) {
    if (!best) return true;
    if (row->exact != best->exact) return row->exact;
    return row->rank != best->rank ? row->rank > best->rank : row->wished && !best->wished;
}

// The complete set that is safe or not just as asked for, then the one whose target suits the GPU best, then the one
// that wisdom names; among equals the first by file name.
static sage_status choose(sage_context *context, const struct kernel_dir *dir, const struct kernel_rows *rows,
                          const struct sage_kernel_request *request, const struct kernel_row *picked[SAGE_ROLE_COUNT]) {
    const struct kernel_row *best = NULL;
    enum sage_role missing = SAGE_ROLE_COUNT;
    for (size_t i = 0; i < rows->count; i++) {
        const struct kernel_row *row = &rows->row[i];
        if (meta_role(&row->meta) != SAGE_ROLE_ATTN_FWD || !is_better(row, best)) continue;
        enum sage_role lacks = complete(rows, row, picked);
        if (lacks == SAGE_ROLE_COUNT)
            best = row;
        else
            missing = lacks;
    }
    if (!best) return nothing_fits(context, dir, rows, request, missing);
    complete(rows, best, picked);
    return SAGE_OK;
}

/* -- Provider -------------------------------------------------------------------------------------------------------
 */

// <file>.meta and the .cubin beside it, which must be the one that the metadata describe.
static sage_status blob_read(sage_context *context, const struct kernel_dir *dir, int fd, const struct kernel_row *row,
                             struct sage_kernel_blob *out) {
    char name[NAME_MAX + 8];
    struct safe_why why;
    SAGE_TRY(meta_write(context, &row->meta, &out->meta, &out->meta_len));
    snprintf(name, sizeof name, "%.*s.cubin", (int)strlen(row->file) - 5, row->file);
    out->cubin = safe_file_read(context, fd, name, CUBIN_BYTES_MAX, dir->policy, &out->cubin_bytes, &why);
    if (!out->cubin && why.kind == SAFE_NO_MEMORY) return SAGE_ERROR_OUT_OF_MEMORY;
    if (!out->cubin) return context_error(context, SAGE_ERROR_CORRUPT, "%s: %s", dir->path, why.text);
    return meta_check_cubin(context, &row->meta, out->cubin, out->cubin_bytes);
}

static sage_status set_read(sage_context *context, const struct kernel_dir *dir, int fd,
                            const struct kernel_row *const *picked, struct sage_kernel_set *out) {
    struct sage_kernel_set set = {0};
    sage_status status = SAGE_OK;
    for (int role = 0; role < SAGE_ROLE_COUNT && status == SAGE_OK; role++)
        if (picked[role]) status = blob_read(context, dir, fd, picked[role], &set.kernel[role]);
    if (status == SAGE_OK)
        *out = set;
    else
        kernel_set_free(context, &set);
    return status;
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
    if (status == SAGE_OK) status = choose(context, dir, &rows, request, picked);
    if (status == SAGE_OK && out) status = set_read(context, dir, fd, picked, out);
    context_free(context, rows.row);
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
