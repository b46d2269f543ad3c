// pack: see the header. Every size and offset is checked against the file's own size before it is used; the order of
// the checks is that in which they explain most: magic, version, size, hash, rows. SPDX-License-Identifier: Apache-2.0
#include "pack.h"
#include "context.h"
#include "kernel_args.h"
#include "safe_dir.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const uint64_t pack_bytes_max = (uint64_t)1 << 40;

/* -- Bytes ----------------------------------------------------------------------------------------------------------
 */

static sage_status bytes_read(sage_context *context, const struct pack *pack, uint64_t offset, void *out,
                              size_t bytes) {
    char *to = out, text[128];
    for (size_t at = 0; at < bytes;) {
        ssize_t got = pread(pack->file, to + at, bytes - at, (off_t)(offset + at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return context_error(context, SAGE_ERROR_IO, "pack %s: %s", pack->path,
                                 strerror_r(errno, text, sizeof text));
        if (got == 0)
            return context_error(context, SAGE_ERROR_CORRUPT, "pack %s: the file became shorter after it was opened",
                                 pack->path);
        at += (size_t)got;
    }
    return SAGE_OK;
}

static sage_status damaged(sage_context *context, const struct pack *pack, const char *what) {
    return context_error(context, SAGE_ERROR_CORRUPT, "pack %s is damaged: %s; make or copy it again", pack->path,
                         what);
}

/* -- Checks ---------------------------------------------------------------------------------------------------------
 */

static sage_status header_read(sage_context *context, struct pack *pack) {
    unsigned char header[PACK_HEADER_BYTES];
    if (pack->bytes < sizeof header + PACK_TRAILER_BYTES)
        return context_error(context, SAGE_ERROR_CORRUPT,
                             "%s is no pack of `sagegen pack`: %" PRIu64 " bytes are too few", pack->path, pack->bytes);
    SAGE_TRY(bytes_read(context, pack, 0, header, sizeof header));
    if (memcmp(header, PACK_MAGIC, 8) != 0)
        return context_error(context, SAGE_ERROR_CORRUPT, "%s is no pack of `sagegen pack`: it begins otherwise",
                             pack->path);
    const uint64_t version = pack_get(header + PACK_HEADER_VERSION, 4), meta = pack_get(header + PACK_HEADER_META, 4);
    const uint64_t bytes = pack_get(header + PACK_HEADER_FILE, 8), count = pack_get(header + PACK_HEADER_COUNT, 4);
    if (version != PACK_VERSION || meta != SAGE_META_VERSION)
        return context_error(context, SAGE_ERROR_UNSUPPORTED,
                             "pack %s has format %" PRIu64 " and metadata %" PRIu64
                             "; this libsage reads %d and %d: make it with the sagegen of this libsage",
                             pack->path, version, meta, PACK_VERSION, SAGE_META_VERSION);
    char why[96];
    snprintf(why, sizeof why, "%" PRIu64 " bytes; its header says %" PRIu64, pack->bytes, bytes);
    if (bytes != pack->bytes) return damaged(context, pack, why);
    if (pack_get(header + PACK_HEADER_UNUSED, 4) != 0)
        return damaged(context, pack, "its header is not of this format");
    if (count > PACK_KERNELS_MAX || count * PACK_ROW_BYTES > bytes - sizeof header - PACK_TRAILER_BYTES)
        return damaged(context, pack, "its header counts more kernels than it holds");
    pack->count = (int)count;
    return SAGE_OK;
}

static sage_status hash_check(sage_context *context, struct pack *pack) {
    char trailer[PACK_TRAILER_BYTES];
    const uint64_t hashed = pack->bytes - PACK_TRAILER_BYTES;
    if (!key_hash_file(pack->file, hashed, pack->hash))
        return context_error(context, SAGE_ERROR_IO, "pack %s cannot be read", pack->path);
    SAGE_TRY(bytes_read(context, pack, hashed, trailer, sizeof trailer));
    return memcmp(trailer, pack->hash, sizeof trailer) == 0 ? SAGE_OK
                                                            : damaged(context, pack, "it does not match its hash");
}

static sage_status part_check(sage_context *context, const struct pack *pack, const struct pack_kernel *kernel,
                              int part) {
    static const uint32_t most[PACK_PART_COUNT] = {META_FILE_MAX, PACK_CUBIN_MAX, PACK_SOURCE_MAX};
    const uint64_t first = PACK_HEADER_BYTES + (uint64_t)pack->count * PACK_ROW_BYTES;
    const uint64_t end = pack->bytes - PACK_TRAILER_BYTES, bytes = kernel->bytes[part], offset = kernel->offset[part];
    if (bytes == 0 && offset == 0) return SAGE_OK;
    if (bytes > 0 && bytes <= most[part] && offset >= first && offset <= end && bytes <= end - offset) return SAGE_OK;
    return damaged(context, pack, "a part of a kernel lies outside the file");
}

static sage_status meta_part_read(sage_context *context, const struct pack *pack, struct pack_kernel *kernel) {
    char text[META_FILE_MAX];
    const uint32_t bytes = kernel->bytes[PACK_PART_META];
    SAGE_TRY(bytes_read(context, pack, kernel->offset[PACK_PART_META], text, bytes));
    sage_status status = meta_read(context, text, bytes, &kernel->meta);
    if (status != SAGE_ERROR_CORRUPT) return status;
    char why[256];
    snprintf(why, sizeof why, "%.255s", sage_last_error(context));
    return damaged(context, pack, why);
}

static sage_status row_read(sage_context *context, const struct pack *pack, int index) {
    unsigned char row[PACK_ROW_BYTES];
    struct pack_kernel *kernel = &pack->kernel[index];
    SAGE_TRY(bytes_read(context, pack, PACK_HEADER_BYTES + (uint64_t)index * PACK_ROW_BYTES, row, sizeof row));
    for (int part = 0; part < PACK_PART_COUNT; part++) {
        kernel->offset[part] = pack_get(row + PACK_ROW_OFFSET + 8 * part, 8);
        kernel->bytes[part] = (uint32_t)pack_get(row + PACK_ROW_SIZE + 4 * part, 4);
        SAGE_TRY(part_check(context, pack, kernel, part));
    }
    const uint32_t *bytes = kernel->bytes;
    if (bytes[PACK_PART_META] == 0 || (bytes[PACK_PART_CUBIN] == 0 && bytes[PACK_PART_SOURCE] == 0))
        return damaged(context, pack, "a kernel lacks its metadata, or its code");
    SAGE_TRY(meta_part_read(context, pack, kernel));
    if ((bytes[PACK_PART_CUBIN] && bytes[PACK_PART_CUBIN] != (uint32_t)kernel->meta.cubin_bytes) ||
        (bytes[PACK_PART_SOURCE] && bytes[PACK_PART_SOURCE] != (uint32_t)kernel->meta.source_bytes))
        return damaged(context, pack, "a kernel is not the one that its metadata describe");
    if (kernel->meta.args_bytes == (int)sizeof(struct sage_kernel_args)) return SAGE_OK;
    return context_error(context, SAGE_ERROR_UNSUPPORTED,
                         "pack %s: its kernels take %d bytes of arguments, this libsage passes %zu: make it with the "
                         "sagegen of this libsage",
                         pack->path, kernel->meta.args_bytes, sizeof(struct sage_kernel_args));
}

/* -- Opening --------------------------------------------------------------------------------------------------------
 */

static sage_status file_open(sage_context *context, struct pack *pack) {
    struct safe_why why;
    // The caller named this file: whose it is, is the caller's matter; that strangers may write it, is not.
    const struct safe_policy policy = {
        .any_owner = true, .forbidden_mode = context->trust_shared_cache ? 0 : 002, .follow = true};
    pack->file = safe_file_open(AT_FDCWD, pack->path, pack_bytes_max, policy, &pack->bytes, &why);
    if (pack->file >= 0) return SAGE_OK;
    return context_error(context, why.kind == SAFE_REFUSED ? SAGE_ERROR_UNSUPPORTED : SAGE_ERROR_IO, "pack: %s",
                         why.text);
}

static sage_status pack_fill(sage_context *context, struct pack *pack) {
    SAGE_TRY(file_open(context, pack));
    SAGE_TRY(header_read(context, pack));
    SAGE_TRY(hash_check(context, pack));
    pack->kernel = context_alloc_zeroed(context, (size_t)pack->count * sizeof *pack->kernel);
    if (!pack->kernel) return SAGE_ERROR_OUT_OF_MEMORY;
    for (int i = 0; i < pack->count; i++) SAGE_TRY(row_read(context, pack, i));
    return SAGE_OK;
}

sage_status pack_open(sage_context *context, const char *path, struct pack **out) {
    struct pack *pack = context_alloc_zeroed(context, sizeof *pack);
    if (!pack) return SAGE_ERROR_OUT_OF_MEMORY;
    pack->file = -1;
    pack->path = context_copy_text(context, path, strlen(path));
    sage_status status = pack->path ? pack_fill(context, pack) : SAGE_ERROR_OUT_OF_MEMORY;
    if (status == SAGE_OK)
        *out = pack;
    else
        pack_close(context, pack);
    return status;
}

void pack_close(sage_context *context, struct pack *pack) {
    if (!pack) return;
    if (pack->file >= 0) close(pack->file);
    context_free(context, pack->kernel);
    context_free(context, pack->path);
    context_free(context, pack);
}

/* -- Parts ----------------------------------------------------------------------------------------------------------
 */

sage_status pack_read(sage_context *context, const struct pack *pack, int index, enum pack_part part, char **out) {
    const struct pack_kernel *kernel = &pack->kernel[index];
    const size_t bytes = kernel->bytes[part];
    char *data = context_alloc(context, bytes + 1);
    if (!data) return SAGE_ERROR_OUT_OF_MEMORY;
    data[bytes] = 0;
    sage_status status = bytes_read(context, pack, kernel->offset[part], data, bytes);
    if (status == SAGE_OK)
        status = part == PACK_PART_CUBIN ? meta_check_cubin(context, &kernel->meta, data, bytes)
                                         : meta_check_source(context, &kernel->meta, data, bytes);
    if (status == SAGE_OK)
        *out = data;
    else
        context_free(context, data);
    return status;
}
