// fuzz_pack: a file of `sagegen pack`, as it is, and with its size and its hash made right; every part is read.
// SPDX-License-Identifier: Apache-2.0
#include "context.h"
#include "fuzz.h"
#include "pack.h"
#include <stdlib.h>
#include <string.h>

static void read_parts(sage_context *context, const struct pack *pack) {
    for (int i = 0; i < pack->count; i++) {
        for (int part = PACK_PART_CUBIN; part < PACK_PART_COUNT; part++) {
            char *data = NULL;
            if (pack->kernel[i].bytes[part] && pack_read(context, pack, i, (enum pack_part)part, &data) == SAGE_OK)
                context_free(context, data);
        }
    }
}

static void try_file(const void *data, size_t bytes) {
    sage_context *context = fuzz_context();
    struct pack *pack = NULL;
    if (pack_open(context, fuzz_file("input.sagepack", data, bytes), &pack) != SAGE_OK) {
        FUZZ_CHECK(sage_last_error(context)[0] != 0, "refused without a reason");
        return;
    }
    read_parts(context, pack);
    pack_close(context, pack);
}

// data, its size in the header, its hash behind it.
static void try_sealed(const uint8_t *data, size_t bytes) {
    if (bytes < PACK_HEADER_BYTES) return;
    char hash[KEY_BYTES];
    unsigned char *file = malloc(bytes + PACK_TRAILER_BYTES);
    FUZZ_CHECK(file != NULL, "out of memory");
    memcpy(file, data, bytes);
    pack_put(file + PACK_HEADER_FILE, bytes + PACK_TRAILER_BYTES, 8);
    key_hash(file, bytes, hash);
    memcpy(file + bytes, hash, PACK_TRAILER_BYTES);
    try_file(file, bytes + PACK_TRAILER_BYTES);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    try_file(data, bytes);
    try_sealed(data, bytes);
    return 0;
}
