// meta_write: struct meta -> the text of kernel.meta, for libsagegen and the tests. Writes nothing that meta_read would
// refuse. SPDX-License-Identifier: Apache-2.0
#include "context.h"
#include "key.h"
#include "meta.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct meta) < META_FILE_MAX, "the longest text must fit into META_FILE_MAX");

void meta_set_files(struct meta *meta, const char *source, size_t source_bytes, const char *ptx, size_t ptx_bytes,
                    const void *cubin, size_t cubin_bytes) {
    const struct {
        const void *data;
        size_t bytes;
        char *hash;
        int *size;
    } files[] = {{source, source_bytes, meta->source_hash, &meta->source_bytes},
                 {ptx, ptx_bytes, meta->ptx_hash, &meta->ptx_bytes},
                 {cubin, cubin_bytes, meta->cubin_hash, &meta->cubin_bytes}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        key_hash(files[i].bytes ? files[i].data : "", files[i].bytes, files[i].hash);
        *files[i].size = files[i].bytes <= INT_MAX ? (int)files[i].bytes : -1; // meta_check refuses -1
    }
}

sage_status meta_write(sage_context *context, const struct meta *meta, char **text, size_t *len) {
    char why[META_WHY_BYTES];
    if (meta_check(meta, why)) return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "kernel.meta: %s", why);
    char *out = context_alloc(context, META_FILE_MAX);
    if (!out) return SAGE_ERROR_OUT_OF_MEMORY;
    size_t at = 0;
#define WRITE(...)             at += (size_t)snprintf(out + at, META_FILE_MAX - at, __VA_ARGS__)
#define WRITE_TEXT(name, help) WRITE(#name ": %s\n", meta->name);
#define WRITE_INT(name, help)  WRITE(#name ": %d\n", meta->name);
    WRITE("meta_version: %d\n", SAGE_META_VERSION);
    SAGE_META_TEXTS(WRITE_TEXT)
    SAGE_META_INTS(WRITE_INT)
    char hash[KEY_HEX64_BYTES];
    key_hash64(out, at, hash);
    WRITE("meta_hash: %s\n", hash);
#undef WRITE_TEXT
#undef WRITE_INT
#undef WRITE
    *text = out;
    *len = at;
    return SAGE_OK;
}
