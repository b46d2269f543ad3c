// fuzz_meta: kernel.meta, as it is and with its hash made right. What is read must be written as the very same bytes.
// SPDX-License-Identifier: Apache-2.0
#include "context.h"
#include "fuzz.h"
#include "meta.h"
#include <stdlib.h>
#include <string.h>

static void try_text(const char *text, size_t bytes) {
    sage_context *context = fuzz_context();
    struct meta meta;
    if (meta_read(context, text, bytes, &meta) != SAGE_OK) return;
    char *again = NULL;
    size_t again_bytes = 0;
    FUZZ_CHECK(meta_write(context, &meta, &again, &again_bytes) == SAGE_OK, "what was read cannot be written");
    FUZZ_CHECK(again_bytes == bytes && memcmp(again, text, bytes) == 0, "what was read is written otherwise");
    context_free(context, again);
    meta_target_rank(meta.target, 90);
    FUZZ_CHECK(meta_role(&meta) != SAGE_ROLE_COUNT, "a role that there is not was read");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    size_t sealed_bytes;
    char *sealed = fuzz_sealed(data, bytes, "meta_hash: ", &sealed_bytes);
    try_text((const char *)data, bytes);
    try_text(sealed, sealed_bytes);
    free(sealed);
    return 0;
}
